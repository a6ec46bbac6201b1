"""Routes of runs: create, list, get, uploads, start, cancel, evidence (CONTRACT §2)."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from api.bodies import (
    CreateRunBody,
    CreateTransferBody,
    FinalizeBody,
    RedactionBody,
    incomplete,
    read_json,
    recheck_caller,
)
from api.queries import answered, filtered_query, json_response, page_response
from api.services import idempotent_request, principal_of, services_of
from evidence.canonical import encode
from runs.decide import EXTERNAL, STATUSES
from runs.refusal import Refusal
from runs.requests import RunRequest
from runs.uploads import body_fingerprint

router = APIRouter(prefix="/v1/workspace-runs")
DEFAULT_TEMPLATE = "python-node"
SHA256_HEX_DIGITS = 64
SIZE_DIGITS_MAX = 15


@router.post("")
async def create_run(request: Request) -> Response:
    """201 `{workspaceRun}`."""
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, CreateRunBody, services.limits.json_body_bytes_max)
    project_id = body.project_id or await services.runs.default_project(who)
    template = body.template or DEFAULT_TEMPLATE
    limits = services.runs.limits
    default_ms = limits.recorded_timeout_ms_default if template == EXTERNAL else limits.timeout_ms_default
    run = RunRequest(
        command=body.command,
        project_id=project_id,
        template=template,
        timeout_ms=default_ms if body.timeout_ms is None else body.timeout_ms,
        keep_sandbox=body.keep_sandbox,
        metadata=body.metadata,
        source_metadata=body.source_metadata,
        artifacts=[artifact.model_dump(exclude_none=True) for artifact in body.artifacts],
        sandbox_id=body.sandbox_id,
        template_version_id=body.template_version_id,
    )
    # Over the parsed body: key order and spaces are not another request. It may hold what a run must
    # not (metadata keys, say), which is refused behind the look at the stored answer.
    idempotent = idempotent_request(request, who, body.model_dump_json().encode())
    return answered(await services.runs.create(who, run, idempotent))


@router.get("")
async def list_runs(request: Request) -> Response:
    """A page of runs, newest first."""
    services, who = services_of(request), await principal_of(request)
    query = filtered_query(request, who.org_id, services.limits, statuses=STATUSES)
    return page_response(await services.runs.list_runs(who, query))


@router.get("/{run_id}")
async def get_run(request: Request, run_id: str) -> Response:
    """`{workspaceRun}`."""
    who = await principal_of(request)
    row = await services_of(request).runs.get(who, run_id)
    return json_response(b'{"workspaceRun":' + row.doc + b"}")


@router.post("/{run_id}/start")
async def start_run(request: Request, run_id: str) -> Response:
    """200 `{workspaceRun}`, with its `sandboxId`."""
    who = await principal_of(request)
    idempotent = idempotent_request(request, who, b"")
    return answered(await services_of(request).runs.start(who, run_id, idempotent))


@router.post("/{run_id}/cancel")
async def cancel_run(request: Request, run_id: str) -> Response:
    """200 `{workspaceRun}` as it stands; a terminal run is left alone."""
    who = await principal_of(request)
    idempotent = idempotent_request(request, who, b"")
    return answered(await services_of(request).runs.cancel(who, run_id, idempotent))


@router.put("/{run_id}/archive")
async def upload_archive(request: Request, run_id: str) -> Response:
    """200 `{archive, workspaceRun}`; the three archive headers are required (CONTRACT §4.1)."""
    services, who = services_of(request), await principal_of(request)
    sha256, size_bytes = _archive_headers(request)
    idempotent = idempotent_request(request, who, body_fingerprint(sha256, size_bytes))
    answer = await services.uploads.direct(
        who, run_id, _body(request), sha256=sha256, size_bytes=size_bytes, idempotent=idempotent
    )
    return answered(answer)


@router.post("/{run_id}/archive-transfer")
async def create_transfer(request: Request, run_id: str) -> Response:
    """201 `{transfer}`."""
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, CreateTransferBody, services.limits.json_body_bytes_max)
    idempotent = idempotent_request(request, who, encode(body.model_dump()))
    answer = await services.uploads.create_transfer(
        who, run_id, sha256=body.sha256, size_bytes=body.size_bytes, idempotent=idempotent
    )
    return answered(answer)


@router.put("/{run_id}/archive-transfer/{upload_id}")
async def receive_transfer(request: Request, run_id: str, upload_id: str) -> Response:
    """204 once the bytes are stored; what they are is judged by `finalize`."""
    who = await principal_of(request)
    await services_of(request).uploads.receive_transfer(who, run_id, upload_id, _body(request))
    return Response(status_code=204)


@router.post("/{run_id}/archive/finalize")
async def finalize_upload(request: Request, run_id: str) -> Response:
    """200 `{archive, workspaceRun}`."""
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, FinalizeBody, services.limits.json_body_bytes_max)
    idempotent = idempotent_request(request, who, encode(body.model_dump()))
    answer = await services.uploads.finalize(
        who, run_id, body.upload_id, sha256=body.sha256, size_bytes=body.size_bytes, idempotent=idempotent
    )
    return answered(answer)


@router.post("/{run_id}/redactions")
async def redact(request: Request, run_id: str) -> Response:
    """201 `{redaction}` once the payloads of these output events are erased everywhere (PROOF P7)."""
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, RedactionBody, services.limits.json_body_bytes_max)
    idempotent = idempotent_request(request, who, encode(body.model_dump()))
    answer = await services.redactions.redact(who, run_id, body.targets, body.reason, idempotent)
    return answered(answer)


@router.get("/{run_id}/evidence")
async def get_evidence(request: Request, run_id: str) -> Response:
    """`{evidence}`: the sealed bytes, with a `proof` key beside the bundle's (CONTRACT §6.6)."""
    services, who = services_of(request), await principal_of(request)
    await services.runs.get(who, run_id)
    row = await services.store.get_view("evidence", run_id)
    head = await services.store.head(run_id)
    checkpoint = await services.store.checkpoint(run_id)
    if row is None or head is None or checkpoint is None:
        raise Refusal(
            "not_found",
            "The evidence is written when the run ends. Follow its events until `terminal`, then ask again.",
            {"reason": "evidence_not_available"},
        )
    note = checkpoint.decode()
    proof = {
        "origin": services.origin,
        "size": int(note.split("\n")[1]),
        "root": note.split("\n")[2],
        "checkpoint": note,
        "evidenceSha256": row.labels["evidenceSha256"],
        "sealSeq": int(row.labels["lastPublicSeq"]) + 1,
    }
    return json_response(b'{"evidence":' + row.doc[:-1] + b',"proof":' + encode(proof) + b"}}")


def _archive_headers(request: Request) -> tuple[str, int]:
    sha256 = request.headers.get("x-crownest-archive-sha256", "").lower()
    size = request.headers.get("x-crownest-archive-size", "")
    if len(sha256) != SHA256_HEX_DIGITS or not set(sha256) <= set("0123456789abcdef"):
        raise _header_refusal("x-crownest-archive-sha256", "must be 64 hexadecimal digits")
    if not (size.isascii() and size.isdigit() and len(size) <= SIZE_DIGITS_MAX):
        raise _header_refusal("x-crownest-archive-size", "must be the archive's size in bytes")
    return sha256, int(size)


def _header_refusal(name: str, rule: str) -> Refusal:
    return Refusal("invalid_request", f"The header {name} {rule}.", {"field": name})


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for data in request.stream():
            yield data
    except ClientDisconnect:
        message = "The connection closed before the archive was complete. Upload it again."
        raise incomplete(request, message) from None
    await recheck_caller(request)
