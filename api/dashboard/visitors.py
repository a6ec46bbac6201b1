"""Who looks at a page: the browser's session, and what the frame of every page says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from api.errors import envelope
from api.own_paths import HEADERS, going_on
from api.services import services_of
from api.sessions import SESSION_COOKIE, csrf_token, session_of
from eventstore.views import ViewQuery
from evidence.canonical import decode
from runs.access import Principal
from runs.refusal import Refusal
from runs.service import restrict
from runs.sessions import Session

PROJECTS_SHOWN_MAX = 100
"""Projects that the switch in the top bar lists; the page of projects has them all."""


class SignInNeeded(Exception):
    """Nobody is signed in in this browser; `next_path` is where to come back to."""

    def __init__(self, next_path: str) -> None:
        super().__init__(next_path)
        self.next_path = next_path


@dataclass(frozen=True, slots=True)
class Project:
    """A project that the visitor sees."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Visit:
    """One look at a page: who looks, the token that its scripts send, and the project in `?project=`."""

    who: Principal
    session: Session
    name: str
    csrf: str
    projects: Sequence[Project]
    project: Project | None


async def visitor(request: Request) -> Principal:
    """Who looks at this page. Raises `SignInNeeded`, which leads to the sign-in and back here."""
    services = services_of(request)
    session = await session_of(request, services.sign_in)
    if session is None:
        query = f"?{request.url.query}" if request.url.query else ""
        raise SignInNeeded(f"{request.url.path}{query}")
    who = session.principal
    rows = await services.store.list_view(
        "projects", restrict(who, ViewQuery(who.org_id, limit=PROJECTS_SHOWN_MAX))
    )
    projects = [Project(row.id, str(decode(row.doc)["name"])) for row in rows]
    wanted = request.query_params.get("project")
    request.state.visit = Visit(
        who=who,
        session=session,
        name=str(decode(session.holder.doc)["name"]),
        csrf=csrf_token(services.sign_in.cookie(request, SESSION_COOKIE) or ""),
        projects=projects,
        project=next((project for project in projects if project.id == wanted), None),
    )
    return who


def visit_of(request: Request) -> Visit | None:
    """What `visitor` found for this request, None on pages for everybody."""
    visit: Visit | None = getattr(request.state, "visit", None)
    return visit


def asks_for_page(request: Request) -> bool:
    """Whether a person asked, by typing or following an address."""
    return request.method in {"GET", "HEAD"} and "text/html" in request.headers.get("accept", "")


async def to_sign_in(request: Request, error: Exception) -> Response:
    """303 to the sign-in page, which leads back; a script that asks for a page is told 401 instead.

    Who follows a link of another site comes without the strict cookie, signed in or not: that browser
    asks once more, from a page of ours.
    """
    assert isinstance(error, SignInNeeded)
    if not asks_for_page(request):
        refusal = Refusal("unauthorized", "This page is for browsers that are signed in. Open /sign-in.")
        status, headers, body = envelope(refusal, request.state.request_id)
        return Response(body, status, headers)
    if request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
        return going_on(error.next_path)
    location = f"/sign-in?next={quote(error.next_path, safe='/')}"
    return Response(status_code=HTTPStatus.SEE_OTHER, headers={**HEADERS, "location": location})
