"""Owns the lean clients: HTTP/1.1, WebSocket and RESP, with nothing between the bench and the bytes.

A client that costs more than its server measures itself. These do what they must, for us and for others.
"""

from __future__ import annotations

import asyncio
import base64
import os
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any

BUFFER_BYTES = 4 * 1024 * 1024
RESP_READ_BYTES = 256 * 1024


class Http:
    """One kept-alive connection to loopback, one request at a time."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: dict[str, str]
    ) -> None:
        self.reader, self.writer = reader, writer
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.answered: dict[bytes, bytes] = {}
        """Headers of the last answer, names in lower case."""

    @classmethod
    async def connect(cls, port: int, headers: dict[str, str]) -> Http:
        """Connect; the headers go with every request."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=BUFFER_BYTES)
        return cls(reader, writer, {"host": f"127.0.0.1:{port}", **headers})

    async def send(self, method: str, path: str, body: bytes = b"", headers: str = "") -> int:
        """Send a request and read the head of its answer; answers the status."""
        length = f"content-length: {len(body)}\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\n{self._headers}{headers}{length}\r\n"
        self.writer.write(head.encode() + body)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        self.answered = {
            name.lower(): value for name, _, value in (line.partition(b": ") for line in lines[1:-2])
        }
        return int(lines[0].split(b" ")[1])

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body of the answer as it comes, by length or by chunks."""
        if b"content-length" in self.answered:
            missing = int(self.answered[b"content-length"])
            while missing:
                data = await self.reader.read(min(missing, BUFFER_BYTES))
                if not data:
                    raise EOFError("the server hung up within an answer")
                missing -= len(data)
                yield data
        elif b"chunked" in self.answered.get(b"transfer-encoding", b""):
            while size := int((await self.reader.readuntil(b"\r\n"))[:-2], 16):
                yield (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readexactly(2)

    async def frames(self) -> AsyncIterator[bytes]:
        """The frames of an answer of Server-Sent Events, without the empty line that ends each."""
        held = b""
        async for block in self.blocks():
            *frames, held = (held + block).split(b"\n\n")
            for frame in frames:
                yield frame

    async def request(self, method: str, path: str, body: bytes = b"", headers: str = "") -> bytes:
        """The body of a 2xx answer."""
        status = await self.send(method, path, body, headers)
        if b"content-length" in self.answered:
            data = await self.reader.readexactly(int(self.answered[b"content-length"]))
        else:
            data = b"".join([block async for block in self.blocks()])
        if not 200 <= status < 300:
            raise RuntimeError(f"{method} {path}: {status} {data[:500]!r}")
        return data

    async def close(self) -> None:
        """Hang up."""
        self.writer.close()


class WebSocket:
    """One WebSocket of text frames over a connection of `Http`, with masks of zero, which cost nothing."""

    def __init__(self, http: Http) -> None:
        self._http = http

    @classmethod
    async def connect(cls, port: int, path: str, headers: dict[str, str]) -> WebSocket:
        """Upgrade a new connection."""
        http = await Http.connect(port, headers)
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = (
            "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
            f"sec-websocket-key: {key}\r\n"
        )
        status = await http.send("GET", path, headers=upgrade)
        if status != 101:
            raise RuntimeError(f"{path}: {status} instead of a WebSocket")
        return cls(http)

    def send(self, data: bytes) -> None:
        """Send one text frame."""
        size = len(data)
        if size < 126:
            head = struct.pack("!BB", 0x81, 0x80 | size)
        elif size < 65536:
            head = struct.pack("!BBH", 0x81, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", 0x81, 0x80 | 127, size)
        self._http.writer.write(head + b"\0\0\0\0" + data)

    async def receive(self) -> bytes:
        """The payload of the next text frame; a close frame raises, a ping is answered."""
        while True:
            first, second = await self._http.reader.readexactly(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", await self._http.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self._http.reader.readexactly(8))
            data = await self._http.reader.readexactly(size)
            kind = first & 0x0F
            if kind == 1:
                return data
            if kind == 9:
                self._http.writer.write(struct.pack("!BB", 0x8A, 0x80 | size) + b"\0\0\0\0" + data)
            elif kind == 8:
                raise RuntimeError(f"the server closed the session: {data[:300]!r}")

    async def close(self) -> None:
        """Hang up."""
        await self._http.close()


class Resp:
    """One connection that speaks Redis' protocol through hiredis alone."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, encoding: str | None
    ) -> None:
        import hiredis

        self._reader, self._writer = reader, writer
        self._pack = hiredis.pack_command
        self._parser: Any = hiredis.Reader(encoding=encoding) if encoding else hiredis.Reader()

    @classmethod
    async def connect(cls, port: int, encoding: str | None = None) -> Resp:
        """Connect to loopback; with an encoding, answers are `str`."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=BUFFER_BYTES), encoding)

    async def call(self, commands: Sequence[tuple[str | bytes | int, ...]]) -> list[Any]:
        """Send all in one write; all answers."""
        self._writer.write(b"".join([self._pack(command) for command in commands]))
        answers: list[Any] = []
        while len(answers) < len(commands):
            answer = self._parser.gets()
            if answer is False:
                data = await self._reader.read(RESP_READ_BYTES)
                if not data:
                    raise EOFError("the server hung up")
                self._parser.feed(data)
            elif isinstance(answer, Exception):
                raise answer
            else:
                answers.append(answer)
        return answers

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
