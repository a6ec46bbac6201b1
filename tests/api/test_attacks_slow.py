"""Clients that drip, or send headers without end: answered, cut off, and nothing stays behind."""

import json
import select
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from api.edge import Patience
from api.limits import ApiLimits
from tests.conformance.wire import Connection, request_bytes
from tests.serving import FINISH_S_MAX, Running, archive, archive_headers, serving

DRIP_S = 0.02
IDLE_S = 1.0
HEAD_BYTES_MAX = 16 * 1024
FLOOD_BYTES_MAX = 64 * 1024 * 1024
"""What a server that bounds nothing would have taken and kept."""


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that waits for heads and bodies much shorter than usual."""
    data_dir: Path = tmp_path_factory.mktemp("strict")
    limits = ApiLimits(head_s=IDLE_S, head_bytes_max=HEAD_BYTES_MAX, body_idle_s=IDLE_S)
    with serving(data_dir, api=limits) as server:
        yield server


class Wire(Connection):
    """One connection, by bytes, whose client takes its time."""

    def __init__(self, running: Running) -> None:
        super().__init__(running.url, FINISH_S_MAX)
        self.host = running.url.removeprefix("http://").partition(":")[0]

    def head_of(self, method: str, path: str, **headers: str) -> bytes:
        """The head of a request."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return request_bytes(method, path, {"host": self.host, **named})

    def drip(self, data: bytes) -> int:
        """One piece now and then until the server says something or hangs up: how many it took."""
        deadline, sent = time.monotonic() + FINISH_S_MAX, 0
        with suppress(ConnectionError):
            while not select.select([self._socket], [], [], DRIP_S)[0]:
                assert time.monotonic() < deadline, "it drips for ever"
                self.send(data)
                sent += 1
        return sent

    def flood(self, data: bytes, *, listens: bool = True) -> int:
        """As much as it takes until the server hangs up, or says something if it listens: so many bytes."""
        sent = 0
        with suppress(ConnectionError):
            while sent < FLOOD_BYTES_MAX and not (listens and select.select([self._socket], [], [], 0)[0]):
                self.send(data)
                sent += len(data)
        return sent

    def rest(self) -> tuple[bytes, bytes]:
        """Head and body of whatever comes until the server has closed."""
        answer = b""
        with suppress(ConnectionError):
            while data := self._socket.recv(65536):
                answer += data
        head, _, body = answer.partition(b"\r\n\r\n")
        return head, body


def refused(head: bytes, body: bytes) -> tuple[int, str]:
    """Status and code of an answer in the envelope (rule 7), after which the connection was closed."""
    error = json.loads(body)["error"]
    lines = head.decode().lower().split("\r\n")
    assert f"x-request-id: {error['requestId']}" in lines
    assert "connection: close" in lines
    return int(head.split()[1]), error["code"]


def left_behind(running: Running) -> list[str]:
    """Files of archives and uploads, whole or half."""
    folders = (running.data_dir / "blobs", running.data_dir / "tmp")
    return [file.name for folder in folders for file in folder.rglob("*") if file.is_file()]


LENGTH = ({"content_length": "1000000"}, b" ")
CHUNKED = ({"transfer_encoding": "chunked"}, b"1\r\n \r\n")


@pytest.mark.parametrize(("announced", "piece"), [LENGTH, CHUNKED], ids=["length", "chunked"])
@pytest.mark.parametrize("path", ["/v1/workspace-runs", "/v1/workspace-runs/{run}/events", "/v1/sandboxes"])
def test_a_dripping_body_is_given_up(
    strict: Running, path: str, announced: dict[str, str], piece: bytes
) -> None:
    """408 in the envelope and a closed connection: JSON, and the events of producers as well."""
    run_id = strict.create(template="external")
    with Wire(strict) as wire:
        authorization = f"Bearer {strict.key}"
        wire.send(wire.head_of("POST", path.format(run=run_id), authorization=authorization, **announced))
        assert wire.drip(piece) > 1
        assert refused(*wire.rest()) == (408, "request_timeout")
    assert strict.http.get("/v1/workspace-runs").status_code == 200


@pytest.mark.parametrize("staged", [False, True], ids=["direct", "staged"])
def test_a_dripping_upload_leaves_nothing_and_frees_its_key(strict: Running, *, staged: bool) -> None:
    """Its file is gone, and the same request is served when it comes whole."""
    data = archive({"a": b"a" * 5000})
    run_id = strict.create()
    path = f"/v1/workspace-runs/{run_id}/archive"
    headers = {**archive_headers(data), "authorization": f"Bearer {strict.key}", "idempotency-key": "drip"}
    if staged:
        announced = {"sha256": headers["x-crownest-archive-sha256"], "sizeBytes": len(data)}
        path = strict.http.post(f"{path}-transfer", json=announced).json()["transfer"]["uploadUrl"]
    before = left_behind(strict)
    with Wire(strict) as wire:
        wire.send(wire.head_of("PUT", path, content_length=str(len(data)), **headers) + data[:20])
        wire.drip(b"x")
        assert refused(*wire.rest()) == (408, "request_timeout")
    assert left_behind(strict) == before
    assert strict.http.put(path, content=data, headers=headers).is_success


@pytest.mark.parametrize("path", ["/sign-in", "/auth/link"])
def test_a_dripping_form_is_given_up(strict: Running, path: str) -> None:
    """Of the dashboard, before anybody is signed in."""
    with Wire(strict) as wire:
        form = {"origin": strict.url, "accept": "text/html", "content_length": "1000"}
        head = wire.head_of("POST", path, content_type="application/x-www-form-urlencoded", **form)
        wire.send(head.replace(b"host: 127.0.0.1", f"host: {strict.url.removeprefix('http://')}".encode()))
        wire.drip(b"k")
        assert refused(*wire.rest()) == (408, "request_timeout")


def test_a_dripping_body_that_nobody_wants_gets_the_answer_that_it_had_coming(strict: Running) -> None:
    """It is read and dropped, for so long as any other."""
    for path, status in (("/v1/workspace-runs", 401), ("/nowhere", 404)):
        with Wire(strict) as wire:
            wire.send(wire.head_of("POST", path, content_length="1000"))
            wire.drip(b" ")
            assert refused(*wire.rest())[0] == status


@pytest.mark.parametrize("before", [False, True], ids=["fresh", "kept alive"])
def test_a_dripping_head_is_given_up(strict: Running, *, before: bool) -> None:
    """On a fresh connection and behind an answered request."""
    with Wire(strict) as wire:
        if before:
            wire.send(wire.head_of("GET", "/healthz"))
            assert wire._socket.recv(65536).startswith(b"HTTP/1.1 200")
        wire.send(b"GET /healthz HTTP/1.1\r\nx: ")
        assert wire.drip(b"a") > 1
        assert refused(*wire.rest()) == (408, "request_timeout")


def test_who_asks_nothing_is_cut_without_a_word(strict: Running) -> None:
    """Silence from the first, and line ends that begin no request."""
    with Wire(strict) as wire:
        assert wire.rest() == (b"", b"")
    with Wire(strict) as wire:
        wire.drip(b"\r\n")
        assert wire.rest() == (b"", b"")


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /healthz HTTP/1.1\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: ",
        b"POST /v1/workspace-runs HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
    ],
    ids=["headers", "one header", "trailers"],
)
def test_headers_without_end_are_not_kept(strict: Running, begin: bytes) -> None:
    """400 instead of memory; trailers behind a body are headers too."""
    piece = b"a" * 4096 if begin.endswith(b": ") else b"a: b\r\n" * 700
    with Wire(strict) as wire:
        wire.send(begin)
        assert wire.flood(piece) < FLOOD_BYTES_MAX
        answer = wire.rest()
    if answer[0]:  # lost where the client had more under way when the connection was closed
        assert refused(*answer) == (400, "invalid_request")


def test_headers_behind_an_open_stream_are_not_kept_either(strict: Running) -> None:
    """The stream is cut: nothing else may be written into it."""
    run_id = strict.create()
    with Wire(strict) as wire:
        path = f"/v1/workspace-runs/{run_id}/events?stream=true"
        wire.send(wire.head_of("GET", path, authorization=f"Bearer {strict.key}", accept="text/event-stream"))
        answer = b""
        while b"awaiting_archive" not in answer:
            answer += wire._socket.recv(65536)
        wire.send(b"GET /healthz HTTP/1.1\r\n")
        assert wire.flood(b"a: b\r\n" * 700, listens=False) < FLOOD_BYTES_MAX


def test_a_slow_line_is_waited_for(tmp_path: Path) -> None:
    """An archive, and a body of JSON, that take longer in all than a silence may last."""
    limits = ApiLimits(body_idle_s=4.0, body_rate_min=50)
    with serving(tmp_path, api=limits) as running:
        data = archive({"a": bytes(range(256)) * 4})
        run_id = running.create()
        authorization = f"Bearer {running.key}"
        uploads = (
            ("PUT", f"/v1/workspace-runs/{run_id}/archive", data, archive_headers(data), b"200"),
            ("POST", "/v1/workspace-runs", b'{"command":"' + b"x" * 1000 + b'"}', {}, b"201"),
        )
        for method, path, body, headers, status in uploads:
            with Wire(running) as wire:
                announced = {"content_length": str(len(body)), "connection": "close"}
                wire.send(wire.head_of(method, path, authorization=authorization, **announced, **headers))
                step = len(body) // 12 + 1
                for start in range(0, len(body), step):
                    time.sleep(0.4)
                    wire.send(body[start : start + step])
                assert wire.rest()[0].split()[1] == status


def test_patience_is_paid_for_by_bytes_and_never_saved_up() -> None:
    """60 s in vain are the end, at one go or in many; a steady line has for ever; a burst buys no drip."""
    steady = Patience(60, 1000)
    for _ in range(10_000):
        steady.spend(1.0, 1000)
    assert steady.left_s == 60
    bursts = Patience(60, 1000)
    for _ in range(1000):
        bursts.spend(50.0, 50_000)
    assert bursts.left_s == 60
    dripping = Patience(60, 1000)
    dripping.spend(0.0, 10**9)
    for _ in range(60):
        dripping.spend(1.0, 1)
    assert 0 < dripping.left_s < 0.1
    dripping.spend(1.0, 1)
    assert dripping.left_s < 0
    assert repr(steady) == "Patience(60.000 s of 60)"
