"""The step-by-step commands: envelopes, records, lists, files, and messages that say what to do next."""

from __future__ import annotations

import json
import signal
import stat
import threading
from pathlib import Path

import pytest

from tests.cli.cli_runner import Shell
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
LIST = "/v1/workspace-runs"


@pytest.mark.parametrize(
    ("args", "call", "status"),
    [
        (["create", "--command", "make"], f"POST {LIST}", "awaiting_archive"),
        (["start", RUN_ID], f"POST {BASE}/start", "running"),
        (["status", RUN_ID], f"GET {BASE}", "succeeded"),
        (["cancel", RUN_ID], f"POST {BASE}/cancel", "canceled"),
    ],
)
def test_run_commands_print_a_record_or_the_run_itself(
    shell: Shell, server: RecordingServer, args: list[str], call: str, status: str
) -> None:
    """Text is `key: value`; JSON is the run under `data`, so `jq .data.exitCode` works (seed)."""
    text = shell("workspace-runs", *args)
    enveloped = shell("workspace-runs", *args, "--json")
    assert text.out.decode().splitlines()[:2] == [f"id: {RUN_ID}", f"status: {status}"]
    assert (enveloped.data["id"], enveloped.data["status"]) == (RUN_ID, status)
    assert server.calls() == [call, call]
    assert (text.status, enveloped.status, text.err, enveloped.err) == (0, 0, "", "")
    assert enveloped.out.count(b"\n") == 1


def test_upload_goes_the_staged_way(shell: Shell, server: RecordingServer, archive: Path) -> None:
    """As the public CLI does, for small files too (CONTRACT §4.2)."""
    result = shell("workspace-runs", "upload", RUN_ID, str(archive), "--json")
    assert set(result.data) == {"archive", "workspaceRun"}
    assert server.calls() == [
        f"POST {BASE}/archive-transfer",
        f"PUT {BASE}/archive-transfer/{UPLOAD_ID}",
        f"POST {BASE}/archive/finalize",
    ]
    assert server.requests[1].body == archive.read_bytes()


def test_upload_compares_the_digest_it_is_given(shell: Shell, server: RecordingServer, archive: Path) -> None:
    """Either case is right, a wrong one sends nothing."""
    import hashlib

    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert shell("workspace-runs", "upload", RUN_ID, str(archive), "--sha256", digest.upper()).status == 0
    server.requests.clear()
    for wrong in ("0" * 64, "abc"):
        assert shell("workspace-runs", "upload", RUN_ID, str(archive), "--sha256", wrong).status == 2
    assert server.requests == []


@pytest.mark.parametrize("wrong", ["art_abc", "abc123", "wsr_", "wsr_../x", "wsr_a b", ""])
@pytest.mark.parametrize("command", ["start", "status", "logs", "cancel", "evidence"])
def test_ids_of_another_kind_are_usage_errors(
    shell: Shell, server: RecordingServer, command: str, wrong: str
) -> None:
    """The message shows what a run's id looks like."""
    result = shell("workspace-runs", command, wrong)
    assert result.status == 2
    assert "they look like wsr_abc123" in result.err
    assert server.requests == []


def test_list_is_a_json_array_or_lines_with_tabs(shell: Shell, server: RecordingServer) -> None:
    """Piped output is for programs: a header, tabs, nothing cut, no colour."""
    long = "make " + "x" * 300
    runs = [
        run_object("failed", exitCode=2, durationMs=1500, command=long),
        run_object("running", command="a\tb"),
    ]
    server.routes[f"GET {LIST}"] = lambda _: as_json({"data": runs, "hasMore": False})
    enveloped = shell("workspace-runs", "list", "--json")
    assert json.loads(enveloped.out) == {"data": runs}
    header, first, second = shell("workspace-runs", "list").out.decode().splitlines()
    assert header.split("\t") == ["id", "status", "exit", "template", "createdAt", "took", "command"]
    assert first.split("\t") == [
        RUN_ID,
        "failed",
        "2",
        "python-node",
        "2026-06-17T12:00:00.000Z",
        "1.5s",
        long,
    ]
    assert second.split("\t")[-1] == "a^Ib"


def test_list_passes_filters_and_names_the_next_page(shell: Shell, server: RecordingServer) -> None:
    """Cursors are opaque and go back as they came."""
    page = {"data": [run_object()], "hasMore": True, "nextCursor": "c2"}
    server.routes[f"GET {LIST}"] = lambda _: as_json(page)
    args = [
        "--project",
        "prj_1",
        "--status",
        "running",
        "--metadata",
        "a.b=c",
        "--limit",
        "1",
        "--cursor",
        "c1",
    ]
    result = shell("workspace-runs", "list", *args)
    assert server.last("GET", LIST).query == {
        "projectId": "prj_1", "status": "running", "metadata.a.b": "c", "limit": "1", "cursor": "c1",
    }  # fmt: skip
    assert result.err == "more: repeat with --cursor c2\n"
    assert json.loads(shell("workspace-runs", "list", "--json").out)["nextCursor"] == "c2"


@pytest.mark.parametrize("args", [["--limit", "0"], ["--limit", "501"], ["--status", "done"], ["extra"]])
def test_list_refuses_what_no_server_takes(shell: Shell, args: list[str]) -> None:
    """Limits of CONTRACT §1 and the states of §3.3."""
    assert shell("workspace-runs", "list", *args).status == 2


def test_logs_writes_streams_apart_and_always_exits_0(shell: Shell, server: RecordingServer) -> None:
    """A clean end is a clean end, also of a failed run (CONTRACT §6.4)."""
    ended = terminal(3, "failed", exitCode=9)
    server.streams(sse(event(1, "stdout", data="o"), event(2, "stderr", data="e"), ended))
    result = shell("workspace-runs", "logs", RUN_ID, "--after-seq", "0")
    assert (result.status, result.out, result.err) == (0, b"o", "e")
    assert "afterSeq" not in server.requests[0].query
    enveloped = shell("workspace-runs", "logs", RUN_ID, "--json", "--after-seq", "2")
    assert [json.loads(line)["data"]["seq"] for line in enveloped.out.splitlines()] == [1, 2, 3][2:]
    assert server.requests[1].query["afterSeq"] == "2"


@pytest.mark.parametrize("seq", ["-1", "x", "1.0", "9" * 40])
def test_logs_refuses_a_seq_that_is_none(shell: Shell, server: RecordingServer, seq: str) -> None:
    """Whole numbers from 0."""
    assert shell("workspace-runs", "logs", RUN_ID, "--after-seq", seq).status == 2
    assert server.requests == []


def test_evidence_is_printed_or_written_pretty(shell: Shell, server: RecordingServer, tmp_path: Path) -> None:
    """The file holds the object itself, so that `crownest verify evidence.json` can check it (P9.2a)."""
    bundle = {"workspaceRunId": RUN_ID, "command": "é\u2028", "proof": {"size": 3}}
    server.routes[f"GET {BASE}/evidence"] = lambda _: as_json({"evidence": bundle})
    target = tmp_path / "evidence.json"
    written = shell("workspace-runs", "evidence", RUN_ID, "--output", str(target))
    assert json.loads(target.read_text()) == bundle
    assert target.read_text().startswith("{\n  ")
    assert (written.out, written.err) == (b"", f"evidence of {RUN_ID} written to {target}\n")
    assert json.loads(shell("workspace-runs", "evidence", RUN_ID).out) == bundle
    assert shell("workspace-runs", "evidence", RUN_ID, "--json").data == bundle
    assert shell("workspace-runs", "evidence", RUN_ID, "--json", "--output", str(target)).data == {
        "path": str(target)
    }


def test_evidence_too_early_says_how_to_wait(shell: Shell, server: RecordingServer) -> None:
    """CONTRACT §11: 404 with a reason; the remedy names the run."""
    server.routes[f"GET {BASE}/evidence"] = lambda _: refusal(
        "not_found", "No evidence yet.", 404, details={"reason": "evidence_not_available"}
    )
    result = shell("workspace-runs", "evidence", RUN_ID)
    assert result.status == 1
    assert f"crownest workspace-runs logs {RUN_ID}" in result.err


def test_a_failed_download_leaves_the_old_file(shell: Shell, server: RecordingServer, tmp_path: Path) -> None:
    """Files are replaced whole or not at all; nothing half-written stays behind."""
    target = tmp_path / "proof.zip"
    assert shell("workspace-runs", "proof", RUN_ID, "--output", str(target)).status == 0
    assert target.read_bytes() == b"PK-bundle"
    server.routes[f"GET {BASE}/proof/bundle"] = lambda _: Reply(
        200, b"", {"content-type": "application/zip", "content-length": "999"}, parts=None
    )
    server.routes[f"GET {BASE}/proof/bundle"] = lambda _: refusal("internal_error", "No.", 500)
    assert shell("workspace-runs", "proof", RUN_ID, "--output", str(target)).status == 1
    assert target.read_bytes() == b"PK-bundle"
    assert [path.name for path in tmp_path.iterdir()] == ["proof.zip"]


@pytest.mark.parametrize("without", [["stdout,stderr"], ["stdout", "stderr"], ["stdout, stderr,stdout"]])
def test_proof_passes_what_to_leave_out(
    shell: Shell, server: RecordingServer, tmp_path: Path, without: list[str]
) -> None:
    """CONTRACT §2.1; with a comma or repeated."""
    left_out = [word for value in without for word in ("--without", value)]
    args = ["--output", str(tmp_path / "p.zip"), *left_out, "--artifacts"]
    result = shell("workspace-runs", "proof", RUN_ID, *args, "--json")
    assert result.data == {"path": str(tmp_path / "p.zip"), "sizeBytes": 9}
    query = server.last("GET", f"{BASE}/proof/bundle").query
    assert query == {"without": "stdout,stderr", "artifacts": "true"}


def test_only_output_can_be_withheld(shell: Shell, tmp_path: Path) -> None:
    """Everything else is needed to fold the evidence again."""
    target = str(tmp_path / "p.zip")
    result = shell("workspace-runs", "proof", RUN_ID, "--output", target, "--without", "stdout,terminal")
    assert result.status == 2
    assert "'terminal' cannot be withheld" in result.err


def test_an_output_that_cannot_be_written_is_named(shell: Shell) -> None:
    """A path is part of the message, a traceback is not."""
    result = shell("workspace-runs", "evidence", RUN_ID, "--output", "/nonexistent/e.json")
    assert result.status == 1
    assert result.err == "error: /nonexistent/e.json: No such file or directory\n"


def test_policy_is_printed_without_any_credential(lonely_shell: Shell, server: RecordingServer) -> None:
    """It is public; a fresh machine can fetch it."""
    lonely_shell.env["CROWNEST_API_URL"] = server.url
    result = lonely_shell("policy")
    assert (result.status, result.out) == (0, b"log k\nquorum none\n")
    assert "authorization" not in server.requests[0].headers


def test_without_a_key_the_message_says_what_to_type(lonely_shell: Shell) -> None:
    """The first thing a newcomer does wrong."""
    result = lonely_shell("workspace-runs", "list")
    assert result.status == 1
    assert "There is no API key for https://api.crownest.dev" in result.err
    assert "crownest serve" in result.err
    assert "crownest login --api-url URL --api-key KEY" in result.err
    assert lonely_shell("workspace-runs", "list", "--json").error["code"] == "missing_credential"


def test_a_server_that_is_not_there_asks_whether_it_runs(shell: Shell) -> None:
    """The second."""
    shell.env["CROWNEST_API_URL"] = "http://127.0.0.1:9"
    text, enveloped = shell("workspace-runs", "list"), shell("workspace-runs", "list", "--json")
    assert text.status == enveloped.status == 1
    assert "Nothing answers at http://127.0.0.1:9" in text.err
    assert "crownest serve" in text.err
    assert (enveloped.error["code"], enveloped.error["retryable"]) == ("runtime_error", True)
    assert enveloped.error["details"]["reason"] == "connection_failed"


@pytest.mark.parametrize(
    ("code", "status", "remedy"),
    [
        ("unauthorized", 401, "crownest login"),
        ("forbidden", 403, "scope"),
        ("not_found", 404, "crownest workspace-runs list"),
        ("upload_incomplete", 409, f"crownest workspace-runs upload {RUN_ID} <archive.tgz>"),
        ("rate_limited", 429, "Wait 77 s"),
        ("internal_error", 500, "quote request r9"),
    ],
)
def test_refusals_come_with_a_remedy(
    shell: Shell, server: RecordingServer, code: str, status: int, remedy: str
) -> None:
    """Messages say what to do next (DESIGN §7)."""
    headers = {"x-request-id": "r9", "retry-after": "77"}  # longer than the client waits by itself
    body = {"error": {"code": code, "message": "Refused."}}
    server.routes[f"POST {BASE}/start"] = lambda _: as_json(body, status, **headers)
    result = shell("workspace-runs", "start", RUN_ID, "--json")
    assert result.status == 1
    assert result.error["code"] == code
    assert remedy in result.error["remediation"]
    assert result.error["retryable"] is (status in {429, 500})


def test_what_a_server_says_cannot_command_the_terminal(shell: Shell, server: RecordingServer) -> None:
    """Messages and records of others are shown on one line, controls made visible."""
    server.routes[f"GET {BASE}"] = lambda _: refusal("not_found", "x\x1b]0;owned\x07\nok", 404)
    assert "x^[]0;owned^G^Jok" in shell("workspace-runs", "status", RUN_ID).err
    run = run_object("failed", command="a\x1b[2J\nstatus: succeeded\x9b")
    server.routes[f"GET {BASE}"] = lambda _: as_json({"workspaceRun": run})
    assert (
        "command: a^[[2J^Jstatus: succeeded<U+009B>\n"
        in shell("workspace-runs", "status", RUN_ID).out.decode()
    )


def test_a_mistake_of_ours_is_a_sentence_not_a_traceback(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And CROWNEST_DEBUG shows where it was."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("client.api.CrownestClient.get_run", broken)
    result = shell("workspace-runs", "status", RUN_ID)
    assert result.status == 1
    assert "A mistake in crownest itself: ZeroDivisionError: oops" in result.err
    shell.env["CROWNEST_DEBUG"] = "1"
    with pytest.raises(ZeroDivisionError):
        shell("workspace-runs", "status", RUN_ID)


def test_login_writes_what_the_other_commands_read(lonely_shell: Shell, server: RecordingServer) -> None:
    """Mode 0600, no network, trailing slash trimmed (CONTRACT §9)."""
    result = lonely_shell("login", "--api-url", server.url + "/", "--api-key", "cn_live_1")
    file = Path(lonely_shell.env["HOME"], ".config", "crownest", "config.json")
    assert (result.status, server.requests) == (0, [])
    assert json.loads(file.read_text()) == {"apiKey": "cn_live_1", "apiUrl": server.url}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert lonely_shell("workspace-runs", "list").status == 0
    assert server.requests[0].headers["authorization"] == "Bearer cn_live_1"


def test_login_reads_the_key_from_stdin(lonely_shell: Shell) -> None:
    """So that it need not stand in the shell's history."""
    result = lonely_shell.process("login", "--api-url", "https://h.example", input_=b"cn_live_2\n")
    assert result.status == 0
    file = Path(lonely_shell.env["HOME"], ".config", "crownest", "config.json")
    assert json.loads(file.read_text())["apiKey"] == "cn_live_2"


def test_login_warns_of_clear_text_and_of_variables_that_win(lonely_shell: Shell) -> None:
    """Both would surprise later."""
    lonely_shell.env["CROWNEST_API_KEY"] = "other"
    result = lonely_shell("login", "--api-url", "http://h.example", "--api-key", "k")
    assert "no TLS" in result.err
    assert "CROWNEST_API_KEY is set and wins" in result.err


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("127.0.0.1:8787", "k"),
        ("ftp://x", "k"),
        ("http://x?y=1", "k"),
        ("http://u:p@x", "k"),
        ("http://x:99999", "k"),
        ("http://x", "a b"),
        ("http://x", ""),
        ("http://x", "a\nb"),
    ],
)
def test_login_refuses_what_is_no_address_or_key(lonely_shell: Shell, url: str, key: str) -> None:
    """Nothing is written then."""
    assert lonely_shell("login", "--api-url", url, "--api-key", key).status == 2
    assert list(Path(lonely_shell.env["HOME"]).iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"apiKey": 5}', "\x00"])
def test_a_broken_config_file_is_named_with_the_way_out(lonely_shell: Shell, content: str) -> None:
    """And login repairs it."""
    file = Path(lonely_shell.env["HOME"], "c.json")
    file.write_text(content)
    lonely_shell.env["CROWNEST_CONFIG_PATH"] = str(file)
    result = lonely_shell("workspace-runs", "list")
    assert result.status == 1
    assert str(file) in result.err
    assert "crownest login" in result.err
    assert lonely_shell("login", "--api-url", "http://127.0.0.1:9", "--api-key", "k").status == 0
    assert "Nothing answers" in lonely_shell("workspace-runs", "list").err


@pytest.mark.parametrize("target", ["-", "/dev/stdout"])
def test_results_can_be_piped_instead_of_written(shell: Shell, server: RecordingServer, target: str) -> None:
    """And what stood in a redirected file before stays there: nothing is replaced."""
    result = shell.process("workspace-runs", "proof", RUN_ID, "--output", target)
    assert (result.status, result.out) == (0, b"PK-bundle")
    log = Path(shell.env["HOME"], "log")
    log.write_bytes(b"before\n")
    with log.open("ab") as out:
        shell.popen(["workspace-runs", "proof", RUN_ID, "--output", target], stdout=out).wait(60)
    assert log.read_bytes() == b"before\nPK-bundle"


def test_ctrl_c_in_logs_says_where_to_go_on(shell: Shell, server: RecordingServer) -> None:
    """Following is not owning."""
    release = threading.Event()
    server.streams(sse(event(12, "stdout", data="tick\n"), lambda: release.wait(30)))
    process = shell.popen(["workspace-runs", "logs", RUN_ID, "--after-seq", "3"], stdout=-1, stderr=-1)
    assert process.stdout is not None
    assert process.stdout.readline() == b"tick\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    release.set()
    assert process.returncode == 130
    assert f"crownest workspace-runs logs {RUN_ID} --after-seq 12" in err.decode()


def test_logs_that_break_for_good_say_where_to_go_on(
    shell: Shell, server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the ladder: status 1, the last event, the command to resume."""
    monkeypatch.setattr("client.follow.RECONNECT_DELAYS_MS", (0, 0))
    server.streams(sse(event(4, "stdout", data="x"), DROP), sse(DROP))
    result = shell("workspace-runs", "logs", RUN_ID, "--json")
    assert result.status == 1
    error = result.error
    assert (error["code"], error["details"]["reason"], error["retryable"]) == (
        "runtime_error", "stream_interrupted", True,
    )  # fmt: skip
    assert error["details"]["lastSeq"] == 4
    assert f"logs {RUN_ID} --after-seq 4" in error["remediation"]


def test_output_that_cannot_be_decoded_is_an_error(shell: Shell, server: RecordingServer) -> None:
    """Never other bytes than were recorded."""
    server.streams(sse(event(1, "stdout", data="x", dataBase64="!!"), terminal(2)))
    result = shell("workspace-runs", "logs", RUN_ID)
    assert (result.status, result.out) == (1, b"")
    assert "base64" in result.err


def test_policy_is_written_to_a_file_when_asked(shell: Shell, tmp_path: Path) -> None:
    """Unlike a redirection, a failure leaves no empty file."""
    target = tmp_path / "trust.policy"
    assert shell("policy", "--output", str(target)).status == 0
    assert target.read_bytes() == b"log k\nquorum none\n"
    shell.env["CROWNEST_API_URL"] = "http://127.0.0.1:9"
    other = tmp_path / "other.policy"
    assert shell("policy", "--output", str(other)).status == 1
    assert not other.exists()
