"""The page that a person sees in a browser where a preview cannot be shown."""

from __future__ import annotations

import html
from http import HTTPStatus

from runs.refusal import Refusal

PAGE_HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.6 system-ui,sans-serif;max-width:38rem;margin:15vh auto 0;padding:0 1.25rem}"
    "h1{font-size:1.4rem}small{opacity:.7}"
)


def refusal_page(refusal: Refusal, status: int, request_id: str) -> bytes:
    """What the envelope says, for people: `Accept` of a browser that opens an address names text/html."""
    words = (HTTPStatus(status).phrase, refusal.message, f"{status} {refusal.code}, request {request_id}")
    title, message, small = map(html.escape, words)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>CrowNest preview</title>'
        f"<style>{_STYLE}</style><h1>{title}</h1><p>{message}</p><p><small>{small}</small></p></html>\n"
    ).encode("utf-8", "replace")
