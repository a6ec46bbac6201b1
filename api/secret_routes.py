"""Routes of project secrets: set, list by name, delete; no answer ever holds a value (CONTRACT §2.1)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import SecretBody, read_json
from api.queries import answered, page_response, view_query
from api.services import idempotent_request, principal_of, services_of
from runs.secretbox import SecretValue

router = APIRouter(prefix="/v1/projects/{project_id}/secrets")


@router.get("")
async def list_secrets(request: Request, project_id: str) -> Response:
    """A page of `{projectId, name, createdAt, updatedAt}`."""
    services, who = services_of(request), await principal_of(request)
    query = view_query(request, who.org_id, services.limits)
    return page_response(await services.secrets.list_secrets(who, project_id, query))


@router.put("/{name}")
async def set_secret(request: Request, project_id: str, name: str) -> Response:
    """200 `{secret}`."""
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, SecretBody, services.limits.json_body_bytes_max)
    value = SecretValue(body.value)
    # The record of a key outlives the request: a plain digest of a short value could be guessed from it.
    idempotent = idempotent_request(request, who, services.secrets.fingerprint(value))
    return answered(await services.secrets.set_secret(who, project_id, name, value, idempotent))


@router.delete("/{name}")
async def delete_secret(request: Request, project_id: str, name: str) -> Response:
    """200 `{secret}` as it was."""
    services, who = services_of(request), await principal_of(request)
    idempotent = idempotent_request(request, who, b"")
    return answered(await services.secrets.delete_secret(who, project_id, name, idempotent))
