"""Tells callers of a deprecated alias so, and what takes its place (CONTRACT §1, RFC 9745, RFC 5829)."""

from __future__ import annotations

from starlette.responses import Response

DEPRECATED_SINCE_S = 1_782_864_000
"""2026-07-01: the clients that came after it no longer call these routes."""


def deprecated(response: Response, successor: str) -> Response:
    """The same answer with `Deprecation` and a `Link` to the path of the route to use instead."""
    response.headers["deprecation"] = f"@{DEPRECATED_SINCE_S}"
    response.headers["link"] = f'<{successor}>; rel="successor-version"'
    return response
