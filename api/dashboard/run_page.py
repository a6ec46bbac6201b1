"""The page of one run (`/workspace-runs/{id}`): as it is, or with `?seq=` as it was at an event."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.pages import page
from api.dashboard.proof_facts import proof_facts
from api.dashboard.run_content import run_content
from api.dashboard.run_facts import read_facts
from api.dashboard.visitors import visitor
from api.queries import SEQ_MAX, integer
from api.services import services_of

router = APIRouter()


@router.get("/workspace-runs/{run_id}")
async def get_run_page(request: Request, run_id: str) -> Response:
    """The run now or at `seq`, which beyond the end means now; what the visitor does not see is not found."""
    who = await visitor(request)
    services = services_of(request)
    row = await services.runs.get(who, run_id)
    seq = integer(request, ("seq",), 0, 1, SEQ_MAX) if "seq" in request.query_params else None
    facts = await read_facts(services.store, row, seq)
    verdict = (await services.verdicts.of([run_id])).get(run_id)
    content = await run_content(services.store, facts, services.runs.now_ms(), verdict)
    return page(request, "run.html", run=content, proof_facts=await proof_facts(services, run_id))
