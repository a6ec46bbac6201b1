"""API keys and projects (`/keys`): what there is; scripts make, revoke and rename through `/v1`."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.pages import page
from api.dashboard.visitors import visitor
from api.queries import format_cursor, view_query
from api.services import services_of
from eventstore.views import ViewQuery
from evidence.canonical import decode
from runs.access import OWN_SCOPES, SCOPES, Principal
from runs.service import restrict

router = APIRouter()
PROJECTS_MAX = 500
USUAL_SCOPES = frozenset(
    {
        "workspace_run:create", "workspace_run:read", "workspace_run:cancel", "artifact:read",
        "sandbox:create", "sandbox:read", "sandbox:kill", "command:run", "command:read",
    }
)  # fmt: skip
"""What a key for running things needs; ticked in the form when the visitor has them."""


@router.get("/keys")
async def get_keys_page(request: Request) -> Response:
    """Keys, newest first, if the visitor may read them; and the projects that they see."""
    who = await visitor(request)
    services = services_of(request)
    projects = await services.store.list_view(
        "projects", restrict(who, ViewQuery(who.org_id, limit=PROJECTS_MAX))
    )
    found = None
    if "api_key:read" in who.scopes:
        found = await services.api_keys.list_keys(who, view_query(request, who.org_id, services.limits))
    return page(
        request,
        "keys.html",
        keys=[decode(row.doc) for row in found.rows] if found else None,
        next_cursor=format_cursor(found.next_before) if found and found.next_before else None,
        projects=[decode(row.doc) for row in projects],
        names={row.id: str(decode(row.doc)["name"]) for row in projects},
        scope_groups=_scope_groups(who),
        may=_may(who),
        own_key=who.key_id,
    )


def _may(who: Principal) -> dict[str, bool]:
    """What the page offers; the server decides again when it is asked."""
    return {
        "create": "api_key:create" in who.scopes,
        "revoke": {"api_key:read", "api_key:revoke"} <= who.scopes,
        "project": "project:create" in who.scopes and who.project_ids is None,
    }


def _scope_groups(who: Principal) -> Sequence[tuple[str, Sequence[tuple[str, bool]]]]:
    """What the visitor can give away, by what it concerns, and whether a new key usually has it."""
    groups: dict[str, list[tuple[str, bool]]] = {}
    for scope in (*SCOPES, *OWN_SCOPES):
        if scope in who.scopes:
            groups.setdefault(scope.partition(":")[0], []).append((scope, scope in USUAL_SCOPES))
    return list(groups.items())
