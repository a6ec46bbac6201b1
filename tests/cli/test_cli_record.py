"""`crownest record`: a command runs right here, its output is shown and recorded, its exit code is kept."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.cli_runner import CROWNEST, PROCESS_S_MAX, Shell
from tests.cli.real_server import RealServer
from tests.cli.real_server import serving as really_serving
from tests.recording_kit import output
from tests.serving import Running, serving

RUNS = "/v1/workspace-runs"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for all: each test looks at the newest run only."""
    with serving(tmp_path_factory.mktemp("data")) as one:
        yield one


def _latest(running: Running) -> dict[str, Any]:
    run: dict[str, Any] = running.http.get(f"{RUNS}?limit=1").json()["data"][0]
    return run


@contextlib.contextmanager
def _recording(shell: Shell, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """`record` as a process; its command has begun when it printed the line `ready`."""
    with shell.popen(["record", "--", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()


def _ended(process: subprocess.Popen[bytes]) -> tuple[int, bytes, str]:
    out, err = process.communicate(timeout=PROCESS_S_MAX)
    return process.returncode, out, err.decode()


def test_output_is_shown_and_recorded_byte_for_byte(running: Running, owner: Shell) -> None:
    """Bytes that are not UTF-8, and letters that arrive in two pieces, on both streams."""
    script = r"printf 'a\377b\303'; sleep 0.2; printf '\251\n'; printf 'err\200' >&2; exit 0"
    done = subprocess.run(
        [CROWNEST, "record", "--", "sh", "-c", script], env=owner.env, capture_output=True, check=False
    )
    run = _latest(running)
    assert done.returncode == 0
    assert done.stdout == b"a\xffb\xc3\xa9\n" == output(running, run["id"])
    assert b"err\x80" in done.stderr
    assert output(running, run["id"], "stderr") == b"err\x80"
    assert (run["status"], run["exitCode"], run["command"]) == ("succeeded", 0, f"sh -c '{_quoted(script)}'")
    verdict = running.http.post(f"{RUNS}/{run['id']}/verify").json()["verdict"]
    assert verdict["verdict"] == "COMPLETE"


def _quoted(text: str) -> str:
    return text.replace("'", "'\"'\"'")


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 137)])
def test_the_exit_code_is_the_commands(running: Running, owner: Shell, script: str, code: int) -> None:
    """128 + n for a signal, here and in the record."""
    done = owner.process("record", "--", "sh", "-c", script)
    assert done.status == code
    run = _latest(running)
    assert (run["status"], run["exitCode"], run["failureReason"]) == ("failed", code, "command_exit")
    assert f"{run['id']} failed: exit {code}" in done.err


def test_it_runs_here_with_this_environment_and_input(running: Running, owner: Shell, tmp_path: Path) -> None:
    """The folder, a variable and standard input are the person's own; what it writes stays."""
    script = 'pwd; echo "$COLOUR"; cat; touch made'
    with subprocess.Popen(
        [CROWNEST, "record", "--", "sh", "-c", script],
        env={**owner.env, "COLOUR": "blue"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        out, _ = process.communicate(b"typed\n", timeout=PROCESS_S_MAX)
    assert out.decode() == f"{tmp_path}\nblue\ntyped\n"
    assert (tmp_path / "made").exists()
    assert output(running, _latest(running)["id"]) == out


def test_labels_timeout_and_evidence_go_where_they_should(
    running: Running, owner: Shell, tmp_path: Path
) -> None:
    """The evidence says that the command ran outside and was isolated from nothing."""
    path = tmp_path / "evidence.json"
    done = owner.process(
        "record", "--metadata", "branch=main", "--timeout-ms", "5000", "--evidence-output", str(path), "--",
        "true",
    )  # fmt: skip
    assert done.status == 0, done.err
    evidence = json.loads(path.read_text())
    assert evidence["metadata"] == {"branch": "main"}
    assert evidence["timeoutMs"] == 5000
    assert evidence["sandbox"] == {"provider": "external", "isolation": "none", "limits": {}}
    proof = tmp_path / "proof.zip"
    run_id = evidence["workspaceRunId"]
    owner.process("workspace-runs", "proof", run_id, "--output", str(proof))
    policy = tmp_path / "trust.policy"
    policy.write_bytes(running.http.get("/v1/proof/policy").content)
    arguments = ["verify", str(path), "--bundle", str(proof), "--policy", str(policy), "--run", run_id]
    verified = owner.process(*arguments)
    assert verified.status == 0, verified.err


def test_json_prints_pieces_and_the_run(running: Running, owner: Shell) -> None:
    """One object a line; the last is the run."""
    done = owner.process("record", "--json", "--", "sh", "-c", "echo out; sleep 0.2; echo err >&2; exit 4")
    lines = [json.loads(line)["data"] for line in done.out.splitlines()]
    assert lines[:-1] == [{"type": "stdout", "data": "out\n"}, {"type": "stderr", "data": "err\n"}]
    assert (lines[-1]["id"], lines[-1]["exitCode"]) == (_latest(running)["id"], 4)
    assert (done.status, done.err) == (4, "")


def test_a_command_that_does_not_exist_is_not_recorded(running: Running, owner: Shell) -> None:
    """127 as in a shell, and no run."""
    before = running.http.get(RUNS).json()["data"]
    done = owner.process("record", "--", "no-such-command-here")
    assert done.status == 127
    assert "nothing was run or recorded" in done.err
    assert running.http.get(RUNS).json()["data"] == before


def test_without_a_server_nothing_runs(owner: Shell, tmp_path: Path) -> None:
    """An error before anything happens."""
    owner.env["CROWNEST_API_URL"] = f"http://127.0.0.1:{_free_port()}"
    done = owner.process("record", "--", "touch", str(tmp_path / "ran"))
    assert done.status == 1
    assert "Nothing answers" in done.err
    assert not (tmp_path / "ran").exists()


def test_a_key_that_may_not_append_runs_nothing(running: Running, owner: Shell, tmp_path: Path) -> None:
    """The session is opened before the command."""
    scopes = ["workspace_run:create", "workspace_run:read"]
    made = running.http.post("/v1/api-keys", json={"name": "k", "scopes": scopes}).json()
    owner.env["CROWNEST_API_KEY"] = made["secret"]
    done = owner.process("record", "--", "touch", str(tmp_path / "ran"))
    assert done.status == 1
    assert "workspace_run:append" in done.err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda n: n.name)
def test_signals_reach_the_command(running: Running, owner: Shell, number: signal.Signals) -> None:
    """It decides what to do; crownest stays until it has ended and records that."""
    script = f"trap 'echo caught; exit 7' {number.name[3:]}; echo ready; while :; do sleep 0.05; done"
    with _recording(owner, "sh", "-c", script) as process:
        process.send_signal(number)
        status, out, _ = _ended(process)
    assert (status, out) == (7, b"caught\n")
    run = _latest(running)
    assert (run["status"], run["exitCode"]) == ("failed", 7)
    assert output(running, run["id"]) == b"ready\ncaught\n"


def test_a_canceled_run_ends_its_command(running: Running, owner: Shell) -> None:
    """SIGTERM; the exit code is the command's, and the person is told why."""
    with _recording(owner, "sh", "-c", "echo ready; exec sleep 600") as process:
        running.http.post(f"{RUNS}/{_latest(running)['id']}/cancel")
        status, _, err = _ended(process)
    assert status == 128 + signal.SIGTERM
    assert "ended by somebody else (canceled)" in err
    assert _latest(running)["status"] == "canceled"


def test_a_command_that_ignores_the_end_of_its_run_is_killed(running: Running, owner: Shell) -> None:
    """SIGKILL after the grace that runs have."""
    with _recording(owner, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done") as process:
        running.http.post(f"{RUNS}/{_latest(running)['id']}/cancel")
        status, _, _ = _ended(process)
    assert status == 128 + signal.SIGKILL


def test_what_a_command_leaves_in_the_background_does_not_keep_it(running: Running, owner: Shell) -> None:
    """The recording ends with the command."""
    done = owner.process("record", "--", "sh", "-c", "sleep 600 & echo $!")
    assert done.status == 0
    os.kill(int(done.out), signal.SIGKILL)
    assert _latest(running)["status"] == "succeeded"


def test_a_reader_that_goes_does_not_stop_the_recording(running: Running, owner: Shell) -> None:
    """`record … | head -1`: all of the output is recorded all the same."""
    script = "seq 1 50000"
    with owner.popen(
        ["record", "--", "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        process.wait(PROCESS_S_MAX)
    run = _latest(running)
    assert run["status"] == "succeeded"
    assert len(output(running, run["id"]).splitlines()) == 50_000


def test_much_output_is_recorded_whole(running: Running, owner: Shell) -> None:
    """Some megabytes in pieces of 64 KiB, in order."""
    done = owner.process("record", "--", "seq", "1", "400000")
    assert done.status == 0, done.err
    assert done.out == output(running, _latest(running)["id"])
    assert len(done.out) > 2 * 1024 * 1024


def test_output_past_the_cap_is_shown_and_said_not_to_be_kept(
    tmp_path: Path, owner: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person sees all of it."""
    from runs.limits import RunLimits

    with serving(tmp_path / "small", runs=RunLimits(recorded_output_bytes_max=100_000)) as small:
        owner.env |= {"CROWNEST_API_URL": small.url, "CROWNEST_API_KEY": small.key}
        done = owner.process("record", "--", "seq", "1", "100000")
        assert (done.status, len(done.out)) == (0, 588_895)
        assert "reached the server's cap" in done.err
        run = _latest(small)
        assert run["output"]["truncated"] is True
        assert run["output"]["stdoutBytes"] <= 100_000


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _kill(server: RealServer) -> None:
    server.process.kill()
    server.process.wait()


SLOW = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo line $i; sleep 0.02; done; exit 5"


def test_a_server_that_is_killed_and_comes_back_loses_nothing(tmp_path: Path) -> None:
    """The command does not notice; everything it printed is recorded once and in order."""
    port = _free_port()
    with contextlib.ExitStack() as first:
        server = first.enter_context(really_serving(tmp_path, port))
        process = first.enter_context(
            subprocess.Popen(
                [CROWNEST, "record", "--", "sh", "-c", SLOW],
                env=server.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
        assert process.stdout is not None
        for _ in range(20):
            process.stdout.readline()
        _kill(server)
        time.sleep(0.5)  # some output meets no server
        with really_serving(tmp_path, port) as again:
            status, out, err = _ended(process)
            assert status == 5, err
            assert out.splitlines()[-1] == b"line 200"
            shell_env = {**again.env(), "PATH": os.environ["PATH"]}
            listed = subprocess.run(
                [CROWNEST, "workspace-runs", "list", "--json"], env=shell_env, capture_output=True, check=True
            )
            run = json.loads(listed.stdout)["data"][0]
            assert (run["status"], run["exitCode"]) == ("failed", 5)
            logs = subprocess.run(
                [CROWNEST, "workspace-runs", "logs", run["id"]],
                env=shell_env,
                capture_output=True,
                check=True,
            )
            assert logs.stdout == b"".join(b"line %d\n" % n for n in range(1, 201))


def test_a_server_that_does_not_come_back_costs_the_record_and_not_the_command(tmp_path: Path) -> None:
    """The command runs to its end, its exit code is kept, and the person is told; Ctrl-C ends the waiting."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(really_serving(tmp_path))
        process = stack.enter_context(
            subprocess.Popen(
                [CROWNEST, "record", "--", "sh", "-c", SLOW + "; touch ended"],
                env=server.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path,
            )
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        _kill(server)
        for line in process.stdout:
            if line == b"line 200\n":
                break
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        status, _, err = _ended(process)
    assert status == 5
    assert "is incomplete" in err
    assert "workspace-runs logs wsr_" in err
