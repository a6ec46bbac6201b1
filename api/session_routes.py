"""Routes of a session: whose it is, its end, and one-time links that begin one (`/auth/…`)."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.own_paths import HEADERS
from api.queries import json_response
from api.services import principal_of, services_of
from api.sessions import SESSION_COOKIE, SignIn, session_of
from evidence.canonical import encode
from evidence.record import format_time
from runs.refusal import Refusal
from runs.sessions import token_id

router = APIRouter()


@router.get("/auth/session")
async def get_session(request: Request) -> Response:
    """`{user, role}` or `{apiKey}`, with `organization` and `expiresAt`; 401 without a session."""
    sign_in = services_of(request).sign_in
    session = await session_of(request, sign_in)
    if session is None:
        raise Refusal("unauthorized", "This browser is not signed in. Open /sign-in.")
    response = json_response(encode(await sign_in.sessions.described(session)))
    response.headers.update(HEADERS)
    return response


@router.post("/auth/sign-out")
async def sign_out(request: Request) -> Response:
    """204, and the session is over; also where there was none."""
    sign_in = services_of(request).sign_in
    if (session := await session_of(request, sign_in)) is not None:
        await sign_in.sessions.end(session.id)
    response = Response(status_code=HTTPStatus.NO_CONTENT, headers=HEADERS)
    sign_in.set_cookie(response, SESSION_COOKIE, "", 0)
    return response


@router.post("/auth/links")
async def make_link(request: Request) -> Response:
    """201 `{url, expiresAt}`: opened once, it signs a browser in as the API key that asks."""
    who = await principal_of(request)
    if who.session_id or who.role is not None:
        raise Refusal("forbidden", "A link is made with an API key: Authorization: Bearer cn_live_…")
    sign_in = services_of(request).sign_in
    until_ms = sign_in.sessions.now_ms() + sign_in.sessions.limits.link_ms
    url = link_url(sign_in.own_origin(request), await sign_in.sessions.make_link(who))
    response = json_response(encode({"url": url, "expiresAt": format_time(until_ms)}), HTTPStatus.CREATED)
    response.headers.update(HEADERS)
    return response


def link_url(origin: str, token: str) -> str:
    """Where a one-time link leads."""
    return f"{origin}/auth/link?token={token}"


async def end_former(request: Request, sign_in: SignIn) -> None:
    """A fresh sign-in ends the session that the browser had."""
    if former := sign_in.cookie(request, SESSION_COOKIE):
        await sign_in.sessions.end(token_id(former))
