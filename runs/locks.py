"""Locks kept in memory: what is looked at under one stays so until the change is appended."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")


class Named(Generic[T]):
    """One of a kind for each name; it is gone when nobody holds or waits for it.

    One process owns the data folder, so that they lie in memory is enough.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._names: WeakValueDictionary[str, T] = WeakValueDictionary()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._names)})"

    def __call__(self, name: str) -> T:
        """That of this name, to be held with `async with`."""
        found = self._names.get(name)
        if found is None:
            found = self._names[name] = self._make()
        return found


class NamedLocks(Named[asyncio.Lock]):
    """Locks of organisations or projects."""

    def __init__(self) -> None:
        super().__init__(asyncio.Lock)


class NamedPlaces(Named[asyncio.Semaphore]):
    """So many places for each name, given in the order of asking."""

    def __init__(self, places: int) -> None:
        assert places >= 1, "somebody has to come in"
        super().__init__(lambda: asyncio.Semaphore(places))


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
