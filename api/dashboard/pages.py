"""Makes pages: the templates, what each of them can use, and the headers that protect all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.assets import asset_path, module_graph
from api.dashboard.visitors import visit_of
from api.dashboard.words import clock_text, short_digest, size_text
from api.services import services_of
from api.templating import templates_of
from evidence.checkpoint import parse_checkpoint
from evidence.note import split_note
from evidence.record import encode_base64

if TYPE_CHECKING:
    from jinja2 import Environment

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PROTECTION: Mapping[str, str] = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
"""On every page and static file."""
PAGE_HEADERS = {**PROTECTION, "cache-control": "no-store"}

PLACES = (
    ("Runs", "/workspace-runs"),
    ("Artifacts", "/artifacts"),
    ("Sandboxes", "/sandboxes"),
    ("Usage", "/usage"),
    ("Log", "/log"),
    ("Keys", "/keys"),
)
"""The navigation: a word and a path; a page is at a place when its path is there or below."""
ROOT_CHARS = 8
THEMES = frozenset({"light", "dark"})
TIME_FORMS = ("relative", "local", "utc")


def page(request: Request, template: str, *, status: int = HTTPStatus.OK, **content: Any) -> Response:
    """The page of this template. Besides `content` it knows what `_frame` gives and the macros.

    Behind `visitor(request)` it has the whole frame; before it, the one for people who are signed out.
    """
    html = environment().get_template(template).render(**_frame(request), **content)
    # Text that is no valid Unicode (a lone surrogate in a name) is shown, and breaks nothing.
    data = html.encode("utf-8", "replace")
    return Response(data, status, headers=PAGE_HEADERS, media_type="text/html")


def _frame(request: Request) -> dict[str, Any]:
    """What the base template uses: the visit, the places, the log's head, and what this browser chose."""
    theme = request.cookies.get("crownest_theme", "")
    times = request.cookies.get("crownest_times", "")
    return {
        "asset": asset_path,
        "modules": module_graph,
        "visit": visit_of(request),
        "log_head": log_head(request),
        "path": request.url.path,
        "places": PLACES,
        "theme": theme if theme in THEMES else None,
        "times": times if times in TIME_FORMS else TIME_FORMS[0],
        "time_forms": TIME_FORMS,
    }


@dataclass(frozen=True, slots=True)
class LogHead:
    """The head of the global log as the status bar tells it; `root` is the beginning of its base64."""

    size: int
    root: str
    cosigned: int


def log_head(request: Request) -> LogHead | None:
    """What is published now, from memory; None for somebody who is signed out, and before the first."""
    note = services_of(request).sequencer.published.note if visit_of(request) else b""
    if not note:
        return None
    text, lines = split_note(note)
    checkpoint = parse_checkpoint(text)
    witnesses = {line.name for line in lines} - {checkpoint.origin_line}
    return LogHead(checkpoint.size, encode_base64(checkpoint.root)[:ROOT_CHARS], len(witnesses))


@cache
def environment() -> Environment:
    """The templates; made for the first page."""
    made = templates_of("api.dashboard")
    made.filters["duration"] = clock_text
    made.filters["utc"] = readable_time
    made.filters["size"] = size_text
    made.filters["short_digest"] = short_digest
    made.filters["whole_words"] = whole_words
    return made


def readable_time(iso: str) -> str:
    """`2026-11-22 14:02:04 UTC` of an ISO time; a script writes the form that the reader chose."""
    return f"{iso[:10]} {iso[11:19]} UTC"


def whole_words(text: str) -> Markup:
    """Text of a command whose words with a hyphen stay on one line.

    A browser breaks behind each hyphen, and what is left of `--policy` reads as the `--` before a command.
    """
    start, end = Markup('<span class="word">'), Markup("</span>")
    parts = re.split(r"(\s+)", text)
    return Markup().join(
        piece for part in parts for piece in ((start, part, end) if "-" in part else (part,))
    )
