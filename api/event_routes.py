"""Replay: a run's events as a JSON page, as Server-Sent Events, or as NDJSON (CONTRACT §6)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.queries import SEQ_MAX, after_seq, flag, integer, json_response
from api.services import Services, principal_of, services_of
from eventstore.framing import shown_payload
from eventstore.log import EventLog, Framing
from runs.access import Principal

router = APIRouter(prefix="/v1/workspace-runs")
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
KEEPALIVE = b": ka\n\n"
"""A comment: clients ignore it, so it can never disturb their resume point (rule 3)."""


@router.get("/{run_id}/events")
async def get_events(request: Request, run_id: str) -> Response:
    """The same stored bytes in the framing that was asked for; `afterSeq` is exclusive."""
    services, who = services_of(request), await principal_of(request, counted=not is_stream(request))
    await services.runs.get(who, run_id)
    return await events_answer(request, services, who, run_id)


def is_stream(request: Request) -> bool:
    """Whether the answer is a stream and no JSON page: those are not counted (CONTRACT §11)."""
    accept = request.headers.get("accept", "")
    return NDJSON in accept or SSE in accept or request.query_params.get("stream") in {"true", "1"}


async def events_answer(request: Request, services: Services, who: Principal, run_id: str) -> Response:
    """The events of a stream that the caller may read; an organisation's has no `terminal` and no end."""
    after = after_seq(request)
    follow = flag(request, "stream")
    accept = request.headers.get("accept", "")
    if follow or SSE in accept:
        services.watch.require_room(who)
    if NDJSON in accept:
        limit = _limit(request, services) if "limit" in request.query_params else None
        frames = _ndjson(services, who, run_id, after, limit, follow=follow)
        return StreamingResponse(frames, media_type=NDJSON, headers={"cache-control": "no-store"})
    if follow or SSE in accept:
        return await _sse(request, services, who, run_id, after)
    return await _json_page(services, run_id, after, _limit(request, services))


def _limit(request: Request, services: Services) -> int:
    return integer(
        request, ("limit",), services.limits.events_page_default, 1, services.limits.events_page_max
    )


async def _json_page(services: Services, run_id: str, after: int, limit: int) -> Response:
    """`hasMore` concerns stored public events; a non-empty page carries `nextSeq` (§6.2, rule 14)."""
    events = await services.store.read(run_id, after, limit + 1)
    page = events[:limit]
    body = b'{"data":[' + b",".join([shown_payload(event) for event in page]) + b'],"hasMore":'
    body += b"true" if len(events) > limit else b"false"
    if page:
        body += b',"nextSeq":%d' % page[-1].seq
    return json_response(body + b"}")


async def _sse(request: Request, services: Services, who: Principal, run_id: str, after: int) -> Response:
    """Frames until `terminal`. A browser that has it already gets 204, so that it stops (§11)."""
    last_event_id = request.headers.get("last-event-id", "")
    terminal_seq = await terminal_seq_of(services, run_id)
    if last_event_id.isascii() and last_event_id.isdigit() and int(last_event_id) <= SEQ_MAX:
        if terminal_seq is not None and int(last_event_id) >= terminal_seq:
            return Response(status_code=204)
        after = max(after, int(last_event_id))
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    frames = _follow(services, who, run_id, after, Framing.SSE)
    return StreamingResponse(frames, media_type=SSE, headers=headers)


async def _ndjson(
    services: Services, who: Principal, run_id: str, after: int, limit: int | None, *, follow: bool
) -> AsyncIterator[bytes]:
    if follow and limit is None:
        async for data in _follow(services, who, run_id, after, Framing.NDJSON):
            yield data
        return
    async for data in _history(services.store, run_id, after, limit):
        yield data


async def _history(store: EventLog, run_id: str, after: int, limit: int | None) -> AsyncIterator[bytes]:
    """What is stored behind `after`, in pieces; the next one is read while one is sent.

    The database works outside the interpreter lock, so the two go on side by side.
    """
    chunk = await store.read_framed(run_id, after, Framing.NDJSON, limit)
    while chunk is not None:
        limit = None if limit is None else limit - chunk.count
        if limit == 0:
            yield chunk.data
            return
        ahead = asyncio.ensure_future(store.read_framed(run_id, chunk.last_seq, Framing.NDJSON, limit))
        try:
            yield chunk.data
            chunk = await ahead
        finally:
            ahead.cancel()  # for a client who is gone


async def _follow(
    services: Services, who: Principal, run_id: str, after: int, framing: Framing
) -> AsyncIterator[bytes]:
    """From catch-up to live without a gap: always read again after our own seq, a wake-up is a hint.

    Ends right behind `terminal` (rule 5); a reader that asked for what lies behind it gets `terminal`
    once more, since clients take an empty stream for a broken one (§6.4). Ends too when the server stops or
    the key is revoked: whoever connects again is told why.
    """
    store = services.store
    async with services.watch.access(who) as access:
        while not access.over.is_set():
            chunk = await store.read_framed(run_id, after, framing)
            if chunk is not None:
                yield chunk.data
                after = chunk.last_seq
                if chunk.last_type == "terminal":
                    return
            elif again := await _terminal_again(services, run_id, after, framing):
                yield again
                return
            news = store.wait_for_append(run_id, after, services.limits.heartbeat_s)
            if not await access.bounds(news) and framing is Framing.SSE:
                yield KEEPALIVE


async def _terminal_again(services: Services, run_id: str, after: int, framing: Framing) -> bytes | None:
    """The frame of `terminal`, when it lies at or before `after`."""
    terminal_seq = await terminal_seq_of(services, run_id)
    if terminal_seq is None or terminal_seq > after:
        return None
    chunk = await services.store.read_framed(run_id, terminal_seq - 1, framing)
    return chunk.data if chunk is not None else None


async def terminal_seq_of(services: Services, run_id: str) -> int | None:
    """The seq of `terminal`, None while the run is not sealed."""
    row = await services.store.get_view("evidence", run_id)
    return int(row.labels["lastPublicSeq"]) if row is not None else None
