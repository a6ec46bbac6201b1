"""Windows that prove themselves, and a reading that finds out when the next one tells another story."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.bundle import EntryChain
from evidence.canonical import FormatError
from evidence.checkpoint import format_checkpoint, parse_checkpoint
from evidence.merkle import CompactRange
from evidence.note import sign_note, split_note
from evidence.pin import Pin, parse_pin
from evidence.policy import format_policy, parse_policy
from evidence.proofs import consistency_proof, range_proof
from evidence.record import genesis
from evidence.verdict import CODES, VerificationError
from evidence.window import StreamReading
from tests.evidence_samples import (
    LOG_KEY,
    ORIGIN,
    OTHER_RUN,
    POLICY,
    RUN,
    StoredRow,
    event_of,
    example_rows,
    numbered,
    signer,
    with_event,
)

ROWS = example_rows()
SIZE = len(ROWS)


class Server:
    """A server that shows these rows and signs whatever it shows."""

    def __init__(self, rows: Sequence[StoredRow], stream: str = RUN, key: Any = LOG_KEY) -> None:
        self.stream, self.key = stream, key
        chain = EntryChain(stream, genesis(stream, b""))
        self.entries: list[bytes] = []
        self.leaves: list[bytes] = []
        for row in rows:
            self.entries.append(chain.add(row))
            self.leaves.append(chain.prev)

    def subtree(self, level: int, index: int) -> bytes:
        """Root of a full subtree."""
        tree = CompactRange()
        for leaf in self.leaves[index << level : (index + 1) << level]:
            tree.append(leaf)
        return tree.root()

    def note(self, size: int | None = None) -> bytes:
        """The signed checkpoint at a size, by default of everything."""
        tree = CompactRange()
        for leaf in self.leaves[:size]:
            tree.append(leaf)
        return sign_note(format_checkpoint(ORIGIN, self.stream, tree.size, tree.root()), self.key)

    def window(self, after: int, limit: int = 500, size: int | None = None) -> bytes:
        """The answer of `proof/events` while the stream had `size` events."""
        size = len(self.entries) if size is None else size
        end = min(after + limit, size)
        proof = range_proof(after, end, size, self.subtree, self.note(size))
        return b"".join(self.entries[after:end]) + b"\n" + proof.to_bytes()

    def consistency(self, size1: int, size2: int | None = None) -> bytes:
        """The answer of `proof/consistency`."""
        size2 = len(self.entries) if size2 is None else size2
        return consistency_proof(size1, size2, self.subtree, self.note(size2)).to_bytes()


HONEST = Server(ROWS)


def reading(pin: Pin | None = None) -> StreamReading:
    """A reader who trusts the sample policy."""
    return StreamReading(RUN, parse_policy(POLICY), pin)


def never(size1: int, size2: int) -> bytes:
    """For windows that show by themselves that the stream grew."""
    raise AssertionError(f"asked for {size1} to {size2}")


def caught(code: str, seq: int | None, read: Callable[[], object]) -> None:
    """It fails by exactly this code at exactly this event."""
    with pytest.raises(VerificationError) as found:
        read()
    assert (found.value.code, found.value.seq) == (code, seq), found.value
    assert code in CODES


@given(st.lists(st.integers(1, 7), min_size=1, max_size=20), st.data())
def test_a_run_read_in_any_windows_is_the_run(steps: list[int], data: st.DataObject) -> None:
    """Window by window, while the stream grows, every event is proved once and in order."""
    one, events = reading(), []
    for step in steps:
        size = data.draw(st.integers(max(one.seq, 1), SIZE))
        if one.checkpoint and size < one.checkpoint.size:
            size = one.checkpoint.size
        events += one.take(one.seq, HONEST.window(one.seq, step, size), HONEST.consistency)
    assert events == [event_of(row) for row in ROWS[: one.seq]]
    assert one.pin() is None or one.pin() == Pin(one.seq, HONEST.leaves[one.seq - 1], one._note)


def test_a_pin_continues_the_reading() -> None:
    """Printer and parser are a pair; the next reading begins where this one ended."""
    one = reading()
    one.take(0, HONEST.window(0, 5, 9), never)
    assert not one.caught_up
    pin = one.pin()
    assert pin is not None
    assert parse_pin(pin.to_bytes()) == pin
    again = reading(pin)
    assert [event["seq"] for event in again.take(5, HONEST.window(5), never)] == list(range(6, SIZE + 1))
    assert again.caught_up
    again.finish()
    from_start = reading(pin)
    from_start.take(0, HONEST.window(0), never)
    behind = reading(pin)
    behind.take(12, HONEST.window(12), HONEST.consistency)
    assert behind.pin() == again.pin()


def other_history() -> Server:
    """The same key signs the same run with another line in it."""
    return Server([*with_event(7, data="ok 2\n")])


@pytest.mark.parametrize(
    ("code", "seq", "read"),
    [
        ("E_FORK", 6, lambda one: one.take(5, shifted(), never)),
        ("E_FORK", 5, lambda one: one.take(0, replaced_fifth().window(0), never)),
        ("E_ROLLBACK", None, lambda one: one.take(5, HONEST.window(5, 500, 8), never)),
        ("E_FORK", None, lambda one: one.take(5, other_history().window(5, 500, 9), never)),
        ("E_ROLLBACK", None, lambda one: one.take(12, HONEST.window(7, 1, 8), never)),
        ("E_FORK", None, lambda one: one.take(12, HONEST.window(12), other_history().consistency)),
        ("E_FORK", None, lambda one: one.take(12, HONEST.window(12), lambda *_: HONEST.consistency(8))),
        ("E_FORMAT", None, lambda one: one.take(12, HONEST.window(12), lambda *_: b"")),
    ],
)
def test_another_story_than_the_pinned_one_is_named(
    code: str, seq: int | None, read: Callable[[StreamReading], object]
) -> None:
    """Whether the next window, the same one, or a jump ahead: the pin tells; and it stays what it was."""
    one = reading()
    one.take(0, HONEST.window(0, 5, 9), never)
    pin = one.pin()
    two = reading(pin)
    caught(code, seq, lambda: read(two))
    assert two.pin() == pin


def test_what_was_signed_binds_the_server_also_before_it_was_read() -> None:
    """A larger checkpoint begins with the one that was seen, however far the events were read."""
    one = reading()
    one.take(0, HONEST.window(0, 5, 9), never)
    pin, fork = one.pin(), other_history()
    for again in (one, reading(pin)):  # in one reading, and in two
        for window in (fork.window(5), fork.window(5, 1), fork.window(5, 0)):
            with pytest.raises(VerificationError, match="E_FORK"):
                again.take(5, window, fork.consistency)
            assert again.pin() == pin
        assert again.take(5, HONEST.window(5, 1), HONEST.consistency)
    from_start = reading(pin)
    with pytest.raises(VerificationError, match="E_FORK"):
        from_start.take(0, fork.window(0, 5), fork.consistency)


def test_the_tree_below_a_window_is_the_one_that_was_read() -> None:
    """Its first record may name the right leaf while the tree that is signed holds others below."""
    one = reading()
    one.take(0, HONEST.window(0, 9, 9), never)
    pin, lying = one.pin(), Server(ROWS)
    lying.leaves[:4] = lying.leaves[4:8]
    for limit in (500, 1, 0):
        caught("E_FORK", None, lambda limit=limit: one.take(9, lying.window(9, limit), never))  # type: ignore[misc]  # bound now
    assert one.pin() == pin
    assert one.take(9, HONEST.window(9), never)


def replaced_fifth() -> Server:
    """Event 5 differs."""
    return Server([*with_event(5, runner="another")])


def shifted() -> bytes:
    """What continues another event 5."""
    return replaced_fifth().window(5)


def lines_of(data: bytes) -> list[bytes]:
    """Every line with its LF."""
    return data.splitlines(keepends=True)


def edited(at: int, old: bytes, new: bytes) -> bytes:
    """The honest window after 2, three events long, with one line (from 0) changed."""
    lines = lines_of(HONEST.window(2, 3))
    assert old in lines[at]
    lines[at] = lines[at].replace(old, new, 1)
    return b"".join(lines)


def without_event(number: int) -> bytes:
    """The same with one event (from 0) taken out."""
    lines = lines_of(HONEST.window(2, 3))
    del lines[number * 9 : number * 9 + 9]
    return b"".join(lines)


def swapped() -> bytes:
    """The same with its first two events exchanged."""
    lines = lines_of(HONEST.window(2, 3))
    return b"".join(lines[9:18] + lines[:9] + lines[18:])


def wrong_left() -> bytes:
    """The honest window after 2 with another hash on its left."""
    lines = lines_of(HONEST.window(2, 3))
    at = lines.index(b"left 1\n") + 1
    lines[at] = (b"B" if lines[at][:1] == b"A" else b"A") + lines[at][1:]
    return b"".join(lines)


@pytest.mark.parametrize(
    ("code", "seq", "data"),
    [
        ("E_PAYLOAD_MISMATCH", 3, lambda: edited(8, b'"actor":"key_k1"', b'"actor":"key_k2"')),
        ("E_CHAIN_BROKEN", 4, lambda: edited(6, lines_of(HONEST.window(2, 3))[6][:4], b"AAAA")),
        ("E_SEQ_GAP", 4, lambda: without_event(1)),
        ("E_SEQ_GAP", 3, swapped),
        ("E_RANGE_PROOF", None, lambda: without_event(2)),
        ("E_RANGE_PROOF", None, lambda: HONEST.window(3, 3)),
        ("E_RANGE_PROOF", None, wrong_left),
        ("E_RUN_MISMATCH", 3, lambda: edited(1, RUN.encode(), OTHER_RUN.encode())),
        ("E_FORMAT", 3, lambda: edited(2, b"3", b"03")),
        ("E_FORMAT", None, lambda: b"".join(lines_of(HONEST.window(2, 3))[1:])),
        ("E_FORMAT", None, lambda: b""),
        ("E_FORMAT", None, lambda: HONEST.window(2, 3).replace(b"left 1", b"left 2")),
        ("E_SIG_INVALID", None, lambda: HONEST.window(2, 3).replace(b"\n16\n", b"\n17\n")),
        ("E_SIG_UNKNOWN_KEY", None, lambda: Server(ROWS, key=signer(secret="other")).window(2, 3)),
        ("E_ORIGIN_MISMATCH", None, lambda: Server(ROWS, stream=OTHER_RUN).window(2, 3)),
        ("E_REDACTION_UNRECORDED", 3, lambda: without_payload(3)),
    ],
)
def test_a_window_that_was_tampered_with_is_named(
    code: str, seq: int | None, data: Callable[[], bytes]
) -> None:
    """Each by its own code, at its event."""
    caught(code, seq, lambda: reading().take(2, data(), never))


def without_payload(seq: int) -> bytes:
    """Everything, the payload of one event taken out."""
    lines = lines_of(HONEST.window(2))
    lines[(seq - 2) * 9 - 1] = b"-\n"
    return b"".join(lines)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_time_never_goes_back_also_where_windows_join(step: int) -> None:
    """An event that claims to be earlier than the one before it is named, wherever windows are cut (P2.1)."""
    rows = [*ROWS[:5], replace(ROWS[5], created_at_ms=ROWS[0].created_at_ms - 1)]
    server = Server(rows)
    one = reading()
    one.take(0, server.window(0, 6 - step), never)
    caught("E_TIME_ORDER", 6, lambda: one.take(6 - step, server.window(6 - step), never))


def redacted_server() -> Server:
    """A run whose event 7 was redacted behind its seal."""
    erased = ROWS[6].redacted()
    targets = [{"seq": 7, "commitment": (erased.commitment or b"").hex()}]
    redaction = numbered({"type": "redaction", "targets": targets, "reason": "r", "actor": "k"}, SIZE + 1)
    return Server([*ROWS[:6], erased, *ROWS[7:], redaction])


def test_redacted_output_is_shown_as_such_and_must_be_on_record() -> None:
    """A placeholder stands in for it; without its redaction the end of the reading says so."""
    one = reading()
    events = one.take(0, redacted_server().window(0), never)
    assert (events[6]["data"], events[6]["redacted"], events[6]["seq"]) == ("", True, 7)
    one.finish()
    dropped = Server([*ROWS[:6], ROWS[6].redacted(), *ROWS[7:]])
    two = reading()
    two.take(0, dropped.window(0), never)
    caught("E_REDACTION_UNRECORDED", 7, two.finish)


def test_a_redaction_of_what_was_read_before_needs_no_excuse() -> None:
    """The payload was there when it was read; and another commitment than the recorded one is named."""
    one = reading()
    one.take(0, HONEST.window(0), never)
    one.take(SIZE, redacted_server().window(SIZE), never)
    one.finish()
    erased = ROWS[6].redacted()
    wrong = numbered(
        {"type": "redaction", "targets": [{"seq": 7, "commitment": "00" * 32}], "reason": "r", "actor": "k"},
        SIZE + 1,
    )
    lying = Server([*ROWS[:6], erased, *ROWS[7:], wrong])
    caught("E_REDACTION_MISMATCH", 7, lambda: reading().take(0, lying.window(0), never))


@pytest.mark.parametrize(
    "target",
    [
        {"seq": 7},
        {"seq": [7], "commitment": "00" * 32},
        {"seq": "7", "commitment": "00" * 32},
        {"seq": 7, "commitment": "AB" * 32},
        {"seq": 7, "commitment": "00 " * 32},
        {"seq": 7, "commitment": "00"},
        7,
    ],
)
def test_a_redaction_that_cannot_be_read_is_refused(target: object) -> None:
    """Its targets have one spelling (P7), and none that is not so breaks the reader."""
    senseless = numbered({"type": "redaction", "targets": [target]}, SIZE + 1)
    lying = Server([*ROWS, senseless])
    caught("E_FORMAT", SIZE + 1, lambda: reading().take(0, lying.window(0), never))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"crownest/pin/v1\nseq 5\n\nnote",
        b"crownest/pin/v1\nseq 05\nleaf " + b"A" * 43 + b"=\n\nnote",
        b"crownest/pin/v1\nleaf x\nseq 5\n\nnote",
        b"\xff\n\n",
    ],
)
def test_what_is_no_pin_is_refused(data: bytes) -> None:
    """A pin has one spelling."""
    with pytest.raises(FormatError):
        parse_pin(data)


def test_a_pin_of_another_run_or_key_is_refused() -> None:
    """Its checkpoint is judged like any other."""
    pin = Pin(5, HONEST.leaves[4], Server(ROWS, stream=OTHER_RUN).note())
    caught("E_ORIGIN_MISMATCH", None, lambda: reading(pin))
    forged = replace(pin, note=Server(ROWS, key=signer(secret="other")).note())
    caught("E_SIG_UNKNOWN_KEY", None, lambda: reading(forged))
    assert parse_checkpoint(split_note(HONEST.note())[0]).size == SIZE


def test_a_retired_key_proves_no_window() -> None:
    """Who stole it after it was retired signs nothing that is shown; the pin that it signed before holds."""
    new = signer(secret="new")
    policy = parse_policy(format_policy(new.verifier_key, retired={LOG_KEY.verifier_key: 40}))
    one = StreamReading(RUN, policy)
    caught("E_KEY_RETIRED", None, lambda: one.take(0, HONEST.window(0), never))
    assert one.pin() is None
    before = reading()
    before.take(0, HONEST.window(0, 5, 9), never)
    continued = StreamReading(RUN, policy, before.pin())
    caught("E_KEY_RETIRED", None, lambda: continued.take(5, HONEST.window(5), never))
    assert continued.take(5, Server(ROWS, key=new).window(5), never)


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("E_STREAM_DIGEST", {"data": "all is well", "dataBase64": "/w=="}),
        ("E_STREAM_DIGEST", {"data": "ok", "dataBase64": "b2s="}),
        ("E_FORMAT", {"data": "ok", "dataBase64": ["/w=="]}),
        ("E_FORMAT", {"data": 7}),
        ("E_FORMAT", {"data": "x" * 65537}),
    ],
)
def test_output_is_shown_only_as_its_bytes_are(code: str, fields: dict[str, Any]) -> None:
    """Whoever reads `data` sees what the command wrote, or nothing (P1.3)."""
    lying = Server(with_event(7, **fields))
    caught(code, 7, lambda: reading().take(0, lying.window(0), never))
