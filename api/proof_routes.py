"""Routes of the proof: checkpoint, bundle, the server's own verdict, the trust policy (CONTRACT §2.1)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from api.services import principal_of, services_of
from runs.refusal import not_found

router = APIRouter(prefix="/v1")


@router.get("/proof/policy")
async def get_policy(request: Request) -> Response:
    """The policy file an auditor keeps apart from every bundle; needs no key."""
    return PlainTextResponse(services_of(request).policy)


@router.get("/workspace-runs/{run_id}/proof/checkpoint")
async def get_checkpoint(request: Request, run_id: str) -> Response:
    """The signed run checkpoint at the present size (P4.3)."""
    services, who = services_of(request), await principal_of(request)
    await services.runs.get(who, run_id)
    note = await services.store.checkpoint(run_id)
    if note is None:
        raise not_found("Workspace run", run_id)
    return PlainTextResponse(note)
