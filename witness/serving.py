"""Owns the witness's HTTP: routes, limits, and how it stops. What is cosigned `witness.cosigning` decides."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from evidence.note import split_note
from evidence.witnessing import ADD_CHECKPOINT, BODY_BYTES_MAX, parse_extended
from evidence.wording import counted
from witness.cosigning import PLAIN_TYPE, Answer, add_checkpoint
from witness.state import State, StateError, origin_id

_LOGS = "/logs/"
_CHECKPOINT = "/checkpoint"
_TOO_MANY = (
    b"HTTP/1.1 503 Too many connections\r\nRetry-After: 10\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class ServingLimits:
    """What strangers may use of the machine."""

    body_bytes_max: int = BODY_BYTES_MAX
    connections_max: int = 64
    request_s_max: float = 30.0
    """From the wait for a request to the end of its answer; then the connection is closed."""
    backlog_max: int = 64


class WitnessServer(ThreadingHTTPServer):
    """Listens and answers; one thread a connection, none of which outlives its time.

    `now_s` answers the unix second. `server_address` holds the port that was chosen for port 0.
    """

    daemon_threads = False
    block_on_close = True

    def __init__(
        self,
        state: State,
        host: str,
        port: int,
        *,
        now_s: Callable[[], int],
        limits: ServingLimits | None = None,
    ) -> None:
        self.state, self.now_s, self.limits = state, now_s, limits or ServingLimits()
        self.request_queue_size = self.limits.backlog_max
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._deadlines: dict[socket.socket, float] = {}
        self._guard = threading.Lock()
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """Where it can be reached."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def extend(self, connection: socket.socket) -> None:
        """The connection waits for a next request: its time starts anew."""
        with self._guard:
            if connection in self._deadlines:
                self._deadlines[connection] = time.monotonic() + self.limits.request_s_max

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Take a connection, or turn it away when there are too many."""
        del client_address
        with self._guard:
            if len(self._deadlines) >= self.limits.connections_max:
                request.sendall(_TOO_MANY)  # a new connection has room for so few bytes
                return False
            self._deadlines[request] = time.monotonic() + self.limits.request_s_max
        return True

    def shutdown_request(self, request: Any) -> None:
        """The connection is over."""
        with self._guard:
            self._deadlines.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Twice a second: end connections that took too long, however slowly they still send."""
        now = time.monotonic()
        with self._guard:
            for connection, deadline in self._deadlines.items():
                if deadline < now:
                    _hang_up(connection, socket.SHUT_RDWR)

    def server_close(self) -> None:
        """Stop listening, let the requests that are being answered end, and wait for them."""
        with self._guard:
            for connection in self._deadlines:
                _hang_up(connection, socket.SHUT_RD)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke off is nothing to tell; anything else is."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes; the second would wait for an ack
    error_message_format = "%(message)s\n"
    error_content_type = PLAIN_TYPE

    @property
    def _witness(self) -> WitnessServer:
        assert isinstance(self.server, WitnessServer)
        return self.server

    def version_string(self) -> str:
        return "crownest-witness"

    def setup(self) -> None:
        super().setup()
        # Of each read and write; the whole request has its own limit.
        self.connection.settimeout(self._witness.limits.request_s_max)

    def handle_one_request(self) -> None:
        self._witness.extend(self.connection)
        super().handle_one_request()

    def do_POST(self) -> None:  # the standard library finds it by this name
        body = self._body()
        if body is None:
            return
        if self.path != ADD_CHECKPOINT:
            self._send(_not_found())
            return
        try:
            answer = add_checkpoint(self._witness.state, body, self._witness.now_s())
        except (OSError, StateError) as error:
            self.log_error("%s", error)
            answer = Answer(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "The witness cannot use its folder: nothing was cosigned. Its operator finds the reason in "
                "its messages.\n",
            )
        self._send(answer)

    def do_GET(self) -> None:  # the standard library finds it by this name
        try:
            answer = _page(self._witness.state, self.path)
        except (OSError, StateError) as error:
            self.log_error("%s", error)
            answer = Answer(HTTPStatus.SERVICE_UNAVAILABLE, "The witness cannot read its folder.\n")
        self._send(answer)

    do_HEAD = do_GET  # noqa: N815  # the standard library finds it by this name

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Cosigned checkpoints and refusals are worth a line, reading is not."""
        if self.command == "POST":
            super().log_request(code, size)

    def _body(self) -> bytes | None:
        """The request's body; None when it was refused."""
        length = self.headers.get("content-length", "")
        if "transfer-encoding" in self.headers or not (length.isascii() and length.isdigit()):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "A request has a Content-Length.")
        elif len(length) > 9 or int(length) > self._witness.limits.body_bytes_max:
            limit = self._witness.limits.body_bytes_max
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A request has at most {limit} bytes.")
        else:
            body = self.rfile.read(int(length))
            if len(body) == int(length):
                return body
            self.close_connection = True  # cut off: nobody waits for an answer
        return None

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True  # the body was not read, so no other request can follow
        self._send(Answer(status, f"{why}\n"))

    def _send(self, answer: Answer) -> None:
        data = answer.body.encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(data)))
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("Retry-After", "10")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _page(state: State, path: str) -> Answer:
    """What people read: who this is, and the newest checkpoint of each log."""
    if path == "/":
        return Answer(HTTPStatus.OK, _introduction(state))
    log_id = path.removeprefix(_LOGS).removesuffix(_CHECKPOINT)
    if path != f"{_LOGS}{log_id}{_CHECKPOINT}" or log_id not in {origin_id(o) for o in _origins(state)}:
        return _not_found()
    note = state.latest_of(log_id)
    if note is None:
        return Answer(HTTPStatus.NOT_FOUND, "No checkpoint of this log was cosigned yet.\n")
    return Answer(HTTPStatus.OK, note.decode())


def _origins(state: State) -> list[str]:
    return sorted({key.name for key in state.trusted().logs})


def _introduction(state: State) -> str:
    lines = [
        f"{state.key.name} is a witness of transparency logs.",
        "",
        "It cosigns a checkpoint of a log only when the log has kept everything that it showed before.",
        "A proof that carries its cosignature cannot be of a history that the log changed afterwards.",
        "",
        f"Its key:    {state.key}",
        f"Logs ask:   POST {ADD_CHECKPOINT} (https://c2sp.org/tlog-witness)",
        "",
        "Logs that it follows, and the newest checkpoint that it cosigned of each:",
    ]
    for origin in _origins(state):
        note = state.latest(origin)
        size = (
            "none yet"
            if note is None
            else counted(parse_extended(split_note(note)[0]).size, "entry", "entries")
        )
        lines.append(f"  {origin}: {size}")
        if note is not None:
            lines.append(f"    {_LOGS}{origin_id(origin)}{_CHECKPOINT}")
    return "\n".join(lines) + "\n"


def _not_found() -> Answer:
    return Answer(HTTPStatus.NOT_FOUND, f"There is / to read, and {ADD_CHECKPOINT} to post to.\n", PLAIN_TYPE)


def _hang_up(connection: socket.socket, how: int) -> None:
    try:
        connection.shutdown(how)
    except OSError:
        return  # it is closed already
