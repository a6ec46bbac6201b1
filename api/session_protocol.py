"""The WebSocket protocol of uvicorn, which hands an append session its messages straight off the wire.

A queue, a task and two events for each message cost more than the append itself. So data frames are read
here, from the bytes as they arrive; the handshake, control frames and whatever breaks the protocol are left
to `websockets`.
"""

from __future__ import annotations

from typing import Any, Protocol

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode
from websockets.http11 import Request
from websockets.speedups import apply_mask

EXTENSION = "crownest.session"
"""Where a connection's scope holds its protocol."""

TEXT, BINARY, CONTINUED, PING, PONG = 0x1, 0x2, 0x0, 0x9, 0xA
FINAL = 0x80
_WHOLE = (FINAL | TEXT, FINAL | BINARY)
_PARTS = (TEXT, BINARY, CONTINUED, FINAL | CONTINUED)
_SIGNS_OF_LIFE = (FINAL | PING, FINAL | PONG)
MASKED = 0x80
CONTROL_BYTES_MAX = 125
HEAD_BYTES_MIN = 6
"""Of a masked frame: two bytes and the mask."""


class Receiver(Protocol):
    """Who takes the messages of one connection."""

    @property
    def full(self) -> bool:
        """Whether no more is to be read before `go_on`."""
        ...

    def received(self, message: bytes) -> None:
        """Take one message."""
        ...


class SessionProtocol(WebSocketsSansIOProtocol):
    """One connection. Nothing behind the handshake is read before there is somebody to take it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assert not self.config.ws_per_message_deflate, "frames are read as they are"
        self._receiver: Receiver | None = None
        self._data, self._at = b"", 0
        """What arrived last, and how far it was read."""
        self._growing, self._wanted = bytearray(), 0
        """The beginning of a frame, and how many bytes say more about it."""
        self._parts: bytearray | None = None
        """What came of a message in several frames."""
        self._parts_are_text = False
        self._left_to_websockets = False

    def handle_connect(self, event: Request) -> None:
        """Let the application find its connection."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            extensions: dict[str, Any] | None = self.scope.get("extensions")
            assert extensions is not None, "uvicorn makes a dict"
            extensions[EXTENSION] = self

    def deliver(self, receiver: Receiver) -> None:
        """Hand on messages from now on, also what came since the handshake."""
        self._receiver = receiver
        self.go_on()

    def go_on(self) -> None:
        """Read again if reading was stopped and the receiver has room; called when it may have."""
        if self.read_paused and not self.transport.is_closing():
            self.read_paused = False
            self._read()
            if not self.read_paused:
                self.transport.resume_reading()

    def send_message(self, message: bytes) -> None:
        """Send one text message. Who sends without being asked for it must look at `full` of its own."""
        if self.close_sent or self.transport.is_closing():
            return
        size = len(message)
        if size <= CONTROL_BYTES_MAX:
            head = bytes((FINAL | TEXT, size))
        else:
            assert size < 1 << 16, "answers and refusals are short"
            head = bytes((FINAL | TEXT, 126, size >> 8, size & 0xFF))
        self.transport.write(head + message)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left that could be read."""
        self.read_paused = False
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server stops without waiting for more."""
        self.read_paused = False
        super().shutdown()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self.go_on()

    def data_received(self, data: bytes) -> None:
        """Take what arrived; a frame that is not whole waits for its rest."""
        if not self.handshake_initiated or self._left_to_websockets:
            super().data_received(data)
            return
        if self._growing:
            self._growing += data
            if len(self._growing) < self._wanted:
                return
            data, self._growing = bytes(self._growing), bytearray()
        elif self._at < len(self._data):  # it was on its way when reading was stopped
            data = self._data[self._at :] + data
        self._data, self._at = data, 0
        self._read()

    def _read(self) -> None:
        """Read frames until one is not whole or somebody has to wait."""
        while self._at < len(self._data):
            if self._must_wait():
                self.read_paused = True
                self.transport.pause_reading()
                return
            head = self._head()
            if head is None:
                return
            kind, begin, end = head
            if end > len(self._data):
                self._keep(end - self._at)
                return
            data, start, self._at = self._data, self._at, end
            if kind in _SIGNS_OF_LIFE:
                super().data_received(data[start:end])
                continue
            payload = apply_mask(data[begin:end], data[begin - 4 : begin])
            if kind in _WHOLE and self._parts is None:
                self._message(payload, is_text=kind == FINAL | TEXT)
            else:
                self._part(kind, payload)

    def _must_wait(self) -> bool:
        if self.close_sent:  # messages are dropped, and the client's closing frame is looked for
            return False
        return self._receiver is None or self._receiver.full or not self.writable.is_set()

    def _head(self) -> tuple[int, int, int] | None:
        """The next frame's kind, and where its payload begins and ends; None: nothing to read now."""
        data, at = self._data, self._at
        left = len(data) - at
        if left >= 2 and not data[at + 1] & MASKED:
            self._leave()
            return None
        if left < HEAD_BYTES_MIN:
            self._keep(HEAD_BYTES_MIN)
            return None
        kind, size, begin = data[at], data[at + 1] & 0x7F, at + HEAD_BYTES_MIN
        if size > CONTROL_BYTES_MAX:
            more = 2 if size == 126 else 8
            if left < HEAD_BYTES_MIN + more:
                self._keep(HEAD_BYTES_MIN + more)
                return None
            size, begin = int.from_bytes(data[at + 2 : at + 2 + more]), begin + more
        if kind in _WHOLE or kind in _PARTS:
            if size + len(self._parts or b"") > self.config.ws_max_size:
                self._fail(CloseCode.MESSAGE_TOO_BIG, "the message is too large")
                return None
        elif kind not in _SIGNS_OF_LIFE or size > CONTROL_BYTES_MAX:
            self._leave()
            return None
        return kind, begin, begin + size

    def _part(self, kind: int, payload: bytes) -> None:
        """A message may come in several frames, though hardly any client does that."""
        opcode = kind & ~FINAL
        if (opcode == CONTINUED) != (self._parts is not None):
            self._fail(CloseCode.PROTOCOL_ERROR, "a continuation frame is missing or not expected")
            return
        if self._parts is None:
            self._parts, self._parts_are_text = bytearray(), opcode == TEXT
        self._parts += payload
        if kind & FINAL:
            message, self._parts = bytes(self._parts), None
            self._message(message, is_text=self._parts_are_text)

    def _message(self, message: bytes, *, is_text: bool) -> None:
        if is_text and not message.isascii():
            try:
                message.decode()
            except UnicodeDecodeError:
                self._fail(CloseCode.INVALID_DATA, "a text message is not UTF-8")
                return
        if self._receiver is not None and not self.close_sent:
            self._receiver.received(message)

    def _keep(self, wanted: int) -> None:
        """Wait until so many bytes of the frame are there."""
        self._growing, self._wanted = bytearray(self._data[self._at :]), wanted
        self._data, self._at = b"", 0

    def _leave(self) -> None:
        """Leave all that comes now to `websockets`: it ends the connection, by handshake or as failed."""
        rest, self._left_to_websockets = self._data[self._at :], True
        self._data, self._at = b"", 0
        super().data_received(rest)

    def _fail(self, code: CloseCode, reason: str) -> None:
        self._left_to_websockets = True
        self._data, self._at = b"", 0
        self.conn.fail(code, reason)
        if not self.close_sent:
            self.handle_parser_exception()


def protocol_of(socket: WebSocket) -> SessionProtocol:
    """The protocol of this connection. Servers of this application are set up with `ws=SessionProtocol`."""
    found = socket.scope["extensions"][EXTENSION]
    assert isinstance(found, SessionProtocol)
    return found
