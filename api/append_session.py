"""Owns one append session: batches come up a WebSocket and are acknowledged down it, each once it is durable.

The protocol (CONTRACT §2.1): the first frame down says where the run stands and, when the client named its
`producerId` in the query, which number of it was stored last. Then batches go up, as many at once as the
named limit lets wait, and `{number, head}` comes down for each, in order. A refusal comes as the error
envelope, with the number where there is one, and the socket closes: what was sent behind is not looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from api.batches import parse_batch
from api.errors import envelope, log_failure, refusal_of
from api.limits import ApiLimits
from api.session_protocol import protocol_of
from runs.recording import Batch, RecordingSession, run_ended
from runs.refusal import Refusal

CLOSE_IDLE, CLOSE_REFUSED, CLOSE_TOO_BIG, CLOSE_FAILED, CLOSE_RESTART, CLOSE_LATER = (
    1001, 1008, 1009, 1011, 1012, 1013,
)  # fmt: skip
_CLOSE = {"internal_error": CLOSE_FAILED, "slow_down": CLOSE_LATER, "file_too_large": CLOSE_TOO_BIG}


class _Over(Exception):
    """The session ends; `refusal` says why, None when it is the client or nobody who is to be told."""

    def __init__(self, code: int, refusal: Refusal | None = None, number: int = 0) -> None:
        super().__init__(code)
        self.code, self.refusal, self.number = code, refusal, number


class AppendSession:
    """One open session of one run."""

    def __init__(
        self, socket: WebSocket, recording: RecordingSession, limits: ApiLimits, request_id: str
    ) -> None:
        self._socket = socket
        self._wire = protocol_of(socket)
        self._recording = recording
        self._limits = limits
        self._request_id = request_id
        self._waiting = 0
        """Batches that were handed in and are not answered yet."""
        self._unreadable: Refusal | None = None
        """Why the last frame was no batch: told when its turn has come, behind the batches before it."""
        self._heard = True
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails with why the session ends, when that is found by itself."""

    def __repr__(self) -> str:
        return f"AppendSession({self._recording!r}, waiting={self._waiting})"

    async def serve(self, access_over: asyncio.Event, closing: asyncio.Event) -> None:
        """Until the client goes, is refused or idle, the run or the access ends, or the server stops."""
        try:
            await self._socket.accept()
        except WebSocketDisconnect:
            return
        self._greet()
        self._wire.deliver(self)
        work: tuple[Coroutine[Any, Any, Any], ...] = (
            self._socket.receive(),  # nothing but that the client is gone
            self._watch_idle(),
            self._watch_run(),
            _watch_access(access_over, closing),
        )
        tasks: list[asyncio.Future[Any]] = [self._over, *map(asyncio.create_task, work)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            try:
                task.result()
            except _Over as over:
                await self._close(over)
                return

    @property
    def full(self) -> bool:
        """Whether as many batches wait as may, or none is looked at any more."""
        is_ending = self._unreadable is not None or self._over.done()
        return is_ending or self._waiting >= self._limits.session_batches_max

    def received(self, message: bytes) -> None:
        """Hand in what came. What cannot be read ends the session behind the batches before it."""
        self._heard = True
        try:
            batch = self._batch(message)
        except Refusal as refusal:
            self._unreadable = refusal
            self._refuse_unreadable()
            return
        self._waiting += 1
        self._recording.submit(batch, partial(self._answered, batch.number))

    def _batch(self, message: bytes) -> Batch:
        most = self._limits.json_body_bytes_max
        if len(message) > most:
            raise Refusal("file_too_large", f"A frame is larger than {most} bytes. Send smaller batches.")
        return parse_batch(message)

    def _greet(self) -> None:
        head = self._recording.head(self._recording.last_seq)
        producer_id = self._socket.query_params.get("producerId")
        if producer_id is None:
            self._wire.send_message(b'{"head":%b}' % head)
            return
        last = self._recording.last_number(producer_id)
        self._wire.send_message(b'{"head":%b,"lastNumber":%d}' % (head, last))

    def _answered(self, number: int, outcome: int | Exception) -> None:
        """Acknowledge the batch, or end the session with why it is refused; answers come in order."""
        self._waiting -= 1
        if self._over.done():
            return
        if isinstance(outcome, Exception):
            self._refuse(outcome, number)
            return
        self._wire.send_message(b'{"number":%d,"head":%b}' % (number, self._recording.head(outcome)))
        self._refuse_unreadable()
        self._wire.go_on()

    def _refuse_unreadable(self) -> None:
        if self._unreadable is not None and not self._waiting:
            self._refuse(self._unreadable, 0)

    def _refuse(self, error: Exception, number: int) -> None:
        log_failure(self._request_id, f"session of {self._recording.run_id}", error)
        refusal = refusal_of(error)
        code = _CLOSE.get(refusal.code, CLOSE_REFUSED) if refusal else CLOSE_FAILED
        self._over.set_exception(_Over(code, refusal, number) if refusal else error)

    async def _watch_idle(self) -> None:
        while self._heard:
            self._heard = False
            await asyncio.sleep(self._limits.session_idle_s)
        raise _Over(CLOSE_IDLE)

    async def _watch_run(self) -> None:
        await self._recording.ended_early.wait()
        await self._recording.settled()
        raise _Over(CLOSE_REFUSED, run_ended(self._recording.fold.status))

    async def _close(self, over: _Over) -> None:
        """Tell why, then close; the client may be gone already."""
        if over.refusal is not None:
            _, _, body = envelope(over.refusal, self._request_id)
            self._wire.send_message(b'{"number":%d,%b' % (over.number, body[1:]) if over.number else body)
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._socket.close(over.code)
        self._wire.go_on()  # the client's side of the closing may lie behind what is not read any more


async def _watch_access(access_over: asyncio.Event, closing: asyncio.Event) -> None:
    await access_over.wait()
    if closing.is_set():
        raise _Over(CLOSE_RESTART)
    raise _Over(CLOSE_REFUSED, Refusal("unauthorized", "This API key was revoked. Log in with a valid key."))
