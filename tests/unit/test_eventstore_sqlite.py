"""What the SQLite backend promises beyond the contract: fsyncs, plans, migrations, a full disk, its end."""

import asyncio
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from eventstore.log import Append, Framing, LogLimits, NewerSchema, Record, StorageUnavailable
from eventstore.sqlite import connection, migrations, reader
from eventstore.sqlite.queries import FRAME_NDJSON, FRAME_SSE, READ, READ_PAGE, READ_PUBLIC, VIEW
from eventstore.sqlite.views import list_statement
from eventstore.views import VIEWS, ViewQuery
from evidence.record import commitment
from tests.log_kit import RUN, World, all_events, claim, event, opened, verify_by_recomputing


def names_in(folder: Path) -> list[str]:
    """The names of a folder's files."""
    return sorted(path.name for path in folder.iterdir())


# Group commit


async def hold_the_writer(world: World) -> threading.Event:
    """Keep the writer busy until the event is set, so that what comes meanwhile makes one group."""
    go, busy = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(_: object) -> None:
        loop.call_soon_threadsafe(busy.set)
        go.wait(30)

    holding = asyncio.ensure_future(world.log._writer.submit(wait))  # type: ignore[attr-defined]  # SqliteLog
    await busy.wait()
    holding.add_done_callback(lambda task: task.result())
    return go


async def test_those_who_wait_share_one_commit(tmp_path: Path) -> None:
    """64 writers, one transaction, one fsync; the group has a limit."""
    async with opened("sqlite", tmp_path, limits=LogLimits(group_commit_appends_max=40)) as world:
        for number in range(64):
            await world.create(f"wsr_{number}")
        before = world.log.statistics()
        assert before["commits"] == 64
        go = await hold_the_writer(world)
        appends = [
            asyncio.create_task(world.log.append(Append(f"wsr_{number}", 1, [event()])))
            for number in range(64)
        ]
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(*appends)
        after = world.log.statistics()
        assert after["commits"] - before["commits"] == 2
        assert after["group_size_max"] == 40


async def test_what_writes_nothing_costs_no_fsync(tmp_path: Path) -> None:
    """Replayed claims and refusals."""
    async with opened("sqlite", tmp_path) as world:
        await world.log.append(Append(RUN, 0, [event()], claim=claim(world)))
        commits = world.log.statistics()["commits"]
        for _ in range(5):
            assert (await world.log.append(Append(RUN, 0, [event()], claim=claim(world)))).replayed
        assert world.log.statistics()["commits"] == commits


async def test_callers_beyond_the_queue_wait_their_turn(tmp_path: Path) -> None:
    """Backpressure, not memory; those who give up before their turn have done nothing."""
    async with opened("sqlite", tmp_path, limits=LogLimits(append_queue_max=5)) as world:
        await world.create()
        go = await hold_the_writer(world)
        appends = [asyncio.create_task(world.log.append(Append(RUN, None, [event()]))) for _ in range(20)]
        await asyncio.sleep(0)
        assert world.log.statistics()["queued"] == 4
        appends[-1].cancel()
        go.set()
        await asyncio.wait(appends)
        assert await verify_by_recomputing(world) == 20


async def test_the_writer_is_set_to_lose_nothing(tmp_path: Path) -> None:
    """WAL with synchronous FULL survived 350 simulated power cuts, anything less did not (DESIGN §3)."""
    async with opened("sqlite", tmp_path) as world:
        pragmas = ("journal_mode", "synchronous", "secure_delete", "page_size")

        def read(tx: Any) -> list[object]:
            return [tx._execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]

        found = await world.log._writer.submit(read)  # type: ignore[attr-defined]  # SqliteLog
        assert found == ["wal", 2, 1, 4096]


async def test_a_reader_never_blocks_the_writer(tmp_path: Path) -> None:
    """Nor the other way round: both see their own snapshot; and a reader cannot write."""
    async with opened("sqlite", tmp_path) as world:
        await world.create()
        other = connection.open_reader(tmp_path / "log.sqlite")
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM events").fetchone() == (1,)
        await asyncio.wait_for(world.add(2000), 30)
        assert other.execute("SELECT count(*) FROM events").fetchone() == (1,)
        other.execute("COMMIT")
        assert other.execute("SELECT count(*) FROM events").fetchone() == (2001,)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            other.execute("DELETE FROM events")
        other.close()


async def test_reads_hold_no_transaction_between_pages(tmp_path: Path) -> None:
    """A client that stops reading in the middle lets the writer carry the whole WAL over."""
    async with opened("sqlite", tmp_path, limits=LogLimits(chunk_bytes=4096)) as world:
        await world.create()
        await world.add(500, data="x" * 100)
        entries = world.log.entries(RUN)
        assert (await anext(entries)).seq == 1  # type: ignore[call-overload]  # an async generator
        assert await world.log.read_framed(RUN, 0, Framing.SSE) is not None

        probe = sqlite3.connect(tmp_path / "log.sqlite")
        busy, pages, carried = probe.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        probe.close()
        assert busy == 0
        assert pages == carried
        assert len([one async for one in entries]) == 500


# Reopening


async def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    """Head, chain, claims, records, views; and the stream goes on where it stood."""
    async with opened("sqlite", tmp_path, anchor=lambda: b"note") as world:
        await world.log.append(Append(RUN, 0, [event()], fence=3, claim=claim(world)))
        await world.add(300)
        await world.log.put_record(Record("k", "i", b"d", 7))
    async with opened("sqlite", tmp_path) as world:
        assert await verify_by_recomputing(world) == 301
        head = await world.log.head(RUN)
        assert head is not None
        assert (head.anchor_note, head.fence) == (b"note", 3)
        assert await world.log.stored_answer("k1", "f1") is not None
        assert await world.log.get_record("k", "i") == Record("k", "i", b"d", 7)
        await world.log.append(Append(RUN, 301, [event()]))
        row = await world.log.get_view("runs", RUN)
        assert row is not None
        assert row.doc == b'{"events":302}'
        assert await verify_by_recomputing(world) == 302


async def test_closing_leaves_no_thread_and_no_wal(tmp_path: Path) -> None:
    """And what was handed over before is done."""
    before = set(threading.enumerate())
    async with opened("sqlite", tmp_path) as world:
        await world.create()
        appends = [asyncio.create_task(world.log.append(Append(RUN, None, [event()]))) for _ in range(30)]
        await asyncio.sleep(0)
        await world.log.aclose()
        done = await asyncio.gather(*appends)
        assert max(one.last_seq for one in done) == 31
    left = {
        thread for thread in set(threading.enumerate()) - before if not thread.name.startswith("asyncio_")
    }
    assert not left
    assert names_in(tmp_path) == ["log.sqlite"]


@pytest.fixture
def shared_folder(tmp_path: Path) -> Path:
    """A folder that others can enter."""
    tmp_path.chmod(0o755)
    return tmp_path


async def test_the_database_is_readable_by_its_owner_alone(shared_folder: Path) -> None:
    """Also in a folder that others can enter; the WAL and copies likewise."""
    tmp_path = shared_folder
    async with opened("sqlite", tmp_path) as world:
        await world.create()
        await world.log.copy_to(tmp_path / "copy.sqlite")  # type: ignore[attr-defined]  # SqliteLog
        modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in names_in(tmp_path)}
    assert modes == dict.fromkeys(("copy.sqlite", "log.sqlite", "log.sqlite-shm", "log.sqlite-wal"), 0o600)


async def test_a_redacted_row_is_read_as_redacted(tmp_path: Path) -> None:
    """Its commitment and size stay, readers get a placeholder between untouched bytes (P7)."""
    async with opened("sqlite", tmp_path) as world:
        await world.create()
        await world.add(3, data="secret")
        stored = await world.log.read(RUN)
        salt, payload = stored[2].salt, stored[2].payload
        assert salt is not None
        assert payload is not None
        kept = (commitment(salt, payload), len(payload))

        def redact(tx: Any) -> None:
            tx._execute(
                "UPDATE events SET payload = NULL, salt = NULL, commitment = ?, payload_size = ?"
                " WHERE position & 0xffffffff = 3",
                kept,
            )

        await world.log._writer.submit(redact)  # type: ignore[attr-defined]  # SqliteLog
        event_three = (await world.log.read(RUN))[2]
        assert (event_three.payload, event_three.salt) == (None, None)
        assert (event_three.commitment, event_three.payload_size) == kept
        chunk = await world.log.read_framed(RUN, 0, Framing.NDJSON)
        assert chunk is not None
        lines = chunk.data.splitlines()
        assert lines[0] == stored[0].payload
        assert b'"redacted":true,"seq":3' in lines[2]
        assert lines[3] == stored[3].payload
        assert (chunk.count, chunk.last_seq) == (4, 4)
        limited = await world.log.read_framed(RUN, 1, Framing.NDJSON, 2)
        assert limited is not None
        assert limited.data.splitlines() == lines[1:3]
        assert (await all_events(world.log))[2] == event_three


# Plans


def plan(path: Path, sql: str, parameters: Any) -> str:
    """SQLite's plan, one step a line."""
    probe = connection.open_reader(path)
    steps = probe.execute("EXPLAIN QUERY PLAN " + sql, parameters).fetchall()
    probe.close()
    return "\n".join(step[3] for step in steps)


async def test_reading_after_a_seq_goes_straight_to_its_place(tmp_path: Path) -> None:
    """A late `after_seq` costs what an early one does: a range of rowids, no scan, no sort."""
    async with opened("sqlite", tmp_path) as world:
        await world.create()
        place = {
            "stream": RUN,
            "after_seq": 5,
            "last_seq": 9,
            "bytes_max": 100,
            "step": 4,
            "limit": 5,
            "packs_max": 4,
        }
        for sql in (READ, READ_PUBLIC, READ_PAGE, FRAME_NDJSON, FRAME_SSE):
            steps = plan(tmp_path / "log.sqlite", sql, place)
            assert "SEARCH events USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in steps
            assert "SEARCH packs USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in steps
            assert "SCAN events" not in steps
            assert "SCAN packs" not in steps
            assert "TEMP B-TREE" not in steps


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (ViewQuery("o"), "by_time"),
        (ViewQuery("o", before=("k", "i")), "by_time"),
        (ViewQuery("o", project_ids=["p", "q"], before=("k", "i")), "by_project"),
        (ViewQuery("o", statuses=["s", "t"], before=("k", "i")), "by_status"),
        (ViewQuery("o", project_ids=["p"], statuses=["s"]), "by_project_status"),
        (ViewQuery("o", parent="r", statuses=["s"], before=("k", "i")), "by_parent"),
        (ViewQuery("o", labels={"a": "b", "c": "d"}, statuses=["s"], before=("k", "i")), "labels_by_value"),
    ],
    ids=str,
)
async def test_every_way_to_list_walks_an_index_in_listing_order(
    tmp_path: Path, query: ViewQuery, index: str
) -> None:
    """Only the chosen page is ever sorted, so 10,000 runs cost what ten do."""
    async with opened("sqlite", tmp_path) as _:
        sql, parameters = list_statement("runs", query)
        steps = plan(tmp_path / "log.sqlite", sql, parameters)
        assert f"runs_{index} " in steps
        assert "SCAN v" not in steps
        assert "SCAN runs" not in steps
        before_the_page = steps.partition("SEARCH v USING INDEX sqlite_autoindex_runs_1")[0]
        assert "TEMP B-TREE FOR ORDER BY" not in before_the_page.replace("LAST TERM OF", "")


async def test_listing_visits_a_page_and_not_the_table(tmp_path: Path) -> None:
    """Counted in steps of SQLite's machine: from a table ten times as large, the same work."""
    work: list[int] = []
    async with opened("sqlite", tmp_path) as world:
        await world.create()
        for scale in (1, 10):

            def fill(tx: Any, scale: int = scale) -> None:
                for number in range(300 * scale):
                    row = (b"{}", f"wsr_{scale}_{number}", "o", f"p{number % 3}", "", f"s{number % 4}")
                    tx._execute(VIEW["runs"]["put"], (*row, f"{number:06d}"))

            await world.log._writer.submit(fill)  # type: ignore[attr-defined]  # SqliteLog
            probe = connection.open_reader(tmp_path / "log.sqlite")
            steps = 0

            def count() -> None:
                nonlocal steps
                steps += 1

            probe.set_progress_handler(count, 10)
            query = ViewQuery("o", project_ids=["p0", "p2"], statuses=["s1", "s3"], before=("000250", "x"))
            assert len(probe.execute(*list_statement("runs", query)).fetchall()) == query.limit
            probe.close()
            work.append(steps)
    assert 0 < work[1] < work[0] * 2


# Migrations


def tables(path: Path) -> set[str]:
    """The names of all tables."""
    probe = connection.open_reader(path)
    names = {name for (name,) in probe.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    probe.close()
    return names


def test_migrations_build_the_schema_from_nothing_and_only_once(tmp_path: Path) -> None:
    """Status tells what is pending, then when it was applied; a second run finds nothing to do."""
    path = tmp_path / "log.sqlite"
    assert [one.applied_at_ms for one in migrations.status(path)] == [None] * 6
    assert not path.exists()
    assert [one.name for one in migrations.migrate(path, 5)] == [
        "log",
        "views",
        "global_log",
        "sandbox_views",
        "packs",
        "usage_by_day",
    ]
    assert migrations.migrate(path, 6) == []
    assert [(one.version, one.name, one.applied_at_ms) for one in migrations.status(path)] == [
        (1, "log", 5),
        (2, "views", 5),
        (3, "global_log", 5),
        (4, "sandbox_views", 5),
        (5, "packs", 5),
        (6, "usage_by_day", 5),
    ]
    assert {"streams", "events", *VIEWS, *(f"{view}_labels" for view in VIEWS)} <= tables(path)


def test_a_migration_that_was_interrupted_goes_on_with_the_next_one(tmp_path: Path) -> None:
    """Each is one transaction: the first stays applied, the second comes at the next start."""
    path = tmp_path / "log.sqlite"
    writer = connection.open_writer(path)
    known = migrations.known_migrations()
    migrations.apply(writer, path, 5, known[:1])
    writer.close()
    assert "runs" not in tables(path)
    assert [one.name for one in migrations.migrate(path, 6)] == [
        "views",
        "global_log",
        "sandbox_views",
        "packs",
        "usage_by_day",
    ]


def test_a_migration_that_fails_leaves_nothing_of_itself(tmp_path: Path) -> None:
    """Neither its first statements nor its number."""
    path = tmp_path / "log.sqlite"
    migrations.migrate(path, 5)
    known = migrations.known_migrations()
    bad = migrations.Migration(7, "bad", "CREATE TABLE half (x); INSERT INTO nowhere VALUES (1);")
    writer = connection.open_writer(path)
    with pytest.raises(StorageUnavailable, match=r"migration 7 \(bad\)"):
        migrations.apply(writer, path, 6, [*known, bad])
    assert migrations.schema_version(writer, path) == 6
    writer.close()
    assert "half" not in tables(path)


LOOK = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as database:
    print(database.execute("SELECT count(*) FROM events").fetchone()[0])
database.close()
"""


async def test_somebody_who_looks_from_outside_takes_nothing_away(tmp_path: Path) -> None:
    """A process that opens and leaves the database must find it in use, else it removes the WAL."""
    async with opened("sqlite", tmp_path) as world:
        await world.create()
        for expected in (2, 3):
            await world.log.append(Append(RUN, None, [event()]))
            looked = await asyncio.create_subprocess_exec(
                sys.executable, "-c", LOOK, str(tmp_path / "log.sqlite"), stdout=asyncio.subprocess.PIPE
            )
            found, _ = await looked.communicate()
            assert int(found) == expected
            assert (tmp_path / "log.sqlite-wal").exists()


async def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Old code must not guess; the message says to upgrade, and nothing is changed."""
    path = tmp_path / "log.sqlite"
    migrations.migrate(path, 5)
    writer = connection.open_writer(path)
    writer.execute("PRAGMA user_version = 99")
    writer.close()
    before = path.read_bytes()
    for attempt in (migrations.status, lambda path: migrations.migrate(path, 6)):
        with pytest.raises(NewerSchema, match=r"schema 99.*knows up to 6\. Upgrade"):
            attempt(path)
    with pytest.raises(NewerSchema):
        async with opened("sqlite", tmp_path):
            pass
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Somebody pointed at the wrong file."""
    (tmp_path / "log.sqlite").write_bytes(b"my thesis " * 1000)
    with pytest.raises(StorageUnavailable, match="cannot be opened"):
        async with opened("sqlite", tmp_path):
            pass
    assert (tmp_path / "log.sqlite").read_bytes() == b"my thesis " * 1000


# A bad disk


async def test_a_damaged_database_is_the_storages_fault(tmp_path: Path) -> None:
    """Reading and writing say so, each caller is answered, and closing still works."""
    async with opened("sqlite", tmp_path) as world:
        await world.create()
        await world.add(2000, data="x" * 100)
    path = tmp_path / "log.sqlite"
    healthy = path.read_bytes()
    path.write_bytes(healthy[:4096] + b"\xff" * (len(healthy) - 4096))
    with pytest.raises(StorageUnavailable, match="check path and disk"):
        async with opened("sqlite", tmp_path):
            pass
    path.write_bytes(healthy[: len(healthy) * 3 // 4] + b"\xff" * (len(healthy) // 4))
    async with opened("sqlite", tmp_path) as world:
        for _ in range(2):
            with pytest.raises(StorageUnavailable, match="check the disk"):
                await world.log.read(RUN, 1500, 500)
            with pytest.raises(StorageUnavailable, match="check the disk"):
                await world.log.append(Append(RUN, None, [event()]))
    path.write_bytes(healthy)
    async with opened("sqlite", tmp_path) as world:
        assert await verify_by_recomputing(world) == 2001


async def test_a_reader_that_cannot_open_leaves_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an opening is undone."""
    monkeypatch.setattr(reader, "read_only_uri", lambda _: f"file:{tmp_path}/none?mode=ro")
    before = set(threading.enumerate())
    with pytest.raises(StorageUnavailable, match="cannot be opened"):
        async with opened("sqlite", tmp_path):
            pass
    left = {
        thread for thread in set(threading.enumerate()) - before if not thread.name.startswith("asyncio_")
    }
    for thread in left:  # told to end, and perhaps not yet gone
        await asyncio.to_thread(thread.join, 30)
    assert not any(thread.is_alive() for thread in left)


# A full disk


async def limit_pages(world: World, extra: int) -> None:
    """Let the database grow by so many pages, or again without limit."""

    def pragma(tx: Any) -> None:
        pages = tx._execute("PRAGMA page_count").fetchone()[0]
        tx._execute(f"PRAGMA max_page_count = {pages + extra if extra < 1000 else 2**30}")

    await world.log._writer.submit(pragma)  # type: ignore[attr-defined]  # SqliteLog


async def test_a_full_database_fails_the_group_and_works_on_when_there_is_room(tmp_path: Path) -> None:
    """Failed and lost: nothing of it is visible, folds are dropped, the next append finds all in order."""
    async with opened("sqlite", tmp_path) as world:
        await world.create()
        await world.create("wsr_b")
        await limit_pages(world, 3)
        forgotten = world.projector.forgotten
        go = await hold_the_writer(world)
        appends = [
            asyncio.create_task(world.log.append(Append(stream, 1, [event(data="x" * size)], claim=one)))
            for stream, size, one in ((RUN, 100_000, claim(world)), ("wsr_b", 1, None), ("wsr_b", 1, None))
        ]
        await asyncio.sleep(0)
        go.set()
        results = await asyncio.gather(*appends, return_exceptions=True)
        assert [type(one) for one in results] == [StorageUnavailable] * 3
        assert "free space and try again" in str(results[0])
        assert len({id(one) for one in results}) == 3
        assert world.projector.forgotten > forgotten
        assert world.log.statistics()["rollbacks"] == 1
        for stream in (RUN, "wsr_b"):
            assert await verify_by_recomputing(world, stream) == 1
        assert await world.log.stored_answer("k1", "f1") is None
        await limit_pages(world, 1000)
        done = await world.log.append(Append(RUN, 1, [event(data="x" * 100_000)], claim=claim(world)))
        assert (done.last_seq, done.answer and done.answer.body) == (2, b'{"events":2}')
        assert await verify_by_recomputing(world) == 2


async def test_a_small_append_still_fits_when_a_large_one_does_not(tmp_path: Path) -> None:
    """A refused large append gives its room back."""
    async with opened("sqlite", tmp_path) as world:
        await world.create()
        await limit_pages(world, 3)
        for _ in range(3):
            with pytest.raises(StorageUnavailable):
                await world.log.append(Append(RUN, None, [event(data="x" * 100_000)]))
            await world.log.append(Append(RUN, None, [event()]))
        assert await verify_by_recomputing(world) == 4


async def test_a_copy_is_whole_while_the_log_goes_on(tmp_path: Path) -> None:
    """`VACUUM INTO`, never copied files; an existing file is not overwritten."""
    from eventstore.sqlite.log import SqliteLog

    async with opened("sqlite", tmp_path) as world:
        assert isinstance(world.log, SqliteLog)
        await world.create()
        await world.add(2000)
        copying = asyncio.create_task(world.log.copy_to(tmp_path / "copy" / "log.sqlite"))
        (tmp_path / "copy").mkdir()
        await world.add(50)
        await copying
        with pytest.raises(FileExistsError):
            await world.log.copy_to(tmp_path / "copy" / "log.sqlite")
    async with opened("sqlite", tmp_path / "copy") as copy:
        assert await verify_by_recomputing(copy) >= 2001
