"""Owns the waiting of live readers: one wake-up a stream and commit, however many events and readers.

A wake-up is only a hint (DESIGN §2.6). There is no gap: a waiter registers first and asks for the size
second, so an append is either in that size or comes with a wake-up. Used from one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from eventstore.recent import Recent


@dataclass(slots=True)
class _Topic:
    """The readers that wait for one stream's next commit."""

    grown: asyncio.Event = field(default_factory=asyncio.Event)
    waiters: int = 0


class Wakeups:
    """Who waits for which stream, and the sizes last heard of (a bounded memory that spares reads)."""

    def __init__(self, sizes_max: int) -> None:
        self._topics: dict[str, _Topic] = {}
        self._sizes: Recent[str, int] = Recent(sizes_max)
        self._closed = False

    def __repr__(self) -> str:
        return f"Wakeups(streams={len(self._topics)}, waiters={self.waiters})"

    @property
    def waiters(self) -> int:
        """Readers that wait now."""
        return sum(topic.waiters for topic in self._topics.values())

    def grown(self, stream: str, size: int) -> bool:
        """Tell every waiter of this stream, once, that it was committed up to `size`; False without any."""
        self._learn(stream, size)
        topic = self._topics.pop(stream, None)
        if topic is None:
            return False
        topic.grown.set()
        return True

    async def wait(
        self, stream: str, after_seq: int, timeout_s: float, size: Callable[[str], Awaitable[int]]
    ) -> bool:
        """Return True once the stream may hold more than `after_seq`, False when the time ran out.

        `size` reads the committed size; it is asked only for a stream not heard of lately.
        """
        if self._closed:
            return True
        topic = self._topics.setdefault(stream, _Topic())
        topic.waiters += 1
        try:
            if await self.size(stream, size) > after_seq:
                return True
            async with asyncio.timeout(timeout_s):
                return await topic.grown.wait()
        except TimeoutError:
            return False
        finally:
            topic.waiters -= 1
            if not topic.waiters and self._topics.get(stream) is topic:
                del self._topics[stream]

    async def size(self, stream: str, read: Callable[[str], Awaitable[int]]) -> int:
        """The committed size: as last heard of, else what `read` answers."""
        known = self._sizes.get(stream)
        return self._learn(stream, await read(stream)) if known is None else known

    def close(self) -> None:
        """Wake everybody for good: the log closes, and whoever reads on will be told so."""
        self._closed = True
        for topic in self._topics.values():
            topic.grown.set()
        self._topics.clear()

    def _learn(self, stream: str, size: int) -> int:
        """Remember the larger: a size read from the disk may be older than a wake-up."""
        size = max(size, self._sizes.get(stream) or 0)
        self._sizes.put(stream, size)
        return size
