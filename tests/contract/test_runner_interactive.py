"""What a kept or warm sandbox can be used for beside runs, tried on every provider."""

import asyncio
import os
import secrets
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from runner.files import FileRefused
from runner.link import PortClosed, SandboxUnavailable
from runner.registry import SandboxConflict
from runner.sandboxes import TooManyCommands
from runner.templates import UnknownTemplate
from runs.host import CancelRequest
from tests.requires import need
from tests.runner_kit import (
    HOUR_MS,
    NOW_MS,
    Bench,
    Box,
    Log,
    StaleFence,
    bench,
    living,
    provided,
    requested,
    warm_sandbox,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
PROVIDERS = ("bubblewrap", "process")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PROVIDERS)
async def on(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bench]:
    """One runner per provider, shared by the tests that need no special limits."""
    async for made in provided(request, tmp_path_factory, sandbox_commands_max=4):
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def box(on: Bench) -> AsyncIterator[Box]:
    """A fresh warm sandbox with Python."""
    async with warm_sandbox(on) as made:
        yield made


def _word() -> str:
    """A number of seconds to sleep that nobody else sleeps: finds the process again."""
    return f"86{secrets.randbelow(10**9):09}"


async def _talk(connection: socket.socket, said: bytes) -> bytes:
    """Send, and what came back until the other side closed."""
    assert not connection.getblocking()
    reader, writer = await asyncio.open_connection(sock=connection)
    writer.write(said)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    await writer.wait_closed()
    return answer


# --- warm sandboxes and their time --------------------------------------------------------------------------


async def test_a_warm_sandbox_is_there_until_it_is_destroyed(on: Bench) -> None:
    """It is listed with the time of its end, and afterwards everything about it is a conflict."""
    sandbox_id = on.new_id("sbx").replace("_t", "_warm")
    version_id = on.runner.templates.resolve("base")["versionId"]
    assert await on.runner.create_sandbox(sandbox_id, version_id, HOUR_MS) == NOW_MS + HOUR_MS
    assert on.runner.kept_sandboxes()[sandbox_id] == NOW_MS + HOUR_MS
    assert await on.runner.destroy_sandbox(sandbox_id)
    box = Box(on, sandbox_id)
    for attempt in (
        box.run("true"),
        on.runner.list_files(sandbox_id),
        on.runner.dial(sandbox_id, 80),
        on.runner.collect_artifact(sandbox_id, requested("x")[0], on.store, on.new_id),
    ):
        with pytest.raises(SandboxConflict):
            await attempt
    with pytest.raises(SandboxConflict):
        on.runner.extend_sandbox(sandbox_id, HOUR_MS)


async def test_a_template_that_is_unknown_or_missing_gives_no_sandbox(on: Bench) -> None:
    """The first is the caller's mistake, the second the machine's."""
    with pytest.raises(UnknownTemplate):
        await on.runner.create_sandbox("sbx_never1", "cobol", HOUR_MS)
    with pytest.raises(SandboxUnavailable):
        await on.runner.create_sandbox("sbx_never2", "external", HOUR_MS)


async def test_an_extension_counts_from_now_in_both_directions(box: Box) -> None:
    """CONTRACT §5: reset from now."""
    assert box.runner.extend_sandbox(box.id, 2 * HOUR_MS) == NOW_MS + 2 * HOUR_MS
    assert box.runner.extend_sandbox(box.id, HOUR_MS // 2) == NOW_MS + HOUR_MS // 2
    assert box.runner.kept_sandboxes()[box.id] == NOW_MS + HOUR_MS // 2


async def test_a_run_never_brings_the_end_of_its_sandbox_forward(box: Box) -> None:
    """A kept one has its own time; a longer one that was there before stays."""
    kept_ttl_ms = HOUR_MS
    box.runner.extend_sandbox(box.id, 5 * HOUR_MS)
    again = {"sandbox_id": box.id, "reuse": True, "keep_sandbox": True}
    run = await box.on.run("echo one > made.txt", **again)
    assert run.log.one("cleanup")["reason"] == "kept"
    assert box.runner.kept_sandboxes()[box.id] == NOW_MS + 5 * HOUR_MS
    box.runner.extend_sandbox(box.id, 1000 * 60)
    await box.on.run("true", **again)
    assert box.runner.kept_sandboxes()[box.id] == NOW_MS + kept_ttl_ms
    assert await box.says("cat made.txt") == "one\n"


async def test_a_time_set_during_a_run_counts_when_the_run_is_over(box: Box) -> None:
    """Also when it is shorter than what a run would leave."""
    log, cancel = Log(), asyncio.Event()
    job = box.on.job("sleep 30", sandbox_id=box.id, reuse=True, keep_sandbox=True)
    running = asyncio.create_task(box.on.execute(job, log, cancel))
    await log.wait_for("running")
    assert box.runner.extend_sandbox(box.id, 60_000) == NOW_MS + 60_000
    cancel.set()
    await running
    assert box.runner.kept_sandboxes()[box.id] == NOW_MS + 60_000


async def test_expiry_ends_commands_as_killed_and_is_told(on: Bench) -> None:
    """What was written before is not lost."""
    word, expired = _word(), asyncio.Queue[str]()
    on.runner.tell_expired(expired.put)
    box = Box(on, on.new_id("sbx").replace("_t", "_warm"))
    await on.runner.create_sandbox(box.id, "base", HOUR_MS)
    running, log = await box.start(f"echo early; sleep {word}")
    on.runner.extend_sandbox(box.id, 50)
    assert await asyncio.wait_for(expired.get(), 20) == box.id
    ending = await running
    assert (ending.killed, ending.exit_code, ending.canceled, ending.timed_out) == (True, None, False, False)
    assert log.output() == b"early\n"
    assert living(word) == []


async def test_a_sandbox_destroyed_under_its_commands_ends_all_of_them(box: Box) -> None:
    """Each as killed."""
    word = _word()
    commands = [await box.start(f"echo {number}; sleep {word}") for number in range(3)]
    assert await box.runner.destroy_sandbox(box.id)
    endings = [await running for running, _ in commands]
    assert [ending.killed for ending in endings] == [True] * 3
    assert [log.output() for _, log in commands] == [b"0\n", b"1\n", b"2\n"]
    assert living(word) == []


# --- commands -----------------------------------------------------------------------------------------------


async def test_two_commands_at_once_have_each_its_own_end(box: Box) -> None:
    """Output, exit code and duration are those of the one command."""
    slow, slow_log = await box.start("echo slow; until [ -e go ]; do sleep 0.02; done; echo woken; exit 3")
    fast_log = Log()
    fast = await box.run("echo fast; echo err >&2; exit 7", fast_log)
    assert not slow.done()
    assert (fast.exit_code, fast.signal, fast.killed) == (7, None, False)
    assert (fast_log.output(), fast_log.output("stderr")) == (b"fast\n", b"err\n")
    await box.run("touch go")
    assert (await slow).exit_code == 3
    assert slow_log.output() == b"slow\nwoken\n"


async def test_what_one_command_leaves_behind_dies_while_another_lives(box: Box) -> None:
    """However it hid: new sessions, an empty environment, two forks."""
    word, lives = _word(), _word()
    other, _ = await box.start(f"sleep {lives} & echo up; wait")
    hidden = f"setsid env -i setsid sh -c 'setsid sleep {word} >/dev/null 2>&1 &' & sleep 0.2; echo left"
    assert await box.says(hidden) == "left\n"
    assert living(word) == []
    assert len(living(lives)) >= 1
    assert not other.done()


async def test_a_command_sees_its_variables_and_starts_in_its_folder(box: Box) -> None:
    """Of the workspace, by either form of the path."""
    await box.runner.make_directory(box.id, "a/b", parents=True)
    for cwd in ("a/b", "/workspace/a/b", "a/b/../b/"):
        said = await box.says('echo "$GIVEN"; pwd', cwd=cwd, env={"GIVEN": "x y"})
        assert said.startswith("x y\n")
        assert said.endswith("workspace/a/b\n")
    assert (await box.says("pwd")).endswith("workspace\n")


@pytest.mark.parametrize(
    ("cwd", "code"),
    [
        ("missing", "file_not_found"),
        ("file", "invalid_request"),
        ("..", "path_outside_workspace"),
        ("/etc", "path_outside_workspace"),
        ("out", "path_outside_workspace"),
        ("locked", "invalid_request"),
    ],
)
async def test_a_folder_that_will_not_do_starts_no_command(box: Box, cwd: str, code: str) -> None:
    """And the next command runs."""
    if cwd == "locked" and box.runner.provider == "process" and os.geteuid() != 0:
        pytest.skip("the same holds, and is tried with a user of the sandbox's own")
    await box.run("echo > file; ln -s / out; mkdir -m 000 locked")
    with pytest.raises(FileRefused) as refusal:
        await box.run("touch made", cwd=cwd)
    assert refusal.value.code == code
    assert await box.says("ls made 2>/dev/null; echo fine") == "fine\n"


async def test_output_beyond_a_commands_own_cap_is_counted(box: Box) -> None:
    """One explicit report; the command ends by itself."""
    log = Log()
    ending = await box.run("head -c 5000 /dev/zero | tr '\\0' a; exit 2", log, output_bytes_max=1000)
    assert log.output() == b"a" * 1000
    assert log.one("output_truncated") == {"stream": "stdout", "keptBytes": 1000}
    assert (ending.exit_code, sum(ending.dropped_bytes.values())) == (2, 4000)


async def test_a_timeout_ends_one_command_and_no_other(box: Box) -> None:
    """SIGTERM, then SIGKILL for whoever ignores it."""
    word = _word()
    other, _ = await box.start("echo up; sleep 30")
    ending = await box.run(f"trap '' TERM; setsid sleep {word} & sleep {word}; sleep {word}", timeout_ms=200)
    assert (ending.timed_out, ending.exit_code, ending.signal) == (True, None, "SIGKILL")
    assert living(word) == []
    assert not other.done()


async def test_a_graceful_cancel_leaves_time_to_tidy_up(box: Box) -> None:
    """SIGTERM is enough for a command that heeds it."""
    cancel = CancelRequest()
    line = "trap 'echo tidied; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    running, log = await box.start(line, cancel)
    cancel.ask("graceful")
    ending = await running
    assert (ending.canceled, ending.exit_code, ending.signal) == (True, None, "SIGTERM")
    assert log.output() == b"up\ntidied\n"


async def test_a_forced_cancel_does_not_ask(box: Box) -> None:
    """SIGKILL at once."""
    word, cancel = _word(), CancelRequest()
    running, log = await box.start(f"trap 'echo tidied' TERM; echo up; sleep {word}", cancel)
    cancel.ask("force")
    ending = await running
    assert (ending.canceled, ending.signal) == (True, "SIGKILL")
    assert log.output() == b"up\n"
    assert living(word) == []


async def test_force_cuts_the_time_short_that_a_graceful_cancel_left(provider: str, tmp_path: Path) -> None:
    """The grace is an hour here: without the second request this test would not end."""
    async with bench(provider, tmp_path, terminate_grace_ms=HOUR_MS) as own, warm_sandbox(own) as box:
        cancel = CancelRequest()
        line = "trap 'echo ignored' TERM; echo up; while :; do sleep 0.02; done"
        running, log = await box.start(line, cancel)
        cancel.ask("graceful")
        while b"ignored" not in log.output():  # noqa: ASYNC110  # the log tells of kinds of reports only
            await asyncio.sleep(0.01)
        cancel.ask("force")
        assert (await running).signal == "SIGKILL"


async def test_a_fork_bomb_in_one_command_is_ended_and_the_holder_answers(box: Box) -> None:
    """The other command lives if it needs no new process."""
    word = _word()
    other, _ = await box.start("echo up; read line < /dev/zero & exec sleep 30")
    bomb = f"bomb() {{ sleep {word} & bomb & bomb & wait; }}; bomb 2>/dev/null"
    ending = await box.run(bomb, timeout_ms=500)
    assert ending.exit_code is None or ending.exit_code != 0
    assert living(word) == []
    assert not other.done()
    assert await box.says("echo fine") == "fine\n"


async def test_a_command_that_kills_its_keeper_keeps_its_exit_code(on: Bench) -> None:
    """`kill -9 -1` ends the other commands of its sandbox, which is its own to ruin, and nothing beyond."""
    if on.runner.provider == "process" and os.geteuid() != 0:
        pytest.skip("without isolation and as the server's own user it would end the tests too")
    async with warm_sandbox(on) as box:
        word = _word()
        other, _ = await box.start(f"echo up; sleep {word}")
        ending = await box.run(f"setsid sleep {word} & kill -9 -1; exit 3")
        assert ending.exit_code == {"bubblewrap": 3, "process": 137}[on.runner.provider]
        assert (await other).exit_code == 137
        assert living(word) == []
        if on.runner.provider == "bubblewrap":  # without namespaces it killed the holder
            assert await box.says("echo fine") == "fine\n"


async def test_a_sandbox_that_ends_by_itself_is_removed_and_told(on: Bench) -> None:
    """Where a command can kill the holder, nothing that it left behind runs on until the sandbox expires."""
    if on.runner.provider != "process":
        pytest.skip("the holder is process 1 of its namespace, which nobody in it can kill")
    word, ended = _word(), asyncio.Queue[str]()
    on.runner.tell_expired(ended.put)
    async with warm_sandbox(on) as box:
        keeper = "$(cut -d' ' -f4 /proc/$$/stat)"
        ending = await box.run(f"setsid sleep {word} & kill -9 $(cut -d' ' -f4 /proc/{keeper}/stat); sleep 9")
        assert (ending.exit_code, ending.killed) == (137, False)
        assert living(word) == []
        assert await asyncio.wait_for(ended.get(), 20) == box.id
        with pytest.raises(SandboxConflict):
            await box.run("true")


async def test_a_command_that_stops_everything_is_ended_by_its_timeout(on: Bench) -> None:
    """A stopped keeper is not needed for it."""
    if on.runner.provider == "process":
        pytest.skip("it would stop the holder as well, and the sandbox would be ended after stop_timeout_ms")
    async with warm_sandbox(on) as box:
        word = _word()
        ending = await box.run(f"kill -STOP -1; sleep {word}", timeout_ms=300)
        assert ending.timed_out
        assert living(word) == []
        assert await box.says("echo fine") == "fine\n"


async def test_a_sandbox_that_had_to_be_given_up_is_told_of(tmp_path: Path) -> None:
    """A command that stopped the holder ends with its sandbox only, which must not count for ever."""
    if os.geteuid() != 0:
        pytest.skip("without isolation and as the server's own user it would stop the tests too")
    ended = asyncio.Queue[str]()
    async with bench("process", tmp_path, terminate_grace_ms=100, stop_timeout_ms=500) as on:
        on.runner.tell_expired(ended.put)
        async with warm_sandbox(on) as box:
            word = _word()
            ending = await box.run(f"kill -STOP -1; sleep {word}", timeout_ms=300)
            assert ending.timed_out
            assert living(word) == []
            assert await asyncio.wait_for(ended.get(), 20) == box.id
            with pytest.raises(SandboxConflict):
                await box.run("true")


async def test_commands_at_once_have_a_limit(box: Box) -> None:
    """The one too many is told so, and may come when another has ended."""
    cancel = CancelRequest()
    commands = [(await box.start("echo up; sleep 30", cancel))[0] for _ in range(4)]
    with pytest.raises(TooManyCommands, match="4 commands"):
        await box.run("true")
    cancel.ask("force")
    await asyncio.gather(*commands)
    assert (await box.run("true")).exit_code == 0


async def test_many_commands_started_at_the_same_moment_all_answer(box: Box) -> None:
    """Long packets fill the socket: they wait there, and none is lost."""
    padding = dict.fromkeys(("A", "B"), "x" * 75000)
    for _ in range(3):
        endings = await asyncio.gather(*(box.run(f"exit {n}", env=padding) for n in range(4)))
        assert [ending.exit_code for ending in endings] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="at most"):
        await box.run("true " + "x" * 300_000)


async def test_a_caller_that_is_canceled_ends_its_command_first(box: Box) -> None:
    """As when the server stops; the sandbox stays."""
    word = _word()
    running, _ = await box.start(f"echo up; setsid sleep {word} & sleep {word}")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert living(word) == []
    assert await box.says("echo fine") == "fine\n"


async def test_a_log_that_fails_ends_the_command(box: Box) -> None:
    """What it raised comes out."""
    word = _word()
    with pytest.raises(StaleFence):
        await box.run(f"trap '' TERM; echo x; sleep {word}", Log(fail_at=0))
    assert living(word) == []
    assert await box.says("echo fine") == "fine\n"


# --- beside a run -------------------------------------------------------------------------------------------


async def test_commands_from_before_go_on_beside_a_run_and_nothing_new_is_started(box: Box) -> None:
    """Files can be looked at and artifacts kept, but not changed; the run ends only what is its own."""
    word, before = _word(), _word()
    other, _ = await box.start(f"echo up; sleep {before}")
    log, cancel = Log(), asyncio.Event()
    job = box.on.job(
        f"setsid sleep {word} & echo x > f; echo y; sleep 30",
        sandbox_id=box.id,
        reuse=True,
        keep_sandbox=True,
    )
    running = asyncio.create_task(box.on.execute(job, log, cancel))
    await log.wait_for("stdout")
    runner = box.runner
    assert (await runner.read_file(box.id, "hello.txt")).content == b"hello\n"
    report = await runner.collect_artifact(box.id, requested("f")[0], box.on.store, box.on.new_id)
    assert report.type == "artifact_collected"
    for attempt in (
        box.run("true"),
        runner.write_file(box.id, "f", b""),
        runner.delete_file(box.id, "f"),
        runner.make_directory(box.id, "d"),
        runner.move_file(box.id, "f", "g"),
    ):
        with pytest.raises(SandboxConflict, match="in use"):
            await attempt
    cancel.set()
    assert (await running).result.canceled
    assert living(word) == []
    assert len(living(before)) >= 1
    assert not other.done()
    assert await box.says("cat f") == "x\n"


# --- ports --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_server_in_the_background_is_reached_while_another_command_runs_and_ends(
    box: Box, host: str
) -> None:
    """On either loopback address; the connection is the caller's."""
    serving, port = await box.serve(host)
    for number in range(3):
        talking = _talk(await box.runner.dial(box.id, port), b"%d" % number)
        assert (await box.run("true")).exit_code == 0
        assert await talking == b"hello %d" % number
    assert not serving.done()


async def test_a_port_that_nobody_listens_on_is_closed(box: Box) -> None:
    """Also one that was open before."""
    _, port = await box.serve()
    await _talk(await box.runner.dial(box.id, port), b"x")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = unused.getsockname()[1]
        if box.runner.provider == "bubblewrap":  # a network of its own: the server's ports are not there
            with pytest.raises(PortClosed, match=str(closed)):
                await box.runner.dial(box.id, closed)
    with pytest.raises(PortClosed, match=str(closed)):
        await box.runner.dial(box.id, closed)
    for number in (0, -1, 65_536):
        with pytest.raises(ValueError, match="no port"):
            await box.runner.dial(box.id, number)


async def test_a_dial_that_hangs_is_given_up(provider: str, tmp_path: Path) -> None:
    """A full backlog answers nothing; the holder goes on meanwhile, and forgets the attempt."""
    full = (
        "import socket, time\n"
        "l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(0); port = l.getsockname()[1]\n"
        "held = [socket.socket() for _ in range(8)]\n"
        "for s in held: s.setblocking(False); s.connect_ex(('127.0.0.1', port))\n"
        "print(port, flush=True); time.sleep(60)\n"
    )
    async with bench(provider, tmp_path, dial_timeout_ms=300) as own, warm_sandbox(own) as box:
        await own.runner.write_file(box.id, "full.py", full.encode())
        _, log = await box.start("exec python3 full.py")
        with pytest.raises(SandboxUnavailable, match="300 ms"):
            await own.runner.dial(box.id, int(log.output()))
        assert await box.says("echo fine") == "fine\n"


# --- nothing is left ----------------------------------------------------------------------------------------


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    """The provider's name, for tests that start a runner themselves."""
    if request.param == "bubblewrap":
        need("bubblewrap")
    return str(request.param)


async def test_closing_ends_commands_that_run(provider: str, tmp_path: Path) -> None:
    """No process, no note; the kit looks for notes."""
    word = _word()
    async with bench(provider, tmp_path) as own:
        box = Box(own, "sbx_close1")
        await own.runner.create_sandbox(box.id, "base", HOUR_MS)
        running, _ = await box.start(f"echo up; setsid sleep {word} & sleep {word}")
    assert (await running).killed
    assert living(word) == []


async def test_using_a_sandbox_leaves_no_descriptor_and_no_thread(box: Box) -> None:
    """Whether things succeed or not."""

    def taken() -> tuple[int, int]:
        return sum(1 for _ in Path("/proc/self/fd").iterdir()), threading.active_count()

    async def use() -> None:
        await box.run("exit 1")
        await box.runner.write_file(box.id, "f", b"x")
        await box.runner.read_file(box.id, "f")
        await box.refused("read_file", "missing")
        with pytest.raises(PortClosed):
            await box.runner.dial(box.id, 1)

    await use()
    before = taken()
    for _ in range(3):
        await use()
    after = taken()
    assert after[0] == before[0]
    assert after[1] <= before[1] + 1  # the loop's own pool may grow
