"""One request whose ids can be put in anew: by another tenant's, by unknown ones, by what is no id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import httpx2

from api.operations import BY_ID

STREAM_BYTES_MAX = 64 * 1024
"""Of a stream without end: enough to see whose it is."""


@dataclass(frozen=True)
class Call:
    """What is sent to an operation: path parameters, query, headers and body."""

    operation: str
    ids: Mapping[str, str] = field(default_factory=dict[str, str])
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    json: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def with_ids(self, **ids: str) -> Call:
        """The same request about something else."""
        return replace(self, ids={**self.ids, **ids})

    def with_body(self, **fields: Any) -> Call:
        """The same request with other fields."""
        return replace(self, json={**(self.json or {}), **fields})

    def with_query(self, **query: str) -> Call:
        """The same request with more in its query."""
        return replace(self, query={**self.query, **query})

    def with_headers(self, **headers: str) -> Call:
        """The same request with more headers; `_` stands for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **named})

    @property
    def path(self) -> str:
        """The operation's path with the ids in it."""
        operation = BY_ID[self.operation]
        quoted = {name: quote(value, safe="/" if name == "path" else "") for name, value in self.ids.items()}
        return operation.path.format(**quoted)


@dataclass(frozen=True)
class Answer:
    """What came back. Of an endless stream `body` is its beginning."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text; bytes that are none are replaced."""
        return self.body.decode(errors="replace")

    @property
    def json(self) -> Any:
        """The parsed body, or `{}` where it is no JSON."""
        try:
            return httpx2.Response(200, content=self.body).json()
        except ValueError:
            return {}

    @property
    def code(self) -> str | None:
        """The code of a refusal."""
        found = self.json
        return found.get("error", {}).get("code") if isinstance(found, dict) else None


def send(http: httpx2.Client, call: Call) -> Answer:
    """Send it; a stream is read up to its first bytes and left."""
    with http.stream(
        BY_ID[call.operation].method,
        call.path,
        params=dict(call.query),
        json=call.json,
        content=call.content,
        headers=dict(call.headers),
    ) as answer:
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            return Answer(answer.status_code, dict(answer.headers), answer.read())
        body = b""
        for data in answer.iter_raw():
            body += data
            if len(body) >= STREAM_BYTES_MAX or body.strip():
                break
        return Answer(answer.status_code, dict(answer.headers), body)
