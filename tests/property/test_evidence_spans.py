"""The quick look changes no verdict: with it and without it every log, however hostile, is judged alike."""

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise, product
from typing import Any, cast
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evidence import feed as feed_module
from evidence.bundle import BundleWriter, Entry
from evidence.canonical import canonical, unescape
from evidence.checkpoint import Checkpoint, format_checkpoint
from evidence.feed import Feed, Look, blocks_of
from evidence.fold import OUTPUT_EVENT_BYTES_MAX
from evidence.merkle import CompactRange, subtree_roots
from evidence.note import sign_note
from evidence.record import encode_base64, genesis
from evidence.spans import NEXT_ENTRY, Span, find_spans
from evidence.verdict import Verdict
from evidence.verify import verify_bundle
from tests.depth import examples
from tests.evidence_samples import (
    LOG_KEY,
    ORIGIN,
    POLICY,
    RUN,
    event_of,
    example_rows,
    members,
    numbered,
    repack,
)
from tests.evidence_samples import example as example_run

SOME = examples(120)
BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
TIME = "2026-11-22T14:03:01.000Z"
BEGINNING = [event_of(item) for item in example_rows()[:6]]

PIECES = [
    b"ok 1", b"\\n", b"\\t", b'\\"', b"\\\\", b"\\b\\f\\r", b"\\u001b", b"\\u000b", b"\\u0085", b"\\u2028",
    b"\\u2029",
    "\u00e9\u2713\U0001f389\u2027\u202a\u0084\u0086\u00c2\u00e2".encode(), b"\x7f", b"/", b"{}",
    b'","seq":7,"type":"stdout"}',
    # and what a canonical string never holds
    b"\\/", b"\\u0041", b"\\u001B", b"\\u0008", b"\\u000a", b"\\u000d", b"\\u000c", b"\\u0020", b"\\u007f",
    b"\\u0086",
    b"\\u202a", b"\\ud83c\\udf89", b"\\ud800", b"\\x41", b"\\u00", b"\\", b'"', b"\x00", b"\x1f", b"\t",
    b"\r", b"\n",
    b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xa9", b"\xff", b"\xc3", b"\xa9", b"\xe2", b"\x80\xa8",
    b"\xc2", b"\x85", b"\xc0\x80",
    b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80", b"x" * OUTPUT_EVENT_BYTES_MAX,
]  # fmt: skip
TEXT = st.lists(
    st.sampled_from(PIECES) | st.binary(max_size=3) | st.text(max_size=3).map(str.encode), max_size=4
).map(b"".join)
SHAPES = [
    b'{"createdAt":"%(time)b","data":"%(text)b","seq":%(seq)d,"type":"%(type)b"}',
    b'{"createdAt":"%(time)b", "data":"%(text)b","seq":%(seq)d,"type":"%(type)b"}',
    b'{"createdAt":"%(time)b","data":"%(text)b","type":"%(type)b","seq":%(seq)d}',
    b'{"createdAt":"%(time)b","data":"%(text)b","seq":%(seq)d,"type":"%(type)b"} ',
    b'{"createdAt":"%(time)b","data":"%(text)b","seq":%(seq)d,"seq":%(seq)d,"type":"%(type)b"}',
    b'{"createdAt":"%(time)b","data":"%(text)b","seq":0%(seq)d,"type":"%(type)b"}',
    b'{"createdAt":"%(time)b","data":"%(text)b","seq":%(seq)d.0,"type":"%(type)b"}',
    b'{"createdAt":"%(time)b","data":"%(text)b","dataBase64":"/wo=","seq":%(seq)d,"type":"%(type)b"}',
    b'{"createdAt":"%(time)b","data":"\xef\xbf\xbd\\n","dataBase64":"/wo=","seq":%(seq)d,"type":"%(type)b"}',
    b'{"createdAt":"%(time)b","data":"%(text)b","seq":%(seq)d,"type":"stdin"}',
    b'{"createdAt":"%(time)b","data":"%(text)b","seq":%(seq)d1,"type":"%(type)b"}',
    b'{"createdAt":"2026-11-22T14:03:01.999Z","data":"%(text)b","seq":%(seq)d,"type":"%(type)b"}',
    b'{"createdAt":"%(time)b","data":"%(text)b","seq":%(seq)d,"status":"x","type":"%(type)b"}',
    b'{"createdAt":"%(time)b","data":7,"seq":%(seq)d,"type":"%(type)b"}',
]  # fmt: skip


@dataclass(frozen=True)
class Line:
    """An output event as a lying server records it: a sound record over any payload, or an odd record."""

    text: bytes = b"ok\\n"
    shape: bytes = b'{"createdAt":"%(time)b","data":"%(text)b","seq":%(seq)d,"type":"%(type)b"}'
    kind: bytes = b"stdout"
    time: bytes = TIME.encode()
    seq_off: int = 0
    size_text: bytes | None = None
    salt_end: int | None = None
    """Added to the last digit of the salt's base64: up to 15 it spells the same 16 bytes."""
    bound: bytes | None = None
    prev: bytes | None = None
    is_absent: bool = False

    def entry(self, place: int, before: bytes) -> tuple[bytes, bytes]:
        """Its nine lines at this place of the log, and its leaf."""
        seq = place + self.seq_off
        values = {b"time": self.time, b"text": self.text, b"seq": seq, b"type": self.kind}
        payload = self.shape % values
        salt = sha256(b"%d" % seq).digest()[:16]
        bound = self.bound or encode_base64(sha256(b"\x02" + salt + payload).digest()).encode()
        prev = self.prev or encode_base64(before).encode()
        size = b"%d" % len(payload) if self.size_text is None else self.size_text
        salt_text = encode_base64(salt).encode()
        if self.salt_end is not None:
            digit = BASE64.index(salt_text[21:22]) + self.salt_end
            salt_text = salt_text[:21] + BASE64[digit : digit + 1] + b"=="
        head = b"crownest/event/v1\n%b\n%d\n%b\n" % (RUN.encode(), seq, self.kind)
        record = head + b"%b\n%b\n%b\n%b\n" % (self.time, size, bound, prev)
        last = b"-\n" if self.is_absent else b"+ %b %b\n" % (salt_text, payload)
        return record + last, sha256(b"\x00" + record).digest()


ODD: list[dict[str, Any]] = [
    {"kind": b"stderr"}, {"kind": b"note"}, {"kind": b"outcome"}, {"kind": b"terminal"},
    {"kind": b"redaction"},
    {"time": b"2026-11-22T14:03:00.999Z"}, {"time": b"2026-11-22T14:03:02.000Z"},
    {"time": b"2026-13-22T14:03:02.000Z"},
    {"time": b"2026-02-30T14:03:02.000Z"}, {"time": b"2026-11-22T24:03:02.000Z"},
    {"time": b"2026-11-22T14:03:02Z"},
    {"time": b"9999-12-31T23:59:59.999Z"}, {"time": b"0000-01-01T00:00:00.000Z"},
    {"seq_off": 1}, {"seq_off": -1}, {"seq_off": 10**15}, {"size_text": b"0"}, {"size_text": b"085"},
    {"size_text": b""},
    {"salt_end": 1}, {"salt_end": 15},
    {"bound": b"A" * 43 + b"="}, {"bound": b"A" * 44}, {"prev": b"A" * 43 + b"="}, {"prev": b"A" * 43 + b"B"},
    {"is_absent": True}, {"text": b"\xc3"}, {"text": b"\xa9"},
]  # fmt: skip
LINES = st.lists(
    st.builds(Line, text=TEXT)
    | st.builds(Line, text=TEXT, shape=st.sampled_from(SHAPES))
    | st.sampled_from(ODD).map(lambda fields: replace(Line(), **fields))
    | st.just(Line()),
    max_size=6,
)


def log_of(lines: Iterable[Line]) -> tuple[bytes, CompactRange]:
    """The log that begins as the example does and goes on with these lines, and its tree."""
    prev, tree, entries = genesis(RUN, b""), CompactRange(), []
    plain = b'{"createdAt":"%(time)b","data":"%(text)b","seq":%(seq)d,"type":"%(type)b"}'
    assert Line().shape == plain
    first = [
        Line(
            shape=canonical(item).replace(b"%", b"%%"),
            kind=item["type"].encode(),
            time=item["createdAt"].encode(),
        )
        for item in BEGINNING
    ]
    for place, line in enumerate([*first, *lines], 1):
        entry, prev = line.entry(place, prev)
        entries.append(entry)
        tree.append(prev)
    return b"".join(entries), tree


def entries_of(log: bytes) -> list[bytes]:
    """The entries of a log, as far as their first lines are what they should be."""
    cuts = [0, *(match.start() + 1 for match in re.finditer(re.escape(NEXT_ENTRY), log)), len(log)]
    return [log[start:end] for start, end in pairwise(cuts)]


def bundle_of(log: bytes, size: int, root: bytes) -> bytes:
    """An open bundle of this log, signed for this size and root."""
    out = io.BytesIO()
    note = sign_note(format_checkpoint(ORIGIN, RUN, size, root), LOG_KEY)
    writer = BundleWriter(out, checkpoint=note, anchor=b"", evidence=None)
    writer.event(log)
    writer.close()
    return out.getvalue()


def one_by_one(look: Look, blocks: Iterable[bytes]) -> Iterator[tuple[bytes, list[Span]]]:
    """Nobody looks: every event goes to the definition."""
    del look
    return ((block, []) for block in blocks)


def assert_same(bundle: bytes, **options: Any) -> Verdict:
    """Both ways give one verdict, in every word, also when blocks are small."""
    options = {"allow_unlogged": True, **options}
    expected = verify_bundle(io.BytesIO(bundle), POLICY, each=one_by_one, **options)
    assert verify_bundle(io.BytesIO(bundle), POLICY, **options) == expected
    for chunk in (150, 1000):
        with (
            patch.object(feed_module, "CHUNK_BYTES", chunk),
            patch.object(feed_module, "BLOCK_BYTES", 2 * chunk),
        ):
            assert verify_bundle(io.BytesIO(bundle), POLICY, **options) == expected
    return expected


EACH_ALONE = [
    *(Line(text=piece) for piece in PIECES),
    *(Line(shape=shape) for shape in SHAPES),
    *(replace(Line(), **fields) for fields in ODD),
]


@pytest.mark.parametrize("number", range(len(EACH_ALONE)))
def test_each_oddity_alone_is_judged_the_same(number: int) -> None:
    """Between plain events, and as the last one."""
    odd = EACH_ALONE[number]
    for lines in ([Line(), odd, Line()], [Line(), odd]):
        log, tree = log_of(lines)
        assert_same(bundle_of(log, tree.size, tree.root()), allow_open=True, allow_withheld=True)


@SOME
@given(LINES)
@example([Line(text=b"\xc3"), Line(text=b"\xa9")])
@example([Line(), Line(kind=b"stderr"), Line(is_absent=True), Line()])
def test_whatever_a_server_records_is_judged_the_same(lines: list[Line]) -> None:
    """Any text, spelling, header and record, chained and signed by a server that lies."""
    log, tree = log_of(lines)
    assert_same(bundle_of(log, tree.size, tree.root()), allow_open=True, allow_withheld=True)


@SOME
@given(LINES, st.data())
def test_whatever_is_done_to_a_log_is_judged_the_same(lines: list[Line], data: st.DataObject) -> None:
    """Bytes cut out and put in, entries repeated, left out and moved, sizes that were not signed."""
    log, tree = log_of([*lines, Line(), Line(kind=b"stderr"), Line()])
    entries = entries_of(log)
    match data.draw(st.sampled_from(["bytes", "entries", "size"])):
        case "bytes":
            at, length = data.draw(st.integers(0, len(log))), data.draw(st.integers(0, 400))
            log = log[:at] + data.draw(st.binary(max_size=4)) + log[at + length :]
        case "entries":
            log = b"".join(data.draw(st.lists(st.sampled_from(entries), max_size=len(entries) + 2)))
        case _:
            tree.size += data.draw(st.sampled_from([-2, -1, 1]))
    assert_same(bundle_of(log, tree.size, tree.root()), allow_open=True, allow_withheld=True)


def test_an_event_that_stands_elsewhere_too_is_judged_the_same() -> None:
    """Every event, before and after every other: gaps, swaps and doubles are told from each other."""
    log, tree = log_of([Line(), Line(), Line(is_absent=True), Line(), Line()])
    entries = entries_of(log)
    for moved, place, gone in product(range(5, len(entries)), range(5, len(entries) + 1), (0, 1)):
        other = [*entries[:place], entries[moved], *entries[place + gone :]]
        assert_same(bundle_of(b"".join(other), tree.size, tree.root()), allow_open=True, allow_withheld=True)


@SOME
@given(st.integers(0, 12), st.booleans())
def test_a_pin_anywhere_is_found_the_same(size: int, is_true: bool) -> None:  # noqa: FBT001 # drawn by hypothesis
    """Also in the midst of a span."""
    log, tree = log_of([Line()] * 5)
    _, before = log_of([Line()] * max(0, size - 6))
    root = before.root() if is_true else bytes(32)
    pin = Checkpoint(f"{ORIGIN}/run/{RUN}", size, root)
    verdict = assert_same(bundle_of(log, tree.size, tree.root()), allow_open=True, pin=pin)
    if size >= 6:
        expected = "E_ROLLBACK" if size > 11 else None if is_true else "E_FORK"
        assert verdict.code == expected


def test_a_sealed_run_is_judged_the_same() -> None:
    """Digests, counts and evidence come out of spans as they come out of events."""
    bundle = example_run().bundle()
    assert assert_same(bundle, expected_run=RUN).verdict == "COMPLETE"
    assert (
        assert_same(example_run().bundle(without=frozenset({"stdout"})), allow_withheld=True).verdict
        == "WITHHELD"
    )
    twice = members(bundle)
    twice["events.log"] *= 2
    assert assert_same(repack(twice)).code == "E_SEQ_ORDER"


def test_output_after_the_end_is_judged_the_same() -> None:
    """A span is no way around what may follow an outcome."""
    rows = example_rows()
    for size in (14, 15, 16):
        late = {"type": "stdout", "data": "late\n"}
        more = [numbered(late, size + n) for n in (1, 2)]
        bundle = example_run().bundle(rows=[*rows[:size], *more], open_prefix=size < 16)
        assert assert_same(bundle, allow_open=True).code == "E_EVENT_AFTER_SEAL"


class Clerk:
    """Takes everything, and notes which events it was fed, and how many of them one by one."""

    def __init__(self) -> None:
        self.fed: list[int] = []
        self.entries = 0

    def add(self, entry: Entry) -> bool:
        self.entries += 1
        self.fed.append(int(entry[0][2]))
        return True

    def take(self, span: Span) -> bool:
        self.fed += range(span.first_seq, span.first_seq + span.count)
        return True


def test_all_is_fed_once_and_in_order_wherever_blocks_end() -> None:
    """And a span that does not begin where the last entry ended is not taken."""
    odd = Line(is_absent=True)
    log, tree = log_of([Line(), odd, Line(), Line(), Line(), odd, odd, Line(), Line()])
    for size in (1, 50, 333, 900, 1500, 2222, len(log)):
        clerk = Clerk()
        feed = Feed(clerk)
        for at in range(0, len(log), size):
            block = log[at : at + size]
            assert feed.add(block, [twice for span in find_spans(RUN, block) for twice in (span, span)])
        feed.finish()
        assert clerk.fed == [*range(1, tree.size + 1)]
    assert clerk.entries == len(BEGINNING) + 3


def test_blocks_end_between_entries() -> None:
    """So that all plain output is in spans; and what has no end of an entry is not kept for ever."""
    log, _ = log_of([Line()] * 40)
    for data, ends in ((log, True), (b"x" * 5000, False)):
        with patch.object(feed_module, "CHUNK_BYTES", 100), patch.object(feed_module, "BLOCK_BYTES", 1000):
            blocks = list(blocks_of(cast("io.BufferedReader", io.BytesIO(data))))
        assert b"".join(blocks) == data
        assert len(blocks) > 2
        assert max(map(len, blocks)) <= 2100
        assert all(block.startswith(b"crownest/event/v1\n") for block in blocks) is ends


def test_event_1_is_never_plain_output() -> None:
    """It names the run."""
    entry, leaf = Line().entry(1, genesis(RUN, b""))
    bundle = bundle_of(entry, 1, leaf)
    assert assert_same(bundle, allow_open=True).code == "E_HEADER_PAYLOAD_DISAGREE"


def test_plain_output_is_taken_in_spans() -> None:
    """The quick look is used: it finds all that is plain, and nothing that is not."""
    plain = Line(text='caf\u00e9 \u2713 \\n\\"\\u2028\\u0000'.encode())
    longest = Line(text=b"x" * OUTPUT_EVENT_BYTES_MAX)
    too_long = Line(text=b"x" * (OUTPUT_EVENT_BYTES_MAX + 1))
    log, _ = log_of([plain, longest, Line(kind=b"stderr"), too_long, plain, Line(text=b"\\u0041"), plain])
    spans = find_spans(RUN, log)
    assert [(span.first_seq, span.count) for span in spans] == [(7, 3), (11, 1), (13, 1)]
    assert spans[1].stdout == 'caf\u00e9 \u2713 \n"\u2028\x00'.encode()
    assert (spans[0].stderr, len(spans[0].stdout)) == (b"ok\n", len(spans[1].stdout) + OUTPUT_EVENT_BYTES_MAX)
    assert find_spans("wsr_other", log) == []


@SOME
@given(st.binary(max_size=400))
def test_a_look_at_anything_finds_nothing_and_raises_nothing(noise: bytes) -> None:
    """Arbitrary bytes, and the beginning of an entry before them."""
    log, _ = log_of([Line()])
    for block in (noise, b"crownest/event/v1\n" + noise, log[:-40] + noise):
        assert find_spans(RUN, block) == []


@SOME
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_a_string_says_is_read_back(text: str) -> None:
    """`unescape` is the pair of the canonical spelling."""
    assert unescape(canonical(text)[1:-1]) == text.encode()


@pytest.mark.parametrize("start", range(20))
def test_subtrees_do_what_their_leaves_do(start: int) -> None:
    """Pushed into any compact range (P3.1)."""
    for count in range(40):
        leaves = [sha256(b"%d" % n).digest() for n in range(start + count)]
        one, many = CompactRange(), CompactRange()
        for number, leaf in enumerate(leaves):
            one.append(leaf)
            if number < start:
                many.append(leaf)
        for level, root in subtree_roots(start, leaves[start:]):
            many.push_subtree(level, root)
        assert many == one
