"""Captures a command's output as reports: lossless, in order of arrival, in bounded memory.

Chunks hold at most 64 KiB of raw bytes and end on code points (PROOF P1.3). Nothing is read while a report is
being made durable: the pipe fills and the command waits, so a slow log slows the command and not the memory.
"""

from __future__ import annotations

import asyncio
import base64
import codecs
import contextlib
import fcntl
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from runner.job import Emit, Report
from runner.masking import Masker, Masking

_masking_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
STREAMS: tuple[str, ...] = ("stdout", "stderr")
PIPE_BYTES = 1024 * 1024
READ_BYTES_MAX = 256 * 1024
GATHER_BYTES_MAX = 1024 * 1024
"""Read at most this much before a report is emitted; also the most that is emitted at once."""
MASKED_AT_ONCE_BYTES = 4 * 1024
"""After so many bytes of masking others get their turn; where they all are secrets it takes milliseconds."""
DRAIN_BYTES_MAX = len(STREAMS) * PIPE_BYTES
WAKES_PER_WINDOW_MAX = 32
"""A command that writes byte by byte is then left alone until the window's end."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of one stream: its text, and the raw bytes exactly when they were not valid UTF-8."""

    text: str
    raw: bytes | None

    def report(self, stream: str) -> Report:
        """The `stdout` or `stderr` event."""
        if self.raw is None:
            return Report(stream, {"data": self.text})
        return Report(stream, {"data": self.text, "dataBase64": base64.b64encode(self.raw).decode("ascii")})


class Chunker:
    """Cuts one stream into chunks; what could be the start of a code point waits for the rest of it."""

    def __init__(self, chunk_bytes_max: int) -> None:
        self._max = chunk_bytes_max
        self._carry = b""

    @property
    def carried_bytes(self) -> int:
        """Bytes taken in and not yet given out: at most three."""
        return len(self._carry)

    def feed(self, data: bytes, *, final: bool = False) -> list[Chunk]:
        """The chunks that `data` completes; with `final`, everything that is left."""
        view = memoryview(self._carry + data)
        chunks: list[Chunk] = []
        while view:
            piece = bytes(view[: self._max])
            text, used, valid = _decode(piece, final=final and len(piece) == len(view))
            if used == 0:
                break
            chunks.append(Chunk(text, None if valid else piece[:used]))
            view = view[used:]
        self._carry = bytes(view)
        return chunks

    def forget(self) -> int:
        """Drop the beginning of a code point that will not be completed; how many bytes it had."""
        dropped, self._carry = len(self._carry), b""
        return dropped


def _decode(piece: bytes, *, final: bool) -> tuple[str, int, bool]:
    """Text, bytes used and whether they were valid; an incomplete code point at the end is not used."""
    try:
        return *codecs.utf_8_decode(piece, "strict", final), True
    except UnicodeDecodeError:
        return *codecs.utf_8_decode(piece, "replace", final), False


class OutputPipes:
    """The two pipes of one command: the write ends are handed to it, the read ends are read here."""

    def __init__(self) -> None:
        self.read_fds: list[int] = []
        self.write_fds: list[int] = []
        for _ in STREAMS:
            read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(read_fd, False)
            with contextlib.suppress(
                OSError
            ):  # the user's share of pipe memory is used up: the default will do
                fcntl.fcntl(read_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            self.read_fds.append(read_fd)
            self.write_fds.append(write_fd)

    def close_write_ends(self) -> None:
        """Once the command has its own: the pipes then end with it."""
        while self.write_fds:
            os.close(self.write_fds.pop())

    def close(self) -> None:
        """Close everything."""
        self.close_write_ends()
        while self.read_fds:
            os.close(self.read_fds.pop())


class Capture:
    """Reads both pipes of one command and emits what comes, until `finish` is called and they are empty."""

    def __init__(
        self,
        read_fds: Sequence[int],
        emit: Emit,
        *,
        output_bytes_max: int,
        chunk_bytes_max: int,
        window_ms: int,
        masking: Masking | None = None,
    ) -> None:
        self._fds = dict(zip(STREAMS, read_fds, strict=True))
        self._open = list(STREAMS)
        self._emit = emit
        self._left_bytes = output_bytes_max
        self._window_s = window_ms / 1000
        self._flush_bytes = chunk_bytes_max
        self._chunkers: dict[str, Chunker] = {stream: Chunker(chunk_bytes_max) for stream in STREAMS}
        self._maskers = {stream: Masker(masking) for stream in STREAMS} if masking else {}
        self._truncated = False
        self._finished = False
        self._wake = asyncio.Event()
        self.kept_bytes = 0
        self.dropped_bytes: dict[str, int] = dict.fromkeys(STREAMS, 0)

    def __repr__(self) -> str:
        return f"Capture(kept={self.kept_bytes}, dropped={self.dropped_bytes}, open={self._open})"

    def finish(self) -> None:
        """The command and everything it started are dead: what the pipes hold now is all there will be."""
        self._finished = True
        self._wake.set()

    async def pump(self) -> None:
        """Capture to the end; raises what `emit` raises."""
        while not self._finished:
            await self._wait(self._open, None)
            await self._report(await self._gather())
        # Whoever escaped and still writes gets no more read than the pipes can have held at the end.
        drained = 0
        while drained < DRAIN_BYTES_MAX and (data := self._read()):
            drained += _size(data)
            await self._report(data)
        last = [
            report
            for stream, masker in self._maskers.items()
            for report in self._reports_of(stream, masker.feed(b"", final=True))
        ]
        last += [
            chunk.report(stream)
            for stream in STREAMS
            for chunk in self._chunkers[stream].feed(b"", final=True)
        ]
        if last:
            await self._emit(last)

    async def _gather(self) -> list[tuple[str, bytes]]:
        """What arrives until a chunk is full or the window is over, in order of arrival."""
        gathered = self._read()
        deadline = time.monotonic() + self._window_s
        wakes = 0
        while gathered and _size(gathered) < self._flush_bytes and not self._finished:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                break
            wakes += 1
            await self._wait(self._open if wakes < WAKES_PER_WINDOW_MAX else [], left_s)
            gathered += self._read()
        return gathered

    def _read(self) -> list[tuple[str, bytes]]:
        """What the pipes hold, up to a limit, taking turns; takes note of streams that are closed."""
        data: list[tuple[str, bytes]] = []
        fresh = True
        while fresh and _size(data) < GATHER_BYTES_MAX:
            fresh = False
            for stream in tuple(self._open):
                try:
                    piece = os.read(self._fds[stream], READ_BYTES_MAX)
                except BlockingIOError:
                    continue
                if piece:
                    data.append((stream, piece))
                    fresh = True
                else:
                    self._open.remove(stream)
        return data

    async def _wait(self, streams: Sequence[str], timeout_s: float | None) -> None:
        """Wait until one of the streams has something or is closed, `finish` is called, or time is over."""
        loop = asyncio.get_running_loop()
        self._wake.clear()
        if self._finished:
            return
        watched = [self._fds[stream] for stream in streams]
        for fd in watched:
            loop.add_reader(fd, self._wake.set)
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        finally:
            for fd in watched:
                loop.remove_reader(fd)

    async def _report(self, gathered: list[tuple[str, bytes]]) -> None:
        reports: list[Report] = []
        for stream, data in _merged(gathered):
            reports += self._reports_of(stream, await self._masked(stream, data))
        if reports:
            await self._emit(reports)

    async def _masked(self, stream: str, data: bytes) -> bytes:
        """The bytes without secrets; what may be the beginning of one waits for the rest of it."""
        masker = self._maskers.get(stream)
        if masker is None or self._truncated:
            return data
        masked: list[bytes] = []
        for start in range(0, len(data), MASKED_AT_ONCE_BYTES):
            async with _masking_turn():
                masked.append(masker.feed(data[start : start + MASKED_AT_ONCE_BYTES]))
                await asyncio.sleep(0)
        return b"".join(masked)

    def _reports_of(self, stream: str, data: bytes) -> list[Report]:
        """Reports of one piece: all of it, or what is below the cap and then the cap itself, once."""
        if self._truncated:
            self.dropped_bytes[stream] += len(data)
            return []
        kept, over = data[: self._left_bytes], data[self._left_bytes :]
        self._left_bytes -= len(kept)
        self.kept_bytes += len(kept)
        reports = [chunk.report(stream) for chunk in self._chunkers[stream].feed(kept)]
        if over:
            self.dropped_bytes[stream] += len(over)
            reports.append(self._truncate(stream))
        return reports

    def _truncate(self, stream: str) -> Report:
        """From here on output is counted only; a code point that the cap cuts in two is dropped whole."""
        self._truncated = True
        for name, chunker in self._chunkers.items():
            cut = chunker.forget()
            self.kept_bytes -= cut
            self.dropped_bytes[name] += cut
        for name, masker in self._maskers.items():
            self.dropped_bytes[name] += masker.forget()
        return Report("output_truncated", {"stream": stream, "keptBytes": self.kept_bytes})


def _masking_turn() -> asyncio.Lock:
    """Held for one piece and one round of the loop: in it many commands mask no more than one does."""
    loop = asyncio.get_running_loop()
    lock = _masking_turns.get(loop)
    if lock is None:
        lock = _masking_turns[loop] = asyncio.Lock()
    return lock


def _size(pieces: list[tuple[str, bytes]]) -> int:
    return sum(len(data) for _, data in pieces)


def _merged(pieces: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Neighbours of one stream become one piece."""
    merged: list[tuple[str, list[bytes]]] = []
    for stream, data in pieces:
        if merged and merged[-1][0] == stream:
            merged[-1][1].append(data)
        else:
            merged.append((stream, [data]))
    return [(stream, b"".join(parts)) for stream, parts in merged]
