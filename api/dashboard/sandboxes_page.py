"""Sandboxes, live and historical, and the previews that were opened into them (`/sandboxes`)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.filters import HOUR_MS, Filters
from api.dashboard.listings import Source, paged
from api.dashboard.pages import page
from api.dashboard.visitors import visitor
from api.services import Services, services_of
from eventstore.views import ViewQuery, ViewRow
from evidence.canonical import decode
from evidence.record import parse_time
from runs.access import Principal
from runs.plans import plan_of
from runs.quotas import LIVE_STATUSES

router = APIRouter()
PATH = "/sandboxes"
GROUPS: Mapping[str, Sequence[str]] = {"": LIVE_STATUSES, "ended": ("destroyed",)}
TABS = (("", "Live"), ("ended", "Ended"))
PREVIEWS_SHOWN_MAX = 10
"""Previews of one sandbox that its row lists, the newest ones."""
EXTENSIONS_MS = (HOUR_MS, 4 * HOUR_MS, 24 * HOUR_MS)
"""What may be chosen, as far as the plan allows it: the time from now on."""

STATUS_WORDS = {
    "creating": ("Starting", "run", "run"),
    "starting": ("Starting", "run", "run"),
    "running": ("In use by its run", "run", "run"),
    "ready": ("Ready", "ok", "ok"),
    "destroyed": ("Ended", "idle", "stop"),
}
"""Word, tone and glyph of a sandbox's status."""
ENDINGS = {
    "user_killed": "killed",
    "ttl_expired": "time was over",
    "idle_expired": "was idle",
    "platform_cleanup": "with its run",
}
"""`destroyedReason` of CONTRACT §8 in a second line."""


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """A preview; `live` while it may be opened."""

    id: str
    port: int
    auth_mode: str
    url: str
    expires_at: str
    live: bool
    ending: str


@dataclass(frozen=True, slots=True)
class SandboxRow:
    """A sandbox with its previews. `live` while it may be used, `kept` when it does not end with its run."""

    id: str
    word: str
    tone: str
    glyph: str
    moving: bool
    detail: str
    live: bool
    kept: bool
    template: str
    created_at: str
    expires_at: str
    destroyed_at: str
    run: str
    metadata: Mapping[str, str]
    previews: Sequence[PreviewRow]


@router.get(PATH)
async def get_sandboxes_page(request: Request) -> Response:
    """The live sandboxes, or those that have ended; newest first."""
    who, services = await visitor(request), services_of(request)
    who.require("sandbox:read")
    filters = Filters.of(request, GROUPS)
    source = Source(services, who, "sandboxes", searched_fields)
    listing = await paged(filters, source.found)
    tabs = await source.tabs(filters, TABS)
    plan = await plan_of(services.store, who.org_id)
    return page(
        request,
        "sandboxes.html",
        filters=filters,
        listing=listing,
        rows=await _rows(services, who, listing.rows, filters.now_ms),
        tabs=tabs,
        shown=next(tab.count for tab in tabs if tab.chosen),
        extensions=[ms for ms in EXTENSIONS_MS if ms <= plan.extend_ttl_ms_max],
        may_kill="sandbox:kill" in who.scopes,
        may_extend="sandbox:extend" in who.scopes,
        may_revoke="preview:revoke" in who.scopes,
        may_see_previews="preview:read" in who.scopes,
    )


def searched_fields(sandbox: Mapping[str, Any]) -> list[str]:
    """What a text filter looks at."""
    names = ("id", "templateSlug", "workspaceRunId")
    return [*(str(sandbox.get(name, "")) for name in names), *sandbox.get("metadata", {}).values()]


def sandbox_row(sandbox: Mapping[str, Any], previews: Sequence[PreviewRow]) -> SandboxRow:
    """The row of a Sandbox object (CONTRACT §8)."""
    status = str(sandbox.get("status", ""))
    word, tone, glyph = STATUS_WORDS.get(status, (status, "idle", "wait"))
    destroyed_at = str(sandbox.get("destroyedAt", ""))
    return SandboxRow(
        id=sandbox["id"],
        word=word,
        tone=tone,
        glyph=glyph,
        moving=tone == "run",
        detail=ENDINGS.get(str(sandbox.get("destroyedReason", "")), ""),
        live=not destroyed_at,
        kept=status == "ready",
        template=str(sandbox.get("templateSlug", "")),
        created_at=str(sandbox.get("createdAt", "")),
        expires_at=str(sandbox.get("expiresAt", "")),
        destroyed_at=destroyed_at,
        run=str(sandbox.get("workspaceRunId", "")),
        metadata=sandbox.get("metadata", {}),
        previews=previews,
    )


def preview_row(preview: Mapping[str, Any], *, status: str, now_ms: int, usable: bool) -> PreviewRow:
    """The row of a Preview object (CONTRACT §8) of a sandbox that is `usable` or not."""
    over = parse_time(preview["expiresAt"]) <= now_ms if "expiresAt" in preview else True
    live = status == "live" and usable and not over
    return PreviewRow(
        id=preview["id"],
        port=preview.get("port", 0),
        auth_mode=str(preview.get("authMode", "")),
        url=str(preview.get("url", "")),
        expires_at=str(preview.get("expiresAt", "")),
        live=live,
        ending="" if live else "revoked" if status == "revoked" else "over",
    )


async def _rows(services: Services, who: Principal, rows: Sequence[ViewRow], now_ms: int) -> list[SandboxRow]:
    previews = await asyncio.gather(*(_previews(services, who, row, now_ms) for row in rows))
    return [sandbox_row(decode(row.doc), found) for row, found in zip(rows, previews, strict=True)]


async def _previews(services: Services, who: Principal, sandbox: ViewRow, now_ms: int) -> list[PreviewRow]:
    if "preview:read" not in who.scopes:
        return []
    query = ViewQuery(who.org_id, parent=sandbox.id, limit=PREVIEWS_SHOWN_MAX)
    found = await services.previews.list_previews(who, sandbox.id, query)
    usable = sandbox.status != "destroyed"
    return [
        preview_row(decode(row.doc), status=row.status, now_ms=now_ms, usable=usable) for row in found.rows
    ]
