"""The way in: `/` leads to the runs, `/sign-in` takes an API key and makes a session of it."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import parse_qs

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import read_body
from api.dashboard.pages import PAGE_HEADERS, page
from api.services import services_of
from api.sessions import require_same_origin, session_of
from api.sign_in import end_former, is_own_path

router = APIRouter()
HOME = "/workspace-runs"
FORM_BYTES_MAX = 16 * 1024


@router.get("/")
async def go_home(_: Request) -> Response:
    """303 to the runs."""
    return _go(HOME)


@router.get("/sign-in")
async def get_sign_in(request: Request) -> Response:
    """The form; who is signed in already goes on."""
    next_path = _next_path(request, request.query_params.get("next"))
    if await session_of(request, services_of(request).sign_in) is not None:
        return _go(next_path)
    return _form(request, next_path)


@router.post("/sign-in")
async def sign_in_with_key(request: Request) -> Response:
    """303 with a session for a valid API key; the form again, with what is wrong, otherwise."""
    services = services_of(request)
    sign_in = services.sign_in
    require_same_origin(request, sign_in)
    fields = parse_qs((await read_body(request, FORM_BYTES_MAX)).decode("utf-8", "replace"))
    key, next_path = fields.get("key", [""])[0].strip(), _next_path(request, fields.get("next", [None])[0])
    if not sign_in.is_private(request):
        return _form(request, next_path, HTTPStatus.FORBIDDEN)
    taken = sign_in.attempts.take(request.client.host if request.client else "")
    if taken is not None and taken.retry_after_ms:
        wait_s = taken.retry_after_ms // 1000 + 1
        problem = f"Too many sign-ins from this address. Wait {wait_s} s."
        return _form(request, next_path, HTTPStatus.TOO_MANY_REQUESTS, problem)
    who = await services.authenticate(key) if key else None
    if who is None:
        problem = "This API key is unknown or revoked." if key else "Enter an API key."
        return _form(request, next_path, HTTPStatus.UNAUTHORIZED, problem)
    services.key_use.note(who.key_id)
    await end_former(request, sign_in)
    response = _go(next_path)
    sign_in.keep_session(response, await sign_in.sessions.sign_in_key(who))
    return response


def _form(
    request: Request, next_path: str, status: int = HTTPStatus.OK, problem: str | None = None
) -> Response:
    sign_in = services_of(request).sign_in
    return page(
        request,
        "sign_in.html",
        status=status,
        next_path=next_path,
        problem=problem,
        host=request.headers.get("host", ""),
        link_minutes=sign_in.sessions.limits.link_ms // 60_000,
        private=sign_in.is_private(request),
        provider=sign_in.oidc is not None,
    )


def _next_path(request: Request, given: str | None) -> str:
    """Where to go on to: what was asked for, if it is a path of ours."""
    chars_max = services_of(request).sign_in.sessions.limits.next_chars_max
    return given if given is not None and is_own_path(given, chars_max) else HOME


def _go(location: str) -> Response:
    return Response(status_code=HTTPStatus.SEE_OTHER, headers={**PAGE_HEADERS, "location": location})
