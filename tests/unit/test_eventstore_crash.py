"""Killed processes: what was acknowledged is there, what was not is there once or not at all."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from eventstore.log import Append, ExpectedHeadMismatch
from tests.compaction_kit import compact
from tests.log_kit import RUN, claim, event, opened, verify_by_recomputing

ROOT = Path(__file__).resolve().parents[2]

PROLOGUE = """
import asyncio, os, resource, signal, sys
from pathlib import Path
from eventstore.log import Append, StorageUnavailable
from eventstore.sqlite.writer import GroupWriter
from tests.log_kit import RUN, claim, event, opened

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

async def main(folder):
    async with opened("sqlite", folder) as world:
"""
EPILOGUE = """
asyncio.run(main(Path(sys.argv[1])))
"""


def run(body: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `body` as a process of its own inside an open log called `world`."""
    indented = "\n".join(" " * 8 + line for line in body.strip().splitlines())
    return subprocess.run(
        [sys.executable, "-c", PROLOGUE + indented + EPILOGUE, str(folder)],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=60,
    )  # fmt: skip


async def test_killed_before_the_commit_nothing_is_there(tmp_path: Path) -> None:
    """Failed and lost: nobody was told, and the retry appends."""
    done = run(
        """
await world.create()
print("created", flush=True)
world.projector.apply = die
await world.log.append(Append(RUN, 1, [event()], claim=claim(world)))
""",
        tmp_path,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "created\n"), done.stderr
    async with opened("sqlite", tmp_path) as world:
        assert await verify_by_recomputing(world) == 1
        retry = await world.log.append(Append(RUN, 1, [event()], claim=claim(world)))
        assert (retry.replayed, retry.last_seq) == (False, 2)


async def test_killed_after_the_commit_the_retry_meets_the_stored_answer(tmp_path: Path) -> None:
    """Failed but stored: normal after a crash, and never a second event (DESIGN §2)."""
    done = run(
        """
await world.create()
print("created", flush=True)
GroupWriter._acknowledge = die
await world.log.append(Append(RUN, 1, [event()], claim=claim(world)))
""",
        tmp_path,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "created\n"), done.stderr
    async with opened("sqlite", tmp_path) as world:
        assert await verify_by_recomputing(world) == 2
        with pytest.raises(ExpectedHeadMismatch):
            await world.log.append(Append(RUN, 1, [event()]))
        retry = await world.log.append(Append(RUN, 1, [event()], claim=claim(world)))
        assert retry.replayed
        assert retry.answer is not None
        assert (retry.last_seq, retry.answer.body) == (2, b'{"events":2}')
        assert await verify_by_recomputing(world) == 2


async def test_killed_in_the_middle_every_acknowledged_event_is_there(tmp_path: Path) -> None:
    """Eight writers until the process is shot: 0 acknowledged lost, doubled or reordered."""
    done = run(
        """
for number in range(8):
    await world.create(f"wsr_{number}")
async def writer(stream):
    size = 1
    while True:
        await world.log.append(Append(stream, size, [event(n=size + k) for k in range(1 + size % 3)]))
        size += 1 + size % 3
        os.write(1, f"{stream} {size}\\n".encode())
        if stream == "wsr_5" and size > 60:
            asyncio.get_running_loop().call_later(0.003, die)
await asyncio.gather(*(writer(f"wsr_{number}") for number in range(8)))
""",
        tmp_path,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    acknowledged = {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines()}
    assert len(acknowledged) == 8
    async with opened("sqlite", tmp_path) as world:
        for stream, size in acknowledged.items():
            stored = await verify_by_recomputing(world, stream)
            assert size <= stored <= size + 3
            numbers = [one.payload async for one in world.log.entries(stream, 1)]
            assert [b'"n":%d,' % number in (payload or b"") for number, payload in enumerate(numbers, 1)] == [
                True
            ] * len(numbers)
            row = await world.log.get_view("runs", stream)
            assert row is not None
            assert row.doc == b'{"events":%d}' % stored


async def test_a_disk_that_takes_no_more_bytes_fails_appends_until_there_is_room(tmp_path: Path) -> None:
    """The WAL cannot grow: the caller is told, reads go on, and later appends go through."""
    done = run(
        """
await world.create()
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
size = max(path.stat().st_size for path in Path(sys.argv[1]).iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20_000, hard))
refused = 0
for _ in range(3):
    try:
        await world.log.append(Append(RUN, None, [event(data="x" * 100_000)], claim=claim(world)))
    except StorageUnavailable:
        refused += 1
    assert (await world.log.head(RUN)).size == 1
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
again = await world.log.append(Append(RUN, 1, [event(data="x" * 100_000)], claim=claim(world)))
print(refused, again.last_seq, again.replayed)
""",
        tmp_path,
    )
    assert (done.returncode, done.stdout) == (0, "3 2 False\n"), done.stderr
    async with opened("sqlite", tmp_path) as world:
        assert await verify_by_recomputing(world) == 2


async def test_a_log_that_nobody_closed_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """The process exits without a word, its writer being a daemon."""
    done = run(
        """
await world.create()
await world.add(10)
os._exit(7)
""",
        tmp_path,
    )
    assert done.returncode == 7, done.stderr
    async with opened("sqlite", tmp_path) as world:
        assert await verify_by_recomputing(world) == 11


def test_a_process_that_closes_its_log_ends(tmp_path: Path) -> None:
    """No thread of the log keeps the interpreter alive."""
    done = run("await world.create()\nprint(await world.log.streams(''))", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"['{RUN}']\n", "")


async def test_the_writer_breaking_down_leaves_nobody_waiting(tmp_path: Path) -> None:
    """A bug in the writer's thread: those in line are told that nothing was written, now and later."""
    done = run(
        """
import threading
threading.excepthook = lambda args: print("thread:", args.exc_value, flush=True)
await world.create()
def broken(self, group):
    raise SystemError("bug")
GroupWriter._commit = broken
results = await asyncio.gather(
    *(world.log.append(Append(RUN, None, [event()])) for _ in range(3)), return_exceptions=True
)
await world.log.aclose()
print(sorted({type(one).__name__ for one in results}))
""",
        tmp_path,
    )
    assert (done.returncode, done.stdout) == (0, "thread: bug\n['StorageUnavailable']\n"), done.stderr
    async with opened("sqlite", tmp_path) as world:
        await world.log.append(Append(RUN, 1, [event()], claim=claim(world)))
        assert await verify_by_recomputing(world) == 2


SWAPPING = """
from eventstore.sqlite.transaction import SqliteTransaction
from eventstore.log import LogLimits
from tests.compaction_kit import ALWAYS_MS, fill, compact
object.__setattr__(world.log._limits, "compact_step_bytes", 20_000)
await fill(world, [event(data="x" * 100, n=n) for n in range(2000)])
print("filled", flush=True)
real = SqliteTransaction.swap
"""


@pytest.mark.parametrize(
    ("hit", "stored"),
    [
        ("def swap(tx, step):\n    real(tx, step)\n    die()\nSqliteTransaction.swap = swap", False),
        ("GroupWriter._acknowledge = die", True),
    ],
    ids=["failed-and-lost", "failed-but-stored"],
)
async def test_killed_around_the_commit_of_a_swap_a_run_is_whole(
    tmp_path: Path, hit: str, stored: object
) -> None:
    """Rows or a pack, never neither and never both; the next start goes on from there."""
    done = run(SWAPPING + hit + "\nawait compact(world.log)", tmp_path)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "filled\n"), done.stderr
    with closing(sqlite3.connect(tmp_path / "log.sqlite")) as database:
        (in_rows,) = database.execute("SELECT count(*) FROM events").fetchone()
        (in_packs,) = database.execute("SELECT coalesce(sum(events), 0) FROM packs").fetchone()
    assert in_rows + in_packs == 2004
    assert (in_packs > 0) is stored
    async with opened("sqlite", tmp_path) as world:
        assert await verify_by_recomputing(world) == 2004
        assert await compact(world.log) == in_rows
        assert await verify_by_recomputing(world) == 2004


@pytest.mark.parametrize("delay_ms", [1, 15, 40, 90])
async def test_killed_anywhere_in_compaction_nothing_is_missing(tmp_path: Path, delay_ms: int) -> None:
    """While others append: what was acknowledged is there, once."""
    done = run(
        SWAPPING
        + f"""
async def append():
    size = 0
    while True:
        await world.log.append(Append("wsr_b", size, [event()]))
        size += 1
        os.write(1, f"{{size}}\\n".encode())
asyncio.get_running_loop().call_later({delay_ms} / 1000, die)
await asyncio.gather(append(), compact(world.log), asyncio.sleep(30))
""",
        tmp_path,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    acknowledged = len(done.stdout.splitlines()) - 1
    async with opened("sqlite", tmp_path) as world:
        assert await verify_by_recomputing(world) == 2004
        await compact(world.log)
        assert await verify_by_recomputing(world) == 2004
        if acknowledged:
            assert await verify_by_recomputing(world, "wsr_b") in {acknowledged, acknowledged + 1}


async def test_a_swap_that_the_disk_refuses_leaves_the_rows(tmp_path: Path) -> None:
    """The WAL cannot grow: the compactor is told, everything is read as before, later it goes through."""
    done = run(
        SWAPPING
        + """
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
size = max(path.stat().st_size for path in Path(sys.argv[1]).iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5_000, hard))
refused = 0
for _ in range(3):
    try:
        await compact(world.log)
    except StorageUnavailable:
        refused += 1
    assert len(await world.log.read(RUN, 0, 3000)) == 2003
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(refused > 0, await compact(world.log) > 0)
""",
        tmp_path,
    )
    assert (done.returncode, done.stdout) == (0, "filled\nTrue True\n"), done.stderr
    async with opened("sqlite", tmp_path) as world:
        assert await verify_by_recomputing(world) == 2004
