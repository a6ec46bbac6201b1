"""The page of one run (`/workspace-runs/{id}`)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.pages import page
from api.dashboard.visitors import visitor
from api.services import services_of
from evidence.canonical import decode

router = APIRouter()


@router.get("/workspace-runs/{run_id}")
async def get_run_page(request: Request, run_id: str) -> Response:
    """One run."""
    who = await visitor(request)
    row = await services_of(request).runs.get(who, run_id)
    return page(request, "run.html", run=decode(row.doc))
