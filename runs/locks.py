"""Locks kept in memory: what is looked at under one stays so until the change is appended."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from weakref import WeakValueDictionary


class NamedLocks:
    """Locks of organisations or projects; each is gone when nobody holds or waits for it.

    One process owns the data folder, so locks in memory are enough.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __repr__(self) -> str:
        return f"NamedLocks({len(self._locks)})"

    def __call__(self, name: str) -> asyncio.Lock:
        """The lock of this name, to be held with `async with`."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock


class NamedPlaces:
    """So many places for each name, given in the order of asking; a name nobody uses takes no room."""

    def __init__(self, places: int) -> None:
        assert places >= 1, "somebody has to come in"
        self._places = places
        self._names: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def __repr__(self) -> str:
        return f"NamedPlaces({self._places}, names={len(self._names)})"

    def __call__(self, name: str) -> asyncio.Semaphore:
        """The places of this name, one to be held with `async with`."""
        places = self._names.get(name)
        if places is None:
            places = self._names[name] = asyncio.Semaphore(self._places)
        return places


class Turns:
    """One at a time, in the order of asking: by a call when the turn has come, or as a context.

    To have a turn that is free costs neither a task nor a future, unlike a lock.
    """

    def __init__(self) -> None:
        self._taken = False
        self._waiting: deque[Callable[[], None]] = deque()

    def __repr__(self) -> str:
        return f"Turns(taken={self._taken}, waiting={len(self._waiting)})"

    def ask(self, begin: Callable[[], None]) -> None:
        """Call `begin` when it is its turn, which may be at once; the turn lasts until `end`."""
        if self._taken:
            self._waiting.append(begin)
        else:
            self._taken = True
            begin()

    def end(self) -> None:
        """The turn is over: the next one begins."""
        if self._waiting:
            self._waiting.popleft()()
        else:
            self._taken = False

    async def __aenter__(self) -> None:
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ask(lambda: self.end() if begun.done() else begun.set_result(None))
        try:
            await begun
        except asyncio.CancelledError:
            if not begun.cancelled():  # it was given the turn, and is cancelled all the same
                self.end()
            raise

    async def __aexit__(self, *_: object) -> None:
        self.end()
