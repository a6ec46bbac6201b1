"""Owns the pack: stored events that follow each other, as one compressed block of bytes (docs/storage.md).

The payload lines are one zstd frame that carries its size and a checksum. Around it lie what does not
compress (salts) and what is nearly always the same (types, times), under a checksum of their own. Records,
leaves and commitments are not stored: they follow from these. `pack` and `Pack` are a pair.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby

import zstandard

from eventstore.log import INTERNAL_TYPES, Framing, StoredEvent
from evidence.bundle import PAYLOAD_LINE_BYTES_MAX
from evidence.record import SALT_BYTES

FORMAT = 1
LEVEL = 3
"""zstd's default, and DESIGN's: higher ones gain a few percent and cost several times as much."""
LINES_BYTES_MAX = PAYLOAD_LINE_BYTES_MAX
"""Payload lines of one pack, unpacked, at most: no payload that can be verified is longer."""
COMMITMENT_BYTES = 32
_SUMMED = struct.Struct(">BI")
"""Format and checksum; what is summed follows."""
_HEAD = struct.Struct(">IIIIQIIII")
"""First seq, events, line bytes, erased events, first time; bytes of names, types, times, erased numbers."""
_HEAD_BYTES = _SUMMED.size + _HEAD.size
NUMBER_MAX = 1 << 63
_NUMBER = re.compile(rb"[\x80-\xff]{0,8}[\x00-\x7f]")
_LF = b"\n"
_SSE_FRAME = b"id: %%d\nevent: %s\ndata: %%s\n\n"


class DamagedPack(ValueError):
    """These bytes are no pack, or not as they were written; the text says where."""


def pack(events: Sequence[StoredEvent]) -> bytes:
    """The pack of these events, at least one, which follow each other.

    Raises ValueError for what a pack cannot hold: a gap, a time that goes back, a payload that is no line,
    more than `LINES_BYTES_MAX`. They stay rows then.
    """
    first_seq = events[0].seq
    if [event.seq for event in events] != list(range(first_seq, first_seq + len(events))):
        raise ValueError(f"the events behind {first_seq} do not follow each other")
    lines = b"".join([(event.payload or b"") + _LF for event in events])
    if events[0].created_at_ms < 0:
        raise ValueError(f"event {first_seq} has no time")
    if lines.count(_LF) != len(events):
        raise ValueError(f"a payload behind event {first_seq} is not one line")
    if len(lines) > LINES_BYTES_MAX:
        raise ValueError(
            f"{len(lines)} bytes of payload behind event {first_seq}: a pack holds {LINES_BYTES_MAX}"
        )
    names = list(dict.fromkeys(event.type for event in events))
    types = _printed(_type_runs(events, names))
    times = _printed(_time_runs(events))
    gone = [event for event in events if event.payload is None]
    erased = _printed(_erased(gone, first_seq))
    named = "\n".join(names).encode("ascii")
    sizes = (len(named), len(types), len(times), len(erased))
    head = _HEAD.pack(first_seq, len(events), len(lines), len(gone), events[0].created_at_ms, *sizes)
    commitments = b"".join([event.commitment or b"" for event in events])
    salts = b"".join([event.salt or b"" for event in events])
    kept = len(events) - len(gone)
    if len(commitments) != COMMITMENT_BYTES * len(gone) or len(salts) != SALT_BYTES * kept:
        raise ValueError(f"an event behind {first_seq} is neither whole nor erased")
    summed = b"".join((head, named, types, times, erased, commitments, salts))
    frame = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True).compress(
        lines
    )
    return _SUMMED.pack(FORMAT, zlib.crc32(summed)) + summed + frame


class Pack:
    """A pack opened for reading: its head and sums are checked at once, lines are unpacked when asked for.

    All methods raise `DamagedPack`.
    """

    __slots__ = (
        "_data", "_erased", "_first_ms", "_frame_at", "_salts_at", "_times",
        "count", "first_seq", "line_bytes", "type_runs",
    )  # fmt: skip

    def __init__(self, data: bytes) -> None:
        if len(data) < _HEAD_BYTES:
            raise DamagedPack(f"{len(data)} bytes are no pack")
        form, checksum = _SUMMED.unpack_from(data)
        if form != FORMAT:
            raise DamagedPack(f"format {form}; this version knows {FORMAT}")
        head: tuple[int, ...] = _HEAD.unpack_from(data, _SUMMED.size)
        self.first_seq, self.count, self.line_bytes, erased, self._first_ms, *sizes = head
        names_at, types_at, times_at, erased_at, commitments_at = accumulate(sizes, initial=_HEAD_BYTES)
        self._salts_at = commitments_at + COMMITMENT_BYTES * erased
        self._frame_at = self._salts_at + SALT_BYTES * (self.count - erased)
        if not 0 < self.count <= self.line_bytes <= LINES_BYTES_MAX or not erased <= self.count:
            raise DamagedPack("its head names sizes that it cannot have")
        if self._frame_at > len(data):
            raise DamagedPack("it is cut short")
        if zlib.crc32(memoryview(data)[_SUMMED.size : self._frame_at]) != checksum:
            raise DamagedPack("its checksum does not fit")
        self._data = data
        self._times = data[times_at:erased_at]
        self.type_runs = _read_types(data[names_at:types_at], data[types_at:times_at], self.count)
        self._erased = _read_erased(
            data[erased_at:commitments_at], data[commitments_at : self._salts_at], self.count
        )

    def __repr__(self) -> str:
        return f"Pack({self.first_seq}..{self.last_seq}, erased={len(self._erased)})"

    @property
    def last_seq(self) -> int:
        """The seq of its last event."""
        last_seq: int = self.first_seq + self.count - 1
        return last_seq

    @property
    def last_type(self) -> str:
        """The type of its last event."""
        return self.type_runs[-1][0]

    def is_plain(self) -> bool:
        """Whether readers get all of it as it is: nothing erased, nothing internal."""
        return not self._erased and all(name not in INTERNAL_TYPES for name, _ in self.type_runs)

    def lines(self) -> bytes:
        """The payload lines in order, each ended by LF; an erased event's is empty."""
        frame = memoryview(self._data)[self._frame_at :]
        try:
            # The frame is asked first: a forged size would be allocated before anything is found wrong.
            if zstandard.frame_content_size(frame) != self.line_bytes:
                raise DamagedPack("its frame names another size than its head")
            lines = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise DamagedPack(f"its payloads cannot be unpacked: {error}") from error
        if len(lines) != self.line_bytes or not lines.endswith(_LF):
            raise DamagedPack("its lines are not as many bytes as its head says")
        return lines

    def _split(self, lines: bytes) -> list[bytes]:
        payloads = lines.split(_LF)
        payloads.pop()
        if len(payloads) != self.count:
            raise DamagedPack("its lines do not fit its events")
        return payloads

    def framed(self, framing: Framing) -> bytes:
        """All of it as frames; only where it `is_plain`."""
        lines = self.lines()
        if framing is Framing.NDJSON:
            return lines
        payloads = self._split(lines)
        frames: list[bytes] = []
        at = 0
        for name, events in self.type_runs:
            # One formatting for all events of a type: the interpreter does nothing for each of them.
            values: list[int | bytes] = [0] * (2 * events)
            values[::2] = range(self.first_seq + at, self.first_seq + at + events)
            values[1::2] = payloads[at : at + events]
            frames.append(_SSE_FRAME % name.encode() * events % tuple(values))
            at += events
        return b"".join(frames)

    def events(self, after_seq: int = 0, last_seq: int | None = None) -> list[StoredEvent]:
        """Its events with `after_seq` < seq <= `last_seq`, as they were packed."""
        start = max(after_seq + 1 - self.first_seq, 0)
        end = self.count if last_seq is None else min(last_seq + 1 - self.first_seq, self.count)
        if start >= end:
            return []
        payloads = self._split(self.lines())
        types = [name for name, events in self.type_runs for _ in range(events)]
        times = _read_times(self._times, self._first_ms, self.count)
        salt_at = self._salts_at + SALT_BYTES * (start - sum(1 for index in self._erased if index < start))
        found: list[StoredEvent] = []
        for index in range(start, end):
            place = (self.first_seq + index, types[index], times[index])
            erased = self._erased.get(index) if self._erased else None
            payload = payloads[index]
            if erased is not None:
                if payload:
                    raise DamagedPack("an erased event has a payload")
                found.append(StoredEvent(*place, None, None, *erased))
                continue
            salt = self._data[salt_at : salt_at + SALT_BYTES]
            salt_at += SALT_BYTES
            found.append(StoredEvent(*place, payload, salt, len(payload)))
        return found


def _type_runs(events: Iterable[StoredEvent], names: list[str]) -> Iterator[int]:
    """For events of one type behind each other: how many, and which of the names."""
    for name, same in groupby(event.type for event in events):
        yield sum(1 for _ in same)
        yield names.index(name)


def _time_runs(events: Iterable[StoredEvent]) -> Iterator[int]:
    """For events of one time behind each other: how many, and how much later than those before."""
    before_ms: int | None = None
    for time_ms, same in groupby(event.created_at_ms for event in events):
        yield sum(1 for _ in same)
        yield time_ms - (time_ms if before_ms is None else before_ms)
        before_ms = time_ms


def _erased(events: Iterable[StoredEvent], first_seq: int) -> Iterator[int]:
    """For each erased event: how many lie between it and the one before, and its payload's size."""
    next_seq = first_seq
    for event in events:
        yield event.seq - next_seq
        yield event.payload_size
        next_seq = event.seq + 1


def _read_types(named: bytes, types: bytes, count: int) -> list[tuple[str, int]]:
    """The types in order, each with how many events of it follow each other."""
    if not named.isascii():
        raise DamagedPack("its types are no names")
    names, numbers = named.decode("ascii").split("\n"), _parsed(types)
    runs, which = numbers[::2], numbers[1::2]
    if not all(runs) or sum(runs) != count or len(runs) != len(which) or max(which) >= len(names):
        raise DamagedPack("its types do not fit its events")
    return [(names[index], events) for index, events in zip(which, runs, strict=True)]


def _read_times(times: bytes, first_ms: int, count: int) -> list[int]:
    """The time of each event."""
    numbers = _parsed(times)
    runs, later_ms = numbers[::2], numbers[1::2]
    if not all(runs) or sum(runs) != count or len(runs) != len(later_ms) or later_ms[0]:
        raise DamagedPack("its times do not fit its events")
    at_ms = accumulate(later_ms, initial=first_ms)
    next(at_ms)
    if len(runs) == count:
        return list(at_ms)
    return [time_ms for time_ms, events in zip(at_ms, runs, strict=True) for _ in range(events)]


def _read_erased(numbered: bytes, commitments: bytes, count: int) -> dict[int, tuple[int, bytes]]:
    """Payload size and commitment of each erased event, by its index in the pack."""
    numbers = _parsed(numbered)
    erased: dict[int, tuple[int, bytes]] = {}
    index = -1
    for gap, size in zip(numbers[::2], numbers[1::2], strict=False):
        index += gap + 1
        at = COMMITMENT_BYTES * len(erased)
        erased[index] = (size, commitments[at : at + COMMITMENT_BYTES])
    if (
        len(numbers) != 2 * len(erased)
        or len(commitments) != COMMITMENT_BYTES * len(erased)
        or index >= count
    ):
        raise DamagedPack("its erased events do not fit")
    return erased


def _printed(numbers: Iterable[int]) -> bytes:
    """Seven bits a byte, the low ones first, the high bit set on all but the last (unsigned LEB128)."""
    out = bytearray()
    for number in numbers:
        if not 0 <= number < NUMBER_MAX:
            raise ValueError(f"{number} cannot be packed")
        rest = number
        while rest > 0x7F:
            out.append(rest & 0x7F | 0x80)
            rest >>= 7
        out.append(rest)
    return bytes(out)


def _parsed(data: bytes) -> list[int]:
    """The numbers of a section, at once where each is one byte, which is the rule."""
    if data.isascii():
        return list(data)
    found = _NUMBER.findall(data)
    if sum(map(len, found)) != len(data):
        raise DamagedPack("a number does not end")
    return [_number(one) for one in found]


def _number(data: bytes) -> int:
    if len(data) > 1 and not data[-1]:
        raise DamagedPack("a number is longer than it must be")
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(data))
