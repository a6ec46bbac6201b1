"""HTTP/1.1 over a bare socket: requests as bytes, and answers as the bytes that came."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

HEAD_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 64 * 1024 * 1024
PIECE_BYTES = 64 * 1024
BODILESS = frozenset({204, 304})

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Answer:
    """What came back; header names in lower case, the body without its transfer coding."""

    status: int
    headers: Headers
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first header of this name."""
        return next((value for found, value in self.headers if found == name), None)

    @property
    def json(self) -> Any:
        """The parsed body; ValueError when it is not JSON."""
        return json.loads(self.body)


def request_bytes(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """A request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(body: bytes, size: int) -> bytes:
    """The body in chunks of a size."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


class Connection:
    """One connection to a server. Silence longer than the timeout is a TimeoutError."""

    def __init__(self, url: str, timeout_s: float) -> None:
        where = urlsplit(url)
        secure = where.scheme == "https"
        host, port = str(where.hostname), where.port or (443 if secure else 80)
        raw = socket.create_connection((host, port), timeout_s)
        self._socket = ssl.create_default_context().wrap_socket(raw, server_hostname=host) if secure else raw
        self._ahead = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send all of it, whether or not anything is answered meanwhile."""
        self._socket.sendall(data)

    def patience(self, timeout_s: float) -> None:
        """How long a silence may be from now on."""
        self._socket.settimeout(timeout_s)

    def at_end(self) -> bool:
        """Wait for the server to close: True when it does, False when more comes."""
        if not self._ahead:
            self._ahead = self._socket.recv(PIECE_BYTES)
        return not self._ahead

    def answer(self, *, head_only: bool = False) -> Answer:
        """Read one whole answer."""
        answer = self.head()
        if head_only:
            return answer
        body = bytearray()
        for piece in self.pieces(answer):
            body += piece
            if len(body) > BODY_BYTES_MAX:
                raise ValueError("the answer does not end")
        return Answer(answer.status, answer.headers, bytes(body))

    def head(self) -> Answer:
        """Read status line and headers."""
        head = self._until(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status = first.split(" ")[:2]
        if not version.startswith("HTTP/1."):
            raise ValueError(f"no HTTP answer: {first[:80]!r}")
        named = (line.partition(":") for line in lines if line)
        return Answer(int(status), tuple((name.strip().lower(), value.strip()) for name, _, value in named))

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        """The body as it comes, by the framing that the head announces."""
        if answer.status in BODILESS:
            return
        if (answer.header("transfer-encoding") or "").lower() == "chunked":
            yield from self._chunks()
            return
        length = answer.header("content-length")
        left = None if length is None else int(length)
        while left is None or left > 0:
            piece = self._some(left)
            if not piece and left is not None:
                raise ConnectionError("the connection closed in the middle of a body")
            if not piece:
                return
            left = None if left is None else left - len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._until(b"\r\n").split(b";")[0], 16):
            left = size
            while left:
                piece = self._some(left)
                if not piece:
                    raise ConnectionError("the connection closed in the middle of a chunk")
                left -= len(piece)
                yield piece
            self._until(b"\r\n")
        self._until(b"\r\n")

    def _some(self, count: int | None) -> bytes:
        if not self._ahead:
            self._ahead = self._socket.recv(PIECE_BYTES)
        piece = self._ahead if count is None else self._ahead[:count]
        self._ahead = self._ahead[len(piece) :]
        return piece

    def _until(self, end: bytes) -> bytes:
        while end not in self._ahead:
            if len(self._ahead) > HEAD_BYTES_MAX:
                raise ValueError("the head of the answer does not end")
            more = self._socket.recv(PIECE_BYTES)
            if not more:
                raise ConnectionError("the connection closed without an answer")
            self._ahead += more
        found, _, self._ahead = self._ahead.partition(end)
        return found


@contextlib.contextmanager
def connected(url: str, timeout_s: float) -> Iterator[Connection]:
    """A connection for as long as the block runs."""
    with Connection(url, timeout_s) as connection:
        yield connection
