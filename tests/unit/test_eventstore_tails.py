"""Live readers are answered from memory, with the bytes that the database would have given."""

import asyncio
from pathlib import Path

import pytest

from eventstore.log import Append, Chunk, Framing, LogLimits, NewEvent, Redaction
from tests.log_kit import RUN, World, event, opened, waiters

END = [event("terminal"), event("seal")]


async def append_followed(world: World, events: list[NewEvent], size: int) -> None:
    """Append while somebody waits for it."""
    following = asyncio.create_task(world.log.wait_for_append(RUN, size, 30))
    await waiters(world, 1)
    await world.log.append(Append(RUN, size, events))
    assert await following


async def both_ways(world: World, after_seq: int, framing: Framing) -> tuple[Chunk | None, Chunk | None, int]:
    """What a live reader gets, what the database gives, and how often the first asked the database."""
    before = world.log.statistics()["reads"]
    live = await world.log.read_framed(RUN, after_seq, framing)
    asked = world.log.statistics()["reads"] - before
    return live, await world.log.read_framed(RUN, after_seq, framing, 1000), asked


@pytest.mark.parametrize("framing", Framing)
async def test_a_follower_reads_the_newest_commit_from_memory(tmp_path: Path, framing: Framing) -> None:
    """Wherever in it they stand; those further behind, and at its end, ask the database."""
    async with opened("sqlite", tmp_path) as world:
        await world.create()
        await append_followed(world, [event(data="ä\u2028\n"), event(), event()], 1)
        for after_seq, asks in ((0, 1), (1, 0), (2, 0), (1, 0), (3, 0), (4, 1)):
            live, stored, asked = await both_ways(world, after_seq, framing)
            assert live == stored
            assert asked == asks, f"after {after_seq}"


async def test_what_nobody_follows_is_not_kept(tmp_path: Path) -> None:
    """And a commit that nobody waited for does not leave the one before it as the newest."""
    async with opened("sqlite", tmp_path) as world:
        await world.create()
        await world.log.append(Append(RUN, 1, [event()]))
        assert (await both_ways(world, 1, Framing.SSE))[2] == 1
        await append_followed(world, [event()], 2)
        await world.log.append(Append(RUN, 3, [event()]))
        live, _, asked = await both_ways(world, 2, Framing.SSE)
        assert live is not None
        assert (live.last_seq, asked) == (3, 0)
        live, _, asked = await both_ways(world, 3, Framing.SSE)
        assert live is not None
        assert (live.last_seq, asked) == (4, 1)


async def test_internal_events_are_not_shown(tmp_path: Path) -> None:
    """The seal behind `terminal`, which no reader gets."""
    async with opened("sqlite", tmp_path) as world:
        await world.create()
        await append_followed(world, END, 1)
        live, stored, asked = await both_ways(world, 1, Framing.NDJSON)
        assert live == stored
        assert live is not None
        assert (live.count, live.last_type, asked) == (1, "terminal", 0)
        live, stored, _ = await both_ways(world, 2, Framing.NDJSON)
        assert live is stored is None


async def test_what_is_erased_is_gone_from_memory_too(tmp_path: Path) -> None:
    """A reader after the acknowledgement gets the placeholder (P7)."""
    async with opened("sqlite", tmp_path) as world:
        await world.create()
        await append_followed(world, [event("stdout", data="secret"), *END], 1)
        await world.log.redact(Redaction(RUN, [2], "asked for", "key_a"))
        live, stored, _ = await both_ways(world, 1, Framing.NDJSON)
        assert live == stored
        assert live is not None
        assert b"secret" not in live.data


async def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    """A large commit is read from the database, and so are streams beyond the limit."""
    limits = LogLimits(tails_max=1, chunk_bytes=1000)
    async with opened("sqlite", tmp_path, limits=limits) as world:
        await world.create()
        await append_followed(world, [event()], 1)
        assert (await both_ways(world, 1, Framing.SSE))[2] == 0
        await append_followed(world, [event(data="x" * 1000)], 2)
        assert (await both_ways(world, 2, Framing.SSE))[2] == 1
        assert (await both_ways(world, 1, Framing.SSE))[2] == 1
