"""The server under test as a rule sees it: an address, a key, and the calls that rules share."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import secrets
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.conformance.wire import Answer, Connection, connected, request_bytes

TERMINAL = frozenset({"succeeded", "failed", "canceled"})
FINISH_S_MAX = 60.0
POLL_S = 0.02
Json = Any


class Violated(Exception):
    """The server broke the rule; the text says how."""


class NotTried(Exception):
    """The rule cannot be seen on this server."""


def must(held: object, reason: str) -> None:
    """The rule holds only if this does."""
    if not held:
        raise Violated(reason)


@dataclass
class Target:
    """A server over a real socket.

    `patience_s` bounds every silence: of answers, of open streams, of streams that have to close.
    `direct` is the same server without the proxy that breaks a rule: there samples are made.
    """

    url: str
    key: str
    patience_s: float = 15.0
    direct: Target | None = None
    shared: dict[str, Any] = field(default_factory=dict)
    variants: Callable[[str], Target] | None = None
    """Starts the same server with another setting; a server of others has no variants."""

    def variant(self, name: str) -> Target:
        """The same server with another setting, started once."""
        if self.variants is None:
            raise NotTried(f"needs a server with {name}")
        if f"variant {name}" not in self.shared:
            self.shared[f"variant {name}"] = self.variants(name)
        found: Target = self.shared[f"variant {name}"]
        return found

    @property
    def base(self) -> Target:
        """Where to prepare what is not under test."""
        return self.direct or self

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        where = urlsplit(self.url)
        return f"{where.scheme}://{where.netloc}"

    def headers(self, **more: str) -> dict[str, str]:
        """The headers of a request; a name's `_` stands for `-`, an empty value leaves the header out."""
        named = {name.replace("_", "-"): value for name, value in more.items()}
        usual = {
            "host": urlsplit(self.url).netloc,
            "authorization": f"Bearer {self.key}",
            "accept": "application/json",
        }
        return {name: value for name, value in {**usual, **named}.items() if value}

    def connect(self) -> contextlib.AbstractContextManager[Connection]:
        """A bare connection."""
        return connected(self.url, max(self.patience_s, 10.0))

    def call(self, method: str, path: str, body: Json = None, /, **headers: str) -> Answer:
        """One request on a connection of its own. A body that is not bytes is sent as JSON."""
        if body is not None and not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), {"content_type": "application/json", **headers}
        with self.connect() as connection:
            connection.patience(FINISH_S_MAX)
            named = self.headers(**headers)
            if method != "GET":
                named["content-length"] = str(len(body or b""))
            connection.send(request_bytes(method, path, named, body or b""))
            return connection.answer(head_only=method == "HEAD")

    def get(self, path: str, /, **headers: str) -> Answer:
        """GET."""
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Json = None, /, **headers: str) -> Answer:
        """POST, with or without a body."""
        return self.call("POST", path, body, **headers)

    def put(self, path: str, body: Json = None, /, **headers: str) -> Answer:
        """PUT."""
        return self.call("PUT", path, body, **headers)

    def delete(self, path: str, /, **headers: str) -> Answer:
        """DELETE."""
        return self.call("DELETE", path, **headers)

    def create(self, command: str = "true", **fields: Json) -> Json:
        """A new run."""
        return expect(self.post("/v1/workspace-runs", {"command": command, **fields}), 201)["workspaceRun"]

    def upload(self, run_id: str, data: bytes, **headers: str) -> Answer:
        """The direct PUT of an archive."""
        return self.put(f"/v1/workspace-runs/{run_id}/archive", data, **{**archive_headers(data), **headers})

    def uploaded(self, command: str = "true", **fields: Json) -> str:
        """A run that waits to be started."""
        run_id: str = self.create(command, **fields)["id"]
        expect(self.upload(run_id, archive()), 200)
        return run_id

    def started(self, command: str = "true", **fields: Json) -> str:
        """A run that was started."""
        run_id = self.uploaded(command, **fields)
        expect(self.post(f"/v1/workspace-runs/{run_id}/start"), 200)
        return run_id

    def run(self, command: str = "true", **fields: Json) -> Json:
        """A run at its end."""
        return self.finished(self.started(command, **fields))

    def show(self, run_id: str) -> Json:
        """A run as it stands."""
        return expect(self.get(f"/v1/workspace-runs/{run_id}"), 200)["workspaceRun"]

    def finished(self, run_id: str, *statuses: str) -> Json:
        """Wait for the end of a run, or for one of these states."""
        deadline = time.monotonic() + FINISH_S_MAX
        while (run := self.show(run_id))["status"] not in (statuses or TERMINAL):
            must(time.monotonic() < deadline, f"{run_id} is still {run['status']}")
            time.sleep(POLL_S)
        return run

    def events(self, run_id: str, query: str = "limit=500") -> list[Json]:
        """The events of one JSON page."""
        events: list[Json] = expect(self.get(f"/v1/workspace-runs/{run_id}/events?{query}"), 200)["data"]
        return events

    @contextlib.contextmanager
    def streaming(self, path: str, /, **headers: str) -> Iterator[tuple[Answer, Iterator[bytes], Connection]]:
        """An open event stream: its head, its body's pieces, and the connection beneath."""
        with self.connect() as connection:
            named = self.headers(**{"accept": "text/event-stream", **headers})
            connection.send(request_bytes("GET", path, named))
            head = connection.head()
            connection.patience(self.patience_s)
            yield head, connection.pieces(head), connection

    def stream(self, run_id: str, query: str = "stream=true", **headers: str) -> bytes:
        """All bytes of a run's event stream."""
        path = f"/v1/workspace-runs/{run_id}/events?{query}"
        with self.streaming(path, **headers) as (head, pieces, _):
            must(head.status == 200, f"the stream answered {head.status}")
            return b"".join(pieces)


def expect(answer: Answer, status: int) -> Json:
    """The parsed body of an answer that must have this status."""
    must(answer.status == status, f"{answer.status} instead of {status}: {answer.body[:300]!r}")
    return answer.json


def refused(answer: Answer, status: int, *codes: str) -> Json:
    """The error of a refusal that must have this status and one of these codes."""
    must(answer.status == status, f"{answer.status} instead of {status}: {answer.body[:300]!r}")
    error = answer.json["error"]
    must(
        isinstance(error["code"], str) and isinstance(error["message"], str) and error["message"],
        f"{status} without code and message",
    )
    must(not codes or error["code"] in codes, f"code {error['code']!r} instead of {' or '.join(codes)}")
    must(isinstance(error.get("details", {}), dict), "details are no object")
    return error


def frames(data: bytes) -> list[bytes]:
    """The frames of a stream, comments left out."""
    *whole, rest = data.split(b"\n\n")
    must(not rest, f"the stream ends in the middle of a frame: {rest[-80:]!r}")
    return [frame for frame in whole if frame and not frame.startswith(b":")]


def stream_events(data: bytes) -> list[Json]:
    """The events of a stream."""
    return [
        json.loads(line[5:]) for frame in frames(data) for line in frame.split(b"\n") if line[:5] == b"data:"
    ]


def archive(files: Mapping[str, bytes] | None = None) -> bytes:
    """A gzipped tar; the same files give the same bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in (files or {"a.txt": b"a"}).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(out.getvalue(), mtime=0)


def archive_headers(data: bytes) -> dict[str, str]:
    """The headers of a direct upload (§4.1)."""
    return {
        "content_type": "application/gzip",
        "x_crownest_archive_sha256": hashlib.sha256(data).hexdigest(),
        "x_crownest_archive_size": str(len(data)),
    }


def announced(data: bytes) -> dict[str, Any]:
    """The body that announces an archive to a transfer (§4.2)."""
    return {"sha256": hashlib.sha256(data).hexdigest(), "sizeBytes": len(data)}


def fresh() -> str:
    """A word that nobody used before: for metadata, names and idempotency keys."""
    return secrets.token_hex(8)


def foreign(prefix: str) -> str:
    """A well-formed id that does not exist."""
    return f"{prefix}_{'a' * 26}"
