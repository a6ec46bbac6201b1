"""The commands of sandboxes when the line breaks, the server misbehaves, or the input is wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.cli.cli_runner import Shell
from tests.cli.recording_server import DROP, RecordingServer, Reply, as_json, refusal
from tests.cli.test_cli_terminal import on_terminal

COMMAND = {"id": "cmd_1", "status": "running", "sandboxId": "sbx_1", "command": "x"}
CONTENT = b"content"


def stream(*parts: Any) -> Reply:
    """A command's event stream."""
    import json

    framed = [part if part is DROP else b"data: " + json.dumps(part).encode() + b"\n\n" for part in parts]
    return Reply(200, headers={"content-type": "text/event-stream"}, parts=framed)


def log(seq: int, data: str) -> dict[str, Any]:
    """One piece of output."""
    return {"type": "log", "seq": seq, "stream": "stdout", "data": data}


def ended(**fields: Any) -> dict[str, Any]:
    """The end of a command's stream."""
    return {"type": "terminal", "command": {**COMMAND, "status": "exited", **fields}}


@pytest.fixture
def sandboxes(server: RecordingServer) -> RecordingServer:
    """A server with one sandbox that takes commands."""
    server.routes["POST /v1/sandboxes/sbx_1/commands"] = lambda _: as_json({"command": COMMAND}, 202)
    return server


def streams(server: RecordingServer, *replies: Reply) -> None:
    """Answer the successive streams of the command; the last one repeats."""
    left = list(replies)
    server.routes["GET /v1/commands/cmd_1/stream"] = lambda _: left.pop(0) if len(left) > 1 else left[0]


def test_exec_asks_for_what_was_said_and_nothing_else(shell: Shell, sandboxes: RecordingServer) -> None:
    """In the background, so that its output is seen when it comes; with a fresh idempotency key."""
    streams(sandboxes, stream(ended(exitCode=0)))
    assert shell("sandboxes", "exec", "sbx_1", "--", "echo", "a b").status == 0
    request = sandboxes.last("POST", "/v1/sandboxes/sbx_1/commands")
    assert request.json == {"command": "echo 'a b'", "background": True}
    assert len(request.headers["idempotency-key"]) == 36


def test_a_stream_that_breaks_is_resumed_without_a_gap_or_a_repeat(
    shell: Shell, sandboxes: RecordingServer
) -> None:
    """Heartbeats carry no number here and move nothing (CONTRACT §2)."""
    streams(
        sandboxes,
        stream(log(1, "one\n"), {"type": "heartbeat"}, DROP),
        stream(log(1, "one\n"), log(2, "two\n"), ended(exitCode=5)),
    )
    result = shell("sandboxes", "exec", "sbx_1", "--", "x")
    assert (result.status, result.out) == (5, b"one\ntwo\n")
    assert sandboxes.requests[-1].query == {"afterSeq": "1"}


def test_a_line_that_stays_down_says_how_to_go_on(
    shell: Shell, sandboxes: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command may still run: its id, and where reading stopped."""
    monkeypatch.setattr("client.follow.RECONNECT_DELAYS_MS", (1, 1))
    streams(sandboxes, stream(log(1, "one\n"), DROP), stream(DROP))
    result = shell("sandboxes", "exec", "sbx_1", "--", "x")
    assert (result.status, result.out) == (1, b"one\n")
    assert "crownest commands logs cmd_1 --after-seq 1" in result.err


@pytest.mark.parametrize(("code", "status"), [(0, 0), (1, 1), (255, 255), (256, 1), (137, 137), (-1, 255)])
def test_exit_codes_become_statuses_and_never_a_false_zero(
    shell: Shell, sandboxes: RecordingServer, code: int, status: int
) -> None:
    """A status has eight bits."""
    streams(sandboxes, stream(ended(exitCode=code)))
    assert shell("sandboxes", "exec", "sbx_1", "--", "x").status == status


@pytest.mark.parametrize(
    "frame",
    [{"type": "log", "data": "no number"}, {"seq": 1}, {"type": "terminal"}, ["no", "object"]],
    ids=["log without seq", "no type", "end without command", "no object"],
)
def test_a_stream_that_breaks_the_contract_is_refused(
    shell: Shell, sandboxes: RecordingServer, frame: object
) -> None:
    """Named as what it is, not shown."""
    streams(sandboxes, stream(frame))
    result = shell("sandboxes", "exec", "sbx_1", "--json", "--", "x")
    assert (result.status, result.out) == (1, b"")
    assert result.error["details"]["reason"] == "invalid_response"


def test_output_on_a_terminal_keeps_colours_and_loses_commands(
    shell: Shell, sandboxes: RecordingServer
) -> None:
    """Decision 0101, for exec, for a file, and for what a server calls things."""
    streams(sandboxes, stream(log(1, "\x1b[32mok\x1b[0m\x1b]0;owned\x07"), ended(exitCode=0)))
    assert "\x1b[32mok\x1b[0m^[]0;owned^G\n" in on_terminal(shell, "sandboxes", "exec", "sbx_1", "--", "x")[1]
    path = "GET /v1/sandboxes/sbx_1/files/download"
    sandboxes.routes[path] = lambda _: Reply(body=b"\x1b]0;owned\x07\n")
    assert on_terminal(shell, "files", "cat", "sbx_1:x")[1] == "^[]0;owned^G\n"
    assert shell("files", "cat", "sbx_1:x").out == b"\x1b]0;owned\x07\n"
    entry = {"path": "/workspace/x", "name": "\x1b]0;owned\x07\nx", "type": "file", "sizeBytes": 1}
    sandboxes.routes["GET /v1/sandboxes/sbx_1/files"] = lambda _: as_json({"data": [entry]})
    for show in (on_terminal(shell, "files", "ls", "sbx_1")[1], shell("files", "ls", "sbx_1").out.decode()):
        assert "^[]0;owned^G^Jx" in show


def artifact(server: RecordingServer, **fields: Any) -> None:
    """An artifact whose record is as told, and whose content is CONTENT."""
    record = {"id": "art_1", "name": "report.xml", "sha256": hashlib.sha256(CONTENT).hexdigest(), **fields}
    server.routes["GET /v1/artifacts/art_1"] = lambda _: as_json(
        {"artifact": {key: value for key, value in record.items() if value is not None}}
    )
    server.routes["GET /v1/artifacts/art_1/download"] = lambda _: Reply(body=CONTENT)


def test_bytes_that_are_not_what_the_record_says_are_never_a_file(
    shell: Shell, server: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And an older file stays as it was."""
    monkeypatch.chdir(tmp_path)
    artifact(server, sha256="0" * 64)
    before = set(tmp_path.iterdir())
    result = shell("artifacts", "download", "art_1", "--json")
    assert (result.status, result.error["details"]["reason"]) == (1, "digest_mismatch")
    assert set(tmp_path.iterdir()) == before
    Path("old").write_bytes(b"old")
    assert shell("artifacts", "download", "art_1", "--output", "old").status == 1
    assert Path("old").read_bytes() == b"old"


def test_a_record_without_a_digest_is_said_to_be_unchecked(
    shell: Shell, server: RecordingServer, tmp_path: Path
) -> None:
    """Other servers of the contract keep none."""
    artifact(server, sha256=None)
    result = shell("artifacts", "download", "art_1", "--output", str(tmp_path / "x"))
    assert result.status == 0
    assert "nothing was checked" in result.err
    assert (tmp_path / "x").read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["../../up.txt", "/etc/up.txt", "a/up.txt"])
def test_an_artifacts_name_leads_nowhere_else(
    shell: Shell, server: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Its last part, in this folder."""
    folder = tmp_path / "folder" / "inner"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    artifact(server, name=name)
    assert shell("artifacts", "download", "art_1", "--json").data["path"] == "up.txt"
    assert [path.name for path in folder.iterdir()] == ["up.txt"]


@pytest.mark.parametrize("name", ["", ".", "..", "/", ".bashrc", "-", "-rf", "a\nb", "x\x1b[2J"])
def test_a_name_that_no_file_here_should_have_must_be_given(
    shell: Shell, server: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Hidden files, options and control characters are not made on a server's word."""
    monkeypatch.chdir(tmp_path)
    artifact(server, name=name)
    before = set(tmp_path.iterdir())
    result = shell("artifacts", "download", "art_1")
    assert result.status == 2
    assert "--output PATH" in result.err
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["sandboxes", "exec", "sbx_1"], "Put the command after --"),
        (["sandboxes", "exec", "wsr_1", "--", "x"], "they look like sbx_abc123"),
        (["sandboxes", "exec", "sbx_1", "--env", "=x", "--", "x"], "NAME=VALUE"),
        (["sandboxes", "exec", "sbx_1", "--env", "SURELY_NOT_SET", "--", "x"], "NAME=VALUE"),
        (["sandboxes", "create", "--ttl-ms", "0"], "at least 1"),
        (["sandboxes", "create", "--metadata", "x"], "key=value"),
        (["sandboxes", "extend", "sbx_1"], "--ttl 1h"),
        (["sandboxes", "list", "--limit", "501"], "at most 500"),
        (["commands", "get", "sbx_1"], "they look like cmd_abc123"),
        (["files", "ls", "here"], "they look like sbx_abc123:src/a.py"),
        (["files", "cp", "a", "b"], "One of the two"),
        (["files", "cp", "sbx_1:a", "sbx_2:b"], "One of the two"),
        (["files", "cp", "sbx_1:a", "b", "--parents"], "copies into a sandbox"),
        (["artifacts", "get", "report.xml"], "they look like art_abc123"),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, list) else None,
)
def test_bad_input_is_refused_before_the_server_is_asked(
    shell: Shell, server: RecordingServer, args: list[str], said: str
) -> None:
    """Exit 2, with what is wrong."""
    result = shell(*args)
    assert result.status == 2
    assert said in result.err
    assert server.requests == []


def test_a_file_that_is_not_here_is_a_plain_error(shell: Shell, server: RecordingServer) -> None:
    """Before anything is asked of the server."""
    result = shell("files", "cp", "/nowhere/at/all", "sbx_1:x", "--json")
    assert (result.status, result.error["details"]["reason"]) == (1, "file_error")
    assert server.requests == []


def test_an_unknown_sandbox_names_the_list(shell: Shell, server: RecordingServer) -> None:
    """Not the list of runs."""
    server.routes["GET /v1/sandboxes/sbx_1"] = lambda _: refusal("not_found", "No.", 404)
    assert "crownest sandboxes list" in shell("sandboxes", "get", "sbx_1").err
