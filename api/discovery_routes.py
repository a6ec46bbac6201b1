"""Routes without a key that say what there is: OpenAPI, indexes, reference (CONTRACT §2, decision 0841)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.discovery import api_catalog, auth_md, llms_txt
from api.openapi import document_bytes
from api.operation_tables.discovery import HTML, LINKSET, MARKDOWN, OPENAPI
from api.reference import page_html, style_css
from runs.refusal import Refusal

router = APIRouter()
UTF8 = "; charset=utf-8"
CATALOG_LINK = '</.well-known/api-catalog>; rel="api-catalog"'
PAGE_HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


@router.get("/openapi.json")
async def get_openapi(request: Request) -> Response:
    """The OpenAPI 3.1 document."""
    return kept(request, document_bytes(), OPENAPI + UTF8)


@router.get("/llms.txt")
async def get_llms_txt(request: Request) -> Response:
    """A short index in Markdown."""
    return kept(request, llms_txt(), MARKDOWN + UTF8)


@router.get("/auth.md")
async def get_auth_md(request: Request) -> Response:
    """How to authenticate, in Markdown."""
    return kept(request, auth_md(), MARKDOWN + UTF8)


@router.api_route("/.well-known/api-catalog", methods=["GET", "HEAD"])
async def get_api_catalog(request: Request) -> Response:
    """The link set of RFC 9727, which wants HEAD too."""
    return kept(request, api_catalog(), LINKSET, {"link": CATALOG_LINK})


@router.get("/docs")
async def get_reference(request: Request) -> Response:
    """The first page of the reference."""
    return _page(request, "")


@router.get("/docs/{page}")
async def get_reference_page(request: Request, page: str) -> Response:
    """Another page of the reference, or its style sheet."""
    if page == "style.css":
        return kept(request, style_css(), "text/css" + UTF8, PAGE_HEADERS)
    return _page(request, page)


def _page(request: Request, name: str) -> Response:
    html = page_html(name)
    if html is None:
        raise Refusal(
            "not_found", f"The reference has no page {name[:80]}. Read /docs for those that it has."
        )
    return kept(request, html, HTML + UTF8, PAGE_HEADERS)


def kept(
    request: Request, body: bytes, media_type: str, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer that changes with the version of the server only; 304 when the caller has these bytes."""
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    more = {**(headers or {}), "etag": etag, "cache-control": "no-cache"}
    known = request.headers.get("if-none-match", "")
    if known.strip() == "*" or etag in {tag.strip().removeprefix("W/") for tag in known.split(",")}:
        return Response(status_code=304, headers=more)
    return Response(body, headers={**more, "content-type": media_type})
