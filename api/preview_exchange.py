"""One request through a preview: both heads rewritten, both bodies streamed; raw bytes after an upgrade."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import h11

from api.limits import PreviewLimits
from api.preview_heads import SWITCHING_PROTOCOLS, Head, to_client, to_program
from runs.previews import Dial, PortClosed, Preview, SandboxGone
from runs.refusal import Refusal

CHUNK_BYTES = 64 * 1024
INFORMATIONAL_MAX = 32
"""Interim answers (1xx) to one request. Each counts as a sign of life, so endless ones would never end."""


class ClientGone(Exception):
    """The client closed its connection: nobody waits for the answer."""


class Side(ABC):
    """One end of an exchange: h11 over a connection, with a bounded head."""

    def __init__(self, role: type[h11.CLIENT | h11.SERVER], limits: PreviewLimits) -> None:
        self.http = h11.Connection(role, max_incomplete_event_size=limits.head_bytes_max)
        self.moved: Callable[[], object] = lambda: None
        """Called whenever bytes went in or out."""
        self._limits = limits

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.http.states})"

    @abstractmethod
    async def read(self) -> bytes:
        """Bytes as they come; empty at the end."""

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Write raw bytes, and wait while too many are under way."""

    async def next_event(self) -> Any:
        """The next event of h11; waits for bytes. Raises `h11.RemoteProtocolError`, `OSError`.

        Where bytes are always there nothing below would wait: a program that never pauses must not keep the
        one loop that serves everybody from its other work.
        """
        await asyncio.sleep(0)
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.read())
        if isinstance(event, h11.Request | h11.InformationalResponse | h11.Response):
            self._check_size(event)
        return event

    async def send(self, event: h11.Event) -> None:
        """Write what h11 makes of the event."""
        data = self.http.send(event)
        if data:
            await self.write(data)

    def _check_size(self, head: h11.Request | h11.InformationalResponse | h11.Response) -> None:
        """h11 bounds what it waits for, not what came at once."""
        size = sum(len(name) + len(value) for name, value in head.headers)
        if size > self._limits.head_bytes_max:
            raise h11.RemoteProtocolError("The headers are too large")


class ClientSide(Side):
    """The client's end, over a buffered stream: no byte that was read is lost when its reader is canceled."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limits: PreviewLimits
    ) -> None:
        super().__init__(h11.SERVER, limits)
        self._reader = reader
        self._writer = writer
        writer.transport.set_write_buffer_limits(high=limits.buffer_bytes)
        peer = writer.get_extra_info("peername")
        self.address = str(peer[0]) if peer else "unknown"
        self.asked_for_head = False
        self.reads_html = False
        """A person opens the address in a browser."""
        """The present request is a HEAD: its answer has no body."""

    async def read(self) -> bytes:
        """Bytes as they come; empty at the end."""
        data = await self._reader.read(CHUNK_BYTES)
        self.moved()
        return data

    async def write(self, data: bytes) -> None:
        """Write raw bytes, and wait while too many are under way."""
        self._writer.write(data)
        await self._writer.drain()
        self.moved()

    async def close(self) -> None:
        """Flush and close; a peer that does not read is cut off."""
        self._writer.close()
        try:
            await asyncio.wait_for(self._writer.wait_closed(), self._limits.linger_s)
        except (OSError, TimeoutError):
            self.abort()

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        self._writer.transport.abort()

    async def linger(self) -> None:
        """Say that nothing more comes, and drop what the client still sends, so that it sees the answer.

        A socket closed with unread bytes resets the connection, and the answer may be lost with it.
        """
        dropped = 0
        with contextlib.suppress(OSError, TimeoutError):
            self._writer.write_eof()
            async with asyncio.timeout(self._limits.linger_s):
                while dropped < self._limits.linger_bytes_max and (data := await self.read()):
                    dropped += len(data)


class ProgramSide(Side):
    """The program's end, over the bare socket.

    A program may answer and hang up before it has read everything. A stream would give up reading as soon
    as writing fails, and lose that answer; here the two directions fail each by itself.
    """

    def __init__(self, connection: socket.socket, limits: PreviewLimits) -> None:
        super().__init__(h11.CLIENT, limits)
        connection.setblocking(False)
        self._connection = connection
        self._loop = asyncio.get_running_loop()

    async def read(self) -> bytes:
        """Bytes as they come; empty at the end. The loop has its turn first, as in `next_event`."""
        await asyncio.sleep(0)
        data = await self._loop.sock_recv(self._connection, CHUNK_BYTES)
        self.moved()
        return data

    async def write(self, data: bytes) -> None:
        """Write raw bytes; returns once the kernel has them all."""
        await self._loop.sock_sendall(self._connection, data)
        self.moved()

    def close(self) -> None:
        """Close; the kernel still sends what it has."""
        self._connection.close()


async def forward(
    client: ClientSide, head: Head, preview: Preview, dial: Dial, limits: PreviewLimits, *, scheme: str
) -> bool:
    """Pass one request to the program and its answer back; whether the client may send another one.

    Raises a `Refusal` while nothing of an answer was sent; later failures raise what they are.
    """
    request = to_program(head, preview, client_ip=client.address, scheme=scheme)
    program = ProgramSide(await _dial(dial, preview, limits), limits)
    try:
        async with asyncio.timeout(limits.idle_s) as idle:
            client.moved = program.moved = partial(_postpone, idle, limits.idle_s)
            exchange = _Exchange(client, program)
            switched = await exchange.run(request)
            if switched:
                await exchange.tunnel(switched)
    except (h11.RemoteProtocolError, OSError) as error:  # a TimeoutError is an OSError
        if client.http.our_state is h11.SEND_RESPONSE:
            raise _unavailable(preview, _reason(error)) from error
        raise
    finally:
        client.moved = lambda: None
        program.close()
    return client.http.our_state is h11.DONE and client.http.their_state is h11.DONE


def _postpone(deadline: asyncio.Timeout, silence_s: float) -> None:
    if not deadline.expired():
        deadline.reschedule(asyncio.get_running_loop().time() + silence_s)


async def _dial(dial: Dial, preview: Preview, limits: PreviewLimits) -> socket.socket:
    try:
        return await asyncio.wait_for(dial(preview.sandbox_id, preview.port), limits.dial_s)
    except SandboxGone:
        raise ended() from None
    except (PortClosed, OSError):
        raise _unavailable(preview, "nothing listens there") from None


def ended() -> Refusal:
    """404 alike for a preview that never was, has ended, or is somebody else's."""
    return Refusal(
        "not_found",
        "There is no preview at this address, or it has ended. Open a new one: crownest previews.",
    )


def _unavailable(preview: Preview, reason: str) -> Refusal:
    return Refusal(
        "preview_unavailable",
        f"Port {preview.port} of the sandbox did not answer: {reason}. Start the program, then try again.",
        {"port": preview.port},
    )


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it was silent for too long"
    return "it does not speak HTTP" if isinstance(error, h11.RemoteProtocolError) else "it hung up"


class _Exchange:
    """The two directions of one request."""

    def __init__(self, client: ClientSide, program: ProgramSide) -> None:
        self._client = client
        self._program = program

    def __repr__(self) -> str:
        return f"_Exchange({self._client!r}, {self._program!r})"

    async def run(self, request: h11.Request) -> h11.InformationalResponse | None:
        """Until the answer has ended; the 101 if the program switched protocols."""
        await self._program.send(request)
        return await self._first_of(self._upload(), self._answer())

    async def tunnel(self, switched: h11.InformationalResponse) -> None:
        """Raw bytes both ways, until one side closes."""
        await self._client.send(
            h11.InformationalResponse(
                status_code=SWITCHING_PROTOCOLS, headers=to_client(switched), reason=switched.reason
            )
        )
        early, _ = self._client.http.trailing_data
        await self._program.write(early)
        early, _ = self._program.http.trailing_data
        await self._client.write(early)
        pumps = [
            asyncio.ensure_future(_pump(source, target))
            for source, target in ((self._client, self._program), (self._program, self._client))
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(*pumps)

    async def _first_of(
        self, upload: Coroutine[Any, Any, None], answer: Coroutine[Any, Any, h11.InformationalResponse | None]
    ) -> h11.InformationalResponse | None:
        """The answer's end ends the exchange; a client that is gone does, too."""
        up, down = asyncio.ensure_future(upload), asyncio.ensure_future(answer)
        try:
            done, _ = await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            if up in done and down not in done:
                up.result()
            return await down
        finally:
            await _end(up, down)

    async def _upload(self) -> None:
        """Pass the request's body on, then watch whether the client stays."""
        try:
            await self._pass_body()
        except OSError:
            return  # the program reads no more, which it may: its answer decides
        data = await self._client.read()
        if not data:
            raise ClientGone
        self._client.http.receive_data(data)  # the next request already: it waits for its turn

    async def _pass_body(self) -> None:
        while True:
            try:
                event = await self._client.next_event()
            except (OSError, h11.RemoteProtocolError) as error:
                raise ClientGone from error
            if not isinstance(event, h11.Data):
                await self._program.send(h11.EndOfMessage())
                return
            await self._program.send(h11.Data(data=event.data))

    async def _answer(self) -> h11.InformationalResponse | None:
        """Pass the answer on as it comes, each piece at once."""
        interim = 0
        while True:
            event = await self._program.next_event()
            match event:
                case h11.InformationalResponse():
                    interim += 1
                    if interim > INFORMATIONAL_MAX:
                        raise h11.RemoteProtocolError("More interim answers than anybody needs")
                    if event.status_code == SWITCHING_PROTOCOLS:
                        return event
                    if event.status_code == 100 and self._client.http.they_are_waiting_for_100_continue:
                        await self._client.send(h11.InformationalResponse(status_code=100, headers=[]))
                case h11.Response():
                    await self._client.send(
                        h11.Response(
                            status_code=event.status_code, headers=to_client(event), reason=event.reason
                        )
                    )
                case h11.Data():
                    await self._client.send(h11.Data(data=event.data))
                case h11.EndOfMessage():
                    await self._client.send(h11.EndOfMessage())
                    return None
                case _:
                    raise ConnectionResetError("the program closed without an answer")


async def _pump(source: Side, target: Side) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read():
            await target.write(data)


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
