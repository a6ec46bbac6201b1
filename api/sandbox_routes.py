"""Routes of warm and kept sandboxes (CONTRACT §2)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import CreateSandboxBody, TtlBody, parse_json, read_body, read_json
from api.deprecation import deprecated
from api.queries import answered, filtered_query, json_response, page_response
from api.run_routes import DEFAULT_TEMPLATE
from api.services import idempotent_request, principal_of, services_of
from evidence.canonical import encode
from runs.refusal import Refusal
from runs.sandboxes import SandboxRequest

router = APIRouter(prefix="/v1/sandboxes")


@router.post("")
async def create_sandbox(request: Request) -> Response:
    """201 `{sandbox}`; the body may be `{}` or empty."""
    services, who = services_of(request), await principal_of(request)
    data = await read_body(request, services.limits.json_body_bytes_max)
    body = parse_json(data or b"{}", CreateSandboxBody)
    if body.restore_from is not None:
        raise Refusal(
            "feature_not_enabled", "This server keeps no backups to restore from.", {"field": "restoreFrom"}
        )
    ttl_ms = services.runs.limits.sandbox_ttl_ms_default if body.ttl_ms is None else body.ttl_ms
    wanted = SandboxRequest(
        project_id=body.project_id or await services.runs.default_project(who),
        template=body.template or DEFAULT_TEMPLATE,
        template_version_id=body.template_version_id,
        ttl_ms=ttl_ms,
        metadata=body.metadata,
    )
    idempotent = idempotent_request(request, who, body.model_dump_json().encode())
    return answered(await services.sandboxes.create(who, wanted, idempotent))


@router.get("")
async def list_sandboxes(request: Request) -> Response:
    """Live sandboxes, newest first; `include=historical` adds destroyed ones."""
    services, who = services_of(request), await principal_of(request)
    include = request.query_params.get("include")
    if include not in {None, "historical"}:
        raise Refusal("invalid_request", "include must be `historical`.", {"field": "include"})
    query = filtered_query(request, who.org_id, services.limits)
    page = await services.sandboxes.list_sandboxes(who, query, historical=include is not None)
    return page_response(page)


@router.get("/{sandbox_id}")
async def get_sandbox(request: Request, sandbox_id: str) -> Response:
    """`{sandbox}`, destroyed ones too."""
    row = await services_of(request).sandboxes.get(await principal_of(request), sandbox_id)
    return json_response(b'{"sandbox":' + row.doc + b"}")


@router.delete("/{sandbox_id}")
async def kill_sandbox(request: Request, sandbox_id: str) -> Response:
    """`{sandbox}` with status `destroyed`."""
    services, who = services_of(request), await principal_of(request)
    idempotent = idempotent_request(request, who, b"")
    return answered(await services.sandboxes.kill(who, sandbox_id, idempotent))


@router.post("/{sandbox_id}/ttl")
async def set_sandbox_ttl(request: Request, sandbox_id: str) -> Response:
    """`{sandbox}` that ends `ttlMs` from now."""
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, TtlBody, services.limits.json_body_bytes_max)
    idempotent = idempotent_request(request, who, encode(body.model_dump()))
    return answered(await services.sandboxes.extend(who, sandbox_id, body.ttl_ms, idempotent))


@router.post("/{sandbox_id}/extend")
async def extend_sandbox(request: Request, sandbox_id: str) -> Response:
    """The older name of the same (CONTRACT §10)."""
    return deprecated(await set_sandbox_ttl(request, sandbox_id), f"/v1/sandboxes/{sandbox_id}/ttl")
