"""Sends static files; any digest but the present one is 404, so that no cache mixes two versions."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.assets import PREFIX, assets, digest
from api.dashboard.pages import PROTECTION
from runs.refusal import Refusal

router = APIRouter()
HEADERS = {**PROTECTION, "cache-control": "public, max-age=31536000, immutable"}


@router.get(f"{PREFIX}/{{version}}/{{name:path}}")
async def get_static_file(_: Request, version: str, name: str) -> Response:
    """A module, style sheet or picture."""
    asset = assets().get(name) if version == digest() else None
    if asset is None:
        raise Refusal("not_found", "There is no such file in this version of the dashboard. Reload the page.")
    return Response(asset.body, headers={**HEADERS, "content-type": asset.media_type})
