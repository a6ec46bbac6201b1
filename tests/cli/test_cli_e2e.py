"""The command line against a real server: the seed page's flow and what goes wrong in it."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.cli_runner import CROWNEST, Result, Shell
from tests.cli.real_server import RealServer, serving

COMMAND_S_MAX = 120


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """One server for all."""
    with serving(tmp_path_factory.mktemp("e2e")) as running:
        yield running


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an archive of a small project."""
    monkeypatch.chdir(tmp_path)
    files = {"hello.txt": b"hello\n", "raw.bin": bytes(range(256)), "src/a.py": b"print('from a file')\n"}
    with tarfile.open("repo.tgz", "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return tmp_path


@pytest.fixture
def crownest(
    server: RealServer,
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Shell:
    """The command line with the server's address and key in its environment."""
    shell = Shell(tmp_path, None, capfdbinary, monkeypatch)
    shell.env |= server.env()
    return shell


def run_archive(crownest: Shell, *args: str) -> tuple[Result, str]:
    """`run-archive repo.tgz …`; answers the result and the run's id."""
    result = crownest("workspace-runs", "run-archive", "repo.tgz", *args)
    first = result.err.splitlines()[0]
    assert first.startswith("run wsr_"), result.err
    return result, first.removeprefix("run ")


def data_of(crownest: Shell, *args: str) -> Any:
    """The `data` of a command in JSON mode that must succeed."""
    result = crownest(*args, "--json")
    assert result.status == 0, result.err
    return result.data


def test_one_command_runs_streams_and_exits_as_the_command_did(crownest: Shell, here: Path) -> None:
    """The seed's first promise, with both streams and an exit code of its own."""
    script = "cat hello.txt; echo oops >&2; exit 3"
    result, run_id = run_archive(crownest, "--metadata", "repo=acme/app", "--", "sh", "-c", script)
    assert (result.status, result.out) == (3, b"hello\n")
    assert result.err.splitlines()[1] == "oops"
    assert result.err.splitlines()[-1].startswith(f"{run_id} failed: exit 3, ")
    run = data_of(crownest, "workspace-runs", "status", run_id)
    assert (run["status"], run["exitCode"], run["metadata"]) == ("failed", 3, {"repo": "acme/app"})
    assert run["command"] == f"sh -c '{script}'"


def test_bytes_come_out_as_the_command_wrote_them(crownest: Shell, here: Path) -> None:
    """All 256 values, live and replayed: nothing is decoded on the way."""
    result, run_id = run_archive(crownest, "--", "cat", "raw.bin")
    assert (result.status, result.out) == (0, bytes(range(256)))
    assert crownest("workspace-runs", "logs", run_id).out == bytes(range(256))


def test_step_by_step_as_the_page_shows_it(crownest: Shell, here: Path) -> None:
    """create, upload, start, logs, status, evidence."""
    created = data_of(
        crownest, "workspace-runs", "create", "--template", "base", "--command", "cat hello.txt"
    )
    run_id = created["id"]
    assert created["status"] == "awaiting_archive"
    digest = hashlib.sha256(Path("repo.tgz").read_bytes()).hexdigest()
    uploaded = data_of(crownest, "workspace-runs", "upload", run_id, "repo.tgz", "--sha256", digest)
    assert uploaded["archive"]["sha256"] == digest
    assert uploaded["workspaceRun"]["status"] == "archive_uploaded"
    assert data_of(crownest, "workspace-runs", "start", run_id)["sandboxId"].startswith("sbx_")
    logs = crownest("workspace-runs", "logs", run_id)
    assert (logs.status, logs.out) == (0, b"hello\n")
    assert data_of(crownest, "workspace-runs", "status", run_id)["exitCode"] == 0
    written = crownest("workspace-runs", "evidence", run_id, "--output", "evidence.json")
    assert written.status == 0
    evidence = json.loads(Path("evidence.json").read_text())
    assert (evidence["workspaceRunId"], evidence["archive"]["sha256"]) == (run_id, digest)
    assert evidence["cleanupStatus"] == "succeeded"


def test_logs_resume_behind_any_event(crownest: Shell, here: Path) -> None:
    """--after-seq gives exactly the rest, and the end again when there is no rest."""
    _, run_id = run_archive(crownest, "--", "sh", "-c", "echo a; echo b >&2; echo c")
    lines = crownest("workspace-runs", "logs", run_id, "--json").out.splitlines()
    events = [json.loads(line)["data"] for line in lines]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "terminal"
    for seq in (0, 1, len(events) - 1):
        rest = crownest("workspace-runs", "logs", run_id, "--json", "--after-seq", str(seq))
        assert rest.out.splitlines() == lines[seq:]
    again = crownest("workspace-runs", "logs", run_id, "--json", "--after-seq", "999999")
    assert (again.status, again.out.splitlines()) == (0, lines[-1:])


def test_artifacts_are_kept_and_the_missing_one_is_named(crownest: Shell, here: Path) -> None:
    """--artifact PATH[=NAME]; what could not be kept does not fail the run, and is said."""
    wanted = ["--artifact", "out.txt=report", "--artifact", "missing.txt"]
    result, run_id = run_archive(crownest, *wanted, "--", "sh", "-c", "echo kept > out.txt")
    assert result.status == 0
    assert "1 artifact" in result.err
    assert "missing.txt" in result.err
    evidence = data_of(crownest, "workspace-runs", "evidence", run_id)
    assert [(a["name"], a["path"]) for a in evidence["artifacts"]] == [("report", "out.txt")]
    assert evidence["artifacts"][0]["sha256"] == hashlib.sha256(b"kept\n").hexdigest()


def test_a_proof_is_verified_offline_and_a_forged_one_is_not(crownest: Shell, here: Path) -> None:
    """Fetch the policy once, the proof and the evidence per run; then no server is needed."""
    Path("trust.policy").write_bytes(crownest("policy").out)
    _, run_id = run_archive(crownest, "--", "sh", "-c", "echo FAILED; exit 1")
    for name in ("proof", "evidence"):
        file = {"proof": "proof.zip", "evidence": "evidence.json"}[name]
        assert crownest("workspace-runs", name, run_id, "--output", file).status == 0
    offline = {"PATH": "/nonexistent"}
    verify = [CROWNEST, "verify", "proof.zip", "--policy", "trust.policy", "--run", run_id]
    done = subprocess.run(verify, env=offline, capture_output=True, check=False, timeout=COMMAND_S_MAX)
    assert (done.returncode, done.stdout.split()[0]) == (0, b"COMPLETE"), done.stdout.decode()
    pair = [CROWNEST, "verify", "evidence.json", "--bundle", "proof.zip", "--policy", "trust.policy"]
    assert subprocess.run(pair, env=offline, capture_output=True, check=False).returncode == 0
    fetched = crownest("verify", "evidence.json", "--policy", "trust.policy", "--json")
    assert (fetched.status, fetched.data["verdict"]) == (0, "COMPLETE")
    forged = Path("evidence.json").read_text().replace('"exitCode": 1', '"exitCode": 0')
    Path("evidence.json").write_text(forged)
    done = subprocess.run([*pair, "--json"], env=offline, capture_output=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["data"]["code"] == "E_EVIDENCE_DRIFT"


def test_ctrl_c_leaves_the_run_and_cancel_ends_it(crownest: Shell, here: Path) -> None:
    """A window closes, the run goes on, another command stops it; cancel of an ended run answers it."""
    args = ["workspace-runs", "run-archive", "repo.tgz", "--", "sh", "-c", "echo ready; sleep 300"]
    process = subprocess.Popen(
        [CROWNEST, *args], env=crownest.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=COMMAND_S_MAX)
    assert process.returncode == 130
    run_id = err.decode().splitlines()[0].removeprefix("run ")
    assert data_of(crownest, "workspace-runs", "status", run_id)["status"] == "running"
    data_of(crownest, "workspace-runs", "cancel", run_id)
    assert crownest("workspace-runs", "logs", run_id).out == b"ready\n"
    ended = data_of(crownest, "workspace-runs", "cancel", run_id)
    assert (ended["status"], "exitCode" in ended) == ("canceled", False)


def test_a_timeout_is_told_and_exits_1(crownest: Shell, here: Path) -> None:
    """No exit code exists, so the status is 1 and the reason stands in the summary."""
    result, run_id = run_archive(crownest, "--timeout-ms", "700", "--", "sh", "-c", "echo early; sleep 300")
    assert (result.status, result.out) == (1, b"early\n")
    assert f"{run_id} failed: timeout" in result.err


def test_the_same_idempotency_key_makes_one_run(crownest: Shell, here: Path) -> None:
    """Sent again, the whole of run-archive replays the first run's output and exit code."""
    args = ["--idempotency-key", "once", "--", "sh", "-c", "date +%N; exit 4"]
    first, first_id = run_archive(crownest, *args)
    second, second_id = run_archive(crownest, *args)
    assert (first_id, first.status, first.out) == (second_id, second.status, second.out)
    reused = crownest("workspace-runs", "create", "--command", "other", "--idempotency-key", "once", "--json")
    assert (reused.status, reused.error["code"]) == (1, "idempotency_key_reused")


def test_lists_filter_by_state_and_label_and_turn_pages(crownest: Shell, here: Path) -> None:
    """Newest first; a cursor leads to the next page without a gap."""
    ids = [
        data_of(crownest, "workspace-runs", "create", "--command", "x", "--metadata", "page.test=yes")["id"]
        for _ in range(3)
    ]
    query = [
        "workspace-runs",
        "list",
        "--metadata",
        "page.test=yes",
        "--status",
        "awaiting_archive",
        "--json",
    ]
    first = json.loads(crownest(*query, "--limit", "2").out)
    second = json.loads(crownest(*query, "--limit", "2", "--cursor", first["nextCursor"]).out)
    assert [run["id"] for run in first["data"] + second["data"]] == ids[::-1]
    assert "nextCursor" not in second


def test_a_kept_sandbox_takes_a_second_run(crownest: Shell, here: Path) -> None:
    """--keep-sandbox, then --sandbox: the second command sees what the first left."""
    first, run_id = run_archive(
        crownest, "--keep-sandbox", "--", "sh", "-c", "echo left > /tmp/x; echo 1 > mark"
    )
    assert first.status == 0
    assert "kept sbx_" in first.err
    sandbox_id = data_of(crownest, "workspace-runs", "status", run_id)["sandboxId"]
    second, _ = run_archive(crownest, "--sandbox", sandbox_id, "--keep-sandbox", "--", "cat", "mark")
    assert (second.status, second.out) == (0, b"1\n"), second.err


def test_mistakes_get_the_contracts_code_and_a_way_on(crownest: Shell, here: Path) -> None:
    """Each refusal is exit status 1, a code of the contract, and a remedy."""
    waiting = data_of(crownest, "workspace-runs", "create", "--command", "x")["id"]
    Path("big.tgz").write_bytes(b"\x1f\x8b" + bytes(8 * 1024 * 1024))
    unknown = "wsr_" + "a" * 26
    cases: list[tuple[list[str], str, int]] = [
        (["start", waiting], "upload_incomplete", 409),
        (["evidence", waiting], "not_found", 404),
        (["status", unknown], "not_found", 404),
        (["logs", unknown], "not_found", 404),
        (["upload", waiting, "big.tgz"], "file_too_large", 413),
        (["create", "--command", "x", "--template", "no-such"], "invalid_request", 400),
        (["create", "--command", "x", "--artifact", "*.xml"], "invalid_request", 400),
        (["create", "--command", "x", "--project", "prj_" + "a" * 26], "forbidden", 403),
    ]
    for args, code, status in cases:
        result = crownest("workspace-runs", *args, "--json")
        assert (result.status, result.error["code"], result.error["status"]) == (1, code, status), args
    assert f"crownest workspace-runs logs {waiting}" in crownest("workspace-runs", "evidence", waiting).err
    crownest.env["CROWNEST_API_KEY"] = "cn_live_wrong"
    denied = crownest("workspace-runs", "list", "--json")
    assert (denied.status, denied.error["status"]) == (1, 401)
    assert "crownest login" in denied.error["remediation"]


@pytest.mark.parametrize("content", [b"not an archive at all", b"\x1f\x8b\x08\x00garbage"])
def test_what_is_no_archive_fails_the_run_and_says_so(crownest: Shell, here: Path, content: bytes) -> None:
    """The content is judged when it is extracted (CONTRACT §11); the run's log tells why."""
    Path("repo.tgz").write_bytes(content)
    result, run_id = run_archive(crownest, "--", "true")
    assert result.status == 1
    assert f"{run_id} failed: archive_invalid" in result.err
    assert data_of(crownest, "workspace-runs", "evidence", run_id)["failureReason"] == "archive_invalid"


def test_a_run_is_followed_across_a_crash_of_the_server(tmp_path: Path) -> None:
    """Killed and started again: the reader reconnects, misses nothing, repeats nothing, and sees the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tarfile.open(tmp_path / "repo.tgz", "w:gz"):
        pass
    with serving(tmp_path, port) as first:
        args = ["run-archive", str(tmp_path / "repo.tgz"), "--json", "--", "sh", "-c", "echo up; sleep 300"]
        command = [CROWNEST, "workspace-runs", *args]
        reader = subprocess.Popen(command, env=first.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert reader.stdout is not None
        seen: list[dict[str, Any]] = []
        while not seen or seen[-1]["type"] != "stdout":
            seen.append(json.loads(reader.stdout.readline())["data"])
        first.process.kill()
        first.process.wait()
        with serving(tmp_path, port):
            rest, err = reader.communicate(timeout=COMMAND_S_MAX)
    seen += [json.loads(line)["data"] for line in rest.splitlines()]
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1)), err.decode()
    ended = seen[-1]["workspaceRun"]
    assert (seen[-1]["type"], ended["status"], ended["failureReason"]) == (
        "terminal",
        "failed",
        "internal_error",
    )
    assert (reader.returncode, err) == (1, b"")
