"""Sealing: the written-out example is reproduced byte by byte, and the head is never changed in place."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.log import NewEvent
from eventstore.sealing import SEQ_MAX, StreamHead, new_head, seal
from evidence.canonical import ProfileError, canonical, decode
from evidence.merkle import CompactRange
from evidence.record import genesis, parse_time
from tests.evidence_samples import EXAMPLE_PAYLOADS, RUN, example_rows

EXAMPLE_ROOT = base64.b64decode("o1/jxi1+E+KjNtDSPEw4MA37TwJcsGhnXw0gM6dfuWU=")
MAX = 512 * 1024


def test_the_written_out_example_is_reproduced() -> None:
    """Sixteen events with their salts and times give the payloads and the root of EXAMPLE.md."""
    head = new_head(RUN, b"")
    for row, payload in zip(example_rows(), EXAMPLE_PAYLOADS, strict=True):
        fields = decode(payload)
        new = NewEvent(fields.pop("type"), fields)
        created_at_ms = parse_time(fields.pop("createdAt"))
        del fields["seq"]
        assert row.salt is not None
        sealed = seal(head, [new], created_at_ms, row.salt, MAX)
        assert sealed.events[0].payload == payload
        head = sealed.head
    assert head.size == 16
    assert head.public().root == EXAMPLE_ROOT


def test_the_head_before_stays_as_it_was() -> None:
    """So that an append that comes to nothing can be forgotten."""
    head = new_head(RUN, b"note")
    seal(head, [NewEvent("stdout", {})] * 300, 1000, bytes(16 * 300), MAX)
    assert head == new_head(RUN, b"note")
    assert head.last_leaf == genesis(RUN, b"note")


def test_one_batch_seals_like_many_single_events() -> None:
    """Where an append begins and ends leaves no trace but its time."""
    events = [NewEvent("stdout", {"data": str(number)}) for number in range(600)]
    salts = bytes(range(256)) * 40
    batch = seal(new_head(RUN, b""), events, 1000, salts[: 16 * 600], MAX)
    head, roots = new_head(RUN, b""), []
    for number, one in enumerate(events):
        sealed = seal(head, [one], 1000, salts[16 * number : 16 * number + 16], MAX)
        head = sealed.head
        roots += sealed.blocks
    assert batch.head == head
    assert batch.blocks == roots
    assert [index for index, _ in roots] == [0, 1]
    assert head.payload_bytes == sum(one.payload_size for one in batch.events)


def test_a_callers_fields_are_not_touched() -> None:
    """They may be shared between events."""
    fields = {"data": "x"}
    seal(new_head(RUN, b""), [NewEvent("stdout", fields)] * 2, 1000, bytes(32), MAX)
    assert fields == {"data": "x"}


def test_the_payload_limit_is_exact() -> None:
    """The limit itself fits, one byte more does not."""
    (one,) = seal(new_head(RUN, b""), [NewEvent("stdout", {"data": "x" * 100})], 0, bytes(16), MAX).events
    seal(new_head(RUN, b""), [NewEvent("stdout", {"data": "x" * 100})], 0, bytes(16), one.payload_size)
    with pytest.raises(ValueError, match=f"of {one.payload_size} bytes; at most {one.payload_size - 1} fit"):
        seal(
            new_head(RUN, b""), [NewEvent("stdout", {"data": "x" * 100})], 0, bytes(16), one.payload_size - 1
        )


def test_a_stream_that_is_full_is_refused() -> None:
    """A row's place has 32 bits for the seq; one more would belong to another stream."""
    tree = CompactRange(SEQ_MAX, [bytes(32)] * SEQ_MAX.bit_count())
    head = StreamHead(RUN, bytes(32), tree, 0, 0, b"", 0)
    with pytest.raises(ValueError, match="start another one"):
        seal(head, [NewEvent("stdout", {})], 0, bytes(16), MAX)


PRODUCERS = st.fixed_dictionaries({"number": st.integers(1, 2**53 - 1), "id": st.text()})
OUTPUT = st.fixed_dictionaries(
    {"data": st.text()}, optional={"producer": PRODUCERS, "more": st.integers(0, 9)}
)


@given(st.lists(OUTPUT, min_size=1, max_size=3), st.sampled_from(["stdout", "stderr"]))
def test_output_has_the_bytes_of_any_other_event(outputs: list[dict[str, object]], kind: str) -> None:
    """Its payload is written without sorting keys: the same canonical bytes, whatever was printed."""
    sealed = seal(
        new_head(RUN, b""),
        [NewEvent(kind, one) for one in outputs],
        1000,
        bytes(48)[: 16 * len(outputs)],
        MAX,
    )
    place = {"type": kind, "createdAt": "1970-01-01T00:00:01.000Z"}
    for seq, (one, fields) in enumerate(zip(sealed.events, outputs, strict=True), 1):
        assert one.payload == canonical({**fields, **place, "seq": seq})


@pytest.mark.parametrize("data", ["\ud800", "a\udfff", 1.5, 2**53, ["\ud800"]])
def test_output_outside_the_profile_is_refused_like_any_other_event(data: object) -> None:
    """A lone surrogate has no UTF-8, a float has no one spelling (P1.2)."""
    with pytest.raises(ProfileError):
        seal(new_head(RUN, b""), [NewEvent("stdout", {"data": data})], 0, bytes(16), MAX)
