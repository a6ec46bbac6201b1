"""What is no HTTP at all: refused before any route is known, and in the one envelope all the same."""

import json
import socket

import pytest

from tests.serving import FINISH_S_MAX, Running

CHUNKED = b"transfer-encoding: chunked\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00\x01GARBAGE\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /v1/workspace-runs HTTP/1.1\r\nhost: x\r\ncontent-length: abc\r\n\r\n",
        b"POST /v1/workspace-runs HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/workspace-runs HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{}",
        b"POST /v1/workspace-runs HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
        b"FOO /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_in_the_envelope(running: Running, request_bytes: bytes) -> None:
    """400 `invalid_request`, one answer, and the connection closes (rule 7)."""
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=FINISH_S_MAX) as raw:
        raw.sendall(request_bytes)
        answer = b""
        while data := raw.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    error = json.loads(body)["error"]
    assert error["code"] == "invalid_request"
    assert f"x-request-id: {error['requestId']}".encode() in head
