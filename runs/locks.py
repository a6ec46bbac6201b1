"""One lock per name, kept in memory: what is looked at under it stays so until the change is appended."""

from __future__ import annotations

import asyncio
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
