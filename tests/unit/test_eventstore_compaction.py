"""Compaction in SQLite: bounded steps that a crash or an erasure may meet anywhere, and the way back."""

import asyncio
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from eventstore.compactor import Compactor
from eventstore.log import Append, DamagedLog, Framing, LogLimits, StorageUnavailable
from eventstore.packing import Pack
from eventstore.sqlite import compaction, maintenance
from eventstore.sqlite.log import SqliteLog
from tests.compaction_kit import ALWAYS_MS, compact, end, fill, redact
from tests.log_kit import RUN, World, all_events, event, opened, verify_by_recomputing

SMALL = LogLimits(pack_bytes=2000, compact_step_bytes=5000, compact_idle_s=0.01, compact_quiet_ms=0)
MANY = [event(data="x" * 100, n=n) for n in range(300)]
Row = tuple[Any, ...]


def rows(folder: Path, sql: str = "SELECT * FROM events ORDER BY position") -> list[Row]:
    """What a statement finds in the database of this folder."""
    with closing(sqlite3.connect(folder / "log.sqlite")) as database:
        return database.execute(sql).fetchall()


def packs(folder: Path) -> list[Pack]:
    """All packs, opened."""
    return [Pack(data) for (data,) in rows(folder, "SELECT pack FROM packs ORDER BY position")]


async def in_writer(world: World, perform: Callable[[Any], Any]) -> Any:
    """Do something in a transaction of the writer."""
    return await world.log._writer.submit(perform)  # type: ignore[attr-defined]  # SqliteLog


def on_disk(folder: Path) -> bytes:
    """Everything that the files of this folder hold."""
    return b"".join(file.read_bytes() for file in folder.iterdir())


def damage(folder: Path, *statements: str) -> None:
    """Change the database behind the log's back."""
    with closing(sqlite3.connect(folder / "log.sqlite")) as database:
        for sql in statements:
            database.execute(sql)
        database.commit()


# Steps


async def test_a_step_is_bounded_and_a_run_is_packed_from_its_beginning(tmp_path: Path) -> None:
    """After each the first events lie in packs and the rest in rows, every event in one of them."""
    async with opened("sqlite", tmp_path, limits=SMALL) as world:
        size = await fill(world, MANY)
        payloads = {one.seq: one.payload_size for one in await all_events(world.log)}
        packed = 0
        while events := await world.log.compact(ALWAYS_MS):
            assert sum(payloads[packed + 1 + n] for n in range(events)) <= 5000
            packed += events
            seqs = [seq for one in packs(tmp_path) for seq in range(one.first_seq, one.last_seq + 1)]
            assert seqs == list(range(1, packed + 1))
            assert [row[0] & 0xFFFFFFFF for row in rows(tmp_path)] == list(range(packed + 1, size + 1))
        assert packed == size
        assert world.log.statistics()["packed"] == size
        sizes = [one.line_bytes for one in packs(tmp_path)]
        assert max(sizes) <= 2000
        assert min(sizes[:-1]) > 1500, "no small packs but the last"
        assert rows(tmp_path, "SELECT * FROM unpacked") == []


async def test_chunks_end_with_packs_and_pages_behind_packs_are_full(tmp_path: Path) -> None:
    """So that the next chunk begins with a whole pack; and rows behind packs are read many at a time."""
    limits = LogLimits(pack_bytes=2000, compact_step_bytes=5000, chunk_bytes=5000)
    async with opened("sqlite", tmp_path, limits=limits) as world:
        await fill(world, MANY)
        for _ in range(3):
            await world.log.compact(ALWAYS_MS)
        ends = [one.last_seq for one in packs(tmp_path)]
        chunk = await world.log.read_framed(RUN, 3, Framing.SSE)
        assert chunk is not None
        assert chunk.last_seq in ends[1:3]
        behind = await world.log.read_framed(RUN, ends[-1], Framing.NDJSON)
        assert behind is not None
        assert behind.count > 20
        page = [one async for one in world.log.entries(RUN, ends[-1])]
        assert len(page) == 304 - ends[-1]
    assert rows(tmp_path)


async def test_an_event_larger_than_a_pack_has_one_of_its_own(tmp_path: Path) -> None:
    """Up to the largest that the log takes."""
    async with opened("sqlite", tmp_path) as world:
        await fill(world, [event(data="x" * 520_000), event(data="y" * 70_000), event(), event()])
        await compact(world.log)
        assert [one.count for one in packs(tmp_path)] == [1, 1, 1, 5]
        assert await verify_by_recomputing(world) == 8


async def test_a_step_lets_others_go_first_and_shares_no_transaction(tmp_path: Path) -> None:
    """What waits beside it is committed as one group before it; both are done when the log closes."""
    async with opened("sqlite", tmp_path) as world:
        await world.create()
        order: list[str] = []

        def note(name: str) -> Callable[[object], None]:
            return lambda _: order.append(name)

        writer = world.log._writer  # type: ignore[attr-defined]  # SqliteLog
        hold = asyncio.create_task(in_writer(world, lambda _: __import__("time").sleep(0.2)))
        await asyncio.sleep(0.05)
        works = [
            writer.submit(note(name), alone=name.startswith("step"))
            for name in ("step 1", "a", "step 2", "b", "c")
        ]
        await asyncio.sleep(0)
        before = world.log.statistics()["groups"]
        closing_log = asyncio.create_task(world.log.aclose())
        await asyncio.gather(hold, *works, closing_log)
        assert order == ["a", "b", "c", "step 1", "step 2"]
        assert world.log.statistics()["groups"] - before == 3 + (before == 1)


# What changes meanwhile


async def test_what_was_erased_while_a_step_was_prepared_stays_erased(tmp_path: Path) -> None:
    """The swap sees other rows than were packed and refuses; the next attempt packs what is left."""
    async with opened("sqlite", tmp_path, limits=SMALL) as world:
        size = await fill(world, MANY)

        def prepare(tx: Any) -> Any:
            return compaction.prepare(tx._execute, ALWAYS_MS, SMALL)

        step = await in_writer(world, prepare)
        await redact(world, [5])
        before = rows(tmp_path)
        assert not await in_writer(world, lambda tx: tx.swap(step))
        assert rows(tmp_path) == before
        assert packs(tmp_path) == []
        await compact(world.log)
        erased = (await world.log.read(RUN, 4, 1))[0]
        assert (erased.payload, erased.commitment is None) == (None, False)
        assert not await in_writer(world, lambda tx: tx.swap(step)), "nor once others packed them"
        assert len(await all_events(world.log)) == size + 1


async def test_an_erasure_in_the_middle_of_a_step_is_met_by_preparing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happens in a server: between the preparation and the swap somebody redacts."""
    async with opened("sqlite", tmp_path, limits=SMALL) as world:
        await fill(world, MANY)
        assert isinstance(world.log, SqliteLog)
        submit, writer = world.log._writer.submit, world.log._writer
        erasing: Iterator[int] = iter([4, 5])

        async def first_redact(*args: Any, alone: bool = False, **kwargs: Any) -> Any:
            if alone and (seq := next(erasing, None)):
                await redact(world, [seq])
            return await submit(*args, alone=alone, **kwargs)

        monkeypatch.setattr(writer, "submit", first_redact)
        assert await world.log.compact(ALWAYS_MS) > 0
        assert [one.payload is None for one in await world.log.read(RUN, 2, 4)] == [False, True, True, False]
        assert packs(tmp_path)[0].events()[3].payload is None


# Nothing is left of what was erased


@pytest.mark.parametrize("seq", [1, 5, 20, 304])
async def test_a_run_that_lacks_rows_is_not_packed_over_the_gap(
    tmp_path: Path, seq: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever it is: what lies before may be packed, the rest is left as it was found, and it is said."""
    async with opened("sqlite", tmp_path, limits=SMALL) as world:
        await fill(world, MANY)
        damage(tmp_path, f"DELETE FROM events WHERE position & 0xffffffff = {seq}")
        await compact(world.log)
        assert all(one.last_seq < seq for one in packs(tmp_path))
        assert caplog.text.count("stays as it is") == 1
        assert len(rows(tmp_path)) + sum(one.count for one in packs(tmp_path)) == 303


@pytest.mark.parametrize("sizes", [[20], [100, 300, 700], [20, 3900], [60_000, 100]], ids=str)
async def test_what_was_erased_in_a_pack_is_in_no_file(tmp_path: Path, sizes: list[int]) -> None:
    """Neither as it was printed, nor in any pack, nor as a piece of the packs that held it, nor its salt."""
    chance = random.Random(1)
    async with opened("sqlite", tmp_path) as world:
        words = [chance.randbytes(chance.choice(sizes) // 2).hex() for _ in range(120)]
        await fill(world, [event(data=word) for word in words])
        await fill(world, [event(data="other")] * 300, "wsr_b")
        whole = {one.seq: one for one in await all_events(world.log)}
        await compact(world.log)
        old = [data for (data,) in rows(tmp_path, "SELECT pack FROM packs")]
        erased = chance.sample(range(2, 122), 40)
        await redact(world, erased[:20])
        await redact(world, erased[20:])
        held = on_disk(tmp_path)
        unpacked = b"".join(one.lines() for one in packs(tmp_path))
        now = b"".join(data for (data,) in rows(tmp_path, "SELECT pack FROM packs"))
        for seq in erased:
            salt = whole[seq].salt
            assert salt is not None
            assert salt not in held
            assert words[seq - 2].encode() not in held + unpacked
            kept = (await world.log.read(RUN, seq - 1, 1))[0]
            assert (kept.payload, kept.salt, kept.payload_size) == (None, None, whole[seq].payload_size)
        pieces = [data[at : at + 24] for data in old for at in range(0, len(data) - 24, 24)]
        gone = [piece for piece in chance.sample(pieces, min(len(pieces), 1500)) if piece not in now]
        assert gone
        assert [piece for piece in gone if piece in held] == []
        await compact(world.log)
        assert [one.seq for one in await all_events(world.log) if one.payload is None] == sorted(erased)


# There and back


async def test_expanded_again_the_rows_are_byte_for_byte_what_they_were(tmp_path: Path) -> None:
    """Redacted ones, running totals and all; then they are packed once more."""
    async with opened("sqlite", tmp_path, limits=SMALL) as world:
        await fill(world, [*MANY, event(data="x" * 100_000), *MANY])
        await redact(world, [7, 8, 300])
        await fill(world, MANY, "wsr_b")
        await world.create("wsr_c")
    before = rows(tmp_path)
    told: list[int] = []
    done = maintenance.compact(tmp_path / "log.sqlite", SMALL, told.append)
    assert (done.events, done.packed_events, done.left_alone) == (len(before) - 1,) * 2 + (0,)
    assert done.packs == len(packs(tmp_path)) > 40
    assert told[-1] == done.events
    assert told == sorted(set(told))
    assert len(rows(tmp_path)) == 1
    assert done.shrunk
    assert done.bytes_after < done.bytes_before * 0.7, "empty tables are most of what is left"
    back = maintenance.expand(tmp_path / "log.sqlite", lambda _: None)
    assert (back.events, back.packs, back.packed_events) == (len(before) - 1, 0, 0)
    assert rows(tmp_path) == before
    assert maintenance.compact(tmp_path / "log.sqlite", SMALL, lambda _: None).events == len(before) - 1


async def test_a_half_expanded_run_is_whole_and_is_packed_again(tmp_path: Path) -> None:
    """It is expanded from its end, so what an interruption leaves is what compaction leaves too."""
    async with opened("sqlite", tmp_path, limits=SMALL) as world:
        size = await fill(world, MANY)
        await compact(world.log)
        for _ in range(5):
            assert await in_writer(world, lambda tx: compaction.expand_last(tx._execute))
            assert await verify_by_recomputing(world) == size
            assert len(await world.log.read(RUN, 0, 1000)) == size - 1
        assert await compact(world.log) == len(rows(tmp_path)) or not rows(tmp_path)
        assert await verify_by_recomputing(world) == size


async def test_what_is_freed_is_used_for_what_comes(tmp_path: Path) -> None:
    """The file of a server that compacts does not grow with each run."""
    path = tmp_path / "log.sqlite"
    async with opened("sqlite", tmp_path) as world:
        pages: list[int] = []
        for number in range(4):
            await fill(world, [event(data="x" * 150, n=n) for n in range(3000)], f"wsr_{number}")
            await compact(world.log)
            pages.append(rows(tmp_path, "PRAGMA page_count")[0][0])
        assert pages[3] < pages[0] * 1.5
    assert maintenance.compact(path, LogLimits(), lambda _: None).bytes_after < pages[3] * 4096 / 2


async def test_views_are_rebuilt_from_packs_as_from_rows(tmp_path: Path) -> None:
    """By a rebuild of a compacted copy."""
    from tests.log_kit import ObedientProjector

    async with opened("sqlite", tmp_path, limits=SMALL) as world:
        await fill(world, MANY)
        await redact(world, [9])
        await world.create("wsr_b")
        for _ in range(5):
            await world.log.compact(ALWAYS_MS)
    before = list(maintenance.dump_views(tmp_path / "log.sqlite"))
    rebuilt = maintenance.rebuild(tmp_path / "log.sqlite", ObedientProjector())
    assert rebuilt.events == 306
    assert list(maintenance.dump_views(tmp_path / "log.sqlite")) == before


async def test_runs_of_an_earlier_version_are_compacted(tmp_path: Path) -> None:
    """The migration finds those that have ended, and those alone."""
    async with opened("sqlite", tmp_path) as world:
        await fill(world, MANY)
        await fill(world, MANY, "wsr_redacted")
        await redact(world, [3], "wsr_redacted")
        await world.create("wsr_open")
        await world.add(10, "wsr_open")
    damage(
        tmp_path, "DROP TABLE packs", "DROP TABLE unpacked", "DELETE FROM migrations WHERE version >= 5",
        "PRAGMA user_version = 4",
    )  # fmt: skip
    async with opened("sqlite", tmp_path) as world:
        assert await compact(world.log) == 304 + 305
        assert await verify_by_recomputing(world) == 304


# Damage


async def test_a_damaged_pack_is_named_whoever_reads_it(tmp_path: Path) -> None:
    """Its run and where it ends; other packs are read."""
    async with opened("sqlite", tmp_path, limits=SMALL) as world:
        await fill(world, MANY)
        await compact(world.log)
        first, second = packs(tmp_path)[:2]
        damage(
            tmp_path,
            "UPDATE packs SET pack = CAST(substr(pack, 1, 400) || x'00' || substr(pack, 402) AS BLOB)"
            f" WHERE position & 0xffffffff = {second.last_seq}",
        )
        said = f"{RUN}: the pack that ends with event {second.last_seq} is damaged .*backup"
        after = first.last_seq
        for framing in Framing:
            with pytest.raises(DamagedLog, match=said):
                await world.log.read_framed(RUN, after, framing)
            with pytest.raises(DamagedLog, match=said):
                await world.log.read_framed(RUN, after + 2, framing, 2)
        with pytest.raises(DamagedLog, match=said):
            await world.log.read(RUN, after, 5)
        with pytest.raises(DamagedLog, match=said):
            await all_events(world.log)
        with pytest.raises(DamagedLog, match=said):
            await redact(world, [after + 1])
        assert len(await world.log.read(RUN, 0, after)) == after
        assert len(await world.log.read(RUN, second.last_seq, 10)) == 10
    with pytest.raises(DamagedLog, match=said):
        maintenance.expand(tmp_path / "log.sqlite", lambda _: None)


async def test_a_missing_or_misplaced_pack_is_no_silent_gap(tmp_path: Path) -> None:
    """Readers that come upon it are told which events the database lacks."""
    async with opened("sqlite", tmp_path, limits=SMALL) as world:
        await fill(world, MANY)
        await compact(world.log)
        first, second, third = packs(tmp_path)[:3]
        damage(tmp_path, f"DELETE FROM packs WHERE position & 0xffffffff = {second.last_seq}")
        said = f"{RUN} lacks event"
        with pytest.raises(DamagedLog, match=said):
            await world.log.read(RUN, first.last_seq, 10)
        with pytest.raises(DamagedLog, match=said):
            await world.log.read_framed(RUN, first.last_seq, Framing.SSE)
        with pytest.raises(DamagedLog, match=said):
            await world.log.read_framed(RUN, 0, Framing.NDJSON)
        with pytest.raises(DamagedLog, match=said):
            await all_events(world.log)
        with pytest.raises(DamagedLog, match=said):
            await redact(world, [second.first_seq])
        damage(
            tmp_path,
            f"UPDATE packs SET position = position - 1 WHERE position & 0xffffffff = {third.last_seq}",
        )
        with pytest.raises(DamagedLog, match="is damaged"):
            await world.log.read(RUN, third.first_seq, 10)


async def test_a_run_that_cannot_be_packed_stays_and_holds_nobody_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its rows were changed from outside; it is logged once, the others are packed."""
    async with opened("sqlite", tmp_path) as world:
        await fill(world, MANY)
        world.clock.now_ms += 5
        await fill(world, MANY, "wsr_b")
        damage(
            tmp_path, "UPDATE events SET running_bytes = running_bytes + 1 WHERE position & 0xffffffff = 9"
        )
        damage(tmp_path, "UPDATE events SET running_bytes = running_bytes - 1 WHERE position = (2 << 32) + 9")
        assert await compact(world.log) == 304
        assert await compact(world.log) == 0
        assert caplog.text.count("is not compacted and stays as it is: the running total of event 9") == 1
        assert await verify_by_recomputing(world) == 304
    assert maintenance.compact(tmp_path / "log.sqlite", LogLimits(), lambda _: None).left_alone == 1


# A bad disk


async def test_a_swap_that_finds_no_room_changes_nothing_and_is_done_later(tmp_path: Path) -> None:
    """Failed and lost; appends beside it are not harmed."""
    async with opened("sqlite", tmp_path) as world:
        size = await fill(world, [event(data=random.Random(n).randbytes(300).hex()) for n in range(400)])

        def room(pages: int) -> Callable[[Any], None]:
            return lambda tx: tx._execute(f"PRAGMA max_page_count = {pages}")

        (count,) = rows(tmp_path, "PRAGMA page_count")[0]
        await in_writer(world, room(count + 2))
        before = rows(tmp_path)
        for _ in range(2):
            with pytest.raises(StorageUnavailable):
                await world.log.compact(ALWAYS_MS)
            assert rows(tmp_path) == before
            assert packs(tmp_path) == []
        await world.log.append(Append("wsr_b", 0, [event()]))
        await in_writer(world, room(2**30))
        assert await compact(world.log) == size
        assert await verify_by_recomputing(world) == size


# The worker


async def test_the_worker_compacts_what_is_due_and_waits_out_a_full_disk(tmp_path: Path) -> None:
    """It goes on after a refusal, and leaves alone what ended just now."""
    async with opened("sqlite", tmp_path, limits=SMALL) as world:
        await fill(world, MANY)
        refused = 0
        real = world.log.compact

        async def refuse_first(quiet_since_ms: int) -> int:
            nonlocal refused
            refused += 1
            if refused < 3:
                raise StorageUnavailable("no room") if refused == 1 else DamagedLog("a pack is damaged")
            return await real(quiet_since_ms)

        world.log.compact = refuse_first  # type: ignore[method-assign]  # a disk that is full for a while
        worker = Compactor(world.log, world.clock, SMALL)
        task = asyncio.create_task(worker.run_forever())
        while rows(tmp_path, "SELECT 1 FROM events LIMIT 1"):  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.01)
        task.cancel()
        assert await asyncio.gather(task, return_exceptions=True)
        await fill(world, MANY, "wsr_b")
        patient = Compactor(world.log, world.clock, LogLimits(compact_quiet_ms=1000))
        world.clock.now_ms += 999
        assert await patient.compact_due() == 0
        world.clock.now_ms += 1
        assert await patient.compact_due() == 304
        assert "Compactor(" in repr(worker)


async def test_compaction_beside_appends_and_readers_loses_nothing(tmp_path: Path) -> None:
    """Runs end and are packed while others are written, and followed by readers to their end."""
    limits = LogLimits(pack_bytes=600, compact_step_bytes=1500, chunk_bytes=2000, readers=3)
    async with opened("sqlite", tmp_path, limits=limits) as world:

        async def write(number: int) -> None:
            stream = f"wsr_{number}"
            await world.create(stream)
            for _ in range(30):
                await world.log.append(Append(stream, None, [event(data="x" * 40)] * 3))
            await end(world, stream)

        async def follow(number: int, framing: Framing) -> int:
            stream, seq, count = f"wsr_{number}", 0, 0
            while True:
                chunk = await world.log.read_framed(stream, seq, framing, 7 if number % 2 else None)
                if chunk is None:
                    await world.log.wait_for_append(stream, seq, 1)
                    continue
                count, seq = count + chunk.count, chunk.last_seq
                if chunk.last_type == "terminal":
                    return count

        writing = [asyncio.create_task(write(number)) for number in range(12)]
        reading = [asyncio.create_task(follow(n, framing)) for n in range(12) for framing in Framing]
        while not all(task.done() for task in writing):
            await world.log.compact(ALWAYS_MS)
        assert await asyncio.gather(*reading) == [93] * 24
        await asyncio.gather(*writing)
        await compact(world.log)
        for number in range(12):
            assert await verify_by_recomputing(world, f"wsr_{number}") == 94
        assert rows(tmp_path) == []
