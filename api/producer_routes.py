"""Routes of producers: batches of events from outside, one by one or in a session, and `finish` (§2.1)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.websockets import WebSocket

from api.append_session import AppendSession
from api.batches import parse_batch
from api.bodies import FinishBody, read_body, read_json
from api.errors import envelope, log_failure, refusal_of
from api.queries import answered, json_response
from api.services import authenticated, idempotent_request, principal_of, services_of
from evidence.canonical import encode
from runs.ids import new_id
from runs.recordings import SCOPE

router = APIRouter(prefix="/v1/workspace-runs")


async def append_events(request: Request) -> Response:
    """200 `{head}` once the batch is durable, or was stored before.

    The caller is looked at when the body is there, and only then: once, and as they are at that moment.
    """
    services = services_of(request)
    body = await read_body(request, services.limits.json_body_bytes_max)
    who = await principal_of(request, counted=False)
    who.require(SCOPE)
    head = await services.recordings.append(who, request.path_params["run_id"], parse_batch(body))
    return json_response(b'{"head":' + head + b"}")


# A plain route, which `api.app` calls directly: what is around it costs more than a small append.
APPEND = Route(f"{router.prefix}/{{run_id}}/events", append_events, methods=["POST"])
router.routes.append(APPEND)


@router.post("/{run_id}/finish")
async def finish_run(request: Request, run_id: str) -> Response:
    """200 `{workspaceRun}`, sealed."""
    services, who = services_of(request), await principal_of(request, counted=False)
    body = await read_json(request, FinishBody, services.limits.json_body_bytes_max)
    idempotent = idempotent_request(request, who, encode(body.model_dump()))
    return answered(await services.recordings.finish(who, run_id, body.exit_code, idempotent))


@router.websocket("/{run_id}/events/session")
async def append_session(socket: WebSocket, run_id: str) -> None:
    """Batches up, `{number, head}` down (CONTRACT §2.1); refused before it opens like any request."""
    services = services_of(socket)
    request_id = new_id("req")
    try:
        who = await authenticated(socket)
        recording = await services.recordings.session(who, run_id)
        services.watch.require_room(who)
    except Exception as error:
        log_failure(request_id, f"session of {run_id[:80]}", error)
        refusal = refusal_of(error)
        if refusal is None:
            raise
        status, headers, body = envelope(refusal, request_id)
        await socket.send_denial_response(Response(body, status, {**headers, "x-request-id": request_id}))
        return
    session = AppendSession(socket, recording, services.limits, request_id)
    async with services.watch.access(who) as access:
        await session.serve(access.over, services.closing)
