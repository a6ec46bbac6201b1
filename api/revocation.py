"""Ends what a revoked key still has open: streams are asked for once and read for hours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from api.limits import ApiLimits
from eventstore.views import Views
from runs.access import Principal

logger = logging.getLogger(__name__)


class KeyWatch:
    """Looks at every key that has a stream open, once for all its streams, every `revocation_poll_s`.

    It polls, instead of being told, so that a revocation by another process counts as well.
    """

    def __init__(self, store: Views, closing: asyncio.Event, limits: ApiLimits) -> None:
        self._store = store
        self._closing = closing
        self._limits = limits
        self._open: dict[str, set[asyncio.Event]] = {}

    def __repr__(self) -> str:
        return f"KeyWatch(keys={len(self._open)})"

    @asynccontextmanager
    async def end_of_access(self, who: Principal) -> AsyncGenerator[asyncio.Event]:
        """An event that is set when the key is revoked or the server stops."""
        over = asyncio.Event()
        if self._closing.is_set():
            over.set()
        self._open.setdefault(who.key_id, set()).add(over)
        try:
            yield over
        finally:
            self._open[who.key_id].discard(over)
            if not self._open[who.key_id]:
                del self._open[who.key_id]

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
        for key_id in tuple(self._open):
            view = "users" if key_id.startswith("usr_") else "api_keys"
            row = await self._store.get_view(view, key_id)
            revoked = row is not None and row.status in {"revoked", "removed"}
            if revoked or self._closing.is_set():
                for over in self._open.get(key_id, ()):
                    over.set()
