"""Owns one append session: batches come up a WebSocket and are acknowledged down it, each once it is durable.

The protocol (CONTRACT §2.1): the first frame down says where the run stands and, when the client named its
`producerId` in the query, which number of it was stored last. Then batches go up, as many at once as the
named limit lets wait, and `{number, head}` comes down for each, in order. A refusal comes as the error
envelope, with the number where there is one, and the socket closes: what was sent behind is not looked at.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from api.batches import parse_batch
from api.errors import envelope, refusal_of
from api.limits import ApiLimits
from runs.recording import RecordingSession, run_ended
from runs.refusal import Refusal

CLOSE_IDLE, CLOSE_REFUSED, CLOSE_TOO_BIG, CLOSE_FAILED, CLOSE_RESTART, CLOSE_LATER = (
    1001, 1008, 1009, 1011, 1012, 1013,
)  # fmt: skip
_CLOSE = {"internal_error": CLOSE_FAILED, "slow_down": CLOSE_LATER, "file_too_large": CLOSE_TOO_BIG}

Waiting = tuple[int, asyncio.Future[int]]
"""The number of a batch, 0 for what could not be read, and the stream's size behind it once it is durable."""


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
        self._recording = recording
        self._limits = limits
        self._request_id = request_id
        self._waiting: asyncio.Queue[Waiting] = asyncio.Queue(limits.session_batches_max)
        self._heard = True

    def __repr__(self) -> str:
        return f"AppendSession({self._recording!r}, waiting={self._waiting.qsize()})"

    async def serve(self, access_over: asyncio.Event, closing: asyncio.Event) -> None:
        """Until the client goes, is refused or idle, the run or the access ends, or the server stops."""
        try:
            await self._socket.accept()
            await self._greet()
        except WebSocketDisconnect:
            return
        work = (
            self._receive(), self._acknowledge(), self._watch_idle(), self._watch_run(),
            _watch_access(access_over, closing),
        )  # fmt: skip
        tasks = [asyncio.create_task(one) for one in work]
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
            except WebSocketDisconnect:
                return

    async def _greet(self) -> None:
        head = self._recording.head(self._recording.last_seq)
        producer_id = self._socket.query_params.get("producerId")
        if producer_id is None:
            await self._send(b'{"head":%b}' % head)
            return
        last = self._recording.last_number(producer_id)
        await self._send(b'{"head":%b,"lastNumber":%d}' % (head, last))

    async def _receive(self) -> None:
        """Hand in what comes. What cannot be read ends the session behind the batches before it."""
        while True:
            message = await self._socket.receive()
            if message["type"] != "websocket.receive":
                return
            self._heard = True
            try:
                batch = parse_batch(self._frame(message))
            except Refusal as refusal:
                failed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
                failed.set_exception(refusal)
                await self._waiting.put((0, failed))
                await asyncio.Event().wait()  # the session ends when its turn has come
                return
            await self._waiting.put((batch.number, self._recording.submit(batch)))

    def _frame(self, message: Message) -> bytes:
        sent: bytes | None = message.get("bytes")
        data: bytes = message["text"].encode() if sent is None else sent
        if len(data) > self._limits.json_body_bytes_max:
            most = self._limits.json_body_bytes_max
            raise Refusal("file_too_large", f"A frame is larger than {most} bytes. Send smaller batches.")
        return data

    async def _acknowledge(self) -> None:
        while True:
            number, answer = await self._waiting.get()
            try:
                size = await answer
            except Exception as error:
                refusal = refusal_of(error)
                if refusal is None:
                    raise
                raise _Over(_CLOSE.get(refusal.code, CLOSE_REFUSED), refusal, number) from None
            await self._send(b'{"number":%d,"head":%b}' % (number, self._recording.head(size)))

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
        with suppress(WebSocketDisconnect, RuntimeError):
            if over.refusal is not None:
                _, _, body = envelope(over.refusal, self._request_id)
                await self._send(b'{"number":%d,%b' % (over.number, body[1:]) if over.number else body)
            await self._socket.close(over.code)

    async def _send(self, data: bytes) -> None:
        await self._socket.send({"type": "websocket.send", "text": data.decode()})


async def _watch_access(access_over: asyncio.Event, closing: asyncio.Event) -> None:
    await access_over.wait()
    if closing.is_set():
        raise _Over(CLOSE_RESTART)
    raise _Over(CLOSE_REFUSED, Refusal("unauthorized", "This API key was revoked. Log in with a valid key."))
