"""A proxy in front of a real server that breaks exactly one promise."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from tests.cli.recording_server import QuietServer

HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive", "date", "server"})
UPSTREAM_S_MAX = 120


@dataclass(frozen=True)
class Exchange:
    """A request on its way up, or with `status` its answer on the way down."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int = 0
    answer: bytes = b""

    @property
    def json(self) -> Any:
        """The parsed answer, or None."""
        try:
            return json.loads(self.answer)
        except ValueError:
            return None

    def answering(self, value: object, status: int) -> Exchange:
        """The same exchange with another answer."""
        return replace(self, status=status, answer=json.dumps(value).encode())


class Sabotage:
    """No sabotage: everything passes. Subclasses break one thing."""

    holds_streams = False
    """Whether event streams are handed on only when they have ended."""

    def up(self, exchange: Exchange) -> Exchange:
        """Change the request, or answer it (a status other than 0) without asking the server."""
        return exchange

    def down(self, exchange: Exchange) -> Exchange:
        """Change the answer."""
        return exchange


class TruncatedUploads(Sabotage):
    """The staged PUT loses its last byte."""

    def up(self, exchange: Exchange) -> Exchange:
        """Cut the body."""
        staged = exchange.method == "PUT" and "/archive-transfer/" in exchange.path
        return replace(exchange, body=exchange.body[:-1]) if staged else exchange


class HeldStreams(Sabotage):
    """Buffers event streams, as a badly configured gateway does."""

    holds_streams = True


class EditedEvidence(Sabotage):
    """The evidence names another exit code than the run."""

    def down(self, exchange: Exchange) -> Exchange:
        """Edit it."""
        if exchange.path.endswith("/evidence") and exchange.status == 200:
            return exchange.answering({"evidence": {**exchange.json["evidence"], "exitCode": 3}}, 200)
        return exchange


class SwappedArtifacts(Sabotage):
    """Downloads hold other bytes than were kept."""

    def down(self, exchange: Exchange) -> Exchange:
        """Turn the content round."""
        if exchange.path.endswith("/download"):
            return replace(exchange, answer=exchange.answer[::-1])
        return exchange


class UncleanedSandboxes(Sabotage):
    """The sandboxes of runs that succeeded and were not to be kept live on."""

    def __init__(self) -> None:
        self._alive: set[str] = set()

    def down(self, exchange: Exchange) -> Exchange:
        """Remember them from the runs, and show them as alive."""
        answer = exchange.json if exchange.method == "GET" else None
        if not isinstance(answer, dict):
            return exchange
        run = answer.get("workspaceRun")
        if run and run["status"] == "succeeded" and not run["keepSandbox"]:
            self._alive.add(run["sandboxId"])
        sandbox = answer.get("sandbox")
        if sandbox and sandbox["id"] in self._alive:
            return exchange.answering({"sandbox": {**sandbox, "status": "ready"}}, 200)
        return exchange


class UndeletableSandboxes(Sabotage):
    """Deleting a sandbox is acknowledged and not done."""

    def up(self, exchange: Exchange) -> Exchange:
        """Answer in the server's place."""
        if exchange.method == "DELETE" and exchange.path.startswith("/v1/sandboxes/"):
            sandbox = {"id": exchange.path.rpartition("/")[2], "status": "destroyed"}
            return exchange.answering({"sandbox": sandbox}, 200)
        return exchange


class HiddenFailures(Sabotage):
    """A command that failed is told as one that succeeded."""

    def down(self, exchange: Exchange) -> Exchange:
        """Rewrite the run."""
        run = _run_of(exchange)
        if run.get("failureReason") != "command_exit":
            return exchange
        hidden = {k: v for k, v in run.items() if k not in {"failureReason", "failureClass"}}
        return exchange.answering({"workspaceRun": {**hidden, "status": "succeeded", "exitCode": 0}}, 200)


class UncleanTimeouts(Sabotage):
    """After a timeout the cleanup fails."""

    def down(self, exchange: Exchange) -> Exchange:
        """Say so in the run."""
        run = _run_of(exchange)
        if run.get("failureReason") != "timeout":
            return exchange
        return exchange.answering({"workspaceRun": {**run, "cleanupStatus": "failed"}}, 200)


class NoLimit(Sabotage):
    """Archives over the limit are accepted at the transfer."""

    def down(self, exchange: Exchange) -> Exchange:
        """Turn the refusal into an acceptance."""
        if exchange.status == 413 and exchange.path.endswith("/archive-transfer"):
            transfer = {"id": "upl_x", "uploadUrl": "/v1/x", "maxSizeBytes": 8 * 1024 * 1024}
            return exchange.answering({"transfer": transfer}, 201)
        return exchange


SABOTAGES: dict[str, type[Sabotage]] = {
    "staged upload": TruncatedUploads,
    "streaming": HeldStreams,
    "evidence": EditedEvidence,
    "artifact collection": SwappedArtifacts,
    "cleanup": UncleanedSandboxes,
    "kept-sandbox cleanup": UndeletableSandboxes,
    "user command failure": HiddenFailures,
    "timeout cleanup": UncleanTimeouts,
    "archive-limit rejection": NoLimit,
}
"""The line of `crownest smoke` that must fail, and what breaks it."""


def _run_of(exchange: Exchange) -> dict[str, Any]:
    answer = exchange.json
    run = answer.get("workspaceRun") if isinstance(answer, dict) else None
    return run if isinstance(run, dict) else {}


@contextmanager
def proxy(upstream: str, sabotage: Sabotage) -> Iterator[str]:
    """Serve in front of `upstream` while the block runs; answers the proxy's address."""
    target = urlsplit(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _serve(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
            asked = Exchange(self.command, self.path, headers, self.rfile.read(length))
            exchange = sabotage.up(asked)
            if exchange.status:
                self._send(exchange, {"content-type": "application/json"})
                return
            upper = http.client.HTTPConnection(str(target.hostname), target.port, timeout=UPSTREAM_S_MAX)
            try:
                upper.request(exchange.method, exchange.path, exchange.body or None, exchange.headers)
                self._relay(exchange, upper.getresponse())
            finally:
                upper.close()

        do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 # the names that http.server calls

        def _relay(self, exchange: Exchange, response: http.client.HTTPResponse) -> None:
            headers = {k: v for k, v in response.getheaders() if k.lower() not in HOP_BY_HOP}
            streams = headers.get("content-type", "").startswith("text/event-stream")
            if streams and not sabotage.holds_streams:
                self._pass_on(response, headers)
                return
            answered = replace(exchange, status=response.status, answer=response.read())
            self._send(sabotage.down(answered), headers)

        def _send(self, exchange: Exchange, headers: dict[str, str]) -> None:
            self.send_response(exchange.status)
            for name, value in headers.items():
                self.send_header(name, value)
            if exchange.status != 204:
                self.send_header("content-length", str(len(exchange.answer)))
            self.end_headers()
            self.wfile.write(exchange.answer)

        def _pass_on(self, response: http.client.HTTPResponse, headers: dict[str, str]) -> None:
            self.send_response(response.status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            while piece := response.read1(65536):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

    server = QuietServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
