"""Alters what a browser receives, byte for byte, while the server stays honest."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, Route

Change = Callable[[bytes], bytes]

BUNDLE = "**/v1/workspace-runs/*/proof/bundle*"
EVENTS = "**/v1/workspace-runs/*/events"
"""The log as the check reads it: whole, without a query."""
EVIDENCE = "**/v1/workspace-runs/*/evidence"
POLICY = "**/v1/proof/policy"


def alter(page: Page, pattern: str, change: Change) -> None:
    """Every answer of this address reaches the page changed; it must really change."""

    def handle(route: Route) -> None:
        answer = route.fetch()
        body = answer.body()
        changed = change(body)
        assert changed != body
        headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
        route.fulfill(status=answer.status, headers=headers, body=changed)

    page.route(pattern, handle)


def alter_json(page: Page, pattern: str, change: Callable[[Any], None]) -> None:
    """The same for JSON, changed in place."""

    def rewrite(body: bytes) -> bytes:
        value = json.loads(body)
        change(value)
        return json.dumps(value).encode()

    alter(page, pattern, rewrite)
