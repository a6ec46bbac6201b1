"""A contract-shaped HTTP server for tests: records every request, and misbehaves exactly as told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

DROP = object()
"""In the parts of a body: break the connection off here."""

RUN_ID = "wsr_test1"
UPLOAD_ID = "upl_test1"


@dataclass(frozen=True)
class Recorded:
    """One request as it arrived; header names in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The parsed body."""
        return json.loads(self.body)


@dataclass
class Reply:
    """What to answer. `parts` are written one by one, unframed; bytes, callables to wait on, or DROP."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    parts: Sequence[Any] | None = None


def as_json(value: object, status: int = 200, **headers: str) -> Reply:
    """A JSON answer."""
    return Reply(status, json.dumps(value).encode(), {"content-type": "application/json", **headers})


def refusal(code: str, message: str, status: int, **extra: Any) -> Reply:
    """An error of the contract's shape."""
    return as_json({"error": {"code": code, "message": message, **extra}}, status)


def frame(event: dict[str, Any]) -> bytes:
    """One SSE frame as CONTRACT §6.2 has it."""
    return f"id: {event['seq']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def sse(*parts: Any) -> Reply:
    """An event stream; dicts become frames."""
    framed = [frame(part) if isinstance(part, dict) else part for part in parts]
    return Reply(200, headers={"content-type": "text/event-stream"}, parts=framed)


def run_object(status: str = "running", **fields: Any) -> dict[str, Any]:
    """A run with the fields that are always there."""
    return {
        "id": RUN_ID,
        "orgId": "org_1",
        "projectId": "prj_1",
        "status": status,
        "command": "true",
        "keepSandbox": False,
        "metadata": {},
        "templateId": "tpl_1",
        "templateSlug": "python-node",
        "templateVersion": "1",
        "templateVersionId": "tplv_1",
        "createdAt": "2026-06-17T12:00:00.000Z",
        **fields,
    }


def event(seq: int, type_: str, **fields: Any) -> dict[str, Any]:
    """An event."""
    return {"seq": seq, "type": type_, "createdAt": "2026-06-17T12:00:00.000Z", **fields}


def terminal(seq: int, status: str = "succeeded", **fields: Any) -> dict[str, Any]:
    """The last event of a run."""
    return event(seq, "terminal", workspaceRun=run_object(status, **fields))


Route = Callable[[Recorded], Reply]


class QuietServer(ThreadingHTTPServer):
    """A client that hangs up is part of the tests, not worth a line on stderr."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing."""


class RecordingServer:
    """Serves `routes` on loopback; a key is `"METHOD /path"`."""

    def __init__(self) -> None:
        self.requests: list[Recorded] = []
        self.routes: dict[str, Route] = {}
        self._streams: list[Reply] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def _serve(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                parts = urlsplit(self.path)
                headers = {key.lower(): value for key, value in self.headers.items()}
                query = dict(parse_qsl(parts.query))
                recorded = Recorded(self.command, parts.path, query, headers, self.rfile.read(length))
                server.requests.append(recorded)
                route = server.routes.get(f"{recorded.method} {recorded.path}")
                reply = route(recorded) if route else refusal("not_found", "No such thing.", 404)
                self._answer(reply)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 # the names that http.server calls

            def _answer(self, reply: Reply) -> None:
                self.send_response(reply.status)
                for key, value in reply.headers.items():
                    self.send_header(key, value)
                if reply.parts is None:
                    self.send_header("content-length", str(len(reply.body)))
                    self.end_headers()
                    self.wfile.write(reply.body)
                    return
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                self._write_parts(reply.parts)

            def _write_parts(self, parts: Sequence[Any]) -> None:
                try:
                    for part in parts:
                        if part is DROP:
                            self.close_connection = True
                            return
                        if callable(part):
                            part()
                        else:
                            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
                    self.wfile.write(b"0\r\n\r\n")
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

        self._http = QuietServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def streams(self, *replies: Reply) -> None:
        """Answer the successive event streams of the run with these; the last one repeats."""
        self._streams = list(replies)

        def next_stream(_: Recorded) -> Reply:
            return self._streams.pop(0) if len(self._streams) > 1 else self._streams[0]

        self.routes[f"GET /v1/workspace-runs/{RUN_ID}/events"] = next_stream

    def calls(self) -> list[str]:
        """The requests so far, as `METHOD path`."""
        return [f"{request.method} {request.path}" for request in self.requests]

    def last(self, method: str, path: str) -> Recorded:
        """The newest request of this kind."""
        return next(r for r in reversed(self.requests) if (r.method, r.path) == (method, path))

    @contextmanager
    def serving(self) -> Iterator[RecordingServer]:
        """Serve while the block runs."""
        thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()


def with_run_routes(server: RecordingServer) -> RecordingServer:
    """The routes of one run from creation to evidence, all content."""
    base = f"/v1/workspace-runs/{RUN_ID}"
    archive = {"sha256": "ab" * 32, "sizeBytes": 3}
    transfer = {
        "id": UPLOAD_ID,
        "workspaceRunId": RUN_ID,
        "checksumAlgorithm": "sha256",
        "method": "PUT",
        "uploadUrl": f"{base}/archive-transfer/{UPLOAD_ID}",
        "headers": {},
        "expiresAt": "2026-06-17T12:10:00.000Z",
        "maxSizeBytes": 8388608,
        "status": "pending",
    }
    uploaded = {"archive": archive, "workspaceRun": run_object("archive_uploaded")}
    evidence = {"workspaceRunId": RUN_ID, "status": "failed"}
    fixed = {
        "POST /v1/workspace-runs": as_json({"workspaceRun": run_object("awaiting_archive")}, 201),
        f"GET {base}": as_json({"workspaceRun": run_object("succeeded", exitCode=0)}),
        f"PUT {base}/archive": as_json(uploaded),
        f"POST {base}/archive-transfer": as_json({"transfer": transfer}, 201),
        f"PUT {base}/archive-transfer/{UPLOAD_ID}": Reply(204),
        f"POST {base}/archive/finalize": as_json(uploaded),
        f"POST {base}/start": as_json({"workspaceRun": run_object(sandboxId="sbx_1")}),
        f"POST {base}/cancel": as_json({"workspaceRun": run_object("canceled")}),
        f"GET {base}/evidence": as_json({"evidence": evidence}),
        f"GET {base}/proof/bundle": Reply(200, b"PK-bundle", {"content-type": "application/zip"}),
        f"GET {base}/proof/checkpoint": Reply(200, b"note\n", {"content-type": "text/plain"}),
        f"POST {base}/verify": as_json({"verdict": {"verdict": "COMPLETE"}}),
        "GET /v1/proof/policy": Reply(200, b"log k\nquorum none\n", {"content-type": "text/plain"}),
        "GET /v1/workspace-runs": as_json({"data": [run_object("failed")], "hasMore": False}),
    }
    for key, reply in fixed.items():
        server.routes[key] = lambda _, reply=reply: reply
    server.streams(sse(event(1, "status", status="awaiting_archive"), terminal(2, exitCode=0)))
    return server
