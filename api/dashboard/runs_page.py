"""The list of runs (`/workspace-runs`)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.pages import page
from api.dashboard.visitors import visitor
from api.queries import view_query
from api.services import services_of
from evidence.canonical import decode

router = APIRouter()


@router.get("/workspace-runs")
async def get_runs_page(request: Request) -> Response:
    """The newest runs."""
    who = await visitor(request)
    services = services_of(request)
    found = await services.runs.list_runs(who, view_query(request, who.org_id, services.limits))
    return page(request, "runs.html", runs=[decode(row.doc) for row in found.rows])
