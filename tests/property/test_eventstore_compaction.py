"""Any run, compacted as far as you like: every read of it gives what the uncompacted copy gives."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from eventstore.log import LogLimits, NewEvent
from eventstore.sqlite import maintenance
from tests.compaction_kit import ALWAYS_MS, end, fill, redact, seen
from tests.depth import examples
from tests.log_kit import RUN, all_events, event, opened

TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["", "x" * 5000, "\u2028ü€😀", "\r\n\t\x00\x7f", "x" * 524_000]),
)
EVENTS = st.one_of(
    st.builds(lambda text: event("stdout", data=text), TEXTS),
    st.builds(lambda text: event("stdout", data=text), TEXTS),
    st.builds(lambda text: event("stderr", data=text), TEXTS),
    st.just(event("stdout", data="", dataBase64="/+8AAQ==")),
    st.just(event("phase", n=1)),
    st.just(event("seal")),
)


@examples(12)
@given(
    events=st.lists(EVENTS, max_size=25),
    repeated=st.sampled_from([1, 1, 1, 12]),
    erased=st.sets(st.integers(0, 400), max_size=12),
    later=st.sets(st.integers(0, 400), max_size=4),
    steps=st.sampled_from([0, 1, 2, 5, 10**6]),
    pack_bytes=st.sampled_from([1, 300, 2000, 65_536]),
    chunk_bytes=st.sampled_from([1, 400, 262_144]),
)
def test_every_read_of_a_compacted_run_is_that_of_its_copy(
    *, events: list[NewEvent], repeated: int, erased: set[int], later: set[int], steps: int, pack_bytes: int,
    chunk_bytes: int,
) -> None:  # fmt: skip
    """From every place and with several limits, redacted before or after, packed in whole or in part."""
    limits = LogLimits(pack_bytes=pack_bytes, compact_step_bytes=3 * pack_bytes, chunk_bytes=chunk_bytes)

    async def main(folder: Path) -> None:
        async with opened("sqlite", folder / "packed", limits=limits) as world:
            size = await fill(world, events * repeated)
            output = [one.seq for one in await all_events(world.log) if one.type in {"stdout", "stderr"}]
            first = {output[n % len(output)] for n in erased} if output else set()
            second = {output[n % len(output)] for n in later} - first if output else set()
            if first:
                await redact(world, sorted(first))
            for _ in range(steps):
                if not await world.log.compact(ALWAYS_MS):
                    break
            if second:
                await redact(world, sorted(second))
            if steps % 2:
                await end(world)
            maintenance.copy_to(folder / "packed" / "log.sqlite", folder / "rows" / "log.sqlite")
            maintenance.expand(folder / "rows" / "log.sqlite", lambda _: None)
            step = max(1, size // 30)
            places = sorted({*range(0, size + 4, step), size - 1, size, size + 1})
            async with opened("sqlite", folder / "rows", limits=limits) as copy:
                assert await seen(world.log, places, (1, 3, 1000)) == await seen(
                    copy.log, places, (1, 3, 1000)
                )
                gone = [one.seq for one in await all_events(copy.log, RUN) if one.payload is None]
                assert gone == sorted(first | second)

    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "rows").mkdir()
        asyncio.run(main(Path(name)))
