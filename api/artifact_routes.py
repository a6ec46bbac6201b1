"""Routes of artifacts: kept on demand, listed, downloaded, deleted (CONTRACT §2)."""

from __future__ import annotations

import base64
from urllib.parse import quote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import CreateArtifactBody, read_json
from api.files import StoredFile
from api.queries import answered, json_response, page_response, view_query
from api.services import idempotent_request, principal_of, services_of
from evidence.canonical import encode
from runs.artifacts import RequestedFile
from runs.refusal import Refusal

router = APIRouter(prefix="/v1")
UNTRUSTED = "sandbox; default-src 'none'; frame-ancestors 'none'"
"""On contents that a command wrote: a browser that shows one runs nothing of it, as no origin of ours."""


@router.get("/sandboxes/{sandbox_id}/artifacts")
async def list_artifacts(request: Request, sandbox_id: str) -> Response:
    """A sandbox's artifacts, also when it is gone."""
    services, who = services_of(request), await principal_of(request)
    query = view_query(request, who.org_id, services.limits, parent=sandbox_id)
    return page_response(await services.artifacts.list_artifacts(who, sandbox_id, query))


@router.post("/sandboxes/{sandbox_id}/artifacts")
async def create_artifact(request: Request, sandbox_id: str) -> Response:
    """201 `{artifact}`: keep a file of a live sandbox."""
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, CreateArtifactBody, services.limits.json_body_bytes_max)
    wanted = RequestedFile(body.path, body.name)
    idempotent = idempotent_request(request, who, encode(body.model_dump()))
    return answered(await services.artifacts.collect(who, sandbox_id, wanted, idempotent))


@router.get("/artifacts/{artifact_id}")
async def get_artifact(request: Request, artifact_id: str) -> Response:
    """`{artifact}`, deleted ones with `deletedAt`."""
    artifact = await services_of(request).artifacts.get(await principal_of(request), artifact_id)
    return json_response(encode({"artifact": artifact}))


@router.get("/artifacts/{artifact_id}/download")
async def download_artifact(request: Request, artifact_id: str) -> Response:
    """The bytes, or the range asked for, with `ETag` and `Repr-Digest` (RFC 9530) from the sealed digest."""
    services, who = services_of(request), await principal_of(request)
    artifact = await services.artifacts.content(who, artifact_id)
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
        "content-security-policy": UNTRUSTED,
    }
    known = request.headers.get("if-none-match", "")
    if any(tag.strip().removeprefix("W/") in {"*", headers["etag"]} for tag in known.split(",")):
        return Response(status_code=304, headers=headers)
    file = StoredFile(path, media_type="application/octet-stream", headers=headers)
    if request.headers.get("if-range", headers["etag"]) == headers["etag"]:
        file.check_range(request.headers.get("range"))
    return file


@router.post("/artifacts/{artifact_id}/download-url")
async def artifact_download_url(request: Request, artifact_id: str) -> Response:
    """Where to download, with the same API key."""
    artifact = await services_of(request).artifacts.content(await principal_of(request), artifact_id)
    url = f"/v1/artifacts/{artifact['id']}/download"
    return json_response(encode({"authMode": "api_key", "headers": {}, "method": "GET", "url": url}))


@router.delete("/artifacts/{artifact_id}")
async def delete_artifact(request: Request, artifact_id: str) -> Response:
    """`{artifact}` with `deletedAt`; the record stays."""
    artifact = await services_of(request).artifacts.delete(await principal_of(request), artifact_id)
    return json_response(encode({"artifact": artifact}))
