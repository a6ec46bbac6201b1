"""What every provider of sandboxes promises, tried on the real thing."""

import asyncio
import os
import secrets
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from evidence.record import format_time
from runner.cgroups import Cgroups
from runner.job import RequestedArtifact
from tests.requires import need
from tests.runner_kit import (
    NOW_MS,
    Bench,
    Log,
    StaleFence,
    archive_of,
    bench,
    files_archive,
    living,
    member,
    provided,
    requested,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
PROVIDERS = ("bubblewrap", "process")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PROVIDERS)
async def on(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bench]:
    """One runner per provider, shared by the tests that need no special limits."""
    async for made in provided(
        request,
        tmp_path_factory,
        output_bytes_max=300_000,
        artifact_bytes_max=1000,
        extracted_bytes_max=1_000_000,
    ):
        yield made


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _spawners() -> int:
    return sum(1 for thread in threading.enumerate() if thread.name.startswith("crownest"))


def _word() -> str:
    """A number of seconds to sleep that nobody else sleeps: finds the process again."""
    return f"86{secrets.randbelow(10**9):09}"


# --- the steps of a run -------------------------------------------------------------------------------------


async def test_a_run_reports_its_steps_with_the_fields_of_the_contract(on: Bench) -> None:
    """CONTRACT §6.6, from extracting to cleanup; EXAMPLE writes such a run out."""
    archive = archive_of(member("./", type=b"5"), member("./in.txt", b"abc"), member("d/e.txt", b"xy"))
    run = await on.run(
        "printf out; printf err >&2; printf made > report.xml; exit 1",
        archive,
        artifacts=[RequestedArtifact("report.xml"), RequestedArtifact("missing.txt", "m")],
    )
    log = run.log
    assert log.order() == [
        *("extracting", "running", "collecting", "artifact_collected", "artifact_error", "cleanup"),
    ]
    extracting = log.one("extracting")
    assert extracting["provider"] == on.runner.provider
    assert extracting["isolation"] == {"bubblewrap": "namespaces", "process": "none"}[on.runner.provider]
    assert extracting["runner"] == "local"
    assert extracting["template"] == on.runner.templates.resolve("base")
    assert set(extracting["limits"]) == {"memoryBytes", "processes", "workspaceBytes", "outputBytes"}
    assert extracting["limits"]["outputBytes"] == {"value": 300_000, "enforced": True}
    assert log.one("running") == {"status": "running", "commandId": "cmd_t1", "entries": 3, "bytes": 5}
    assert (log.output("stdout"), log.output("stderr")) == (b"out", b"err")
    collecting = log.one("collecting")
    assert collecting.pop("durationMs") >= 0
    assert collecting == {"status": "collecting", "exitCode": 1}
    collected = log.one("artifact_collected")
    assert collected.pop("artifactId").startswith("art_")
    assert run.blobs[collected.pop("sha256")] == b"made"
    assert collected == {
        "name": "report.xml",
        "path": "report.xml",
        "sizeBytes": 4,
        "contentType": "application/octet-stream",
    }
    assert log.one("artifact_error") == {
        "error": {
            "code": "file_not_found",
            "message": "missing.txt: no such file in the workspace.",
            "path": "missing.txt",
        }
    }
    assert log.one("cleanup") == {"cleanupStatus": "succeeded", "reason": "finished"}
    assert (run.result.failure_reason, run.result.cleanup_status) == ("command_exit", "succeeded")


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [
        ("true", 0),
        ("exit 7", 7),
        ("exit 1", 1),
        ("no-such-command-here", 127),
        ("./hello.txt", 126),
        ("kill -9 $$", 137),
        ("kill -TERM $$", 143),
        ("sh -c 'kill -SEGV $$'; exit $?", 139),
        ("exec >&- 2>&-; sleep 0.1; exit 5", 5),
        ("read line; exit $?", 1),
    ],
)
async def test_the_exit_code_is_the_commands(on: Bench, command: str, exit_code: int) -> None:
    """A missing command is 127, death by signal n is 128 + n, closed streams and an empty stdin are fine."""
    run = await on.run(command)
    assert run.log.one("collecting")["exitCode"] == exit_code
    assert run.result.failure_reason == ("command_exit" if exit_code else None)


async def test_output_that_is_not_text_comes_back_byte_for_byte(on: Bench) -> None:
    """PROOF P1.3: lossless, with `dataBase64` exactly where the bytes are not UTF-8."""
    run = await on.run(
        "cat all.bin; printf '\\342\\202'; printf '\\254 done' >&2",
        files_archive({"all.bin": bytes(range(256)) * 20}),
    )
    assert run.log.output("stdout") == bytes(range(256)) * 20 + b"\xe2\x82"
    assert run.log.output("stderr") == b"\xac done"


async def test_the_command_sees_the_runs_variables_and_none_of_the_servers(
    on: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment starts empty."""
    monkeypatch.setenv("CROWNEST_SECRET_OF_THE_SERVER", "hunter2")
    run = await on.run(
        "env; pwd; ls", env={"GIVEN": "yes no\n=", "PATH": "/usr/bin:/bin", "CROWNEST_SANDBOX": "lie"}
    )
    said = run.log.output().decode()
    assert "GIVEN=yes no\n=\n" in said
    assert "hunter2" not in said
    assert "CROWNEST_SANDBOX=lie" not in said
    assert {line.split("=")[0] for line in said.splitlines() if "=" in line and line[0] != "="} == {
        *("GIVEN", "PATH", "HOME", "TMPDIR", "LANG", "USER", "LOGNAME", "SHELL", "PWD", "CROWNEST_SANDBOX"),
    }
    assert said.endswith("hello.txt\n")


async def test_the_home_and_scratch_folders_can_be_written(on: Bench) -> None:
    """Tools keep caches there."""
    run = await on.run('set -e; echo 1 > "$HOME/x"; echo 2 > "$TMPDIR/y"; cat "$HOME/x" "$TMPDIR/y"')
    assert run.log.output() == b"1\n2\n"


async def test_a_template_that_this_machine_lacks_never_starts(on: Bench) -> None:
    """`sandbox_unavailable`, with a cleanup that says that nothing was started."""
    run = await on.run("true", template="external")
    assert run.result.failure_reason == "sandbox_unavailable"
    assert run.log.reports[0].fields == {"cleanupStatus": "not_requested", "reason": "never_started"}
    assert run.log.order() == ["cleanup"]


async def test_python_runs_in_the_default_template(on: Bench) -> None:
    """The interpreter that the template's version names is the one that the command gets."""
    template = on.runner.templates.get("python-node")
    run = await on.run(
        "python3 --version; for t in node; do command -v $t && $t --version; done; true",
        template="python-node",
    )
    versions = [tool.version for tool in template.tools]
    assert versions[0].startswith("Python 3.")
    for version in versions:
        assert version in run.log.output().decode()


# --- stopping -----------------------------------------------------------------------------------------------


async def test_a_timeout_keeps_what_was_written_and_collects_artifacts(on: Bench) -> None:
    """`collecting` with `timedOut`, then artifacts, then cleanup (CONTRACT §3.4)."""
    word = _word()
    run = await on.run(
        f"trap '' TERM; echo early; echo kept > a.txt; while :; do sleep {word}; done",
        timeout_ms=400,
        artifacts=requested("a.txt"),
    )
    assert run.result.failure_reason == "timeout"
    assert run.log.order() == ["extracting", "running", "collecting", "artifact_collected", "cleanup"]
    collecting = run.log.one("collecting")
    assert collecting["timedOut"] is True
    assert "exitCode" not in collecting
    assert run.log.output() == b"early\n"
    assert living(word) == []


async def test_a_command_may_tidy_up_after_sigterm(on: Bench) -> None:
    """SIGTERM comes first; what the command says then is kept."""
    run = await on.run(
        "trap 'echo tidied; exit 0' TERM; echo up; while :; do sleep 0.05; done", timeout_ms=400
    )
    assert run.result.failure_reason == "timeout"
    assert run.log.output() == b"up\ntidied\n"


async def test_a_cancel_ends_the_command_without_artifacts_or_exit_code(on: Bench) -> None:
    """EXAMPLE, 'canceled, running'."""
    word, log, cancel = _word(), Log(), asyncio.Event()
    job = on.job(f"echo here > a.txt; sleep {word}", artifacts=requested("a.txt"))
    running = asyncio.create_task(on.execute(job, log, cancel))
    await log.wait_for("running")
    cancel.set()
    run = await running
    assert run.result.canceled
    assert run.result.failure_reason is None
    assert log.order() == ["extracting", "running", "collecting", "cleanup"]
    assert set(log.one("collecting")) == {"status", "canceled", "durationMs"}
    assert living(word) == []


async def test_a_cancel_before_the_command_reports_no_collecting(on: Bench) -> None:
    """The run was never running, so it has no duration."""
    cancel = asyncio.Event()
    cancel.set()
    run = await on.execute(on.job("echo never"), None, cancel)
    assert run.result.canceled
    assert "running" not in run.log.order()
    assert run.log.order()[-1] == "cleanup"


async def test_a_cancel_ends_the_unpacking(on: Bench) -> None:
    """A large archive need not be unpacked to the end first."""
    cancel, log = asyncio.Event(), Log()
    many = archive_of(*(member(f"d{i % 50}/f{i}", b"x") for i in range(6000)))
    running = asyncio.create_task(on.execute(on.job("sleep 30", many), log, cancel))
    await log.wait_for("extracting")
    await asyncio.sleep(0.03)
    cancel.set()
    run = await running
    assert run.result.canceled
    assert log.order() == ["extracting", "cleanup"]


# --- nothing is left ----------------------------------------------------------------------------------------


async def test_a_daemon_dies_with_the_run(on: Bench) -> None:
    """A new session and two forks do not get it out."""
    word = _word()
    run = await on.run(f"setsid sh -c 'setsid sleep {word} >/dev/null 2>&1 &' & sleep 0.1; echo started")
    assert run.log.output() == b"started\n"
    assert living(word) == []


async def test_a_background_child_that_holds_the_pipes_does_not_hold_the_run(on: Bench) -> None:
    """The run ends when its command ends."""
    word = _word()
    run = await on.run(f"sleep {word} & (sleep {word} &) ; echo done")
    assert run.log.output() == b"done\n"
    assert run.result.failure_reason is None
    assert living(word) == []


async def test_a_fork_bomb_is_ended_whole(on: Bench) -> None:
    """It meets the limit of processes, then the timeout, and nothing of it is left."""
    word = _word()
    bomb = f"echo boom; bomb() {{ sleep {word} & bomb & bomb & wait; }}; bomb 2>/dev/null"
    run = await on.run(bomb, timeout_ms=700)
    assert run.log.output() == b"boom\n"
    assert run.result.failure_reason in ("timeout", "command_exit")  # the shell itself may fail to fork first
    assert living(word) == []
    assert (await on.run("echo fine")).log.output() == b"fine\n"


async def test_a_command_that_kills_everything_it_can_ends_the_run_in_order(on: Bench) -> None:
    """`kill -9 -1` reaches its own sandbox at most."""
    if on.runner.provider == "process" and os.geteuid() != 0:
        pytest.skip("without isolation and as the server's own user it would end the tests too")
    word = _word()
    for _ in range(10):  # the keeper and its command are buried in any order
        run = await on.run(f"sleep {word} & kill -9 -1; exit 3")
        # Process 1 of a namespace cannot be hit; without namespaces the holder dies, and everything with it.
        assert run.log.one("collecting")["exitCode"] == {"bubblewrap": 3, "process": 137}[on.runner.provider]
        assert run.log.order()[-1] == "cleanup"
        assert living(word) == []


async def test_many_runs_leave_no_process_no_descriptor_and_no_thread(on: Bench) -> None:
    """What one run takes it gives back."""
    await on.run("true")
    before = (_descriptors(), threading.active_count())
    for _ in range(3):
        await on.run("echo x; exit 1")
    after = (_descriptors(), threading.active_count())
    assert after[0] == before[0]
    assert after[1] <= before[1] + 1  # the loop's own pool may grow
    assert on.runner.statistics().executing == 0
    assert on.runner.statistics().sandboxes_busy == 0


# --- output -------------------------------------------------------------------------------------------------


async def test_output_beyond_the_cap_is_counted_and_the_command_runs_on(on: Bench) -> None:
    """One explicit event; the exit code is the command's own."""
    run = await on.run("head -c 400000 /dev/zero | tr '\\0' a; echo e >&2; head -c 5000 /dev/zero; exit 7")
    truncated = run.log.one("output_truncated")
    assert truncated == {"stream": "stdout", "keptBytes": 300_000}
    collecting = run.log.one("collecting")
    assert collecting["exitCode"] == 7
    dropped = collecting["droppedBytes"]
    kept = len(run.log.output("stdout")) + len(run.log.output("stderr"))
    assert kept == 300_000
    assert dropped["stdout"] + dropped["stderr"] + kept == 405_002


async def test_one_endless_line_is_cut_into_chunks(on: Bench) -> None:
    """No chunk holds more than 64 KiB."""
    run = await on.run("head -c 250000 /dev/zero | tr '\\0' x")
    sizes = [len(event["data"]) for event in run.log.all("stdout")]
    assert sum(sizes) == 250_000
    assert max(sizes) <= 65_536


async def test_a_slow_log_slows_the_command_and_loses_nothing(on: Bench) -> None:
    """While a report is being made durable nothing more is read (backpressure)."""
    log = Log(gate=asyncio.Event())
    job = on.job("head -c 200000 /dev/zero | tr '\\0' y")
    running = asyncio.create_task(on.execute(job, log))
    await asyncio.sleep(0.2)
    assert log.reports == []
    assert log.gate
    log.gate.set()
    run = await running
    assert run.log.output() == b"y" * 200_000


# --- archives -----------------------------------------------------------------------------------------------


async def test_a_bad_archive_ends_the_run_before_its_command(on: Bench) -> None:
    """EXAMPLE, 'bad archive': extracting, cleanup, and a reason that names the entry."""
    run = await on.run("echo never", archive_of(member("ok"), member("../evil", b"x")))
    assert run.log.order() == ["extracting", "cleanup"]
    assert run.result.failure_reason == "archive_invalid"
    assert "../evil" in (run.result.failure_message or "")
    assert run.result.cleanup_status == "succeeded"


async def test_an_archive_too_large_says_so(on: Bench) -> None:
    """The limit is on what comes out."""
    run = await on.run("echo never", files_archive({"zeros": b"\0" * 1_000_001}))
    assert run.result.failure_reason == "archive_too_large"


async def test_an_archive_that_changed_on_disk_is_refused(on: Bench) -> None:
    """Its digest is checked once more, when it is used."""
    run = await on.run("echo never", archive_sha256="0" * 64)
    assert run.result.failure_reason == "archive_invalid"
    assert "sha256" in (run.result.failure_message or "")


async def test_an_archive_that_is_gone_is_our_fault_and_not_the_owners(on: Bench) -> None:
    """`extraction_failed` is of the class platform."""
    run = await on.run("echo never", archive=b"x", archive_sha256="0" * 64)
    job = on.job("echo never")
    assert job.archive
    job.archive.unlink()
    run = await on.execute(job)
    assert run.result.failure_reason == "extraction_failed"


async def test_files_belong_to_the_command(on: Bench) -> None:
    """What was unpacked can be changed, run and removed by it."""
    archive = archive_of(
        member("run.sh", b"#!/bin/sh\necho ran\n", mode=0o4755), member("d/f", b"1", mode=0o400)
    )
    run = await on.run("./run.sh; echo 2 >> d/f; cat d/f; stat -c %a run.sh; rm -r d; ls", archive)
    assert run.log.output() == b"ran\n12\n755\nrun.sh\n"
    assert run.log.output("stderr") == b""


# --- artifacts ----------------------------------------------------------------------------------------------


async def test_artifacts_never_leave_the_workspace(on: Bench) -> None:
    """No link, no pipe, no folder, no path outside; each refusal names its code."""
    command = (
        "ln -s /etc/passwd link; ln -s real.txt inner; echo r > real.txt; mkfifo pipe; mkdir dir; "
        "ln -s / root; head -c 1001 /dev/zero > big; echo deep > dir/deep.txt; ln -s dir dlink"
    )
    paths = (
        *("link", "inner", "pipe", "dir", "root/etc/passwd", "big", "../x", "/etc/passwd", "real.txt/x"),
        *("dir/deep.txt", "./real.txt", "dlink/deep.txt", "nothing/here"),
    )
    run = await on.run(command, artifacts=requested(*paths))
    codes = {event["error"]["path"]: event["error"]["code"] for event in run.log.all("artifact_error")}
    assert codes == {
        "link": "path_outside_workspace",
        "inner": "artifact_collect_failed",
        "pipe": "artifact_collect_failed",
        "dir": "artifact_collect_failed",
        "root/etc/passwd": "path_outside_workspace",
        "big": "artifact_collect_failed",
        "../x": "path_outside_workspace",
        "/etc/passwd": "path_outside_workspace",
        "real.txt/x": "file_not_found",
        "dlink/deep.txt": "artifact_collect_failed",
        "nothing/here": "file_not_found",
    }
    collected = {event["path"]: run.blobs[event["sha256"]] for event in run.log.all("artifact_collected")}
    assert collected == {"dir/deep.txt": b"deep\n", "./real.txt": b"r\n"}
    assert run.result.failure_reason is None


# --- kept sandboxes -----------------------------------------------------------------------------------------


async def test_a_kept_sandbox_gives_its_files_to_the_next_run(on: Bench) -> None:
    """The second command runs in the same sandbox; its archive lies over the old files."""
    word = _word()
    first = on.job(
        f"echo one > made.txt; sleep {word} & echo a",
        files_archive({"x": b"old", "y": b"y"}),
        keep_sandbox=True,
    )
    run = await on.execute(first)
    assert run.result.cleanup_status == "not_requested"
    ttl_ms = on.runner.kept_sandboxes()[first.sandbox_id] - NOW_MS
    assert run.log.one("cleanup") == {
        "cleanupStatus": "not_requested",
        "reason": "kept",
        "expiresAt": format_time(NOW_MS + ttl_ms),
    }
    assert living(word) == []
    second = await on.run(
        "cat made.txt x y", files_archive({"x": b"new"}), sandbox_id=first.sandbox_id, reuse=True
    )
    assert second.log.output() == b"one\nnewy"
    assert second.log.one("cleanup")["reason"] == "finished"
    assert on.runner.kept_sandboxes() == {}
    third = await on.run("true", sandbox_id=first.sandbox_id, reuse=True)
    assert third.result.failure_reason == "sandbox_conflict"
    assert third.log.order() == ["cleanup"]
    assert third.log.one("cleanup")["cleanupStatus"] == "not_requested"


async def test_a_later_command_may_bring_no_files(on: Bench) -> None:
    """`archive` is None then."""
    first = on.job("echo one > made.txt", keep_sandbox=True)
    await on.execute(first)
    run = await on.run("cat made.txt", sandbox_id=first.sandbox_id, reuse=True)
    again = await on.execute(on.job("true", sandbox_id=first.sandbox_id, reuse=True))
    assert run.log.output() == b"one\n"
    assert again.result.failure_reason == "sandbox_conflict"
    kept = on.job("echo two > made.txt", keep_sandbox=True)
    await on.execute(kept)
    job = on.job("cat made.txt; ls", sandbox_id=kept.sandbox_id, reuse=True)
    object.__setattr__(job, "archive", None)
    run = await on.execute(job)
    assert run.log.output() == b"two\nhello.txt\nmade.txt\n"
    assert (run.log.one("running")["entries"], run.log.one("running")["bytes"]) == (0, 0)


async def test_a_bad_archive_leaves_a_kept_sandbox_as_it_was(on: Bench) -> None:
    """It is checked whole before anything is written, and the sandbox stays."""
    first = on.job("true", files_archive({"x": b"old"}), keep_sandbox=True)
    await on.execute(first)
    bad = archive_of(member("x", b"new"), member("dev", type=b"3"))
    again = {"sandbox_id": first.sandbox_id, "reuse": True, "keep_sandbox": True}
    run = await on.run("cat x", bad, **again)
    assert run.result.failure_reason == "archive_invalid"
    assert run.log.one("cleanup")["reason"] == "kept"
    run = await on.run("cat x; ls", files_archive({"z": b""}), **again)
    assert run.log.output() == b"oldx\nz\n"
    assert await on.runner.destroy_sandbox(first.sandbox_id)
    assert not await on.runner.destroy_sandbox(first.sandbox_id)


async def test_a_busy_sandbox_is_not_shared(on: Bench) -> None:
    """One run at a time; the second is told to wait."""
    first = on.job("true", keep_sandbox=True)
    await on.execute(first)
    again = {"sandbox_id": first.sandbox_id, "reuse": True}
    log, cancel = Log(), asyncio.Event()
    running = asyncio.create_task(on.execute(on.job("sleep 30", **again), log, cancel))
    await log.wait_for("running")
    run = await on.run("true", **again)
    assert run.result.failure_reason == "sandbox_conflict"
    assert "in use" in (run.result.failure_message or "")
    cancel.set()
    await running


async def test_a_timeout_in_a_kept_sandbox_ends_the_command_and_not_the_sandbox(on: Bench) -> None:
    """The holder lives on and takes the next command."""
    word = _word()
    first = on.job(
        f"trap '' TERM; echo x > f; setsid sleep {word} & sleep {word}", keep_sandbox=True, timeout_ms=300
    )
    run = await on.execute(first)
    assert run.result.failure_reason == "timeout"
    assert run.log.one("cleanup")["reason"] == "kept"
    assert living(word) == []
    run = await on.run("cat f", sandbox_id=first.sandbox_id, reuse=True)
    assert run.log.output() == b"x\n"


async def test_a_sandbox_destroyed_under_a_run_is_a_conflict(on: Bench) -> None:
    """Its owner did it, so it is not the platform's failure."""
    log = Log()
    job = on.job("sleep 30", keep_sandbox=True)
    running = asyncio.create_task(on.execute(job, log))
    await log.wait_for("running")
    assert await on.runner.destroy_sandbox(job.sandbox_id)
    run = await running
    assert run.result.failure_reason == "sandbox_conflict"
    assert run.log.order()[-1] == "cleanup"


async def test_an_unstarted_run_keeps_no_sandbox(on: Bench) -> None:
    """A fresh sandbox whose archive was bad holds nothing worth keeping."""
    run = await on.run("true", b"no archive", keep_sandbox=True)
    assert run.result.failure_reason == "archive_invalid"
    assert run.log.one("cleanup") == {"cleanupStatus": "succeeded", "reason": "finished"}
    assert on.runner.kept_sandboxes() == {}


# --- faults -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("append", range(6))
async def test_a_log_that_fails_at_any_report_stops_everything(on: Bench, append: int) -> None:
    """A stale fence, or storage that is gone: what was raised comes out, and nothing stays behind."""
    word = _word()
    job = on.job(
        f"echo x; sleep 0.1; echo y > f; setsid sleep {word} & exit 3",
        artifacts=requested("f"),
        keep_sandbox=True,
    )
    with pytest.raises(StaleFence):
        await on.execute(job, Log(fail_at=append))
    assert living(word) == []
    assert on.runner.statistics().sandboxes_busy == 0
    assert on.runner.kept_sandboxes() == {}


async def test_a_log_that_fails_under_a_noisy_command_does_not_wait_for_its_end(on: Bench) -> None:
    """There is no time limit in the way: the command would run for a day."""
    word = _word()
    with pytest.raises(StaleFence):
        await on.execute(on.job(f"trap '' TERM; yes & sleep {word}"), Log(fail_at=2))
    assert living(word) == []


@pytest.mark.parametrize("pause_s", [0, 0.001, 0.02, 0.04])
async def test_a_task_that_is_canceled_while_its_sandbox_boots_leaves_none(on: Bench, pause_s: float) -> None:
    """The sandbox is booted all the same, and ended before the cancel goes on."""
    running = asyncio.create_task(on.execute(on.job("true")))
    await asyncio.sleep(pause_s)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert on.runner.statistics().sandboxes_busy == 0
    assert not list(on.runner._notes.all())


@pytest.mark.parametrize("step", ["extracting", "running", "stdout"])
async def test_a_task_that_is_canceled_cleans_up_first(on: Bench, step: str) -> None:
    """As when the server stops: the sandbox is gone when the cancel arrives."""
    word, log = _word(), Log()
    running = asyncio.create_task(on.execute(on.job(f"echo x; sleep {word}"), log))
    await log.wait_for(step)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert living(word) == []
    assert on.runner.statistics().sandboxes_busy == 0


async def test_a_command_longer_than_a_packet_is_a_clear_failure(on: Bench) -> None:
    """Nothing hangs; the run ends and says why."""
    run = await on.run("true " + "x" * 300_000)
    assert run.result.failure_reason == "internal_error"
    assert run.log.order()[-1] == "cleanup"


# --- runners of their own -----------------------------------------------------------------------------------


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    """The provider's name, for tests that start a runner themselves."""
    if request.param == "bubblewrap":
        need("bubblewrap")
    return str(request.param)


async def test_runs_beyond_the_limit_wait_and_can_be_canceled_there(provider: str, tmp_path: Path) -> None:
    """They report nothing while they wait, and then that they never started."""
    async with bench(provider, tmp_path, concurrent_runs_max=1) as own:
        log, cancel, waiting_cancel = Log(), asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(own.execute(own.job("sleep 30"), log, cancel))
        await log.wait_for("running")
        second = asyncio.create_task(own.execute(own.job("true"), None, waiting_cancel))
        third = asyncio.create_task(own.execute(own.job("echo third")))
        await asyncio.sleep(0.05)
        assert own.runner.statistics().waiting == 2
        waiting_cancel.set()
        run = await second
        assert run.result.canceled
        assert run.log.one("cleanup") == {"cleanupStatus": "not_requested", "reason": "never_started"}
        cancel.set()
        assert (await first).result.canceled
        assert (await third).log.output() == b"third\n"


async def test_closing_ends_what_runs_and_what_is_kept(provider: str, tmp_path: Path) -> None:
    """No process, no thread, no note."""
    word, log, threads = _word(), Log(), _spawners()
    async with bench(provider, tmp_path) as own:
        assert _spawners() == threads + 1
        await own.run("true", keep_sandbox=True)
        running = asyncio.create_task(own.execute(own.job(f"sleep {word}"), log))
        await log.wait_for("running")
    run = await running
    assert run.result.failure_reason == "internal_error"
    assert living(word) == []
    late = await own.run("true")
    assert late.result.failure_reason == "sandbox_unavailable"
    assert _spawners() == threads


async def test_a_kept_sandbox_is_ended_when_its_time_is_over(provider: str, tmp_path: Path) -> None:
    """Somebody is told, for the organisation's log."""
    expired: asyncio.Queue[str] = asyncio.Queue()
    async with bench(provider, tmp_path, kept_ttl_ms=150) as own:
        own.runner.tell_expired(expired.put)
        job = own.job("true", keep_sandbox=True)
        await own.execute(job)
        assert await asyncio.wait_for(expired.get(), 20) == job.sandbox_id
        assert own.runner.kept_sandboxes() == {}
        run = await own.run("true", sandbox_id=job.sandbox_id, reuse=True)
        assert run.result.failure_reason == "sandbox_conflict"


async def test_a_memory_bomb_meets_the_limit_where_there_is_one(provider: str, tmp_path: Path) -> None:
    """Only control groups limit memory; without them the report says so."""
    async with bench(provider, tmp_path, memory_bytes_max=96 << 20) as own:
        if not own.runner.limits["memoryBytes"].enforced:
            assert (await own.run("true")).log.one("extracting")["limits"]["memoryBytes"]["enforced"] is False
            return
        bomb = "python3 -c 'x = bytearray(400 << 20); print(len(x))'; echo $?"
        run = await own.run(bomb, template="python")
        assert run.log.output() == b"137\n"
        assert (await own.run("echo alive")).log.output() == b"alive\n"


async def test_without_control_groups_nothing_is_claimed_and_nothing_is_left(
    provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine that gives us none: memory has no limit, and a bomb still ends."""
    monkeypatch.setattr("runner.local.detect_cgroups", Cgroups)
    word = _word()
    async with bench(provider, tmp_path, processes_max=32, terminate_grace_ms=100) as own:
        assert own.runner.limits["memoryBytes"].enforced is False
        bomb = f"bomb() {{ sleep {word} & bomb & bomb & wait; }}; setsid sleep {word} & bomb 2>/dev/null"
        run = await own.run(bomb, timeout_ms=300)
        assert run.log.one("cleanup")["cleanupStatus"] == "succeeded"
        assert living(word) == []
        if own.runner.limits["processes"].enforced:
            run = await own.run("for i in $(seq 50); do sleep 30 & done; true")
            assert b"annot fork" in run.log.output("stderr")


async def test_a_full_workspace_is_an_error_of_the_command(provider: str, tmp_path: Path) -> None:
    """Where the limit is enforced, the disk of the machine does not fill."""
    async with bench(provider, tmp_path, workspace_bytes_max=1 << 20) as own:
        run = await own.run("head -c 2000000 /dev/zero > big 2>/dev/null; stat -c %s big")
        written = int(run.log.output())
        enforced = own.runner.limits["workspaceBytes"].enforced
        assert enforced == (provider == "bubblewrap")
        assert (written <= 1 << 20) == enforced
        full = await own.run("true", archive_of(member("fits", os.urandom(2 << 20))))
        assert full.result.failure_reason == ("extraction_failed" if enforced else None)


async def test_a_gigabyte_of_output_passes_the_cap_in_bounded_memory(provider: str, tmp_path: Path) -> None:
    """What is over the cap is read and counted, so that the command ends by itself."""
    async with bench(provider, tmp_path, output_bytes_max=8 << 20) as own:
        run = await own.run("head -c 1073741824 /dev/zero; echo end >&2", timeout_ms=120_000)
        assert run.result.failure_reason is None
        assert sum(run.log.one("collecting")["droppedBytes"].values()) == (1 << 30) + 4 - (8 << 20)
        assert max(run.log.batches) <= 40
