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


class KeyWatch:
    """Looks at every key that has a stream open, once for all its streams, every `revocation_poll_s`.

    It polls, instead of being told, so that a revocation by another process counts as well.
    """

    def __init__(
        self,
        store: Views,
        closing: asyncio.Event,
        limits: ApiLimits,
        session_is_open: Callable[[str], Awaitable[bool]] | None = None,
    ) -> None:
        self._store = store
        self._closing = closing
        self._limits = limits
        self._session_is_open = session_is_open
        self._open: dict[tuple[str, str], set[asyncio.Event]] = {}
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
    async def end_of_access(self, who: Principal) -> AsyncGenerator[asyncio.Event]:
        """An event that is set when the key is revoked, the session is over, or the server stops."""
        access = (who.key_id, who.session_id)
        over = asyncio.Event()
        if self._closing.is_set():
            over.set()
        self._open.setdefault(access, set()).add(over)
        try:
            yield over
        finally:
            self._open[access].discard(over)
            if not self._open[access]:
                del self._open[access]

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
        for access in tuple(self._open):
            key_id, session_id = access
            view = "users" if key_id.startswith("usr_") else "api_keys"
            row = await self._store.get_view(view, key_id)
            revoked = row is not None and row.status in {"revoked", "removed"}
            if session_id and self._session_is_open is not None:
                revoked = revoked or not await self._session_is_open(session_id)
            if revoked or self._closing.is_set():
                for over in self._open.get(access, ()):
                    over.set()
