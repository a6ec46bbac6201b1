"""Who asks without an API key: the `x-crownest-*` headers of a dashboard under development.

They prove nothing, so they count only where the operator switched them on, on a server that listens on
loopback, from a loopback address, and under a loopback name: a page of a stranger whose name was made to
point here sends its own name as host (CONTRACT §1).
"""

from __future__ import annotations

from ipaddress import ip_address

from starlette.requests import HTTPConnection

from eventstore.views import Views
from runs.access import ROLE_SCOPES, Principal
from runs.ids import is_id

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


async def person_of(request: HTTPConnection, store: Views) -> Principal | None:
    """The person that the headers name, None when they name nobody of an existing organisation."""
    headers = request.headers
    org_id, user_id, role = (headers.get(f"x-crownest-{name}", "") for name in ("org-id", "user-id", "role"))
    if role not in ROLE_SCOPES or not is_id(user_id, "usr") or not is_local(request):
        return None
    if not is_id(org_id, "org") or await store.get_view("organizations", org_id) is None:
        return None
    known = await store.get_view("users", user_id)
    if known is not None and (known.org_id != org_id or known.status == "removed"):
        return None
    return Principal(org_id, user_id, ROLE_SCOPES[role], user_id=user_id, role=role)


def is_local(request: HTTPConnection) -> bool:
    """Whether a loopback address asks under a loopback name."""
    name = (
        request.headers.get("host", "").rsplit(":", 1)[0]
        if ":" in request.headers.get("host", "")
        else (request.headers.get("host", ""))
    )
    client = request.client.host if request.client else ""
    try:
        return name in LOOPBACK_NAMES and ip_address(client).is_loopback
    except ValueError:
        return False
