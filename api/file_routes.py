"""Routes of a sandbox's workspace files (CONTRACT §2, second ring)."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import quote, urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.bodies import FileDownloadUrlBody, MkdirBody, MoveFileBody, WriteFileBody, read_json
from api.queries import json_response
from api.services import principal_of, services_of
from evidence.canonical import encode
from evidence.record import format_time
from runs.commands import WORKSPACE
from runs.host import FileStat
from runs.refusal import Refusal

router = APIRouter(prefix="/v1/sandboxes/{sandbox_id}/files")
ENCODINGS = ("utf8", "base64")


def file_object(stat: FileStat) -> dict[str, object]:
    """FileStat on the wire: `{path, sizeBytes, type, modifiedAt}`."""
    return {
        "path": stat.path,
        "sizeBytes": stat.size_bytes,
        "type": stat.type,
        "modifiedAt": format_time(stat.modified_at_ms),
    }


def _file_answer(stat: FileStat) -> Response:
    return json_response(encode({"file": file_object(stat)}))


def _path(request: Request, default: str | None = None) -> str:
    path = request.query_params.get("path", default)
    if path is None:
        raise Refusal("invalid_request", "path is required: /workspace/…", {"field": "path"})
    return path


@router.get("")
async def list_files(request: Request, sandbox_id: str) -> Response:
    """`{data:[{name, path, sizeBytes, type, modifiedAt}]}` of a folder, by name."""
    services, who = services_of(request), await principal_of(request)
    found = await services.files.list_files(who, sandbox_id, _path(request, WORKSPACE))
    return json_response(encode({"data": [{"name": one.name, **file_object(one)} for one in found]}))


@router.get("/stat")
async def stat_file(request: Request, sandbox_id: str) -> Response:
    """`{file}`."""
    services, who = services_of(request), await principal_of(request)
    return _file_answer(await services.files.stat(who, sandbox_id, _path(request)))


@router.get("/read")
async def read_file(request: Request, sandbox_id: str) -> Response:
    """`{content, encoding}`; as text only what is UTF-8."""
    services, who = services_of(request), await principal_of(request)
    encoding = request.query_params.get("encoding", "utf8")
    if encoding not in ENCODINGS:
        raise Refusal("invalid_request", "encoding must be utf8 or base64.", {"field": "encoding"})
    content = await services.files.read(who, sandbox_id, _path(request))
    if encoding == "base64":
        text = base64.b64encode(content).decode()
    else:
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise Refusal(
                "invalid_file_encoding", "The file is not UTF-8. Read it with encoding=base64."
            ) from None
    return json_response(encode({"content": text, "encoding": encoding}))


@router.put("")
async def write_file(request: Request, sandbox_id: str) -> Response:
    """`{file}`."""
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, WriteFileBody, services.limits.json_body_bytes_max)
    stat = await services.files.write(
        who,
        sandbox_id,
        body.path,
        _content(body),
        create_parents=body.create_parents,
        overwrite=body.overwrite,
    )
    return _file_answer(stat)


def _content(body: WriteFileBody) -> bytes:
    if body.encoding == "utf8":
        return body.content.encode()
    try:
        return base64.b64decode(body.content, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal("invalid_file_encoding", "content is not valid base64.", {"field": "content"}) from None


@router.delete("")
async def delete_file(request: Request, sandbox_id: str) -> Response:
    """`{deleted: true}`: a file or an empty folder."""
    services, who = services_of(request), await principal_of(request)
    await services.files.delete(who, sandbox_id, _path(request))
    return json_response(b'{"deleted":true}')


@router.post("/mkdir")
async def make_directory(request: Request, sandbox_id: str) -> Response:
    """`{file}`."""
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, MkdirBody, services.limits.json_body_bytes_max)
    return _file_answer(await services.files.mkdir(who, sandbox_id, body.path, parents=body.parents))


@router.post("/move")
async def move_file(request: Request, sandbox_id: str) -> Response:
    """`{file}` at its new place."""
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, MoveFileBody, services.limits.json_body_bytes_max)
    stat = await services.files.move(who, sandbox_id, body.from_path, body.to_path, overwrite=body.overwrite)
    return _file_answer(stat)


@router.post("/download-url")
async def file_download_url(request: Request, sandbox_id: str) -> Response:
    """Where to download, with the same API key."""
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, FileDownloadUrlBody, services.limits.json_body_bytes_max)
    await services.files.require_file(who, sandbox_id, body.path)
    url = f"/v1/sandboxes/{sandbox_id}/files/download?{urlencode({'path': body.path})}"
    return json_response(encode({"authMode": "api_key", "headers": {}, "method": "GET", "url": url}))


@router.get("/download")
async def download_file(request: Request, sandbox_id: str) -> Response:
    """The file's bytes."""
    services, who = services_of(request), await principal_of(request)
    path = _path(request)
    size_bytes, content = await services.files.download(who, sandbox_id, path)
    headers = {
        "content-length": str(size_bytes),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(path.rsplit('/', 1)[-1], safe='')}",
        "x-content-type-options": "nosniff",
    }
    return StreamingResponse(content, media_type="application/octet-stream", headers=headers)
