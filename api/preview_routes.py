"""Routes of previews: open a port of a sandbox, look, close it again (CONTRACT §2)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import CreatePreviewBody, read_json
from api.queries import answered, json_response, page_response, view_query
from api.services import idempotent_request, principal_of, services_of
from evidence.canonical import encode

router = APIRouter(prefix="/v1")


@router.post("/sandboxes/{sandbox_id}/previews")
async def create_preview(request: Request, sandbox_id: str) -> Response:
    """201 `{preview, previewToken?}`: the token is shown this once."""
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, CreatePreviewBody, services.limits.json_body_bytes_max)
    idempotent = idempotent_request(request, who, encode(body.model_dump()))
    return answered(
        await services.previews.create(
            who, sandbox_id, port=body.port, auth_mode=body.auth_mode, idempotent=idempotent
        )
    )


@router.get("/sandboxes/{sandbox_id}/previews")
async def list_previews(request: Request, sandbox_id: str) -> Response:
    """A sandbox's previews, newest first, ended ones too."""
    services, who = services_of(request), await principal_of(request)
    query = view_query(request, who.org_id, services.limits, parent=sandbox_id)
    return page_response(await services.previews.list_previews(who, sandbox_id, query))


@router.get("/previews/{preview_id}")
async def get_preview(request: Request, preview_id: str) -> Response:
    """`{preview}`, ended ones too."""
    row = await services_of(request).previews.get(await principal_of(request), preview_id)
    return json_response(b'{"preview":' + row.doc + b"}")


@router.delete("/previews/{preview_id}")
async def revoke_preview(request: Request, preview_id: str) -> Response:
    """`{preview}` with `revokedAt`; its open connections end within two seconds."""
    row = await services_of(request).previews.revoke(await principal_of(request), preview_id)
    return json_response(b'{"preview":' + row.doc + b"}")
