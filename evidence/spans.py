r"""Owns the quick look at `events.log`: stretches of plain output that need no word by word judgement (P9.4).

Nearly all of a long log is text output in its plainest form. `find_spans` hashes every event of a block as
the definition does (`evidence.chain`, `evidence.contents`), but takes an entry in with one pattern. It never
says what is wrong: it answers only stretches ("spans") of which each event would be accepted, provided that
the first one continues what stands before it. Everything else is judged event by event, by the definition,
which alone names blame. So this module can make a verdict faster, and no verdict other.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from evidence.canonical import FormatError, unescape
from evidence.fold import OUTPUT_EVENT_BYTES_MAX
from evidence.merkle import subtree_roots
from evidence.record import SCHEMA, parse_time

NEXT_ENTRY = f"\n{SCHEMA}\n".encode()
"""Where an entry ends and another begins: within an entry no line but the first can be this one."""

_TEXT = (
    rb'(?:[^\x00-\x1f"\\\xc2\xe2]++'  # what stands for itself, ...
    rb"|\xc2(?!\x85)|\xe2(?!\x80[\xa8\xa9])"  # ... without U+0085, U+2028 and U+2029
    rb'|\\["\\bfnrt]|\\u00(?:0[0-7bef]|1[0-9a-f]|85)|\\u202[89])*+'  # the one spelling of all that does not
)
"""The inside of a canonical JSON string (P1.1), provided that it is UTF-8."""

_ENTRY = (
    rb"(%b([1-9][0-9]{0,14})\n(stdout|stderr)\n"
    rb"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z)\n"
    rb"([0-9]{1,15})\n([A-Za-z0-9+/=]{44})\n([A-Za-z0-9+/=]{44})\n)"
    rb"\+ ([A-Za-z0-9+/]{21}[AQgw]==) "  # 16 bytes have exactly these spellings
    rb'(\{"createdAt":"\4","data":"(%b)","seq":\2,"type":"\3"\})\n'
)
"""The nine lines of a plain output event: record (seq, type, time, size, commitment, prev), salt, payload."""


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive output events, good in themselves: hashed, chained to each other, rightly spelled.

    `start` and `end` are positions in the block; `prev_line` is the eighth line of the first record, and
    `last_leaf` the leaf of the last; `subtrees` are the levels and roots that their leaves make (P3.1);
    `stdout` and `stderr` are the raw bytes of all their output.
    """

    start: int
    end: int
    first_seq: int
    count: int
    prev_line: bytes
    last_leaf: bytes
    first_created_at: str
    last_created_at: str
    subtrees: list[tuple[int, bytes]]
    stdout: bytes
    stderr: bytes


def find_spans(stream: str, block: bytes) -> list[Span]:
    """All spans in a block of the stream's `events.log`, in order. Raises nothing, whatever the bytes are."""
    spans: list[Span] = []
    pattern, at = _plain_entry(stream), 0
    while True:
        span = _span_at(pattern, block, at)
        if span is not None:
            spans.append(span)
            at = span.end
        at = block.find(NEXT_ENTRY, at) + 1
        if not at:
            return spans


@lru_cache(maxsize=8)
def _plain_entry(stream: str) -> re.Pattern[bytes]:
    return re.compile(_ENTRY % (re.escape(f"{SCHEMA}\n{stream}\n".encode()), _TEXT))


def _span_at(pattern: re.Pattern[bytes], block: bytes, start: int) -> Span | None:
    """The longest span that begins here."""
    first = found = pattern.match(block, start)
    if first is None:
        return None
    expected_seq, expected_prev, time, end = int(first[2]), first[7], b"", start
    leaves: list[bytes] = []
    output: dict[bytes, list[bytes]] = {b"stdout": [], b"stderr": []}
    while found:
        record, seq, kind, created_at, size, bound, prev, salt, payload, text = found.groups()
        if (
            prev != expected_prev
            or int(seq) != expected_seq
            or b"%d" % len(payload) != size
            or b2a_base64(sha256(b"\x02" + a2b_base64(salt) + payload).digest(), newline=False) != bound
            or not (created_at == time or (created_at > time and _is_time(created_at)))
            or not (text.isascii() or _is_utf8(text))
            or len(text) > OUTPUT_EVENT_BYTES_MAX  # what it says is never longer than how it is spelled
        ):
            break
        leaf = sha256(b"\x00" + record).digest()
        leaves.append(leaf)
        output[kind].append(text)
        expected_prev = b2a_base64(leaf, newline=False)
        expected_seq, time, end = expected_seq + 1, created_at, found.end()
        found = pattern.match(block, end)
    if not leaves:
        return None
    first_seq = int(first[2])
    return Span(
        start,
        end,
        first_seq,
        len(leaves),
        first[7] + b"\n",
        leaves[-1],
        first[4].decode("ascii"),
        time.decode("ascii"),
        subtree_roots(first_seq - 1, leaves),
        unescape(b"".join(output[b"stdout"])),
        unescape(b"".join(output[b"stderr"])),
    )


def _is_time(text: bytes) -> bool:
    try:
        parse_time(text.decode("ascii"))
    except FormatError:
        return False
    return True


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
