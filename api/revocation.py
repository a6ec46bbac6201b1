"""Ends what a revoked key or a closed session still has open: streams are asked for once, read for hours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from api.limits import ApiLimits
from eventstore.views import Views
from runs.access import Principal
from runs.refusal import Refusal

logger = logging.getLogger(__name__)
_PAST = 0.0
"""A time of the event loop's clock that is over."""


class Access:
    """May this stream go on? `over` is set once it may not."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self._waits: asyncio.Timeout | None = None

    def end(self) -> None:
        """End it, and what waits in it."""
        self.over.set()
        if self._waits is not None:
            self._waits.reschedule(_PAST)

    async def bounds(self, news: Awaitable[bool]) -> bool:
        """What `news` answers, or True once access is over. One at a time; it costs no task."""
        try:
            async with asyncio.timeout_at(_PAST if self.over.is_set() else None) as self._waits:
                return await news
        except TimeoutError:
            if not self.over.is_set():
                raise
            return True
        finally:
            self._waits = None


class KeyWatch:
    """Looks at every key that has a stream open, once for all its streams, every `revocation_poll_s`.

    It polls, instead of being told, so that a revocation by another process counts as well.
    """

    def __init__(
        self,
        store: Views,
        closing: asyncio.Event,
        limits: ApiLimits,
        session_is_open: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._store = store
        self._closing = closing
        self._limits = limits
        self._session_is_open = session_is_open
        self._open: dict[tuple[str, str], set[Access]] = {}
        """By key or person, and browser session where there is one."""

    def __repr__(self) -> str:
        return f"KeyWatch(keys={len(self._open)})"

    def require_room(self, who: Principal) -> None:
        """Refuse with `slow_down` one stream too many; before its answer begins, for then it is too late."""
        most = self._limits.streams_per_key_max
        if sum(len(streams) for (key_id, _), streams in self._open.items() if key_id == who.key_id) >= most:
            raise Refusal(
                "slow_down", f"This key has {most} streams open, and no more are allowed. Close some first."
            )

    @asynccontextmanager
    async def access(self, who: Principal) -> AsyncGenerator[Access]:
        """One stream's access: it ends when the key is revoked, the session is over, or the server stops."""
        whose = (who.key_id, who.session_id)
        access = Access()
        if self._closing.is_set():
            access.end()
        self._open.setdefault(whose, set()).add(access)
        try:
            yield access
        finally:
            self._open[whose].discard(access)
            if not self._open[whose]:
                del self._open[whose]

    async def run_forever(self) -> None:
        """Look until canceled."""
        closing = asyncio.create_task(self._closing.wait())
        try:
            while not closing.done():
                await asyncio.wait((closing,), timeout=self._limits.revocation_poll_s)
                try:
                    await self._look()
                except Exception:
                    logger.exception("looking for revoked keys failed; trying again")
        finally:
            closing.cancel()
        await asyncio.Event().wait()

    async def _look(self) -> None:
        for whose in tuple(self._open):
            key_id, session_id = whose
            view = "users" if key_id.startswith("usr_") else "api_keys"
            row = await self._store.get_view(view, key_id)
            revoked = row is not None and row.status in {"revoked", "removed"}
            if session_id:
                revoked = revoked or not await self._session_is_open(session_id)
            if revoked or self._closing.is_set():
                for access in self._open.get(whose, ()):
                    access.end()
