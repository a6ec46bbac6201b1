"""Owns the producing side of an append session: batches are kept until they are durable, and sent again.

A connection may break at any moment. The server says on the next one which batch it stored last, so nothing
is lost and nothing comes twice (CONTRACT §2.1). What waits is kept in memory, up to a named limit.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from client.envelope import error_of, json_object
from client.errors import ApiError, BadAnswer, ClientError, ConnectionFailed, FailureKind
from evidence.canonical import encode

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

FINAL_STATUSES = frozenset({400, 401, 403, 404, 405, 409, 410, 413})
"""Answers that stay as they are however often one asks."""


@dataclass(frozen=True, slots=True)
class ProducerLimits:
    """What a producer keeps, and how long it tries."""

    buffer_bytes_max: int = 64 * 1024 * 1024
    """Of batches that are not durable yet; past that output waits, or is given up without a connection."""
    batch_events_max: int = 200
    batch_bytes_max: int = 512 * 1024
    """Of output in one batch; as JSON it may be twice as much or more, and the server takes 1 MiB."""
    connect_s: float = 10.0
    close_s: float = 2.0
    """For the server to close a connection as well, before it is dropped."""
    retry_delays_s: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    """Waits before each new connection; the last one again and again."""
    blocked_s_max: float = 60.0
    """With a full buffer and no connection the recording is given up after this."""
    alive_s: float = 60.0
    """Silence after which an empty batch says that the command still runs."""


@dataclass(frozen=True, slots=True)
class _Batch:
    number: int
    frame: str
    size_bytes: int


class Producer:
    """One producer of one run. Belongs to the event loop that opened it.

    `ended` holds the server's refusal once it takes no more events (the run was canceled, say); `given_up`
    why batches were dropped. In either case `put` takes and forgets what it is given.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        producer_id: str,
        *,
        trust_env: bool = False,
        limits: ProducerLimits | None = None,
    ) -> None:
        """`url` is the session's, with scheme ws or wss and without a query."""
        self._url = f"{url}?producerId={producer_id}"
        self._headers = dict(headers)
        self._producer_id = producer_id
        self._trust_env = trust_env
        self._limits = limits or ProducerLimits()
        self._kept: deque[_Batch] = deque()
        self._kept_bytes = 0
        self._sent = 0
        """How many of `_kept`, from the left, were sent on this connection."""
        self._answers: deque[int] = deque()
        """Numbers in the order of their answers on this connection; 0 for an empty batch."""
        self._last_number = 0
        self._changed = asyncio.Event()
        self._connected = False
        self._task: asyncio.Task[None] | None = None
        self.over = asyncio.Event()
        """Set once nothing is recorded any more: see `ended` and `given_up`."""
        self.ended: ApiError | None = None
        self.given_up: ClientError | None = None
        self.truncated = False
        """Whether the server keeps no more output of this run."""

    def __repr__(self) -> str:
        return f"Producer({self._producer_id}, kept={len(self._kept)}, connected={self._connected})"

    async def open(self) -> None:
        """Connect and begin the recording; returns once the beginning is durable. Raises `ClientError`."""
        self._add([])
        socket = await self._connect()
        self._task = asyncio.create_task(self._run(socket), name="producer")
        await self.drained()
        if failure := self.ended or self.given_up:
            raise failure

    async def put(self, events: Sequence[Mapping[str, object]]) -> None:
        """Record these `stdout` and `stderr` events; waits while too much is not durable yet."""
        for batch in _batches(events, self._limits):
            while self._kept_bytes >= self._limits.buffer_bytes_max and not self.over.is_set():
                await self._wait_for_room()
            if self.over.is_set() or self.truncated:
                return
            self._add(batch)

    async def drained(self) -> None:
        """Return once all is durable, or never will be."""
        while self._kept and not self.over.is_set():
            await self._change()

    def give_up(self, reason: ClientError) -> None:
        """Drop what is not durable yet."""
        if not self.over.is_set():
            self.given_up = reason
            self._stop()

    async def close(self) -> None:
        """Close the connection, whatever is not durable."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # ---- what is kept

    def _add(self, events: Sequence[Mapping[str, object]]) -> None:
        self._last_number += 1
        frame = self._frame(self._last_number, events)
        self._kept.append(_Batch(self._last_number, frame, len(frame)))
        self._kept_bytes += len(frame)
        self._tell()

    def _frame(self, number: int, events: Sequence[Mapping[str, object]]) -> str:
        body = {"producerId": self._producer_id, "number": number, "events": list(events)}
        return encode(body).decode()

    def _forget_through(self, number: int) -> None:
        while self._kept and self._kept[0].number <= number:
            self._kept_bytes -= self._kept.popleft().size_bytes
            self._sent = max(0, self._sent - 1)
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change(self) -> None:
        await self._changed.wait()

    async def _wait_for_room(self) -> None:
        """Until something was stored. Without a connection not for ever: then the output is given up."""
        try:
            async with asyncio.timeout(self._limits.blocked_s_max):
                await self._change()
        except TimeoutError:
            if not self._connected:
                self.give_up(
                    ClientError("buffer_full", "The server is away, and what waits for it fills the buffer.")
                )

    def _stop(self) -> None:
        self.over.set()
        self._kept.clear()
        self._kept_bytes = 0
        self._tell()

    # ---- the connection

    async def _run(self, socket: ClientConnection | None) -> None:
        """Send and be answered, on one connection after another, until it is over."""
        attempt = 0
        while not self.over.is_set():
            before = self._last_acknowledged
            try:
                if socket is None:
                    socket = await self._connect()
                await self._serve(socket)
            except ApiError as error:
                if _is_final(error):
                    self._refused(error)
                    return
            except BadAnswer as error:
                self.give_up(error)
                return
            except ClientError:
                pass  # it may pass
            socket = None
            attempt = 0 if self._last_acknowledged > before else attempt + 1
            delays = self._limits.retry_delays_s
            await asyncio.sleep(delays[min(attempt, len(delays) - 1)])

    @property
    def _last_acknowledged(self) -> int:
        return self._kept[0].number - 1 if self._kept else self._last_number

    def _refused(self, error: ApiError) -> None:
        if (error.details or {}).get("reason") == "run_ended":
            self.ended = error
            self._stop()
        else:
            self.give_up(error)

    async def _connect(self) -> ClientConnection:
        """A connection that was greeted: what the server has is forgotten, the rest is to be sent."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException

        class Straight(connect):
            """Follows no redirects: a server of this contract issues none, and the credential stays."""

            def process_redirect(self, exc: Exception) -> Exception:
                return exc

        origin = "{0.scheme}://{0.netloc}".format(urlsplit(self._url))
        try:
            socket = await Straight(
                self._url,
                additional_headers=self._headers,
                compression=None,
                open_timeout=self._limits.connect_s,
                close_timeout=self._limits.close_s,
                proxy=True if self._trust_env else None,
            )
        except InvalidStatus as refused:
            raise error_of(bytes(refused.response.body or b""), refused.response.status_code) from refused
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, WebSocketException) as error:
            raise ConnectionFailed(_kind(error), origin, str(error) or type(error).__name__) from error
        try:
            greeting = await _received(socket, origin)
            last = greeting.get("lastNumber")
            if type(last) is not int or not self._last_acknowledged <= last <= self._last_number:
                raise BadAnswer(
                    f"The server knows batch {last!a} of this run as the last, and {self._last_acknowledged} "
                    "were acknowledged. Was it restored from a backup?"
                )
        except BaseException:
            await socket.close()
            raise
        self._answers.clear()
        self._forget_through(last)
        self._sent = 0
        return socket

    async def _serve(self, socket: ClientConnection) -> None:
        """Use the connection until it breaks; raises `ClientError`."""
        self._connected = True
        work = [asyncio.create_task(self._send(socket)), asyncio.create_task(self._receive(socket))]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            # The refusal is read where the broken connection is noticed by the sender as well.
            if work[1] not in done:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._limits.connect_s):
                        await asyncio.wait((work[1],))
            for task in reversed(work):
                if task.done():
                    task.result()
        finally:
            self._connected = False
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            await socket.close()

    async def _send(self, socket: ClientConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                while self._sent < len(self._kept):
                    batch = self._kept[self._sent]
                    self._sent += 1
                    self._answers.append(batch.number)
                    await socket.send(batch.frame)
                try:
                    async with asyncio.timeout(self._limits.alive_s):
                        await self._change()
                except TimeoutError:
                    self._answers.append(0)
                    await socket.send(self._frame(self._last_number + 1, []))
        except ConnectionClosed as error:
            raise ConnectionFailed("dropped", self._url, str(error)) from error

    async def _receive(self, socket: ClientConnection) -> None:
        while True:
            answer = await _received(socket, self._url)
            if not self._answers:
                raise BadAnswer("The server acknowledged a batch that was not sent.")
            number = self._answers.popleft()
            head: Any = answer.get("head")
            if isinstance(head, dict) and cast("dict[str, object]", head).get("truncated") is True:
                self.truncated = True
            if number:
                self._forget_through(number)


def _batches(
    events: Sequence[Mapping[str, object]], limits: ProducerLimits
) -> list[list[Mapping[str, object]]]:
    """Cut into batches within the limits, in order."""
    batches: list[list[Mapping[str, object]]] = []
    size_bytes = 0
    for event in events:
        size = len(str(event.get("dataBase64") or event.get("data")).encode())
        full = not batches or len(batches[-1]) >= limits.batch_events_max
        if full or size_bytes + size > limits.batch_bytes_max:
            batches.append([])
            size_bytes = 0
        batches[-1].append(event)
        size_bytes += size
    return batches


async def _received(socket: ClientConnection, origin: str) -> dict[str, Any]:
    """The next frame; an error in it is raised as `ApiError`."""
    from websockets.exceptions import ConnectionClosed

    try:
        frame = await socket.recv()
    except ConnectionClosed as error:
        raise ConnectionFailed("dropped", origin, str(error)) from error
    answer = json_object(frame if isinstance(frame, bytes) else frame.encode())
    if answer is None:
        raise BadAnswer("The append session holds a frame that is not one JSON object.")
    if "error" in answer:
        raise error_of(encode(answer), None)
    return answer


def _is_final(error: ApiError) -> bool:
    return not error.retryable and (error.status is None or error.status in FINAL_STATUSES)


def _kind(error: BaseException) -> FailureKind:
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ssl.SSLError):
        return "tls"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    return "other"
