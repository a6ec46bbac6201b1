"""Paths of this server that a sign-in ends at, and how a browser goes on to one."""

from __future__ import annotations

import html
import re

from starlette.responses import Response

LOCAL_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""A path of this server: printable ASCII without backslash, which browsers read as a slash."""
HEADERS = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def is_own_path(path: str, chars_max: int) -> bool:
    """Whether a sign-in may end there: no link makes it lead elsewhere."""
    return len(path) <= chars_max and LOCAL_PATH.fullmatch(path) is not None


def going_on(path: str) -> Response:
    """A page that goes on to `path` by itself.

    Where another site sent the browser here, a redirect would count as that site's request, and the strict
    cookie of the session would stay behind. What a page of ours asks for is our own request.
    """
    escaped = html.escape(path)
    body = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>CrowNest</title>'
        f'<meta http-equiv="refresh" content="0;url={escaped}">'
        f'<p><a href="{escaped}">Go on</a></p></html>\n'
    )
    return Response(body, headers=HEADERS, media_type="text/html")
