"""The way in: `/` leads to the runs, `/sign-in` takes an API key, `/auth/link` is followed once."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import parse_qs

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import read_body
from api.dashboard.pages import PAGE_HEADERS, page
from api.dashboard.visitors import asks_for_page
from api.own_paths import is_own_path
from api.services import services_of
from api.session_routes import end_former
from api.sessions import SignIn, require_same_origin, session_of
from runs.refusal import Refusal

router = APIRouter()
HOME = "/workspace-runs"
FORM_BYTES_MAX = 16 * 1024
LINK_TOKEN_CHARS_MAX = 128


@router.get("/")
async def go_home(request: Request) -> Response:
    """303 to the runs for browsers; programs are never redirected, and find nothing here."""
    if not asks_for_page(request):
        raise Refusal(
            "not_found", "Nothing is at this path for programs. /docs and /openapi.json say what is."
        )
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
    if wait_s := _seconds_to_wait(request, sign_in):
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


@router.get("/auth/link")
async def get_link(request: Request) -> Response:
    """Follows a link that was opened by hand; asks first where something else may have opened it.

    A preview of a chat, a prerendering browser or another site's page must not use the link up, or sign
    somebody in who does not know it. Browsers say so over https and on loopback.
    """
    token = request.query_params.get("token", "")
    by_hand = request.headers.get("sec-fetch-site") in {"none", "same-origin"}
    if by_hand and "sec-purpose" not in request.headers:
        return await _follow(request, token)
    return page(request, "link.html", token=token[:LINK_TOKEN_CHARS_MAX], problem=None, link_minutes=0)


@router.post("/auth/link")
async def follow_link(request: Request) -> Response:
    """303 with a session of the link's API key; once."""
    require_same_origin(request, services_of(request).sign_in)
    fields = parse_qs((await read_body(request, FORM_BYTES_MAX)).decode("utf-8", "replace"))
    return await _follow(request, fields.get("token", [""])[0])


async def _follow(request: Request, token: str) -> Response:
    sign_in = services_of(request).sign_in
    link_minutes = sign_in.sessions.limits.link_ms // 60_000
    if wait_s := _seconds_to_wait(request, sign_in):
        problem = f"Too many sign-ins from this address. Wait {wait_s} s, then open the link again."
        return page(
            request,
            "link.html",
            status=HTTPStatus.TOO_MANY_REQUESTS,
            token="",
            problem=problem,
            link_minutes=link_minutes,
        )
    session = await sign_in.sessions.follow_link(token)
    if session is None:
        problem = "This link was used before, is too old, or its key was revoked."
        return page(
            request,
            "link.html",
            status=HTTPStatus.GONE,
            token="",
            problem=problem,
            link_minutes=link_minutes,
        )
    await end_former(request, sign_in)
    response = _go(HOME)
    sign_in.keep_session(response, session)
    return response


def _seconds_to_wait(request: Request, sign_in: SignIn) -> int:
    """0 for a sign-in that may be tried; the others wait, and cannot guess."""
    taken = sign_in.attempts.take(request.client.host if request.client else "")
    return taken.retry_after_ms // 1000 + 1 if taken is not None and taken.retry_after_ms else 0


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
