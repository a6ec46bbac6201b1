"""Owns the pack: stored events that follow each other, as one compressed block of bytes (docs/storage.md).

The payload lines are one zstd frame that carries its size and a checksum. Around it lie what does not
compress (salts) and what is nearly always the same (types, times), under a checksum of their own. Records,
leaves and commitments are not stored: they follow from these. `pack` and `Pack` are a pair.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

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
_HEAD = struct.Struct(">IIIIII")
"""First seq, events, bytes of the lines, of types, of times, of what stands for erased events."""
_HEAD_BYTES = _SUMMED.size + _HEAD.size
_VARINT_BYTES_MAX = 9
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
    if lines.count(_LF) != len(events):
        raise ValueError(f"a payload behind event {first_seq} is not one line")
    if len(lines) > LINES_BYTES_MAX:
        raise ValueError(
            f"{len(lines)} bytes of payload behind event {first_seq}: a pack holds {LINES_BYTES_MAX}"
        )
    types = b"".join(_type_runs(events))
    times = b"".join(_time_runs(events))
    erased = b"".join(_erased(events))
    salts = b"".join([event.salt for event in events if event.salt is not None])
    head = _HEAD.pack(first_seq, len(events), len(lines), len(types), len(times), len(erased))
    summed = b"".join((head, types, times, erased, salts))
    frame = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True).compress(
        lines
    )
    return _SUMMED.pack(FORMAT, zlib.crc32(summed)) + summed + frame


class Pack:
    """A pack opened for reading: its head and sums are checked at once, lines are unpacked when asked for.

    All methods raise `DamagedPack`.
    """

    __slots__ = (
        "_data",
        "_erased",
        "_frame_at",
        "_salts_at",
        "_times",
        "_types",
        "count",
        "first_seq",
        "line_bytes",
    )

    def __init__(self, data: bytes) -> None:
        if len(data) < _HEAD_BYTES:
            raise DamagedPack(f"{len(data)} bytes are no pack")
        form, checksum = _SUMMED.unpack_from(data)
        if form != FORMAT:
            raise DamagedPack(f"format {form}; this version knows {FORMAT}")
        self._data = data
        head = _HEAD.unpack_from(data, _SUMMED.size)
        self.first_seq, self.count, self.line_bytes, types_bytes, times_bytes, erased_bytes = head
        times_at = _HEAD_BYTES + types_bytes
        erased_at = times_at + times_bytes
        self._salts_at = erased_at + erased_bytes
        if not 0 < self.count <= self.line_bytes <= LINES_BYTES_MAX or self._salts_at > len(data):
            raise DamagedPack("its head names sizes that it cannot have")
        self._types = data[_HEAD_BYTES:times_at]
        self._times = data[times_at:erased_at]
        self._erased = _read_erased(data[erased_at : self._salts_at], self.count)
        self._frame_at = self._salts_at + SALT_BYTES * (self.count - len(self._erased))
        if self._frame_at > len(data):
            raise DamagedPack("it ends within its salts")
        if zlib.crc32(memoryview(data)[_SUMMED.size : self._frame_at]) != checksum:
            raise DamagedPack("its checksum does not fit")

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
        return self.type_runs()[-1][0]

    def type_runs(self) -> list[tuple[str, int]]:
        """The types in order, each with how many events of it follow each other."""
        runs: list[tuple[str, int]] = []
        at, left = 0, self.count
        while left:
            events, at = _read_varint(self._types, at)
            end = at + 1 + (self._types[at] if at < len(self._types) else 0)
            name = self._types[at + 1 : end]
            if not 0 < events <= left or not name or end > len(self._types) or not name.isascii():
                raise DamagedPack("its types do not fit its events")
            runs.append((name.decode("ascii"), events))
            at, left = end, left - events
        if at != len(self._types):
            raise DamagedPack("its types do not fit its events")
        return runs

    def is_plain(self) -> bool:
        """Whether readers get all of it as it is: nothing erased, nothing internal."""
        return not self._erased and all(name not in INTERNAL_TYPES for name, _ in self.type_runs())

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
        if len(lines) != self.line_bytes or lines.count(_LF) != self.count or not lines.endswith(_LF):
            raise DamagedPack("its lines do not fit its events")
        return lines

    def framed(self, framing: Framing) -> bytes:
        """All of it as frames; only where it `is_plain`."""
        lines = self.lines()
        if framing is Framing.NDJSON:
            return lines
        payloads = lines.split(_LF)
        payloads.pop()
        frames: list[bytes] = []
        at = 0
        for name, events in self.type_runs():
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
        payloads = self.lines().split(_LF)
        types = [name for name, events in self.type_runs() for _ in range(events)]
        times = self._all_times()
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

    def _all_times(self) -> list[int]:
        times: list[int] = []
        at, time_ms = 0, 0
        while len(times) < self.count:
            events, at = _read_varint(self._times, at)
            later_ms, at = _read_varint(self._times, at)
            if not 0 < events <= self.count - len(times):
                raise DamagedPack("its times do not fit its events")
            time_ms += later_ms
            times += [time_ms] * events
        if at != len(self._times):
            raise DamagedPack("its times do not fit its events")
        return times


def _type_runs(events: Iterable[StoredEvent]) -> Iterator[bytes]:
    for name, same in groupby(event.type for event in events):
        text = name.encode("ascii")
        yield _varint(sum(1 for _ in same)) + bytes([len(text)]) + text


def _time_runs(events: Iterable[StoredEvent]) -> Iterator[bytes]:
    before_ms = 0
    for time_ms, same in groupby(event.created_at_ms for event in events):
        yield _varint(sum(1 for _ in same)) + _varint(time_ms - before_ms)
        before_ms = time_ms


def _erased(events: Iterable[StoredEvent]) -> Iterator[bytes]:
    next_index = 0
    for index, event in enumerate(events):
        if event.payload is None:
            commitment = event.commitment or b""
            if event.salt is not None or len(commitment) != COMMITMENT_BYTES:
                raise ValueError(f"event {event.seq} is neither whole nor erased")
            yield _varint(index - next_index) + _varint(event.payload_size) + commitment
            next_index = index + 1
        elif event.salt is None or len(event.salt) != SALT_BYTES or event.commitment is not None:
            raise ValueError(f"event {event.seq} is neither whole nor erased")


def _read_erased(data: bytes, count: int) -> dict[int, tuple[int, bytes]]:
    """Payload size and commitment of each erased event, by its index in the pack."""
    erased: dict[int, tuple[int, bytes]] = {}
    at = next_index = 0
    while at < len(data):
        gap, at = _read_varint(data, at)
        size, at = _read_varint(data, at)
        index, commitment = next_index + gap, data[at : at + COMMITMENT_BYTES]
        if index >= count or len(commitment) != COMMITMENT_BYTES:
            raise DamagedPack("its erased events do not fit")
        erased[index] = (size, commitment)
        at += COMMITMENT_BYTES
        next_index = index + 1
    return erased


def _varint(value: int) -> bytes:
    """Seven bits a byte, the low ones first, the high bit set on all but the last (unsigned LEB128)."""
    if not 0 <= value < 1 << 7 * _VARINT_BYTES_MAX:
        raise ValueError(f"{value} cannot be packed")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins there, and where it ends."""
    value = shift = 0
    for index in range(at, min(at + _VARINT_BYTES_MAX, len(data))):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if not byte and shift:
                raise DamagedPack("a number is longer than it must be")
            return value, index + 1
        shift += 7
    raise DamagedPack("a number does not end")
