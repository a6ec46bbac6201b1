"""Any sequence of requests: both backends give the same answers, and a simple model agrees."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore.log import Append, Framing, LogError, LogLimits, Record
from eventstore.views import ViewQuery
from tests.compaction_kit import ALWAYS_MS
from tests.log_kit import Explosion, World, claim, event, opened, verify_by_recomputing

STREAMS = ("wsr_a", "wsr_b", "org_c")
NAMES = st.sampled_from(["", "a", "b", "ä'"])
ROWS = st.fixed_dictionaries(
    {
        "view": st.sampled_from(["runs", "artifacts"]),
        "id": st.sampled_from(["x1", "x2", "x3", "x4", "x5"]),
        "project_id": NAMES, "status": NAMES, "parent": NAMES, "sort_key": NAMES,
        "labels": st.dictionaries(st.sampled_from(["l", "m"]), NAMES, max_size=2),
        "doc": st.sampled_from(["{}", '{"a":1}']),
    }
)  # fmt: skip
EVENTS = st.one_of(
    st.builds(event, data=st.text(max_size=40)),
    st.builds(lambda row: event("status", put=[row]), ROWS),
    st.builds(
        lambda view, one: event(delete=[[view, one]]),
        ROWS.map(lambda r: r["view"]),
        ROWS.map(lambda r: r["id"]),
    ),
    st.just(event("seal")),
    st.just(event(explode=True)),
    st.just(event(x=0.5)),
)
REQUESTS = st.fixed_dictionaries(
    {
        "stream": st.sampled_from(STREAMS),
        "behind": st.sampled_from([0, 0, 0, 1, None]),
        "events": st.lists(EVENTS, max_size=4),
        "fence": st.sampled_from([None, None, 1, 2, 3]),
        "key": st.sampled_from([None, None, "k1", "k2"]),
        "fingerprint": st.sampled_from(["f1", "f1", "f2"]),
        "records": st.lists(
            st.builds(Record, st.just("k"), st.sampled_from("12"), st.binary(max_size=3)), max_size=1
        ),
        "sleep_ms": st.sampled_from([0, 5, -5, 40_000]),
        "compact": st.sampled_from([0, 0, 1, 3]),
    }
)
QUERIES = st.builds(
    ViewQuery, st.just("org_1"),
    project_ids=st.none() | st.lists(NAMES, max_size=3),
    parent=st.none() | NAMES,
    statuses=st.lists(NAMES, max_size=3),
    labels=st.dictionaries(st.sampled_from(["l", "m"]), NAMES, max_size=2),
    before=st.none() | st.tuples(NAMES, st.sampled_from(["x1", "x3", "x5"])),
    limit=st.integers(1, 4),
)  # fmt: skip


async def outcome(world: World, request: dict[str, Any]) -> object:
    """What one request came to: the result, or the kind of refusal."""
    world.clock.now_ms += request["sleep_ms"]
    head = await world.log.head(request["stream"])
    size = head.size if head else 0
    behind = request["behind"]
    append = Append(
        request["stream"],
        None if behind is None else max(size - behind, 0),
        request["events"],
        fence=request["fence"],
        claim=claim(world, request["key"], request["fingerprint"]) if request["key"] else None,
        records=request["records"],
    )
    try:
        result: object = await world.log.append(append)
    except (LogError, Explosion, ValueError) as error:
        result = type(error)
    for _ in range(request["compact"]):
        await world.log.compact(ALWAYS_MS)
    return result


async def visible(world: World, queries: list[ViewQuery]) -> list[object]:
    """Everything that readers can see, but for salts and so for hashes."""
    seen: list[object] = [await world.log.streams("")]
    for stream in STREAMS:
        head = await world.log.head(stream)
        seen.append(head and (head.size, head.created_at_ms, head.fence))
        seen.append([(one.seq, one.type, one.payload) for one in await world.log.read(stream, public=False)])
        for framing in Framing:
            data, after_seq = b"", 0
            while chunk := await world.log.read_framed(stream, after_seq, framing, 3):
                data, after_seq = data + chunk.data, chunk.last_seq
            seen.append(data)
        if head:
            assert await verify_by_recomputing(world, stream) == head.size
    seen += [await world.log.list_view(view, query) for view in ("runs", "artifacts") for query in queries]
    seen.append([await world.log.get_record("k", number) for number in "12"])
    return seen


@settings(max_examples=40)
@given(st.lists(REQUESTS, min_size=1, max_size=12), st.lists(QUERIES, max_size=4))
def test_both_backends_do_the_same(requests: list[dict[str, Any]], queries: list[ViewQuery]) -> None:
    """Results, refusals and everything visible; and after each, every chain, tree and checkpoint verifies."""

    async def main(folder: Path) -> None:
        limits = LogLimits(chunk_bytes=300, expired_claims_swept=1000, pack_bytes=250, compact_step_bytes=400)
        async with (
            opened("sqlite", folder, limits=limits) as disk,
            opened("memory", folder, limits=limits) as memory,
        ):
            for request in requests:
                assert await outcome(disk, request) == await outcome(memory, request), request
            assert await visible(disk, queries) == await visible(memory, queries)
            assert disk.projector.counts == memory.projector.counts or disk.projector.forgotten

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
