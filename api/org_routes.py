"""Routes of an organisation's stream: what happened outside of runs, replayed and proved (CONTRACT §2.1)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from api.bundles import write_bundle_file
from api.event_routes import events_answer, is_stream
from api.proof_routes import bundle_answer, consistency_answer, window_answer
from api.queries import json_response
from api.services import Services, principal_of, services_of
from api.windows import signed_checkpoint
from runs.organization import audited_organization

router = APIRouter(prefix="/v1/orgs")


@router.get("/{org_id}")
async def get_organization(request: Request, org_id: str) -> Response:
    """`{organization}`."""
    row = await audited_organization(services_of(request).store, await principal_of(request), org_id)
    return json_response(b'{"organization":' + row.doc + b"}")


@router.get("/{org_id}/events")
async def get_organization_events(request: Request, org_id: str) -> Response:
    """Keys, projects, users, sandboxes, signing keys: every change, in the framing that was asked for."""
    services, who = services_of(request), await principal_of(request, counted=not is_stream(request))
    await audited_organization(services.store, who, org_id)
    return await events_answer(request, services, who, org_id)


@router.get("/{org_id}/proof/checkpoint")
async def get_organization_checkpoint(request: Request, org_id: str) -> Response:
    """The signed checkpoint at the present size (PROOF P2.3a)."""
    return PlainTextResponse((await signed_checkpoint(await _audited(request, org_id), org_id))[1])


@router.get("/{org_id}/proof/bundle")
async def get_organization_bundle(request: Request, org_id: str) -> Response:
    """The proof bundle; it has no seal, so its verdict is OPEN_PREFIX."""
    return bundle_answer(org_id, await write_bundle_file(await _audited(request, org_id), org_id))


@router.get("/{org_id}/proof/events")
async def get_organization_window(request: Request, org_id: str) -> Response:
    """A window of events with its range proof (PROOF P3.4)."""
    return await window_answer(request, await _audited(request, org_id), org_id)


@router.get("/{org_id}/proof/consistency")
async def get_organization_consistency(request: Request, org_id: str) -> Response:
    """That the first `from` events are unchanged among `to` (PROOF P3.2)."""
    return await consistency_answer(request, await _audited(request, org_id), org_id)


async def _audited(request: Request, org_id: str) -> Services:
    """The services, once it is seen that the caller may audit this organisation."""
    services = services_of(request)
    await audited_organization(services.store, await principal_of(request), org_id)
    return services
