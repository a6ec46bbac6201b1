"""What the groups of methods share: paths, parameters, and the shapes of answers, checked on the way in."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, cast
from uuid import uuid4

import httpx2

from client.errors import BadAnswer, ClientError
from client.shapes import Event, EventPage, JsonObject, Page, WorkspaceRun
from client.transport import Transport

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


class Sink(Protocol):
    """Where a download goes: a binary file, or whatever takes bytes."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes, all of them."""


class Methods:
    """The base of each group of methods: one connection to one API, and what is done with it often."""

    _transport: Transport

    def _download(self, path: str, out: Sink, accept: str, params: Mapping[str, str | int]) -> int:
        size_bytes, bytes_max = 0, self._transport.limits.download_bytes_max
        headers = {"accept": accept, "accept-encoding": "identity"}
        with self._transport.exchange("GET", path, params=params, headers=headers) as response:
            for chunk in response.iter_bytes():
                size_bytes += len(chunk)
                if size_bytes > bytes_max:
                    raise BadAnswer(f"The download is larger than {bytes_max} bytes.")
                out.write(chunk)
        return size_bytes

    def _event_page(self, path: str, after_seq: int, limit: int | None) -> EventPage:
        answer = self._transport.json("GET", path, params=given(afterSeq=after_seq or None, limit=limit))
        next_seq = answer.get("nextSeq")
        return EventPage(
            cast("list[Event]", objects(answer)),
            answer.get("hasMore") is True,
            next_seq if isinstance(next_seq, int) else None,
        )

    @contextmanager
    def _frames(self, path: str, params: Mapping[str, str | int]) -> Generator[Iterator[JsonObject]]:
        """Open an event stream and hand out its JSON objects as they come."""
        headers = {"accept": "text/event-stream", "accept-encoding": "identity"}
        with self._transport.exchange(
            "GET", path, params=params, headers=headers, streaming=True
        ) as response:
            yield sse_objects(response, self._transport.limits.event_bytes_max)

    @contextmanager
    def _open_events(self, path: str, after_seq: int) -> Generator[Iterator[Event]]:
        params: dict[str, str | int] = {"stream": "true", **given(afterSeq=after_seq or None)}
        with self._frames(path, params) as frames:
            yield (event_of(frame) for frame in frames)


def sse_objects(response: httpx2.Response, bytes_max: int) -> Iterator[JsonObject]:
    """Parse frames (CONTRACT §6.3): only `data:` counts, comments and the other fields carry nothing."""
    for frame in httpx2.EventSource(response, max_event_size=bytes_max):
        if not frame.data:
            continue
        try:
            value: object = json.loads(frame.data)
        except (ValueError, RecursionError) as exc:
            raise BadAnswer("The event stream holds a frame that is not one JSON object.") from exc
        # What is no object becomes one without a type, which nobody accepts.
        yield cast("JsonObject", value) if isinstance(value, dict) else {}


def event_of(fields: JsonObject) -> Event:
    """An event of a run or an organisation: it has a type and a number (CONTRACT §6.1)."""
    if not isinstance(fields.get("type"), str) or type(fields.get("seq")) is not int:
        raise BadAnswer("The event stream holds an event without type and seq.")
    if fields["type"] == "terminal":
        run_of(fields)
    return cast("Event", fields)


def run_of(answer: JsonObject) -> WorkspaceRun:
    """The run that the answer holds."""
    return cast("WorkspaceRun", unwrapped(answer, "workspaceRun", "id", "status"))


def unwrapped(answer: JsonObject, key: str, *texts: str) -> JsonObject:
    """The object under `key`, in which each of `texts` is a string."""
    value: object = answer.get(key)
    fields = cast("JsonObject", value) if isinstance(value, dict) else None
    if fields is None or not all(isinstance(fields.get(text), str) for text in texts):
        raise BadAnswer(f"The server's answer lacks {key!r} as the contract has it.")
    return fields


def objects(answer: JsonObject) -> list[JsonObject]:
    """The objects under `data`."""
    data: object = answer.get("data")
    items = cast("list[object]", data) if isinstance(data, list) else None
    if items is None or not all(isinstance(item, dict) for item in items):
        raise BadAnswer("The server's list lacks 'data' as the contract has it.")
    return cast("list[JsonObject]", items)


def page_of(answer: JsonObject, cursor: str | None) -> Page[JsonObject]:
    """A page; a `hasMore` that leads nowhere or in a circle is refused (CONTRACT §1)."""
    items, next_cursor = objects(answer), answer.get("nextCursor")
    if answer.get("hasMore") is not True:
        return Page(items, None)
    if not isinstance(next_cursor, str) or next_cursor == cursor:
        raise BadAnswer("The server says that there is more, but names no next page.")
    return Page(items, next_cursor)


def at(collection: str, item_id: str, rest: str = "") -> str:
    """Join a path; an id with other characters than ids have is refused, so it cannot leave its place."""
    if not _ID.fullmatch(item_id):
        raise ClientError("invalid_id", f"{item_id!r} is not an id: letters, digits, '_' and '-' only.")
    return f"{collection}/{item_id}/{rest}".rstrip("/")


def given(**params: str | int | None) -> dict[str, str | int]:
    """The parameters that are not None."""
    return {key: value for key, value in params.items() if value is not None}


def set_fields(**fields: object) -> JsonObject:
    """The fields of a body that are not None."""
    return {key: value for key, value in fields.items() if value is not None}


def labelled(metadata: Mapping[str, str] | None) -> dict[str, str | int]:
    """The filters `metadata.<key>` of a listing (CONTRACT rule 12)."""
    return {f"metadata.{key}": value for key, value in (metadata or {}).items()}


def idempotency(key: str | None) -> dict[str, str]:
    """The header, with a fresh UUID v4 unless the caller gives a key (CONTRACT §5)."""
    return {"idempotency-key": key or str(uuid4())}
