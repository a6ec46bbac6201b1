"""A program to preview, that tells what it got, and raw connections to the proxy in front of it."""

import contextlib
import hashlib
import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

WAIT_S_MAX = 30.0
PIECE = bytes(range(256)) * 256
"""64 KiB."""


SOCKET_BYTES = 256 * 1024


def bounded(connection: socket.socket) -> socket.socket:
    """With buffers of a known size: the kernel's own grow to tens of megabytes when it feels like it."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        connection.setsockopt(socket.SOL_SOCKET, option, SOCKET_BYTES)
    return connection


@dataclass
class Program:
    """What runs in the sandbox: a server on loopback. `sent` and `received` count body bytes."""

    port: int
    sent: int = 0
    received: int = 0
    requests: list[str] = field(default_factory=list[str])
    may_read: threading.Event = field(default_factory=threading.Event)
    may_send: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)
    """Set when a connection of ours broke while the program was sending."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    program: Program

    def log_message(self, *_: object) -> None:
        """Silence."""

    def do_GET(self) -> None:
        self.program.requests.append(self.requestline)
        url = urlsplit(self.path)
        action = getattr(self, f"_{url.path.strip('/')}", self._echo)
        with contextlib.suppress(OSError):
            action(parse_qs(url.query))
            return
        self.close_connection = True
        self.program.gone.set()

    do_POST = do_PUT = do_HEAD = do_OPTIONS = do_DELETE = do_GET  # noqa: N815 # names of the library

    def _echo(self, _: object) -> None:
        """Everything it got, as JSON."""
        body = self._body()
        told = {
            "line": self.requestline,
            "headers": list(self.headers.items()),
            "sha256": hashlib.sha256(body).hexdigest(),
            "size": len(body),
        }
        self._answer(json.dumps(told).encode())

    def _answer(self, data: bytes, *headers: tuple[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            return b"".join(self._chunks())
        return self.rfile.read(int(self.headers.get("content-length", "0")))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _upload(self, _: object) -> None:
        """Read a long body piece by piece, once it may."""
        assert self.program.may_read.wait(WAIT_S_MAX)
        digest, left = hashlib.sha256(), int(self.headers["content-length"])
        while left:
            data = self.rfile.read(min(left, len(PIECE)))
            left -= len(data)
            self.program.received += len(data)
            digest.update(data)
        self._answer(digest.hexdigest().encode())

    def _refuse_upload(self, _: object) -> None:
        """Answer before the body was read, and hang up."""
        self._answer(b"too much", ("connection", "close"), status=413)
        self.close_connection = True

    def _big(self, query: dict[str, list[str]]) -> None:
        """Many pieces, in chunks or with a length."""
        pieces, chunked = int(query["pieces"][0]), "chunked" in query
        self.send_response(200)
        if chunked:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(pieces * len(PIECE)))
        self.end_headers()
        for _ in range(pieces):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(PIECE), PIECE) if chunked else PIECE)
            self.program.sent += len(PIECE)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _sse(self, _: object) -> None:
        """One event, the next when it may, and then silence until the connection breaks."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"data: one\n\n")
        assert self.program.may_send.wait(WAIT_S_MAX)
        self.wfile.write(b"data: two\n\n")
        self._until_it_breaks(b": still here\n\n")

    def _until_it_breaks(self, data: bytes) -> None:
        deadline = time.monotonic() + WAIT_S_MAX
        while time.monotonic() < deadline:
            self.wfile.write(data)
            time.sleep(0.05)

    def _ws(self, _: object) -> None:
        """Accept a WebSocket without asking, and send every frame back, unmasked."""
        self.send_response(101)
        for name, value in (
            ("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", "yes"),
            ("x-crownest-fake", "1"),
        ):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        while (frame := read_frame(self.rfile.read)) is not None:
            self.wfile.write(frame_bytes(frame, mask=None))
        self.program.gone.set()

    def _early_ws(self, _: object) -> None:
        """Switch protocols and speak in the same breath, then hang up."""
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        self.wfile.write(head + frame_bytes(b"hello", mask=None))
        self.close_connection = True

    def _lies(self, _: object) -> None:
        """Headers that a program must not be able to set."""
        self._answer(
            b"ok",
            ("Set-Cookie", "crownest_preview=stolen; Path=/"),
            ("Set-Cookie", "session=1; Domain=localhost; HttpOnly"),
            ("X-Crownest-Fake", "1"),
            ("X_Crownest_Fake", "1"),
            ("Connection", "x-private, keep-alive"),
            ("X-Private", "1"),
            ("Keep-Alive", "timeout=1"),
            ("Proxy-Authenticate", "Basic"),
            ("X-Mine", "kept"),
        )

    def _raw(self, query: dict[str, list[str]]) -> None:
        """Whatever the test wants on the wire, then the end."""
        self.wfile.write(bytes.fromhex(query["hex"][0]))
        self.close_connection = True


@contextlib.contextmanager
def program() -> Iterator[Program]:
    """The program while the block runs."""
    running = Program(0)
    handler = type("Handler", (_Handler,), {"program": running})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        bounded(server.socket)
        running.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="previewed program")
        thread.start()
        try:
            yield running
        finally:
            running.may_read.set()
            running.may_send.set()
            server.shutdown()
            thread.join(WAIT_S_MAX)


def frame_bytes(payload: bytes, *, mask: bytes | None) -> bytes:
    """One final binary frame of RFC 6455."""
    size = len(payload)
    masked = 0x80 if mask else 0
    if size < 126:
        head = struct.pack("!BB", 0x82, masked | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x82, masked | 126, size)
    else:
        head = struct.pack("!BBQ", 0x82, masked | 127, size)
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def read_frame(read: Any) -> bytes | None:
    """The payload of the next frame, unmasked; None at the end."""
    head = read(2)
    if len(head) < 2:
        return None
    size = head[1] & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", read(2))
    elif size == 127:
        (size,) = struct.unpack("!Q", read(8))
    mask = read(4) if head[1] & 0x80 else bytes(4)
    return bytes(byte ^ mask[at % 4] for at, byte in enumerate(read(size)))


@dataclass
class Raw:
    """A connection to the proxy, by bytes."""

    socket: socket.socket

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def response(self, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
        """The next answer with its body."""
        answer = self.head(method)
        return answer, answer.read()

    def head(self, method: str = "GET") -> http.client.HTTPResponse:
        """The next answer, its body not yet read."""
        answer = http.client.HTTPResponse(self.socket, method=method)
        answer.begin()
        return answer

    def ends(self) -> bool:
        """Whether the other side closes, whatever it sends before."""
        with contextlib.suppress(ConnectionError):
            while self.socket.recv(65536):
                pass
        return True


@contextlib.contextmanager
def raw(port: int, data: bytes = b"", source: str = "127.0.0.1") -> Iterator[Raw]:
    """Connect from this address, and send the first bytes."""
    with bounded(socket.socket()) as connection:
        connection.settimeout(WAIT_S_MAX)
        connection.bind((source, 0))
        connection.connect(("127.0.0.1", port))
        connection.sendall(data)
        yield Raw(connection)
