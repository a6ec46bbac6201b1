"""Routes of what runs leave behind: artifacts and sandboxes (CONTRACT §2)."""

from __future__ import annotations

import base64
from urllib.parse import quote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.files import WholeFile
from api.queries import json_response, page_response, view_query
from api.services import principal_of, services_of
from evidence.canonical import encode
from runs.refusal import Refusal

router = APIRouter(prefix="/v1")


@router.get("/sandboxes/{sandbox_id}/artifacts")
async def list_artifacts(request: Request, sandbox_id: str) -> Response:
    """A sandbox's artifacts, also when it is gone."""
    services, who = services_of(request), await principal_of(request)
    query = view_query(request, who.org_id, services.limits, parent=sandbox_id)
    return page_response(await services.resources.artifacts(who, sandbox_id, query))


@router.get("/artifacts/{artifact_id}")
async def get_artifact(request: Request, artifact_id: str) -> Response:
    """`{artifact}`, deleted ones with `deletedAt`."""
    row = await services_of(request).resources.artifact(await principal_of(request), artifact_id)
    return json_response(b'{"artifact":' + row.doc + b"}")


@router.get("/artifacts/{artifact_id}/download")
async def download_artifact(request: Request, artifact_id: str) -> Response:
    """The bytes, with `ETag` and `Repr-Digest` (RFC 9530) from the sealed digest."""
    services, who = services_of(request), await principal_of(request)
    artifact = await services.resources.artifact_content(who, artifact_id)
    path = services.blob_path(artifact["sha256"])
    if not path.is_file():
        message = "The content of this artifact is missing from the blob store. Restore the data folder."
        raise Refusal("internal_error", message)
    digest = base64.b64encode(bytes.fromhex(artifact["sha256"])).decode()
    headers = {
        "etag": f'"{artifact["sha256"]}"',
        "repr-digest": f"sha-256=:{digest}:",
        "content-disposition": f"attachment; filename*=UTF-8''{quote(artifact['name'].rsplit('/', 1)[-1])}",
        "x-content-type-options": "nosniff",
    }
    return WholeFile(path, media_type="application/octet-stream", headers=headers)


@router.post("/artifacts/{artifact_id}/download-url")
async def artifact_download_url(request: Request, artifact_id: str) -> Response:
    """Where to download, with the same API key."""
    artifact = await services_of(request).resources.artifact_content(await principal_of(request), artifact_id)
    url = f"/v1/artifacts/{artifact['id']}/download"
    return json_response(encode({"authMode": "api_key", "headers": {}, "method": "GET", "url": url}))


@router.delete("/artifacts/{artifact_id}")
async def delete_artifact(request: Request, artifact_id: str) -> Response:
    """`{artifact}` with `deletedAt`; the record stays."""
    row = await services_of(request).resources.delete_artifact(await principal_of(request), artifact_id)
    return json_response(b'{"artifact":' + row.doc + b"}")


@router.get("/sandboxes")
async def list_sandboxes(request: Request) -> Response:
    """Live sandboxes, newest first; `include=historical` adds destroyed ones."""
    services, who = services_of(request), await principal_of(request)
    include = request.query_params.get("include")
    if include not in {None, "historical"}:
        raise Refusal("invalid_request", "include must be `historical`.", {"field": "include"})
    query = view_query(request, who.org_id, services.limits)
    return page_response(await services.resources.sandboxes(who, query, historical=include is not None))


@router.get("/sandboxes/{sandbox_id}")
async def get_sandbox(request: Request, sandbox_id: str) -> Response:
    """`{sandbox}`, destroyed ones too."""
    row = await services_of(request).resources.sandbox(await principal_of(request), sandbox_id)
    return json_response(b'{"sandbox":' + row.doc + b"}")


@router.delete("/sandboxes/{sandbox_id}")
async def kill_sandbox(request: Request, sandbox_id: str) -> Response:
    """`{sandbox}` with status `destroyed`."""
    row = await services_of(request).resources.kill_sandbox(await principal_of(request), sandbox_id)
    return json_response(b'{"sandbox":' + row.doc + b"}")
