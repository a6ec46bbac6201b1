"""What a person sees where a program gets the error envelope: pages of what is not there, or not allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.dashboard.pages import PAGE_HEADERS, page
from api.dashboard.visitors import SignInNeeded, asks_for_page, visit_of, visitor
from api.errors import STATUS
from runs.ids import SUFFIX_LENGTH
from runs.refusal import Refusal

router = APIRouter()
FOR_PROGRAMS = ("/v1/", "/auth/session", "/auth/links")
"""Below these paths also a browser gets the envelope: a script asks, or a person who looks at the API."""
SHOWN_CHARS_MAX = 80
ID = re.compile(r"([a-z]{3})_([0-9A-Za-z]*)")
FOUND_AT: Mapping[str, str] = {
    "wsr": "/workspace-runs/{}",
    "prj": "/workspace-runs?project={}",
    "art": "/artifacts",
    "sbx": "/sandboxes",
    "key": "/keys",
}
"""By the first letters of an id, where what it names is shown."""
NAMES = {
    "wsr": "run",
    "prj": "project",
    "art": "artifact",
    "sbx": "sandbox",
    "key": "API key",
    "prv": "preview",
}
TITLES = {
    "forbidden": "Not allowed",
    "internal_error": "The server failed",
    "invalid_request": "Not understood",
}


def wants_page(request: Request) -> bool:
    """Whether a person asked for something that is no part of the API."""
    return asks_for_page(request) and not request.url.path.startswith(FOR_PROGRAMS)


async def problem_page(request: Request, refusal: Refusal) -> Response:
    """The page of this refusal, with the frame of who is signed in."""
    if visit_of(request) is None and refusal.code != "internal_error":
        with suppress(SignInNeeded):
            await visitor(request)
    status = STATUS[refusal.code]
    if status == HTTPStatus.NOT_FOUND:
        sought = request.query_params.get("id") or request.url.path.rsplit("/", 1)[-1]
        return page(request, "not_found.html", status=status, **_sought(sought), message=refusal.message)
    title = TITLES.get(refusal.code, "This did not work")
    return page(request, "problem.html", status=status, heading=title, message=refusal.message)


@router.get("/find")
async def find(request: Request) -> Response:
    """Leads to what an id names."""
    await visitor(request)
    sought = request.query_params.get("id", "").strip()
    known = ID.fullmatch(sought)
    if known is None or known[1] not in FOUND_AT:
        raise Refusal("not_found", "Nothing here has this id.")
    return RedirectResponse(FOUND_AT[known[1]].format(sought), HTTPStatus.SEE_OTHER, PAGE_HEADERS)


def _sought(text: str) -> dict[str, object]:
    """What the address names, as far as it can be told: `kind`, `sought`, and how long its id is."""
    known = ID.fullmatch(text)
    name = NAMES.get(known[1]) if known else None
    return {
        "kind": name,
        "sought": text[:SHOWN_CHARS_MAX],
        "prefix": f"{known[1]}_" if known else "",
        "chars": len(known[2]) if known else 0,
        "chars_of_id": SUFFIX_LENGTH,
    }
