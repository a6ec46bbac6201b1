"""Ways to break one promise: mutations of the proxy, built from the route and the change."""

from __future__ import annotations

import asyncio
import copy
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from tests.conformance.proxy import Mutation, Pieces, Request
from tests.conformance.wire import Answer

Json = Any
NEVER_S = 3600.0


@cache
def _pattern(path: str) -> re.Pattern[str]:
    """`*` is one segment of a path, `**` all of it."""
    return re.compile(re.escape(path).replace(r"\*\*", ".*").replace(r"\*", "[^/]*"))


def matches(route: str, request: Request) -> bool:
    """Whether a request goes to `METHOD /path`; the method may be `*`."""
    method, _, path = route.partition(" ")
    return method in {"*", request.method} and bool(_pattern(path).fullmatch(urlsplit(request.path).path))


def answers(route: str, change: Callable[[Answer], Answer], when: Callable[[Answer], bool]) -> Mutation:
    """Change answers of a route."""
    return Mutation(
        answer=lambda request, answer: change(answer) if matches(route, request) and when(answer) else None
    )


def is_ok(answer: Answer) -> bool:
    """2xx."""
    return 200 <= answer.status < 300


def is_error(answer: Answer) -> bool:
    """4xx and 5xx."""
    return answer.status >= 400


def anything(_: Answer) -> bool:
    """Every answer."""
    return True


def edited(route: str, change: Callable[[Json], Json], when: Callable[[Answer], bool] = is_ok) -> Mutation:
    """Change the JSON of a route's answers; `change` gets a copy and answers the new value."""

    def edit(request: Request, answer: Answer) -> Answer | None:
        if not matches(route, request) or not when(answer) or not answer.body:
            return None
        try:
            before = json.loads(answer.body)
        except ValueError:
            return None
        after = change(copy.deepcopy(before))
        return None if after == before else replace(answer, body=json.dumps(after).encode())

    return Mutation(answer=edit)


def _walk(value: Json, path: list[str], change: Callable[[dict[str, Json], str], None]) -> None:
    if isinstance(value, list):
        for item in value:
            _walk(item, path, change)
    elif isinstance(value, dict) and len(path) > 1:
        _walk(value.get(path[0]), path[1:], change)
    elif isinstance(value, dict):
        change(value, path[0])


def without(route: str, *fields: str, when: Callable[[Answer], bool] = is_ok) -> Mutation:
    """Leave fields out (`workspaceRun.archive.sha256`, through lists as well)."""

    def change(value: Json) -> Json:
        for field in fields:
            _walk(value, field.split("."), lambda owner, name: owner.pop(name, None) and None)
        return value

    return edited(route, change, when)


def setting(route: str, field: str, new: Json, when: Callable[[Answer], bool] = is_ok) -> Mutation:
    """Give a field another value; a callable makes it from the old one."""

    def change(value: Json) -> Json:
        def put(owner: dict[str, Json], name: str) -> None:
            owner[name] = new(owner.get(name)) if callable(new) else new

        _walk(value, field.split("."), put)
        return value

    return edited(route, change, when)


def kept(route: str, keep: Callable[[Json], bool]) -> Mutation:
    """Leave entries of a page out."""
    return setting(route, "data", lambda entries: [entry for entry in entries if keep(entry)])


def altered(route: str, change: Callable[[Json], Json]) -> Mutation:
    """Change the entries of a page."""
    return setting(route, "data", lambda entries: [change(entry) for entry in entries])


def status(route: str, new: int, when: Callable[[Answer], bool] = is_ok) -> Mutation:
    """Another status on an answer."""
    return answers(route, lambda answer: replace(answer, status=new), when)


def empty(route: str, new: int = 204, when: Callable[[Answer], bool] = is_ok) -> Mutation:
    """No body at all."""
    return answers(route, lambda answer: replace(answer, status=new, body=b""), when)


def body(route: str, data: bytes, when: Callable[[Answer], bool]) -> Mutation:
    """Another body."""
    return answers(route, lambda answer: replace(answer, body=data), when)


def header(route: str, name: str, value: str | None, when: Callable[[Answer], bool] = anything) -> Mutation:
    """A header with another value, or left out."""

    def change(answer: Answer) -> Answer:
        kept = tuple(pair for pair in answer.headers if pair[0] != name)
        return replace(answer, headers=kept if value is None else (*kept, (name, value)))

    return answers(route, change, when)


def instead(route: str, new: int, value: Json = None, **headers: str) -> Mutation:
    """Answer in the server's place."""
    return Mutation(request=lambda r: made(new, value, headers) if matches(route, r) else None)


def early(route: str, new: int, value: Json = None) -> Mutation:
    """Answer in the server's place before the body was read, and close."""
    return Mutation(early=lambda r: made(new, value, {}) if matches(route, r) else None)


def made(new: int, value: Json, headers: dict[str, str]) -> Answer:
    """An answer that the server never gave."""
    named = {"content-type": "application/json", "x-request-id": "req_mutant", **headers}
    named = {name.replace("_", "-"): text for name, text in named.items()}
    return Answer(new, tuple(named.items()), b"" if value is None else json.dumps(value).encode())


def asking(route: str, change: Callable[[Request], Request]) -> Mutation:
    """Ask the server something else."""

    def ask(request: Request) -> Request | None:
        asked = change(request) if matches(route, request) else request
        return None if asked == request else asked

    return Mutation(request=ask)


def query(route: str, change: Callable[[str], str]) -> Mutation:
    """Ask with another path and query."""
    return asking(route, lambda request: replace(request, path=change(request.path)))


def without_header(route: str, name: str) -> Mutation:
    """Ask without a header."""
    return asking(
        route, lambda request: replace(request, headers=tuple(h for h in request.headers if h[0] != name))
    )


def both(first: Mutation, second: Mutation) -> Mutation:
    """The answers of one and the stream of the other."""
    return replace(first, stream=second.stream)


async def _frames(pieces: Pieces) -> Pieces:
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n\n")
        for frame in whole:
            yield frame + b"\n\n"
    if rest:
        yield rest


def framed(change: Callable[[bytes], bytes]) -> Mutation:
    """Change each frame, comments included, of event streams."""

    async def stream(_: Request, pieces: Pieces) -> Pieces:
        async for frame in _frames(pieces):
            yield change(frame)

    return Mutation(stream=stream)


def streamed_event(change: Callable[[Json], Json]) -> Mutation:
    """Change the events of streams; an event that becomes None is left out."""

    def edit(frame: bytes) -> bytes:
        lines = frame.split(b"\n")
        at = next((index for index, line in enumerate(lines) if line.startswith(b"data:")), None)
        if at is None:
            return frame
        event = change(json.loads(lines[at][5:]))
        if event is None:
            return b""
        lines[at] = b"data: " + json.dumps(event, separators=(",", ":")).encode()
        return b"\n".join(lines)

    return framed(edit)


def stays_open() -> Mutation:
    """The stream does not end after its last byte."""

    async def stream(_: Request, pieces: Pieces) -> Pieces:
        async for piece in pieces:
            yield piece
        await asyncio.sleep(NEVER_S)

    return Mutation(stream=stream)


def ends_early(last: bytes) -> Mutation:
    """The stream ends behind the first frame that holds this."""

    async def stream(_: Request, pieces: Pieces) -> Pieces:
        async for frame in _frames(pieces):
            yield frame
            if last in frame:
                return

    return Mutation(stream=stream)


def repeats(earlier: int) -> Mutation:
    """After some frames an earlier one comes again."""

    async def stream(_: Request, pieces: Pieces) -> Pieces:
        seen: list[bytes] = []
        async for frame in _frames(pieces):
            yield frame
            seen.append(frame)
            if len(seen) == earlier + 3:
                yield seen[earlier]

    return Mutation(stream=stream)


def zipped() -> Mutation:
    """Event streams are gzipped."""

    async def stream(_: Request, pieces: Pieces) -> Pieces:
        gzip = zlib.compressobj(wbits=31)
        async for piece in pieces:
            yield gzip.compress(piece) + gzip.flush(zlib.Z_SYNC_FLUSH)
        yield gzip.flush()

    return both(
        header("GET **/events", "content-encoding", "gzip", lambda a: not a.body), Mutation(stream=stream)
    )


def renamed(route: str, field: str) -> Mutation:
    """Answer under another name than the table says."""
    return edited(
        route, lambda value: {**{k: v for k, v in value.items() if k != field}, "result": value.get(field)}
    )
