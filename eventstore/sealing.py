"""Owns sealing: new events get their place, their bytes and their proof (PROOF P1.1, P2, P3.1).

It is pure and it is the hot path of every append: about seven microseconds an event, most of them
spent on one canonical encoding and three to four SHA-256.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from eventstore.log import Block, Head, NewEvent, StoredEvent
from evidence.canonical import encode
from evidence.merkle import CompactRange
from evidence.record import SALT_BYTES, commitment, format_time, genesis, leaf_hash, record_bytes

RESERVED_FIELDS = frozenset({"type", "seq", "createdAt"})
"""What the log itself writes into every payload (P2.1a); a caller's field of that name is a bug."""

SEQ_MAX = 2**32 - 1
"""Events of one stream: a row's place is the stream's number and the seq side by side in 64 bits."""

_TYPE = re.compile(r"[a-z_]{1,32}", re.ASCII)


@dataclass(slots=True)
class StreamHead:
    """A stream's end as the append path carries it: all that sealing the next event needs.

    `last_leaf` is the next event's `prev` (the genesis hash before the first one), `tree` the compact
    range over all leaves (never changed in place), `payload_bytes` the sum of all payload sizes. Treat it
    as read-only: like `StoredEvent` it is not frozen only because every append makes one.
    """

    stream: str
    last_leaf: bytes
    tree: CompactRange
    created_at_ms: int
    payload_bytes: int
    anchor_note: bytes
    fence: int

    @property
    def size(self) -> int:
        """Leaves so far, internal ones included; also the seq of the last event."""
        return self.tree.size

    def public(self) -> Head:
        """The head as the log's port shows it, the root computed."""
        return Head(
            self.stream,
            self.tree.size,
            self.last_leaf,
            self.tree.root(),
            self.created_at_ms,
            self.anchor_note,
            self.fence,
        )


@dataclass(slots=True)
class Sealed:
    """What one append adds: rows in seq order, the head after them, and full 256-leaf blocks by index."""

    events: list[StoredEvent]
    head: StreamHead
    blocks: list[tuple[int, Block]]


def new_head(stream: str, anchor_note: bytes) -> StreamHead:
    """The head of a stream that has no event yet: its chain starts at the genesis hash (P2.3)."""
    return StreamHead(stream, genesis(stream, anchor_note), CompactRange(), 0, 0, anchor_note, 0)


def seal(
    head: StreamHead,
    events: Sequence[NewEvent],
    created_at_ms: int,
    salts: bytes,
    payload_bytes_max: int,
) -> Sealed:
    """Seal `events` behind `head`, all with the one time `created_at_ms` (P2.1a); `head` stays as it is.

    `salts` holds 16 random bytes an event. Raises ValueError for an event outside the profile, with a
    reserved field, a malformed type or too large a payload: mistakes of the program, not of its user.
    """
    assert len(salts) == SALT_BYTES * len(events), "one salt an event"
    created_at = format_time(created_at_ms)
    stream, prev, tree = head.stream, head.last_leaf, head.tree.copy()
    seq, payload_bytes, salt_at = tree.size, head.payload_bytes, 0
    if seq + len(events) > SEQ_MAX:
        raise ValueError(f"{stream}: a stream ends at {SEQ_MAX} events; start another one")
    rows: list[StoredEvent] = []
    blocks: list[tuple[int, Block]] = []
    payloads = _Payloads(created_at)
    for event in events:
        seq += 1
        type_ = event.type
        _check_type(type_)
        payload = payloads.of(event.fields, type_, seq)
        size = len(payload)
        if size > payload_bytes_max:
            raise ValueError(f"{stream}: a {type_} event of {size} bytes; at most {payload_bytes_max} fit")
        salt = salts[salt_at : salt_at + SALT_BYTES]
        salt_at += SALT_BYTES
        prev = leaf_hash(record_bytes(stream, seq, type_, created_at, size, commitment(salt, payload), prev))
        root = tree.append(prev)
        if root is not None:
            blocks.append((seq // 256 - 1, Block(root, prev)))
        payload_bytes += size
        rows.append(StoredEvent(seq, type_, created_at_ms, payload, salt, size))
    after = StreamHead(stream, prev, tree, created_at_ms, payload_bytes, head.anchor_note, head.fence)
    return Sealed(rows, after, blocks)


class _Payloads:
    """Writes the canonical bytes of the events of one append (P1.1), which all have its one time.

    Output, which is nearly all of a log, has its few keys written down in their order, and what its events
    have in common once: the time, and `producer`, which the events of a batch share.
    """

    def __init__(self, created_at: str) -> None:
        self._created_at = created_at
        self._beginning = b'{"createdAt":"%b","data":' % created_at.encode()
        self._marks: dict[int, bytes] = {}

    def of(self, fields: Mapping[str, object], type_: str, seq: int) -> bytes:
        """The payload of one event. Raises ValueError for what no event may hold."""
        if "data" in fields:
            if len(fields) == 1:
                return b'%b%b,"seq":%d,"type":"%b"}' % (
                    self._beginning, encode(fields["data"]), seq, type_.encode()
                )  # fmt: skip
            if len(fields) == 2 and "producer" in fields:
                producer = fields["producer"]
                mark = self._marks.get(id(producer))  # the append holds the object: no other has its id
                if mark is None:
                    mark = self._marks[id(producer)] = encode(producer)
                return b'%b%b,"producer":%b,"seq":%d,"type":"%b"}' % (
                    self._beginning, encode(fields["data"]), mark, seq, type_.encode()
                )  # fmt: skip
        if not RESERVED_FIELDS.isdisjoint(fields):
            raise ValueError(f"a {type_} event brings a field of its own named type, seq or createdAt")
        return encode({**fields, "type": type_, "seq": seq, "createdAt": self._created_at})


@lru_cache(maxsize=256)  # the types are constants of the program: checked once each
def _check_type(type_: str) -> None:
    if not _TYPE.fullmatch(type_):
        raise ValueError(f"{type_!a} is no event type: 1 to 32 of a-z and _ (P2.1)")
