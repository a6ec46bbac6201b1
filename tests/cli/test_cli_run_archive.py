"""`run-archive` as a person and a script meet it: calls, streams, exit status, endings."""

from __future__ import annotations

import base64
import json
import re
import shlex
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.cli_runner import CROWNEST, Shell
from tests.cli.recording_server import (
    DROP,
    RUN_ID,
    UPLOAD_ID,
    RecordingServer,
    Reply,
    as_json,
    event,
    refusal,
    run_object,
    sse,
    terminal,
)

BASE = f"/v1/workspace-runs/{RUN_ID}"
CREATE = "/v1/workspace-runs"
MEASURED_ORDER = [
    f"POST {CREATE}",
    f"POST {BASE}/archive-transfer",
    f"PUT {BASE}/archive-transfer/{UPLOAD_ID}",
    f"POST {BASE}/archive/finalize",
    f"POST {BASE}/start",
    f"GET {BASE}/events",
]


def test_the_calls_come_in_the_measured_order(shell: Shell, server: RecordingServer, archive: Path) -> None:
    """CONTRACT §4, end: nothing more is asked when `terminal` was seen."""
    assert shell("workspace-runs", "run-archive", str(archive), "--", "true").status == 0
    assert server.calls() == MEASURED_ORDER
    assert server.requests[-1].query == {"stream": "true"}


def test_output_goes_to_its_stream_and_the_exit_code_comes_back(
    shell: Shell, server: RecordingServer, archive: Path
) -> None:
    """The seed's promise: streams stdout and stderr, and exits with the command's exit code."""
    server.streams(
        sse(
            event(1, "status", status="running"),
            event(2, "stdout", data="out é\n"),
            event(3, "stderr", data="err\n"),
            event(4, "a_type_of_tomorrow", x=1),
            terminal(5, "failed", exitCode=7, failureReason="command_exit", durationMs=1234),
        )
    )
    result = shell("workspace-runs", "run-archive", str(archive), "--", "sh", "-c", "exit 7")
    assert result.status == 7
    assert result.out == "out é\n".encode()
    assert result.err.splitlines() == [
        f"run {RUN_ID}",
        "err",
        f"{RUN_ID} failed: exit 7, 1.2 s; crownest workspace-runs evidence {RUN_ID}",
    ]


def test_bytes_that_were_no_text_are_written_as_they_were(
    shell: Shell, server: RecordingServer, archive: Path
) -> None:
    """PROOF P1.3: dataBase64 wins over its lossy text."""
    raw = bytes(range(256))
    lossy = raw.decode("utf-8", "replace")
    encoded = base64.b64encode(raw).decode()
    server.streams(
        sse(
            event(1, "stdout", data=lossy, dataBase64=encoded),
            event(2, "stdout", data="\x1b[31m"),
            terminal(3),
        )
    )
    assert shell("workspace-runs", "run-archive", str(archive), "--", "x").out == raw + b"\x1b[31m"


def test_json_mode_prints_one_envelope_a_line_and_nothing_else(
    shell: Shell, server: RecordingServer, archive: Path
) -> None:
    """Every event, known or not, as `{"data": …}`; stderr stays silent."""
    events = [event(1, "stdout", data="a\u2028b"), event(2, "novel"), terminal(3, "failed", exitCode=3)]
    server.streams(sse(*events))
    result = shell("workspace-runs", "run-archive", str(archive), "--json", "--", "x")
    assert [json.loads(line)["data"] for line in result.out.splitlines()] == events
    assert (result.status, result.err) == (3, "")


@pytest.mark.parametrize(
    ("run", "status"),
    [
        ({"status": "succeeded", "exitCode": 0}, 0),
        ({"status": "succeeded"}, 0),
        ({"status": "failed", "exitCode": 137}, 137),
        ({"status": "failed", "failureReason": "timeout"}, 1),
        ({"status": "canceled"}, 1),
        ({"status": "failed", "exitCode": 256}, 1),
        ({"status": "failed", "exitCode": -1}, 255),
    ],
)
def test_the_exit_status_is_the_code_or_says_success(
    shell: Shell, server: RecordingServer, archive: Path, run: dict[str, object], status: int
) -> None:
    """CONTRACT §3.4: exitCode if present, else 0 for succeeded and 1 otherwise."""
    server.streams(sse(event(1, "status"), terminal(2, **run)))
    assert shell("workspace-runs", "run-archive", str(archive), "--", "x").status == status


def test_words_after_the_dashes_stay_words(shell: Shell, server: RecordingServer, archive: Path) -> None:
    """Joined with single-quote escaping; options after -- are the command's (CONTRACT §3.1)."""
    shell("workspace-runs", "run-archive", str(archive), "--", "sh", "-c", "echo hi", "--json", "--", "a'b")
    assert server.last("POST", CREATE).json["command"] == """sh -c 'echo hi' --json -- 'a'"'"'b'"""


@given(st.lists(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])), min_size=1))
def test_a_shell_reads_the_joined_words_as_they_were(words: list[str]) -> None:
    """What the server's shell splits is what was typed, whatever was typed."""
    assert shlex.split(shlex.join(words)) == words


def test_options_become_the_request(shell: Shell, server: RecordingServer, archive: Path) -> None:
    """Every flag of the seed page, and ours."""
    shell(
        "workspace-runs", "run-archive", "--project", "prj_1", "--template", "python", "--sandbox", "sbx_1",
        "--keep-sandbox", "--timeout-ms", "5000", "--metadata", "repo=acme/app", "--metadata", "a.b=c=d",
        "--artifact", "out/report.xml", "--artifact", "cov.xml=coverage", "--artifact", "odd=name=",
        "--idempotency-key", "k1", str(archive), "--", "true",
    )  # fmt: skip
    request = server.last("POST", CREATE)
    assert request.headers["idempotency-key"] == "k1"
    assert request.json == {
        "command": "true",
        "projectId": "prj_1",
        "template": "python",
        "sandboxId": "sbx_1",
        "keepSandbox": True,
        "timeoutMs": 5000,
        "metadata": {"repo": "acme/app", "a.b": "c=d"},
        "artifacts": [
            {"path": "out/report.xml"},
            {"path": "cov.xml", "name": "coverage"},
            {"path": "odd=name"},
        ],
    }


@pytest.mark.parametrize(
    "args",
    [
        ["repo.tgz"],
        ["repo.tgz", "--"],
        ["repo.tgz", "make"],
        ["repo.tgz", "make", "--", "x"],
        ["--", "make"],
        ["folder", "--", "make"],
        ["folder.tgz", "--", "make"],
        ["missing.tgz", "--", "make"],
        ["repo.zip", "--", "make"],
        ["repo.tgz", "--metadata", "novalue", "--", "x"],
        ["repo.tgz", "--metadata", "=v", "--", "x"],
        ["repo.tgz", "--metadata", "a=1", "--metadata", "a=2", "--", "x"],
        ["repo.tgz", "--artifact", "=name", "--", "x"],
        ["repo.tgz", "--timeout-ms", "0", "--", "x"],
        ["repo.tgz", "--timeout-ms", "1.5", "--", "x"],
        ["repo.tgz", "--idempotency-key", "", "--", "x"],
        ["repo.tgz", "--no-such-flag", "--", "x"],
    ],
)
def test_usage_errors_send_nothing_and_exit_2(
    shell: Shell, server: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str]
) -> None:
    """CONTRACT §7.3; in JSON mode the same as an envelope."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.tgz").mkdir()
    for name in ("repo.tgz", "repo.zip"):
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    text = shell("workspace-runs", "run-archive", *args)
    enveloped = shell("workspace-runs", "run-archive", "--json", *args)
    assert (text.status, enveloped.status) == (2, 2)
    assert text.err.startswith("error: ")
    assert enveloped.error["code"] == "usage_error"
    assert set(enveloped.error) == {"code", "details", "message", "remediation", "retryable", "status"}
    assert (text.out, enveloped.out, server.requests) == (b"", b"", [])


def test_a_folder_is_refused_with_the_command_that_packs_it(shell: Shell, tmp_path: Path) -> None:
    """The seed: the CLI does not pack; the message shows what does."""
    (tmp_path / "src").mkdir()
    result = shell("workspace-runs", "run-archive", str(tmp_path / "src"), "--", "x")
    assert f"tar -czf src.tgz -C {tmp_path}/src ." in result.err


def test_an_archive_over_the_limit_shows_the_servers_words(
    shell: Shell, server: RecordingServer, archive: Path
) -> None:
    """8 MiB is the server's to refuse, at the transfer (CONTRACT rule 10)."""
    details = {"maxSizeBytes": 8388608, "sizeBytes": 9000000}
    server.routes[f"POST {BASE}/archive-transfer"] = lambda _: refusal(
        "file_too_large", "The archive is over 8 MiB.", 413, details=details
    )
    text = shell("workspace-runs", "run-archive", str(archive), "--", "x")
    enveloped = shell("workspace-runs", "run-archive", str(archive), "--json", "--", "x")
    assert text.status == enveloped.status == 1
    assert "The archive is over 8 MiB. (file_too_large, HTTP 413)" in text.err
    assert "8388608" in text.err
    assert enveloped.error["code"] == "file_too_large"
    assert (enveloped.error["status"], enveloped.error["details"]) == (413, details)
    assert "smaller archive" in enveloped.error["remediation"]


def test_a_stream_that_ends_early_is_asked_about_once_and_then_followed(
    shell: Shell, server: RecordingServer, archive: Path
) -> None:
    """Rule 6, and no output lost: one GET, then the rest of the events on a new connection."""
    server.streams(
        sse(event(1, "stdout", data="a"), event(2, "stdout", data="b"), DROP),
        sse(event(3, "stdout", data="c"), terminal(4, "failed", exitCode=5)),
    )
    server.routes[f"GET {BASE}"] = lambda _: as_json({"workspaceRun": run_object("running")})
    result = shell("workspace-runs", "run-archive", str(archive), "--", "x")
    assert (result.status, result.out) == (5, b"abc")
    assert server.calls() == [*MEASURED_ORDER, f"GET {BASE}", f"GET {BASE}/events"]
    assert server.requests[-1].query["afterSeq"] == "2"


@pytest.mark.parametrize(("status", "code", "expected"), [("failed", 9, 9), ("running", None, 1)])
def test_a_stream_that_cannot_be_had_leaves_the_true_exit_status(
    shell: Shell,
    server: RecordingServer,
    archive: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    status: str,
    code: int | None,
    expected: int,
) -> None:
    """An ended run exits as it did, with a warning; a running one exits 1 and says how to go on."""
    monkeypatch.setattr("client.follow.RECONNECT_DELAYS_MS", (0, 0))
    known = run_object(status, **({} if code is None else {"exitCode": code}))
    server.routes[f"GET {BASE}"] = lambda _: as_json({"workspaceRun": known})
    server.streams(sse(event(1, "stdout", data="a"), DROP), sse(DROP))
    result = shell("workspace-runs", "run-archive", str(archive), "--", "x")
    assert (result.status, result.out) == (expected, b"a")
    if code is None:
        assert f"crownest workspace-runs logs {RUN_ID} --after-seq 1" in result.err
    else:
        assert "The end of the output is missing" in result.err


def test_an_error_event_fails_the_command(shell: Shell, server: RecordingServer, archive: Path) -> None:
    """Clients stop and fail on it (CONTRACT §6.1)."""
    server.streams(sse(event(1, "error", code="internal_error", message="Something broke.")))
    result = shell("workspace-runs", "run-archive", str(archive), "--json", "--", "x")
    assert (result.status, result.error["code"]) == (1, "internal_error")


def test_what_was_lost_is_said(shell: Shell, server: RecordingServer, archive: Path) -> None:
    """Artifacts that could not be kept, output over the cap, and why the platform failed."""
    lost = [{"path": "r.xml", "code": "file_not_found", "message": "r.xml: no such file.\x1b[2J"}]
    ended = {"artifactErrors": lost, "failureMessage": "The disk is full.", "failureReason": "internal_error"}
    server.streams(
        sse(event(1, "output_truncated", stream="stdout", keptBytes=1), terminal(2, "failed", **ended))
    )
    result = shell("workspace-runs", "run-archive", str(archive), "--", "x")
    assert result.status == 1
    assert f"{RUN_ID} failed: internal_error; " in result.err
    assert "warning: The disk is full." in result.err
    assert "warning: artifact not kept: r.xml: no such file.^[[2J" in result.err
    assert "warning: the output reached the server's cap" in result.err


def test_ctrl_c_says_that_the_run_goes_on_and_exits_130(
    shell: Shell, server: RecordingServer, archive: Path
) -> None:
    """A run belongs to the server; the terminal is only a window."""
    release = threading.Event()
    server.streams(sse(event(7, "stdout", data="tick\n"), lambda: release.wait(30)))
    process = shell.popen(["workspace-runs", "run-archive", str(archive), "--", "x"], stdout=-1, stderr=-1)
    assert process.stdout is not None
    assert process.stdout.readline() == b"tick\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    release.set()
    assert process.returncode == 130
    assert f"{RUN_ID} goes on" in err.decode()
    assert f"crownest workspace-runs logs {RUN_ID} --after-seq 7" in err.decode()
    assert f"crownest workspace-runs cancel {RUN_ID}" in err.decode()
    assert f"POST {BASE}/cancel" not in server.calls()
    assert b"Traceback" not in err


def test_ctrl_c_while_uploading_says_that_nothing_runs(
    shell: Shell, server: RecordingServer, archive: Path
) -> None:
    """Before `start`, the run only waits for its archive."""
    release, reached = threading.Event(), threading.Event()

    def stall(_: object) -> Reply:
        reached.set()
        release.wait(30)
        return Reply(204)

    server.routes[f"PUT {BASE}/archive-transfer/{UPLOAD_ID}"] = stall
    process = shell.popen(["workspace-runs", "run-archive", str(archive), "--json", "--", "x"], stderr=-1)
    assert reached.wait(30)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    release.set()
    assert process.returncode == 130
    error = json.loads(err)["error"]
    assert (error["code"], error["details"]["workspaceRunId"]) == ("interrupted", RUN_ID)
    assert "nothing runs" in error["message"]


def test_a_reader_that_leaves_ends_it_quietly(shell: Shell, server: RecordingServer, archive: Path) -> None:
    """`crownest … | head -1`: no traceback, and the status that shells give to SIGPIPE."""
    lines = [event(seq, "stdout", data="x" * 4096 + "\n") for seq in range(1, 400)]
    server.streams(sse(*lines, terminal(400)))
    process = shell.popen(["workspace-runs", "run-archive", str(archive), "--", "x"], stdout=-1, stderr=-1)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(30) == 141
    assert "Traceback" not in err
    assert "Exception ignored" not in err


@pytest.mark.parametrize(("closed", "left"), [(">&-", b"err\n"), ("2>&-", b"out\n"), ("<&-", b"err\nout\n")])
def test_a_closed_stream_is_one_to_nowhere(
    shell: Shell, server: RecordingServer, archive: Path, closed: str, left: bytes
) -> None:
    """The exit code is the command's own (CONTRACT §7.3), and the other stream has what belongs there."""
    server.streams(
        sse(
            event(1, "stdout", data="out\n"),
            event(2, "stderr", data="err\n"),
            terminal(3, "failed", exitCode=7),
        )
    )
    line = ["sh", "-c", f'exec "$@" {closed}', "sh", CROWNEST, "workspace-runs", "run-archive", str(archive)]
    done = subprocess.run([*line, "--", "x"], env=shell.env, capture_output=True, check=False)
    own = re.compile(rb"run wsr_.*\n|wsr_.*\n")
    assert (done.returncode, own.sub(b"", done.stderr + done.stdout)) == (7, left)
