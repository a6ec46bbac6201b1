"""Routes of commands in sandboxes: start, wait, cancel, and their output (CONTRACT §2, second ring)."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.bodies import CancelCommandBody, RunCommandBody, parse_json, read_body, read_json
from api.deprecation import deprecated
from api.event_routes import KEEPALIVE, SSE
from api.queries import after_seq, answered, integer, json_response
from api.services import Services, idempotent_request, principal_of, services_of
from evidence.canonical import decode, encode
from runs.access import Principal
from runs.commands import WORKSPACE, CommandRequest

router = APIRouter(prefix="/v1")
LOG_LINES_READ = 500


@router.post("/sandboxes/{sandbox_id}/commands")
async def command(request: Request, sandbox_id: str) -> Response:
    """200 `{command}` when it has ended, or with `background` 202 at once."""
    return await _start(request, sandbox_id, background=None)


@router.post("/sandboxes/{sandbox_id}/commands/run")
async def run_command(request: Request, sandbox_id: str) -> Response:
    """200 `{command}` when it has ended; the older name (CONTRACT §10)."""
    answer = await _start(request, sandbox_id, background=False)
    return deprecated(answer, f"/v1/sandboxes/{sandbox_id}/commands")


@router.post("/sandboxes/{sandbox_id}/commands/start")
async def start_command(request: Request, sandbox_id: str) -> Response:
    """202 `{command}` at once; the older name (CONTRACT §10)."""
    answer = await _start(request, sandbox_id, background=True)
    return deprecated(answer, f"/v1/sandboxes/{sandbox_id}/commands")


async def _start(request: Request, sandbox_id: str, *, background: bool | None) -> Response:
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, RunCommandBody, services.limits.json_body_bytes_max)
    in_background = body.background if background is None else background
    limits = services.runs.limits
    default_ms = limits.background_timeout_ms_max if in_background else limits.command_timeout_ms_default
    wanted = CommandRequest(
        command=body.command,
        cwd=body.cwd or WORKSPACE,
        timeout_ms=default_ms if body.timeout_ms is None else body.timeout_ms,
        env=body.env,
        collect=[one.model_dump(exclude_none=True) for one in body.collect],
        collect_on=body.collect_on,
    )
    idempotent = idempotent_request(request, who, body.model_dump_json().encode())
    return answered(
        await services.commands.start(who, sandbox_id, wanted, idempotent, background=in_background)
    )


@router.get("/commands/{command_id}")
async def get_command(request: Request, command_id: str) -> Response:
    """`{command}`."""
    row = await services_of(request).commands.get(await principal_of(request), command_id)
    return json_response(b'{"command":' + row.doc + b"}")


@router.post("/commands/{command_id}/cancel")
async def cancel_command(request: Request, command_id: str) -> Response:
    """`{command}` as it stands after the cancel; `force` does not ask the command first."""
    services, who = services_of(request), await principal_of(request)
    data = await read_body(request, services.limits.json_body_bytes_max)
    mode = parse_json(data or b"{}", CancelCommandBody).mode
    row = await services.commands.cancel(who, command_id, mode)
    return json_response(b'{"command":' + row.doc + b"}")


@router.get("/commands/{command_id}/logs")
async def list_command_logs(request: Request, command_id: str) -> Response:
    """A page of `{commandId, seq, stream, data, createdAt}`; `nextSeq` is passed back as `afterSeq`."""
    services, who = services_of(request), await principal_of(request)
    await services.commands.get(who, command_id)
    after = after_seq(request)
    limits = services.limits
    limit = integer(request, ("limit",), limits.events_page_default, 1, limits.events_page_max)
    lines = await services.commands.logs.read(command_id, after, limit + 1)
    page = lines[:limit]
    body = b'{"data":[' + b",".join(page) + b'],"hasMore":' + (b"true" if len(lines) > limit else b"false")
    if page:
        body += b',"nextSeq":%d' % (after + len(page))
    return json_response(body + b"}")


@router.get("/commands/{command_id}/stream")
async def stream_command_logs(request: Request, command_id: str) -> Response:
    """SSE: `log` events with their seq, then `terminal` with the command."""
    services, who = services_of(request), await principal_of(request, counted=False)
    await services.commands.get(who, command_id)
    services.watch.require_room(who)
    frames = _follow(services, who, command_id, after_seq(request))
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(frames, media_type=SSE, headers=headers)


async def _follow(services: Services, who: Principal, command_id: str, after: int) -> AsyncIterator[bytes]:
    """Lines until the command has ended; looked at whether it runs before its lines, so none is missed."""
    commands = services.commands
    async with services.watch.access(who) as access:
        while not access.over.is_set():
            runs = commands.is_running(command_id)
            lines = await commands.logs.read(command_id, after, LOG_LINES_READ)
            if lines:
                after += len(lines)
                yield b"".join([_log_frame(line) for line in lines])
            elif not runs:
                yield await _terminal_frame(services, who, command_id)
                return
            elif not await access.bounds(commands.logs.wait(command_id, services.limits.revocation_poll_s)):
                yield KEEPALIVE


def _log_frame(line: bytes) -> bytes:
    entry = decode(line)
    del entry["commandId"]
    data = encode({"type": "log", **entry})
    return b"id: %d\nevent: log\ndata: %s\n\n" % (entry["seq"], data)


async def _terminal_frame(services: Services, who: Principal, command_id: str) -> bytes:
    row = await services.commands.get(who, command_id)
    command = decode(row.doc)
    created_at = command.get("finishedAt", command["createdAt"])
    data = encode({"type": "terminal", "createdAt": created_at, "command": command})
    return b"event: terminal\ndata: %s\n\n" % data
