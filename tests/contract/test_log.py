"""What every log promises, whatever stores it: the contract of `eventstore.log.EventLog`."""

import asyncio
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from eventstore.log import (
    Answer,
    Append,
    Appended,
    ExpectedHeadMismatch,
    Framing,
    IdempotencyKeyReused,
    LogLimits,
    NewEvent,
    Record,
    StaleFence,
    StorageUnavailable,
    UnknownStream,
)
from evidence.canonical import canonical
from evidence.record import genesis
from tests.log_kit import (
    RUN,
    Explosion,
    World,
    all_events,
    claim,
    event,
    opened,
    verify_by_recomputing,
    waiters,
)

# Numbers, times, bytes


async def test_events_are_numbered_from_one_without_gaps(world: World) -> None:
    """Single events and batches share one numbering (P2.1)."""
    first = await world.log.append(Append(RUN, 0, [event("status"), event()]))
    second = await world.log.append(Append(RUN, 2, [event()] * 3))
    assert (first.first_seq, first.last_seq) == (1, 2)
    assert (second.first_seq, second.last_seq) == (3, 5)
    assert [one.seq for one in await all_events(world.log)] == [1, 2, 3, 4, 5]


async def test_a_payload_is_canonical_json_with_type_seq_and_time(world: World) -> None:
    """The bytes are made once, at append, keys sorted, line separators escaped (P1.1, P1.2)."""
    await world.log.append(
        Append(RUN, 0, [event("stdout", data="a\u2028ü", Zoo=[1, None], b={"y": 1, "x": 2})])
    )
    (stored,) = await world.log.read(RUN)
    assert stored.payload is not None
    parsed = json.loads(stored.payload)
    assert stored.payload == canonical(parsed)
    assert b"\\u2028\xc3\xbc" in stored.payload
    assert parsed == {
        "type": "stdout", "seq": 1, "createdAt": "2023-11-14T22:13:20.000Z",
        "data": "a\u2028ü", "Zoo": [1, None], "b": {"y": 1, "x": 2},
    }  # fmt: skip


async def test_one_append_has_one_time_that_never_decreases(world: World) -> None:
    """Whatever the wall clock does, and whatever time the caller asks for (P2.1, P2.1a)."""
    start = world.clock.now_ms
    await world.create()
    world.clock.now_ms = start - 5000
    back = await world.log.append(Append(RUN, 1, [event(), event()]))
    asked = await world.log.append(Append(RUN, 3, [event()], created_at_ms=start + 700))
    early = await world.log.append(Append(RUN, 4, [event()], created_at_ms=start + 1))
    assert [one.created_at_ms - start for one in (back, asked, early)] == [0, 700, 700]
    assert [one.created_at_ms - start for one in await all_events(world.log)] == [0, 0, 0, 700, 700]


async def test_an_unknown_stream_is_unknown(world: World) -> None:
    """Nothing is there to read, to sign or to continue."""
    assert await world.log.head("wsr_none") is None
    assert await world.log.checkpoint("wsr_none") is None
    assert await world.log.read("wsr_none") == []
    assert await world.log.read_framed("wsr_none", 0, Framing.SSE) is None
    assert await world.log.blocks("wsr_none") == []
    assert [one async for one in world.log.entries("wsr_none")] == []
    with pytest.raises(UnknownStream):
        await world.log.append(Append("wsr_none", None, [event()]))
    with pytest.raises(ExpectedHeadMismatch):
        await world.log.append(Append("wsr_none", 3, [event()]))


@pytest.mark.parametrize(
    "bad",
    [
        NewEvent("stdout", {"seq": 7}),
        NewEvent("stdout", {"type": "x"}),
        NewEvent("stdout", {"createdAt": "now"}),
        NewEvent("Stdout", {}),
        NewEvent("", {}),
        NewEvent("a" * 33, {}),
        NewEvent("stdout", {"x": 1.5}),
        NewEvent("stdout", {"x": 2**53}),
        NewEvent("stdout", {"x": "\ud800"}),
        NewEvent("stdout", {"ä": 1}),
        NewEvent("stdout", {"data": "x" * 600_000}),
    ],
    ids=lambda bad: repr(bad)[:40],
)
async def test_an_event_outside_the_profile_is_a_mistake_of_the_program(world: World, bad: NewEvent) -> None:
    """It raises ValueError, the whole append leaves nothing, and the log goes on (P1.2)."""
    await world.create()
    with pytest.raises(ValueError):  # noqa: PT011  # several kinds of it
        await world.log.append(Append(RUN, 1, [event(), bad]))
    await world.log.append(Append(RUN, 1, [event()]))
    assert await verify_by_recomputing(world) == 2


async def test_too_many_events_in_one_append_are_refused(world: World) -> None:
    """The limit has a name, and the message says to split."""
    with pytest.raises(ValueError, match="split them, at most 1000"):
        await world.log.append(Append(RUN, 0, [event()] * 1001))
    await world.log.append(Append(RUN, 0, [event()] * 1000))


# Who may append


async def test_the_size_is_the_one_committed(world: World) -> None:
    """Known the moment an append returns, also of a stream that was asked for before it was there."""
    assert await world.log.size(RUN) == 0
    await world.create()
    assert await world.log.size(RUN) == 1
    with pytest.raises(ExpectedHeadMismatch):
        await world.log.append(Append(RUN, 7, [event()]))
    assert await world.log.size(RUN) == 1
    await world.log.append(Append(RUN, 1, [event()] * 3))
    assert await world.log.size(RUN) == 4


async def test_a_wrong_expected_head_changes_nothing(world: World) -> None:
    """The refusal tells the size found, so that the caller can load and decide again."""
    await world.create()
    for expected in (0, 2, 99):
        with pytest.raises(ExpectedHeadMismatch) as refused:
            await world.log.append(Append(RUN, expected, [event()], records=[Record("k", "i", b"d")]))
        assert (refused.value.expected, refused.value.actual) == (expected, 1)
    assert await world.log.get_record("k", "i") is None
    assert await verify_by_recomputing(world) == 1


async def test_of_racing_writers_exactly_one_wins_each_number(world: World) -> None:
    """Sixteen writers that decide on the same head: no number is given twice, none is left out."""
    await world.create()
    wins: list[int] = []

    async def writer() -> None:
        for _ in range(8):
            while True:
                head = await world.log.head(RUN)
                assert head is not None
                try:
                    done = await world.log.append(Append(RUN, head.size, [event()]))
                except ExpectedHeadMismatch:
                    continue
                wins.append(done.last_seq)
                break

    await asyncio.gather(*(writer() for _ in range(16)))
    assert sorted(wins) == list(range(2, 2 + 16 * 8))
    assert await verify_by_recomputing(world) == 1 + 16 * 8


async def test_of_one_generation_exactly_one_append_is_accepted(world: World) -> None:
    """Handed over in one breath, so that they share a group: the losers do not harm the winner."""
    await world.create()
    results = await asyncio.gather(
        *(world.log.append(Append(RUN, 1, [event(n=n)])) for n in range(20)), return_exceptions=True
    )
    assert sum(isinstance(one, Appended) for one in results) == 1
    assert sum(isinstance(one, ExpectedHeadMismatch) for one in results) == 19
    assert await verify_by_recomputing(world) == 2


async def test_a_stale_fence_is_refused(world: World) -> None:
    """Once a newer holder of the lease has written, the older one is out; equal and newer go on."""
    await world.create()
    await world.log.append(Append(RUN, None, [event()], fence=7))
    await world.log.append(Append(RUN, None, [event()], fence=7))
    with pytest.raises(StaleFence):
        await world.log.append(Append(RUN, None, [event()], fence=6))
    await world.log.append(Append(RUN, None, (), fence=9))
    with pytest.raises(StaleFence):
        await world.log.append(Append(RUN, None, [event()], fence=8))
    await world.log.append(Append(RUN, None, [event()]))
    head = await world.log.head(RUN)
    assert head is not None
    assert (head.fence, head.size) == (9, 4)
    assert await verify_by_recomputing(world) == 4


# Idempotency (CONTRACT §5)


async def test_a_repeated_claim_gets_the_stored_answer_and_appends_nothing(world: World) -> None:
    """Also under another stream id: a retried creation finds the stream of the first one."""
    first = await world.log.append(Append(RUN, 0, [event(), event()], claim=claim(world)))
    again = await world.log.append(Append("wsr_other", 0, [event()], claim=claim(world)))
    assert first.answer == Answer(200, b'{"events":2}')
    assert again == replace(first, replayed=True, log_size=None)
    assert not first.replayed
    assert await world.log.head("wsr_other") is None
    assert await verify_by_recomputing(world) == 2


async def test_a_claim_with_another_fingerprint_is_refused(world: World) -> None:
    """The same key for another request is the caller's mistake."""
    await world.log.append(Append(RUN, 0, [event()], claim=claim(world)))
    with pytest.raises(IdempotencyKeyReused):
        await world.log.append(Append(RUN, 1, [event()], claim=claim(world, fingerprint="other")))
    with pytest.raises(IdempotencyKeyReused):
        await world.log.stored_answer("k1", "other")
    assert await verify_by_recomputing(world) == 1


async def test_an_expired_claim_is_as_new(world: World) -> None:
    """After its time the key is free, whatever the request."""
    await world.log.append(Append(RUN, 0, [event()], claim=claim(world)))
    world.clock.now_ms += 59_999
    assert await world.log.stored_answer("k1", "f1") == Answer(200, b'{"events":1}')
    world.clock.now_ms += 1
    assert await world.log.stored_answer("k1", "f1") is None
    done = await world.log.append(Append(RUN, 1, [event()], claim=claim(world, fingerprint="other")))
    assert (done.answer, done.replayed) == (Answer(200, b'{"events":2}'), False)


async def test_expired_claims_are_swept_by_new_ones(world: World) -> None:
    """So the store does not grow for ever; the live ones stay."""
    await world.create()
    for number in range(6):
        await world.log.append(Append(RUN, None, (), claim=claim(world, f"old{number}")))
    world.clock.now_ms += 60_000
    for number in range(3):
        await world.log.append(Append(RUN, None, (), claim=claim(world, f"new{number}")))
    world.clock.now_ms -= 60_000  # were they still stored, they would answer again
    assert [await world.log.stored_answer(f"old{n}", "f1") for n in range(6)] == [None] * 6
    assert await world.log.stored_answer("new0", "f1") is not None


async def test_identical_claims_at_once_append_once(world: World) -> None:
    """Ten callers with one key and one request: one append, ten equal answers."""
    await world.create()
    done = await asyncio.gather(
        *(world.log.append(Append(RUN, 1, [event()], claim=claim(world))) for _ in range(10))
    )
    assert sorted(one.replayed for one in done) == [False] + [True] * 9
    assert {one.answer for one in done} == {Answer(200, b'{"events":2}')}
    assert await verify_by_recomputing(world) == 2


async def test_a_claim_without_events_stores_its_answer(world: World) -> None:
    """For requests that change no stream: with a row where there is one, and without."""
    unknown = await world.log.append(Append(RUN, 0, (), claim=claim(world, "early")))
    assert unknown.answer == Answer(200, b"no row")
    assert await world.log.head(RUN) is None
    await world.create()
    done = await world.log.append(Append(RUN, None, (), claim=claim(world)))
    assert done.answer == Answer(200, b'{"events":1}')
    assert done.last_seq < done.first_seq
    assert await world.log.stored_answer("k1", "f1") == done.answer
    assert await world.log.stored_answer("nobody", "f1") is None
    assert await verify_by_recomputing(world) == 1


async def test_an_answer_that_fails_leaves_nothing(world: World) -> None:
    """It is made inside the transaction, so its events fall with it."""
    await world.create()

    def explode(_: object) -> Answer:
        raise Explosion("answer")

    with pytest.raises(Explosion):
        await world.log.append(Append(RUN, 1, [event()], claim=claim(world, answer=explode)))
    assert await world.log.stored_answer("k1", "f1") is None
    assert await world.log.get_view("runs", RUN) is not None
    assert await verify_by_recomputing(world) == 1
    done = await world.log.append(Append(RUN, 1, [event()], claim=claim(world)))
    assert done.answer == Answer(200, b'{"events":2}')


# All or nothing


async def test_a_projector_that_raises_leaves_nothing(world: World) -> None:
    """No event, no view, no record, no claim; the cached folds are dropped and made anew."""
    await world.create()
    before = await world.log.get_view("runs", RUN)
    forgotten = world.projector.forgotten
    events = [event(put=[{"view": "users", "id": "u"}]), event(explode=True)]
    with pytest.raises(Explosion):
        await world.log.append(Append(RUN, 1, events, claim=claim(world), records=[Record("k", "i", b"d")]))
    assert world.projector.forgotten == forgotten + 1
    assert world.projector.counts == {}
    assert await world.log.get_view("runs", RUN) == before
    assert await world.log.get_view("users", "u") is None
    assert await world.log.get_record("k", "i") is None
    assert await world.log.stored_answer("k1", "f1") is None
    await world.log.append(Append(RUN, 1, [event()]))
    row = await world.log.get_view("runs", RUN)
    assert row is not None
    assert row.doc == b'{"events":2}'
    assert await verify_by_recomputing(world) == 2


async def test_a_stream_whose_creation_fails_does_not_exist(world: World) -> None:
    """And can be created afterwards."""
    with pytest.raises(Explosion):
        await world.log.append(Append(RUN, 0, [event(explode=True)]))
    assert await world.log.head(RUN) is None
    assert await world.log.streams("") == []
    await world.create()
    assert await verify_by_recomputing(world) == 1


async def test_a_failing_append_does_not_harm_those_beside_it(world: World) -> None:
    """Handed over in one breath: refusals and explosions fail alone, in whatever order they come."""
    for number in range(12):
        await world.create(f"wsr_{number}")
    requests = [Append(f"wsr_{number}", 1, [event()]) for number in range(12)]
    requests[2] = Append("wsr_2", 1, [event(explode=True)])
    requests[5] = Append("wsr_5", 7, [event()])
    requests[9] = Append("wsr_9", 1, [event(type=1)])
    results = await asyncio.gather(*(world.log.append(one) for one in requests), return_exceptions=True)
    failed = {number: type(one) for number, one in enumerate(results) if isinstance(one, Exception)}
    assert failed == {2: Explosion, 5: ExpectedHeadMismatch, 9: ValueError}
    for number in range(12):
        assert await verify_by_recomputing(world, f"wsr_{number}") == (1 if number in failed else 2)
        row = await world.log.get_view("runs", f"wsr_{number}")
        assert row is not None
        assert row.doc == b'{"events":%d}' % (1 if number in failed else 2)


async def test_a_cancelled_caller_does_not_stop_an_append_that_was_handed_over(world: World) -> None:
    """It is done to its end, and readers are woken."""
    await world.create()
    waiting = asyncio.create_task(world.log.wait_for_append(RUN, 1, 30))
    appending = asyncio.create_task(world.log.append(Append(RUN, 1, [event()])))
    await asyncio.sleep(0)
    appending.cancel()
    await asyncio.wait([appending])
    assert await waiting
    assert await verify_by_recomputing(world) == 2


# Proof


async def test_chain_tree_and_checkpoint_recompute_over_several_subtrees(world: World) -> None:
    """700 events in uneven batches: two kept 256-leaf roots, one signed root (P2, P3.1)."""
    await world.create()
    for size in (1, 254, 1, 300, 144):
        await world.log.append(Append(RUN, None, [event(data=f"line {n}\n") for n in range(size)]))
    assert await verify_by_recomputing(world) == 701
    assert len(await world.log.blocks(RUN)) == 2


async def test_a_checkpoint_is_signed_at_creation_at_the_seal_and_once_a_size(world: World) -> None:
    """Asking again costs no signature (P4.3)."""
    await world.create()
    assert world.signer.signed == 1
    assert await world.log.checkpoint(RUN) == await world.log.checkpoint(RUN)
    assert world.signer.signed == 1
    await world.log.append(Append(RUN, None, [event()] * 3))
    assert world.signer.signed == 1
    notes = await asyncio.gather(*(world.log.checkpoint(RUN) for _ in range(5)))
    assert len(set(notes)) == 1
    assert world.signer.signed == 2
    await world.log.append(Append(RUN, None, [event("outcome"), event("terminal"), event("seal")]))
    assert world.signer.signed == 3
    await verify_by_recomputing(world)
    assert world.signer.signed == 3


async def test_the_genesis_commits_to_the_anchor_of_the_moment(backend: str, tmp_path: Path) -> None:
    """Each stream keeps the note that was newest when it was created (P2.3)."""
    notes = [b"first\n", b"second\n"]
    async with opened(backend, tmp_path, anchor=lambda: notes[0]) as world:
        await world.create("wsr_1")
        notes.pop(0)
        await world.create("org_2")
        await world.log.append(Append("wsr_1", 1, [event()]))
        for stream, note, size in (("wsr_1", b"first\n", 2), ("org_2", b"second\n", 1)):
            head = await world.log.head(stream)
            assert head is not None
            assert head.anchor_note == note
            assert genesis(stream, note) != genesis(stream, b"")
            assert await verify_by_recomputing(world, stream) == size


async def test_salts_are_never_the_same(world: World) -> None:
    """16 random bytes an event, so that a redacted one-word output cannot be guessed (P7)."""
    await world.create()
    await world.add(500, data="same")
    assert len({one.salt for one in await all_events(world.log)}) == 501


# Reading


async def test_read_pages_by_after_seq_and_limit(world: World) -> None:
    """`after_seq` is exclusive; behind the end, below zero and beyond any number are no errors."""
    await world.create()
    await world.add(9)
    await world.create("wsr_b")

    async def seqs(after_seq: int, limit: int = 100) -> list[int]:
        return [one.seq for one in await world.log.read(RUN, after_seq, limit)]

    assert await seqs(0) == list(range(1, 11))
    assert await seqs(3, 2) == [4, 5]
    assert await seqs(-5, 1) == [1]
    for behind in (10, 11, 2**32 - 1, 2**32, 2**40, 2**63):
        assert await seqs(behind) == []
        assert await world.log.read_framed(RUN, behind, Framing.NDJSON) is None
        assert [one async for one in world.log.entries(RUN, behind)] == []


async def test_internal_events_are_for_proofs_only(world: World) -> None:
    """Readers see the stream end at `terminal`; entries show seal and redaction too (CONTRACT §6.2)."""
    await world.create()
    await world.log.append(Append(RUN, None, [event("terminal"), event("seal")]))
    await world.log.append(Append(RUN, None, [event("redaction")]))
    assert [one.type for one in await world.log.read(RUN)] == ["stdout", "terminal"]
    assert [one.type for one in await world.log.read(RUN, public=False, after_seq=2)] == ["seal", "redaction"]
    chunk = await world.log.read_framed(RUN, 0, Framing.SSE)
    assert chunk is not None
    assert (chunk.count, chunk.last_seq, chunk.last_type) == (2, 2, "terminal")
    assert await world.log.read_framed(RUN, 2, Framing.SSE) is None
    assert len(await all_events(world.log)) == 4
    assert [one.seq async for one in world.log.entries(RUN, 1, 3)] == [2, 3]


async def test_public_events_behind_a_page_of_internal_ones_are_found(backend: str, tmp_path: Path) -> None:
    """No order of types can make a reader stop early."""
    async with opened(backend, tmp_path, limits=LogLimits(chunk_bytes=200)) as world:
        await world.create()
        await world.log.append(Append(RUN, None, [event("redaction", n=n) for n in range(20)]))
        await world.log.append(Append(RUN, None, [event("terminal")]))
        chunk = await world.log.read_framed(RUN, 1, Framing.NDJSON, 1)
        assert chunk is not None
        assert (chunk.count, chunk.last_seq, chunk.last_type) == (1, 22, "terminal")


@pytest.mark.parametrize("framing", Framing)
async def test_framed_reads_carry_the_stored_bytes(backend: str, tmp_path: Path, framing: Framing) -> None:
    """Joined chunks equal the payloads in their frames; no chunk is larger than promised (DESIGN §3)."""
    sizes = random.Random(7).choices((0, 10, 100, 3000, 9000), k=300)
    async with opened(backend, tmp_path, limits=LogLimits(chunk_bytes=8192)) as world:
        await world.create()
        await world.log.append(Append(RUN, None, [event(data="ü\n" * (size // 3)) for size in sizes]))
        await world.log.append(Append(RUN, None, [event("terminal"), event("seal")]))
        stored = await world.log.read(RUN, limit=1000)
        wanted = b"".join(
            b"%s\n" % one.payload
            if framing is Framing.NDJSON
            else b"id: %d\nevent: %s\ndata: %s\n\n" % (one.seq, one.type.encode(), one.payload)
            for one in stored
        )
        data, seq, chunks = b"", 0, 0
        while chunk := await world.log.read_framed(RUN, seq, framing):
            assert 1 <= len(chunk.data) <= 4 * 8192 + max(sizes) + 200
            assert chunk.last_seq == seq + chunk.count
            data, seq, chunks = data + chunk.data, chunk.last_seq, chunks + 1
        assert data == wanted
        assert chunks > 20
        for limit in (1, 2, 50):
            chunk = await world.log.read_framed(RUN, 100, framing, limit)
            assert chunk is not None
            assert 1 <= chunk.count <= limit


@pytest.mark.parametrize("bytes_max", [1, 150, 1000, 20_000])
async def test_a_chunk_holds_all_that_fits(backend: str, tmp_path: Path, bytes_max: int) -> None:
    """At least one event, and then as many as have room: one less would cost reads, one more memory."""
    sizes = random.Random(bytes_max).choices((0, 1, 30, 300, 3000), k=200)
    async with opened(backend, tmp_path, limits=LogLimits(chunk_bytes=bytes_max)) as world:
        await world.create()
        await world.create("wsr_b")  # beyond the last event lies another stream
        await world.log.append(Append(RUN, None, [event(data="x" * size) for size in sizes]))
        payloads = [one.payload_size for one in await world.log.read(RUN, limit=1000)]
        seq = 0
        while chunk := await world.log.read_framed(RUN, seq, Framing.NDJSON):
            rest, fitting, room = payloads[seq:], 0, bytes_max
            while fitting < len(rest) and rest[fitting] <= room:
                room -= rest[fitting]
                fitting += 1
            assert chunk.count == max(fitting, 1)
            seq = chunk.last_seq
        assert seq == len(payloads)


async def test_streams_are_listed_by_prefix_in_pages(world: World) -> None:
    """In id order, greater than `after`."""
    for stream in ("wsr_b", "org_1", "wsr_a", "wsr_c"):
        await world.create(stream)
    assert await world.log.streams("wsr_") == ["wsr_a", "wsr_b", "wsr_c"]
    assert await world.log.streams("wsr_", "wsr_a", 1) == ["wsr_b"]
    assert await world.log.streams("", "org_1") == ["wsr_a", "wsr_b", "wsr_c"]
    assert await world.log.streams("org_", "wsr_") == []


# The tail


async def test_waiting_returns_at_once_when_there_is_more_already(world: World) -> None:
    """Also for a stream that this process has not touched lately, and False after the time is over."""
    await world.create()
    assert await world.log.wait_for_append(RUN, 0, 0)
    assert not await world.log.wait_for_append(RUN, 1, 0.01)
    assert not await world.log.wait_for_append("wsr_none", 0, 0.01)
    assert world.log.statistics()["waiters"] == 0


async def test_a_thousand_waiters_are_woken_once_a_commit(world: World) -> None:
    """However many events came; a cancelled waiter leaves nothing behind."""
    await world.create()
    wakeups = 0

    async def subscriber() -> None:
        nonlocal wakeups
        assert await world.log.wait_for_append(RUN, 1, 30)
        wakeups += 1

    tasks = [asyncio.create_task(subscriber()) for _ in range(1000)]
    cancelled = asyncio.create_task(subscriber())
    await waiters(world, 1001)
    cancelled.cancel()
    await world.log.append(Append(RUN, 1, [event()] * 200))
    await asyncio.gather(*tasks)
    assert wakeups == 1000
    assert world.log.statistics()["waiters"] == 0


@pytest.mark.parametrize("seed", range(6))
async def test_the_tail_has_no_gap_from_catch_up_to_live(world: World, seed: int) -> None:
    """Readers that join at any moment, with hints and time-outs, see every event once and in order."""
    rng = random.Random(seed)
    await world.create()
    total = 150

    async def writer() -> None:
        size = 1
        while size < total:
            count = min(rng.choice((1, 1, 1, 7)), total - size)
            await world.log.append(Append(RUN, size, [event()] * count))
            size += count
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
        await world.log.append(Append(RUN, size, [event("terminal"), event("seal")]))

    async def reader(after_seq: int, pause: int) -> list[int]:
        seen: list[int] = []
        for _ in range(pause):
            await asyncio.sleep(0)
        seq = after_seq
        while True:
            if chunk := await world.log.read_framed(RUN, seq, Framing.NDJSON, rng.choice((1, 3, None))):
                seen += [json.loads(line)["seq"] for line in chunk.data.splitlines()]
                seq = chunk.last_seq
                if chunk.last_type == "terminal":
                    return seen
            else:
                await world.log.wait_for_append(RUN, seq, rng.choice((0, 0.002, 30)))

    starts = [rng.randrange(4) for _ in range(12)]
    readers = [reader(start, rng.randrange(60)) for start in starts]
    _, *seen = await asyncio.gather(writer(), *readers)
    for start, seqs in zip(starts, seen, strict=True):
        assert seqs == list(range(start + 1, total + 2)), f"seed {seed}"


# Records


async def test_records_are_stored_replaced_and_removed(world: World) -> None:
    """Beside the log, or atomically with an append."""
    await world.log.put_record(Record("transfer", "1", b"a"))
    await world.log.put_record(Record("transfer", "1", b"b", 5))
    await world.log.put_record(Record("lease", "1", b"c"))
    await world.log.append(Append(RUN, 0, [event()], records=[Record("transfer", "2", b"d")]))
    assert await world.log.get_record("transfer", "1") == Record("transfer", "1", b"b", 5)
    assert await world.log.get_record("transfer", "2") == Record("transfer", "2", b"d")
    await world.log.delete_record("transfer", "1")
    await world.log.delete_record("transfer", "1")
    assert await world.log.get_record("transfer", "1") is None
    assert await world.log.get_record("lease", "1") == Record("lease", "1", b"c")


async def test_expired_records_come_oldest_first(world: World) -> None:
    """Those of the kind whose time is over; the rest and the timeless stay."""
    for record_id, expires in (("a", 30), ("b", 10), ("c", 20), ("d", 21), ("e", None)):
        await world.log.put_record(Record("transfer", record_id, b"", expires))
    await world.log.put_record(Record("other", "x", b"", 1))
    expired = await world.log.expired_records("transfer", 20)
    assert [one.id for one in expired] == ["b", "c"]
    assert [one.id for one in await world.log.expired_records("transfer", 99, 3)] == ["b", "c", "d"]


# The end


async def test_a_closed_log_refuses_and_lets_its_waiters_go(backend: str, tmp_path: Path) -> None:
    """Nothing hangs, nothing is written."""
    async with opened(backend, tmp_path) as world:
        await world.create()
        waiting = asyncio.create_task(world.log.wait_for_append(RUN, 1, 30))
        await waiters(world, 1)
        await world.log.aclose()
        await asyncio.wait_for(waiting, 5)
        with pytest.raises(StorageUnavailable):
            await world.log.append(Append(RUN, 1, [event()]))
        with pytest.raises(StorageUnavailable):
            await world.log.read(RUN)
        await world.log.aclose()


async def test_statistics_count_what_happened(world: World) -> None:
    """Counters for metrics and tests."""
    await world.create()
    await world.add(5)
    await world.log.append(Append(RUN, None, (), claim=claim(world)))
    await world.log.append(Append(RUN, None, (), claim=claim(world)))
    with pytest.raises(ExpectedHeadMismatch):
        await world.log.append(Append(RUN, 0, [event()]))
    counts = world.log.statistics()
    assert (counts["appends"], counts["events"]) == (3, 6)
    assert (counts["replayed"], counts["refused"], counts["rollbacks"]) == (1, 1, 0)
    assert "Log(" in repr(world.log)
