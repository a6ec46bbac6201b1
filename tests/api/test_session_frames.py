"""The frames of an append session: however a message is cut up, it is the same message (RFC 6455)."""

import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.recording_kit import batch, out, output, recorded
from tests.serving import Running, serving

TEXT, BINARY, CONTINUED, CLOSE, PING, PONG = 0x81, 0x82, 0x80, 0x88, 0x89, 0x8A
NOT_FINAL = 0x7F
MASK = b"\x01\x02\x03\x04"
ANSWER_S_MAX = 20.0


def frame(kind: int, data: bytes) -> bytes:
    """A masked frame, as clients send it."""
    size = len(data)
    if size < 126:
        head = struct.pack("!BB", kind, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", kind, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", kind, 0x80 | 127, size)
    return head + MASK + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(data))


def body(number: int, text: str = "x") -> bytes:
    """A batch of one event."""
    return json.dumps(batch(number, out(text)), ensure_ascii=False).encode()


class Wire:
    """The client's side of an open session, as bytes."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.file = connection.makefile("rb")

    def send(self, *frames: bytes) -> None:
        """Send them in one piece."""
        self.connection.sendall(b"".join(frames))

    def frame(self) -> tuple[int, bytes]:
        """The next frame from the server: kind and payload."""
        kind, size = self.file.read(2)
        if size == 126:
            (size,) = struct.unpack("!H", self.file.read(2))
        return kind, self.file.read(size)

    def number(self) -> int:
        """Of the batch that is acknowledged next."""
        kind, data = self.frame()
        assert kind == TEXT
        number: int = json.loads(data)["number"]
        return number

    def closed_with(self) -> int:
        """The code that the server closes with."""
        kind, data = self.frame()
        assert kind == CLOSE, (kind, data)
        (code,) = struct.unpack("!H", data[:2])
        assert self.file.read(1) == b""
        return int(code)


@contextlib.contextmanager
def wire(running: Running, run_id: str) -> Iterator[Wire]:
    """An open session whose greeting was read."""
    host, _, port = running.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), ANSWER_S_MAX) as connection:
        lines = (
            f"GET /v1/workspace-runs/{run_id}/events/session HTTP/1.1", "host: test", "connection: Upgrade",
            "upgrade: websocket", "sec-websocket-version: 13", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-extensions: permessage-deflate", f"authorization: Bearer {running.key}", "", "",
        )  # fmt: skip
        connection.sendall("\r\n".join(lines).encode())
        opened = Wire(connection)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += opened.file.readline()
        assert head.startswith(b"HTTP/1.1 101"), head
        assert b"sec-websocket-extensions" not in head.lower()
        assert opened.frame()[0] == TEXT
        yield opened


def test_many_messages_may_come_in_one_piece(running: Running) -> None:
    """More than may wait at once, of every length of head."""
    run_id = recorded(running)
    texts = ["x" * size for size in (1, 100, 200, 65_530)] * 40
    with wire(running, run_id) as opened:
        opened.send(*(frame(TEXT, body(number, text)) for number, text in enumerate(texts, 2)))
        assert [opened.number() for _ in texts] == list(range(2, len(texts) + 2))
    assert output(running, run_id) == "".join(texts).encode()


def test_a_message_may_come_byte_by_byte(running: Running) -> None:
    """With short and long heads, and something behind it in the same piece."""
    run_id = recorded(running)
    texts = ["short", "y" * 300, "ü"]
    data = b"".join(frame(TEXT, body(number, text)) for number, text in enumerate(texts, 2))
    with wire(running, run_id) as opened:
        opened.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            opened.send(bytes([byte]))
        assert [opened.number() for _ in texts] == [2, 3, 4]
    assert output(running, run_id) == "".join(texts).encode()


def test_a_message_may_come_in_several_frames_with_a_ping_between(running: Running) -> None:
    """The ping is answered at once, with what it held."""
    run_id, data = recorded(running), body(2, "ü" * 10)
    with wire(running, run_id) as opened:
        opened.send(frame(TEXT & NOT_FINAL, data[:50]), frame(PING, b"there?"))
        assert opened.frame() == (PONG, b"there?")
        opened.send(
            frame(CONTINUED & NOT_FINAL, b""), frame(CONTINUED & NOT_FINAL, data[50:61]),
            frame(PONG, b"nobody asked"), frame(CONTINUED, data[61:]), frame(BINARY, body(3)),
        )  # fmt: skip
        assert [opened.number(), opened.number()] == [2, 3]
    assert output(running, run_id) == ("ü" * 10 + "x").encode()


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([b"\x81\x02{}"], 1002),
        ([frame(0xC1, b"{}")], 1002),
        ([frame(0x83, b"{}")], 1002),
        ([frame(PING & NOT_FINAL, b"")], 1002),
        ([frame(PING, b"x" * 126)], 1002),
        ([frame(CONTINUED, b"{}")], 1002),
        ([frame(TEXT & NOT_FINAL, b"{"), frame(TEXT, b"}")], 1002),
        ([frame(TEXT, b'{"\xff"}')], 1007),
        ([frame(TEXT & NOT_FINAL, b'{"\xc3'), frame(CONTINUED, b'"}')], 1007),
        ([struct.pack("!BBQ", TEXT, 0xFF, 1 << 40) + MASK], 1009),
    ],
    ids=[
        "unmasked", "reserved bit", "reserved kind", "ping in parts", "long ping", "continues nothing",
        "not continued", "no UTF-8", "no UTF-8 in parts", "too large",
    ],
)  # fmt: skip
def test_what_breaks_the_protocol_closes_the_session(
    running: Running, frames: list[bytes], code: int
) -> None:
    """With the code that the protocol has for it; what was good before it is stored."""
    run_id = recorded(running)
    with wire(running, run_id) as opened:
        opened.send(frame(TEXT, body(2)))
        assert opened.number() == 2
        opened.send(*frames, frame(TEXT, body(3, "behind it")))
        assert opened.closed_with() == code
    assert output(running, run_id) == b"x"


def test_parts_that_are_too_large_together_are_refused(tmp_path: Any) -> None:
    """As one frame of that size would be."""
    with serving(tmp_path) as running:
        run_id, part = recorded(running), os.urandom(6_000_000)
        with wire(running, run_id) as opened:
            opened.send(frame(BINARY & NOT_FINAL, part), frame(CONTINUED & NOT_FINAL, part))
            opened.send(frame(CONTINUED, part)[:14])
            assert opened.closed_with() == 1009


def test_a_closing_frame_is_answered_in_kind(running: Running) -> None:
    """Also right behind a batch, which is stored all the same."""
    run_id = recorded(running)
    with wire(running, run_id) as opened:
        opened.send(frame(TEXT, body(2)), frame(CLOSE, struct.pack("!H", 1000) + b"bye"))
        while (answer := opened.frame())[0] == TEXT:
            pass
        assert answer == (CLOSE, struct.pack("!H", 1000) + b"bye")
        assert opened.file.read(1) == b""
    assert running.wait_for_status(run_id, "running")["status"] == "running"


def test_the_client_may_close_behind_what_is_not_read_any_more(running: Running) -> None:
    """A session that refused a batch still finds the closing frame behind thousands of others."""
    run_id = recorded(running)
    with wire(running, run_id) as opened:
        opened.send(frame(TEXT, b"no batch"), *(frame(TEXT, body(number)) for number in range(2, 2000)))
        assert b'"invalid_request"' in opened.frame()[1]
        kind, data = opened.frame()
        assert (kind, data[:2]) == (CLOSE, struct.pack("!H", 1008))
        opened.send(frame(CLOSE, data))
        assert opened.file.read(1) == b""
    assert output(running, run_id) == b""


def test_what_follows_a_refused_batch_is_not_looked_at(running: Running) -> None:
    """In the same piece: the refusal is told, whatever stands behind it, and nothing of that is stored."""
    run_id = recorded(running)
    with wire(running, run_id) as opened:
        opened.send(frame(TEXT, body(7)), frame(TEXT, b"no batch"), frame(TEXT, body(1, "late")))
        _, data = opened.frame()
        assert json.loads(data)["number"] == 7
        kind, data = opened.frame()
        assert (kind, data[:2]) == (CLOSE, struct.pack("!H", 1008))
    assert output(running, run_id) == b""
