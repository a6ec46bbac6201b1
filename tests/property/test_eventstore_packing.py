"""Packs: what is packed is unpacked, and bytes that are no pack are told apart, whatever they are."""

import struct
import tracemalloc
import zlib
from dataclasses import replace

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore.framing import join_frames
from eventstore.log import Framing, StoredEvent
from eventstore.packing import LINES_BYTES_MAX, DamagedPack, Pack, pack

LINES = st.binary(min_size=1, max_size=60).filter(lambda line: b"\n" not in line)
KINDS = st.sampled_from(["stdout", "stderr", "status", "seal", "redaction"])
LATER_MS = st.sampled_from([0, 0, 0, 1, 7, 127, 128, 20_000, 1 << 40])
ONES = st.tuples(KINDS, LATER_MS, LINES, st.booleans(), st.binary(min_size=32, max_size=32))


@st.composite
def runs(draw: st.DrawFn) -> list[StoredEvent]:
    """Events that follow each other, some of them erased."""
    seq, time_ms = draw(st.integers(1, 2**32 - 100)), draw(st.integers(0, 1 << 45))
    events: list[StoredEvent] = []
    for kind, later_ms, line, erased, filling in draw(st.lists(ONES, min_size=1, max_size=40)):
        time_ms += later_ms
        if erased:
            event = StoredEvent(seq, kind, time_ms, None, None, len(line) * 999, filling)
        else:
            event = StoredEvent(seq, kind, time_ms, line, filling[:16], len(line))
        events.append(event)
        seq += 1
    return events


@given(runs(), st.integers(0, 45), st.integers(0, 45))
def test_what_is_packed_is_unpacked(events: list[StoredEvent], skipped: int, wanted: int) -> None:
    """All of it, or the part that is asked for; printed again it gives the same bytes."""
    data = pack(events)
    opened = Pack(data)
    assert opened.events() == events
    assert pack(opened.events()) == data
    assert (opened.first_seq, opened.last_seq) == (events[0].seq, events[-1].seq)
    assert opened.last_type == events[-1].type
    after_seq = opened.first_seq - 1 + skipped
    assert opened.events(after_seq, after_seq + wanted) == events[skipped : skipped + wanted]
    intact = all(event.payload is not None for event in events)
    assert opened.is_plain() == (intact and not {event.type for event in events} & {"seal", "redaction"})
    if intact:
        for framing in Framing:
            assert opened.framed(framing) == join_frames(framing, events)


@settings(max_examples=300)
@given(runs(), st.data())
def test_a_changed_pack_is_told_apart(events: list[StoredEvent], data: st.DataObject) -> None:
    """One byte changed, some cut off, some added: refused, or (a bit without meaning) the same events."""
    whole = pack(events)
    at = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(1, 255))
    changed = whole[:at] + bytes([whole[at] ^ other]) + whole[at + 1 :]
    for forged in (changed, whole[:at], whole + b"\0", whole + whole):
        try:
            found = Pack(forged).events()
        except DamagedPack:
            continue
        assert found == events


@settings(max_examples=300)
@given(runs(), st.integers(0, 200), st.binary(min_size=1, max_size=12))
def test_a_head_that_was_forged_with_its_sum_is_no_crash(
    events: list[StoredEvent], at: int, put: bytes
) -> None:
    """Sections and sizes that contradict each other end in one kind of error, or in events."""
    whole = pack(events)
    at = 5 + at % (len(whole) - 5)
    forged = bytearray(whole[:at] + put + whole[at + len(put) :])
    frame_at = whole.index(b"\x28\xb5\x2f\xfd")
    forged[1:5] = struct.pack(">I", zlib.crc32(forged[5:frame_at]))
    try:
        opened = Pack(bytes(forged))
        opened.events()
        opened.lines()
    except DamagedPack:
        pass


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    """Nothing but a pack is one."""
    with pytest.raises(DamagedPack):
        Pack(data)


def one(payload: bytes | None = b"{}", **fields: object) -> StoredEvent:
    """An event that can be packed, but for what the test changes."""
    event = StoredEvent(7, "stdout", 5, payload, bytes(16), len(payload or b""))
    return replace(event, **fields)  # type: ignore[arg-type]  # fields of a dataclass


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([one(), one()], "do not follow"),
        ([one(), one(seq=9)], "do not follow"),
        ([one(), one(seq=8, created_at_ms=4)], "cannot be packed"),
        ([one(created_at_ms=-1)], "has no time"),
        ([one(b"{\n}")], "not one line"),
        ([one(salt=b"short")], "neither whole nor erased"),
        ([one(salt=None)], "neither whole nor erased"),
        ([one(None, salt=None)], "neither whole nor erased"),
        ([one(None, salt=None, commitment=b"short")], "neither whole nor erased"),
        ([one(None, commitment=bytes(32))], "neither whole nor erased"),
        ([one(commitment=bytes(32))], "neither whole nor erased"),
        ([one(b"x" * LINES_BYTES_MAX)], "a pack holds"),
    ],
    ids=range(12),
)
def test_what_a_pack_cannot_hold_is_refused(events: list[StoredEvent], why: str) -> None:
    """It stays in rows, whole."""
    with pytest.raises(ValueError, match=why):
        pack(events)


def test_a_pack_never_unpacks_to_more_than_its_head_says() -> None:
    """A frame that would be larger is refused before it is unpacked; one without a size too."""
    whole = pack([one(b"x" * 1000)])
    frame_at = whole.index(b"\x28\xb5\x2f\xfd")
    bomb = zstandard.ZstdCompressor().compress(b"x" * 500_000_000)
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 1000 + b"\n")
    tracemalloc.start()
    try:
        for frame in (bomb, unsized, b"", b"\x28\xb5\x2f\xfd"):
            with pytest.raises(DamagedPack):
                Pack(whole[:frame_at] + frame).lines()
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
