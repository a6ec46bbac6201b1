"""Routes of API keys, projects, organisations and their people (CONTRACT §2, §2.1, decision 0901)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import (
    CreateApiKeyBody,
    CreateOrganizationBody,
    CreateProjectBody,
    UpdateOrganizationBody,
    UpdateProjectBody,
    UpdateUserBody,
    UserBody,
    read_json,
)
from api.queries import answered, json_response, page_response, view_query
from api.services import idempotent_request, principal_of, services_of
from api.sessions import invitation_to
from evidence.canonical import encode
from runs.quotas import parse_project_limits
from runs.service import Page

router = APIRouter(prefix="/v1")


@router.get("/api-keys")
async def list_api_keys(request: Request) -> Response:
    """A page of ApiKey objects, never a secret."""
    services, who = services_of(request), await principal_of(request)
    query = view_query(request, who.org_id, services.limits)
    return page_response(await services.api_keys.list_keys(who, query))


@router.post("/api-keys")
async def create_api_key(request: Request) -> Response:
    """201 `{apiKey, secret}`; the secret is shown this once."""
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, CreateApiKeyBody, services.limits.json_body_bytes_max)
    key, secret = await services.api_keys.create(who, body.name, body.scopes, body.project_ids)
    return json_response(encode({"apiKey": key, "secret": secret}), 201)


@router.get("/api-keys/{key_id}")
async def get_api_key(request: Request, key_id: str) -> Response:
    """`{apiKey}` with `lastUsedAt`."""
    key = await services_of(request).api_keys.get(await principal_of(request), key_id)
    return json_response(encode({"apiKey": key}))


@router.delete("/api-keys/{key_id}")
async def revoke_api_key(request: Request, key_id: str) -> Response:
    """`{apiKey}` with `revokedAt`; its open streams end within seconds."""
    key = await services_of(request).api_keys.revoke(await principal_of(request), key_id)
    return json_response(encode({"apiKey": key}))


@router.get("/projects")
async def list_projects(request: Request) -> Response:
    """The projects the key sees; needs no scope."""
    services, who = services_of(request), await principal_of(request)
    query = view_query(request, who.org_id, services.limits)
    return page_response(await services.accounts.list_projects(who, query))


@router.post("/projects")
async def create_project(request: Request) -> Response:
    """201 `{project}`."""
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, CreateProjectBody, services.limits.json_body_bytes_max)
    idempotent = idempotent_request(request, who, encode(body.model_dump()))
    return answered(await services.accounts.create_project(who, body.name, idempotent))


@router.get("/projects/{project_id}")
async def get_project(request: Request, project_id: str) -> Response:
    """`{project}`."""
    row = await services_of(request).accounts.project(await principal_of(request), project_id)
    return json_response(b'{"project":' + row.doc + b"}")


@router.patch("/projects/{project_id}")
async def update_project(request: Request, project_id: str) -> Response:
    """`{project}` with another name or other limits."""
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, UpdateProjectBody, services.limits.json_body_bytes_max)
    limits = parse_project_limits(body.limits) if body.limits is not None else None
    return answered(await services.accounts.update_project(who, project_id, body.name, limits))


@router.get("/orgs")
async def list_organizations(request: Request) -> Response:
    """The caller's organisation; for the server's operator every one."""
    services, who = services_of(request), await principal_of(request)
    return page_response(Page(await services.accounts.list_organizations(who), None))


@router.post("/orgs")
async def create_organization(request: Request) -> Response:
    """201 `{organization, project, apiKey, secret}`: the first key of a new organisation, shown this once."""
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, CreateOrganizationBody, services.limits.json_body_bytes_max)
    made = await services.accounts.create_organization(who, body.name, body.plan or services.plan_default)
    rows = {
        name: await services.store.get_view(view, row_id)
        for name, view, row_id in (
            ("organization", "organizations", made.org_id),
            ("project", "projects", made.project_id),
            ("apiKey", "api_keys", made.key_id),
        )
    }
    parts = [b'"%s":%s' % (name.encode(), row.doc) for name, row in rows.items() if row is not None]
    return json_response(b"{" + b",".join(parts) + b',"secret":' + encode(made.secret) + b"}", 201)


@router.patch("/orgs/{org_id}")
async def update_organization(request: Request, org_id: str) -> Response:
    """`{organization}`."""
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, UpdateOrganizationBody, services.limits.json_body_bytes_max)
    return answered(await services.accounts.update_organization(who, org_id, body.name, body.plan))


@router.get("/orgs/{org_id}/users")
async def list_users(request: Request, org_id: str) -> Response:
    """The people of the organisation, newest first."""
    services, who = services_of(request), await principal_of(request)
    query = view_query(request, who.org_id, services.limits)
    return page_response(await services.accounts.list_users(who, org_id, query))


@router.post("/orgs/{org_id}/users")
async def add_user(request: Request, org_id: str) -> Response:
    """201 `{user}`; with `email` the person can sign in as soon as the provider vouches for that address."""
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, UserBody, services.limits.json_body_bytes_max)
    idempotent = idempotent_request(request, who, encode(body.model_dump()))
    inviting = invitation_to(services.sign_in, body.email, org_id) if body.email is not None else None
    return answered(
        await services.accounts.add_user(who, org_id, body.name, body.role, idempotent, inviting=inviting)
    )


@router.patch("/orgs/{org_id}/users/{user_id}")
async def update_user(request: Request, org_id: str, user_id: str) -> Response:
    """`{user}`."""
    services, who = services_of(request), await principal_of(request)
    body = await read_json(request, UpdateUserBody, services.limits.json_body_bytes_max)
    return answered(await services.accounts.update_user(who, org_id, user_id, body.name, body.role))


@router.delete("/orgs/{org_id}/users/{user_id}")
async def remove_user(request: Request, org_id: str, user_id: str) -> Response:
    """`{user}` with `removedAt`."""
    services, who = services_of(request), await principal_of(request)
    return answered(await services.accounts.remove_user(who, org_id, user_id))
