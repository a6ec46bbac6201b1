"""What compaction promises, whatever stores the log: nobody sees a difference."""

import random
from pathlib import Path

import pytest

from eventstore.log import Append, Framing, LogLimits, RedactionRefused, StorageUnavailable
from eventstore.proving import StreamLeaves, prove
from evidence.merkle import consistency_proof, inclusion_proof
from tests.compaction_kit import compact, end, fill, redact, seen
from tests.log_kit import RUN, World, all_events, event, opened, verify_by_recomputing

SMALL = LogLimits(pack_bytes=2000, compact_step_bytes=5000, chunk_bytes=3000)
"""Packs of a dozen events, so that a short run has many."""


async def test_a_run_that_goes_on_is_left_alone(world: World) -> None:
    """Its rows are hot; organisations never end."""
    await world.create()
    await world.add(500)
    await world.log.append(Append("org_1", 0, [event("organization_created")]))
    assert await compact(world.log) == 0
    assert await verify_by_recomputing(world) == 501


async def test_a_run_that_ended_just_now_waits(world: World) -> None:
    """Until nothing was added for the time that the caller names."""
    await fill(world, [event()] * 20)
    assert await compact(world.log, world.clock.now_ms - 1) == 0
    await compact(world.log, world.clock.now_ms)
    assert await verify_by_recomputing(world) == 24


@pytest.mark.parametrize("limits", [None, SMALL], ids=["as-served", "small"])
async def test_every_read_of_a_compacted_run_is_as_before(
    backend: str, tmp_path: Path, limits: LogLimits | None
) -> None:
    """Pages, frames, entries, blocks, head and checkpoint; from any place, with any limit."""
    chance = random.Random(3)
    async with opened(backend, tmp_path, limits=limits) as world:
        sizes = chance.choices((0, 10, 100, 700, 3000), k=600)
        kinds = ("stdout", "stdout", "stdout", "stderr", "output")
        events = [event(chance.choice(kinds), data="ü\n" * (size // 3), n=n) for n, size in enumerate(sizes)]
        events[100] = event(dataBase64="/+8=", data="")
        events[101] = event(data="x" * 500_000)
        events[400] = event("redaction")  # no order of types can make a reader stop early
        size = await fill(world, events)
        outputs = [one.seq for one in await all_events(world.log) if one.type in {"stdout", "stderr"}]
        await redact(world, [*outputs[40:60], *chance.sample(outputs[60:], 30)])
        # With small chunks each read from far before the end takes hundreds: from fewer places then.
        far = [0, 57, 102, 256] if limits else [0, 1, 2, 57, 58, 101, 102, 103, 255, 256, 402, 599]
        places = [*far, *range(size - 6, size + 3)]
        before = await seen(world.log, places)
        await compact(world.log)
        after = await seen(world.log, places)
        for name in before.__dataclass_fields__:
            assert getattr(after, name) == getattr(before, name), name
        assert await world.log.read(RUN, 2**63) == []


@pytest.mark.parametrize("seed", range(4))
async def test_readers_notice_nothing_while_it_goes_on(backend: str, tmp_path: Path, seed: int) -> None:
    """Between any two steps part of the run is packed and the rest is not."""
    chance = random.Random(seed)
    async with opened(backend, tmp_path, limits=SMALL) as world:
        size = await fill(world, [event(data="x" * chance.randrange(300), n=n) for n in range(300)])
        whole = await all_events(world.log)
        frames = [one.payload for one in whole if one.type != "seal"]
        while await world.log.compact(world.clock.now_ms):
            after = chance.randrange(size)
            assert [one async for one in world.log.entries(RUN, after)] == whole[after:]
            assert await world.log.read(RUN, after, 20, public=False) == whole[after : after + 20]
            chunk = await world.log.read_framed(RUN, after, Framing.NDJSON)
            if after < size - 1:
                assert chunk is not None
                assert chunk.data.splitlines() == frames[after : after + chunk.count]
                assert chunk.last_seq == after + chunk.count
        assert await verify_by_recomputing(world) == size


async def test_what_is_erased_after_compaction_is_erased_and_the_rest_stays(
    backend: str, tmp_path: Path
) -> None:
    """In several packs at once, then more of the same pack; proofs hold, the event that says so is there."""
    async with opened(backend, tmp_path, limits=SMALL) as world:
        size = await fill(world, [event(data=f"line {n}") for n in range(200)])
        await compact(world.log)
        before = await all_events(world.log)
        await redact(world, [3, 4, 90])
        await redact(world, [5, 91, 199])
        with pytest.raises(RedactionRefused, match="redacted already"):
            await redact(world, [6, 90])
        with pytest.raises(RedactionRefused, match="is terminal"):
            await redact(world, [size - 1])
        with pytest.raises(RedactionRefused, match="no event 999"):
            await redact(world, [999])
        for compacted in (False, True):
            if compacted:
                await compact(world.log)
            after = await all_events(world.log)
            assert len(after) == size + 2
            for one, other in zip(before, after, strict=False):
                if one.seq in {3, 4, 5, 90, 91, 199}:
                    assert (other.payload, other.salt, other.payload_size) == (None, None, one.payload_size)
                    assert other.commitment is not None
                else:
                    assert one == other
            chunk = await world.log.read_framed(RUN, 0, Framing.NDJSON)
            assert chunk is not None
            assert b'"redacted":true,"seq":3' in chunk.data


async def test_a_compacted_run_is_proved_as_before(backend: str, tmp_path: Path) -> None:
    """Leaves are recomputed from what is packed, inside and across its packs."""
    async with opened(backend, tmp_path, limits=SMALL) as world:
        size = await fill(world, [event(data="x" * (n % 90)) for n in range(700)])
        head = await world.log.head(RUN)
        assert head is not None

        async def proofs() -> list[object]:
            leaves = await StreamLeaves.of(world.log, RUN)
            return [
                *[
                    await prove(leaves, lambda subtree, at=at: inclusion_proof(at, size, subtree))
                    for at in (0, 100, 255, 256, 511, 512, size - 1)
                ],
                await prove(leaves, lambda subtree: consistency_proof(300, size, subtree)),
            ]

        before = await proofs()
        await compact(world.log)
        assert await proofs() == before
        assert await verify_by_recomputing(world) == size


async def test_many_runs_are_compacted_oldest_first_and_apart(backend: str, tmp_path: Path) -> None:
    """Each is whole afterwards; an unsealed neighbour is not touched."""
    async with opened(backend, tmp_path, limits=SMALL) as world:
        for number in range(5):
            world.clock.now_ms += 1000
            await fill(world, [event(data=f"{number}/{n}") for n in range(50)], f"wsr_{number}")
        await world.create("wsr_open")
        await world.add(50, "wsr_open")
        await compact(world.log)
        await end(world, "wsr_open")
        for number in range(5):
            assert await verify_by_recomputing(world, f"wsr_{number}") == 54
        assert await verify_by_recomputing(world, "wsr_open") == 54


async def test_a_view_is_folded_from_a_compacted_run(backend: str, tmp_path: Path) -> None:
    """The projector asks for the payloads of a run whose fold is not remembered."""
    async with opened(backend, tmp_path, limits=SMALL) as world:
        size = await fill(world, [event(data="x" * 100)] * 60)
        await compact(world.log)
        world.projector.forget()
        await redact(world, [3])
        row = await world.log.get_view("runs", RUN)
        assert row is not None
        assert row.doc == b'{"events":%d}' % (size + 1)


async def test_a_closed_log_is_not_compacted(world: World) -> None:
    """It is refused like every other write."""
    await fill(world, [event()] * 3)
    await world.log.aclose()
    with pytest.raises(StorageUnavailable):
        await world.log.compact(world.clock.now_ms)
