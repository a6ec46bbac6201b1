"""Owns when sealed runs are compacted: in the background, a step at a time, with rests between them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from eventstore.log import LogLimits, StorageUnavailable

_logger = logging.getLogger(__name__)


class Compactable(Protocol):
    """The part of `eventstore.log.EventLog` that this needs."""

    async def compact(self, quiet_since_ms: int) -> int:
        """Compact a little of a run that has ended; answers how many events, 0 when there is nothing."""
        ...


class Compactor:
    """Compacts runs that were sealed `compact_quiet_ms` ago, those of earlier starts and versions too."""

    def __init__(self, log: Compactable, clock_ms: Callable[[], int], limits: LogLimits) -> None:
        self._log, self._clock_ms, self._limits = log, clock_ms, limits

    def __repr__(self) -> str:
        return f"Compactor(quiet_ms={self._limits.compact_quiet_ms})"

    async def run_forever(self) -> None:
        """Look every `compact_idle_s` until cancelled; a full disk is waited for, a failure is logged."""
        while True:
            try:
                await self.compact_due()
            except StorageUnavailable as error:
                _logger.warning("sealed runs are not compacted yet: %s", error)
            except Exception:
                _logger.exception("compacting sealed runs failed")
            await asyncio.sleep(self._limits.compact_idle_s)

    async def compact_due(self) -> int:
        """Compact all that is due now, resting after each step; answers how many events."""
        loop, total = asyncio.get_running_loop(), 0
        while True:
            began = loop.time()
            events = await self._log.compact(self._clock_ms() - self._limits.compact_quiet_ms)
            if not events:
                return total
            total += events
            await asyncio.sleep((loop.time() - began) * self._limits.compact_rest)
