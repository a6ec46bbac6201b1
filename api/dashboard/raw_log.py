"""Sends a run's output as the bytes that the command wrote, to be kept as a file."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.dashboard.pages import PROTECTION
from api.dashboard.visitors import visitor
from api.services import services_of
from eventstore.log import StoredEvent
from evidence.canonical import decode
from runs.dispatch import Store
from runs.refusal import Refusal

router = APIRouter()
EVENTS_AT_ONCE = 200
STREAMS = ("stdout", "stderr")


@router.get("/workspace-runs/{run_id}/log")
async def get_raw_log(request: Request, run_id: str) -> Response:
    """Both streams in order of arrival, or the one in `?stream=`, as far as they are recorded by now.

    An attachment with a sandbox policy: what a command wrote is never shown as a page of ours. Events whose
    text was removed have none here.
    """
    services, who = services_of(request), await visitor(request)
    await services.runs.get(who, run_id)
    wanted = request.query_params.getlist("stream") or list(STREAMS)
    if not set(wanted) <= set(STREAMS):
        raise Refusal("invalid_request", "stream must be stdout or stderr.", {"field": "stream"})
    headers = {
        **PROTECTION,
        "content-security-policy": "sandbox; default-src 'none'",
        "content-disposition": f'attachment; filename="{run_id}.log"',
        "cache-control": "no-store",
    }
    output = _output(services.store, run_id, frozenset(wanted))
    return StreamingResponse(output, headers=headers, media_type="application/octet-stream")


async def _output(store: Store, run_id: str, wanted: frozenset[str]) -> AsyncIterator[bytes]:
    after = 0
    while events := await store.read(run_id, after, EVENTS_AT_ONCE):
        if data := b"".join([_written(event) for event in events if event.type in wanted]):
            yield data
        after = events[-1].seq


def _written(event: StoredEvent) -> bytes:
    """The bytes that the command wrote (PROOF P1.3); none after a redaction."""
    if event.payload is None:
        return b""
    fields = decode(event.payload)
    raw = fields.get("dataBase64")
    return base64.b64decode(raw) if raw is not None else str(fields["data"]).encode()
