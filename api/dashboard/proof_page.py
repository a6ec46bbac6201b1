"""The proof panel of a run alone (`/workspace-runs/{id}/proof`): what a page takes in when its run ends."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.pages import page
from api.dashboard.proof_facts import proof_facts
from api.dashboard.visitors import visitor
from api.services import services_of

router = APIRouter()


@router.get("/workspace-runs/{run_id}/proof")
async def get_proof_panel(request: Request, run_id: str) -> Response:
    """The part of the page, without a frame."""
    who = await visitor(request)
    services = services_of(request)
    await services.runs.get(who, run_id)
    return page(request, "run/proof.html", proof_facts=await proof_facts(services, run_id))
