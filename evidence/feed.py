"""Owns the way of `events.log` into a verification: in blocks, each looked at quickly, then judged in order.

The quick look at a block (`evidence.spans`) depends on nothing before it, so blocks may be looked at
anywhere, by any number of workers; how that is done is given in from outside (`Each`). Judging is
sequential: a span that continues what was accepted is taken whole, everything else entry by entry.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from evidence.bundle import Entry, read_entry
from evidence.container import CHUNK_BYTES
from evidence.spans import NEXT_ENTRY, Span

BLOCK_BYTES = 1024 * 1024
"""About the size of a block; one without a visible end of an entry grows to twice that."""

Look = Callable[[bytes], list[Span]]
"""The quick look at one block."""

Each = Callable[[Look, Iterable[bytes]], Iterator[tuple[bytes, list[Span]]]]
"""Gives each block a look, wherever that happens, and answers them in order, keeping few at a time.

What is answered for a block is what `look` answered, or less: `[]` has it judged event by event.
"""


class Judge(Protocol):
    """Who is fed; both methods answer whether to go on, `take` also whether it took the span."""

    def add(self, entry: Entry) -> bool:
        """Judge one entry."""
        ...

    def take(self, span: Span) -> bool:
        """Accept all events of a span at once, or answer that they must be added one by one."""
        ...


def here(look: Look, blocks: Iterable[bytes]) -> Iterator[tuple[bytes, list[Span]]]:
    """Look at each block in this process, when its turn comes."""
    return ((block, look(block)) for block in blocks)


def blocks_of(log: io.BufferedReader) -> Iterator[bytes]:
    """The log in blocks that end, where that can be seen, between two entries."""
    block = bytearray()
    while chunk := log.read(CHUNK_BYTES):
        block += chunk
        if len(block) < BLOCK_BYTES:
            continue
        end = block.rfind(NEXT_ENTRY) + 1
        if not end and len(block) >= 2 * BLOCK_BYTES:
            end = len(block)
        if end:
            yield bytes(block[:end])
            del block[:end]
    if block:
        yield bytes(block)


class Feed:
    """Feeds a judge with one log: `add` its blocks in order, then `finish`."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._goes_on = True
        self._rest = b""
        """The beginning of an entry that ends in a later block."""

    def add(self, block: bytes, spans: Iterable[Span]) -> bool:
        """Feed the next block and what a look at it found; answers whether to go on."""
        data, offset, at = self._rest + block, len(self._rest), 0
        for span in spans:
            at = self._entries(data, at, offset + span.start)
            if at == offset + span.start and self._judge.take(span):
                at = offset + span.end
        self._rest = data[self._entries(data, at, len(data)) :]
        return self._goes_on

    def finish(self) -> None:
        """Feed what is left: the last entry, should it be cut."""
        self._entries(self._rest, 0, len(self._rest), is_whole=True)

    def _entries(self, data: bytes, at: int, until: int, *, is_whole: bool = False) -> int:
        """Judge the entries from `at` on that begin before `until`; answers where the next one begins."""
        if at >= until or not self._goes_on:
            return at
        source = io.BytesIO(data)
        source.seek(at)
        while at < until and self._goes_on:
            entry = read_entry(source)
            if source.tell() == len(data) and not is_whole and entry[1][-1:] != b"\n":
                break  # it may go on in the next block
            self._goes_on = self._judge.add(entry)
            at = source.tell()
        return at
