"""Idempotency of requests: one effect and one answer per key (CONTRACT §5, §11).

The append transaction decides. This module only makes racing identical requests wait for the first one
instead of doing its work again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from eventstore.log import Answer, Claim
from eventstore.views import ViewRow
from runs.refusal import Refusal

WAIT_FOR_FIRST_S = 10.0
"""How long an identical request waits for the first one before 409 (CONTRACT §11)."""


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A request that carries an idempotency key.

    `key` names organisation, credential, method, route and the caller's key; `fingerprint` names what
    was asked. Build it with `identify`.
    """

    key: str
    fingerprint: str
    expires_at_ms: int

    def claim(self, answer: Callable[[ViewRow | None], Answer]) -> Claim:
        """The claim to put into the append that this request causes."""
        return Claim(self.key, self.fingerprint, self.expires_at_ms, answer)


def identify(parts: tuple[str, ...], body: bytes, expires_at_ms: int) -> IdempotentRequest:
    """`parts`: org id, key id, method, route, the caller's key. `body`: what makes the request itself."""
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return IdempotentRequest(key, hashlib.sha256(body).hexdigest(), expires_at_ms)


class InFlight:
    """Keys whose first request is still being worked on, in this process."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    def __repr__(self) -> str:
        return f"InFlight(keys={len(self._locks)})"

    @asynccontextmanager
    async def one_at_a_time(self, request: IdempotentRequest | None) -> AsyncGenerator[None]:
        """Hold the key while the block runs; identical requests wait up to `WAIT_FOR_FIRST_S`."""
        if request is None:
            yield
            return
        lock, users = self._locks.get(request.key, (asyncio.Lock(), 0))
        self._locks[request.key] = (lock, users + 1)
        try:
            try:
                await asyncio.wait_for(lock.acquire(), WAIT_FOR_FIRST_S)
            except TimeoutError:
                raise Refusal(
                    "idempotency_request_in_progress",
                    "The first request with this idempotency key is still running. Try again in a moment.",
                ) from None
            try:
                yield
            finally:
                lock.release()
        finally:
            self._leave(request.key)

    def _leave(self, key: str) -> None:
        lock, users = self._locks[key]
        if users == 1:
            del self._locks[key]
        else:
            self._locks[key] = (lock, users - 1)
