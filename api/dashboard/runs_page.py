"""The list of runs (`/workspace-runs`), and what has changed in it since a browser got it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.days import by_day
from api.dashboard.filters import Filters
from api.dashboard.listings import Source, Tab, paged, tab
from api.dashboard.pages import PAGE_HEADERS, page
from api.dashboard.run_rows import run_rows, searched_fields
from api.dashboard.visitors import visitor
from api.queries import parse_cursor
from api.services import Services, services_of
from eventstore.views import ViewRow
from evidence.record import format_time
from runs.access import Principal
from runs.decide import STATUSES
from runs.ids import is_id
from runs.refusal import Refusal
from runs.searching import Count, Found

router = APIRouter()
PATH = "/workspace-runs"

PROOF_FAILED = "proof-failed"
"""The value of `status` for runs whose record this server found not to be as it was signed."""
LIVE = tuple(status for status in STATUSES if status not in {"succeeded", "failed", "canceled"})
GROUPS: Mapping[str, Sequence[str]] = {
    "": (),
    "live": LIVE,
    "succeeded": ("succeeded",),
    "failed": ("failed",),
    "canceled": ("canceled",),
    "waiting": ("awaiting_archive", "archive_uploaded"),
    "running": ("starting", "extracting", "running", "collecting"),
    PROOF_FAILED: (),
}
"""What `status` may be, and the statuses that it stands for."""
TABS = (
    ("", "All"), ("live", "Live"), ("succeeded", "Succeeded"), ("failed", "Failed"), ("canceled", "Canceled"),
)  # fmt: skip
NEWER_COUNTED_MAX = 100
"""New runs that a page counts before it says "or more"."""
NEWER_SEARCHED_MAX = 500


@router.get(PATH)
async def get_runs_page(request: Request) -> Response:
    """The newest runs, or those that the filters in the address ask for."""
    who, services = await visitor(request), services_of(request)
    filters = Filters.of(request, GROUPS)
    listing = await paged(filters, lambda filters: _found(services, who, filters))
    rows = await run_rows(services, listing.rows)
    tabs = await _tabs(services, who, filters)
    all_time = None
    if not rows and filters.on:
        all_time = await _count_over_all_time(services, who, filters)
    return page(
        request,
        "runs.html",
        filters=filters,
        listing=listing,
        tabs=tabs,
        days=by_day(rows, format_time(services.runs.now_ms())),
        shown=next((tab.count for tab in tabs if tab.chosen), listing.found.searched),
        all_time=all_time,
        archive_bytes_max=services.runs.limits.archive_bytes_max,
        updates=replace(filters.address.first_page(), path=f"{PATH}/updates"),
    )


@router.get(f"{PATH}/updates")
async def get_updates(request: Request) -> Response:
    """The rows of `row`, the counts, and how many runs are newer than `top`, as a part of a page.

    With an `ETag`: asked again with it, 304 says that nothing has changed.
    """
    who, services = await visitor(request), services_of(request)
    filters = Filters.of(request, GROUPS)
    filters = filters.at(replace(filters.address, path=PATH))  # its links lead to the list
    wanted = request.query_params.getlist("row")[: filters.page_rows]
    rows = [row for run_id in wanted if (row := await _seen(services, who, run_id)) is not None]
    top = request.query_params.get("top")
    newer = await _newer(services, who, filters, top) if top is not None else None
    tabs = [] if filters.text or filters.labels else await _tabs(services, who, filters)
    answer = page(
        request,
        "list/updates.html",
        filters=filters,
        rows=await run_rows(services, rows),
        tabs=tabs,
        newer=newer,
    )
    etag = f'"{hashlib.sha256(answer.body).hexdigest()[:32]}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={**PAGE_HEADERS, "etag": etag})
    answer.headers["etag"] = etag
    return answer


async def _found(services: Services, who: Principal, filters: Filters) -> Found:
    """The runs of the page. An id is looked up whatever its age; failed proofs are kept in a list."""
    who.require("workspace_run:read")
    query = filters.query(who.org_id)
    if filters.status == PROOF_FAILED:
        rows = [row for row in await _failed(services, who) if filters.meets(query, row, searched_fields)]
        return Found(rows[: filters.page_rows], None, len(rows))
    if is_id(filters.text, "wsr"):
        row = await _seen(services, who, filters.text)
        return Found([row] if row and filters.meets(query, row, searched_fields) else [], None, 1)
    return await _source(services, who).found(filters)


def _source(services: Services, who: Principal) -> Source:
    who.require("workspace_run:read")
    return Source(services, who, "runs", searched_fields)


async def _failed(services: Services, who: Principal) -> list[ViewRow]:
    """The runs that the visitor sees whose record was found not to be as it was signed, newest first."""
    listed = await services.verdicts.failed_runs(who.org_id)
    rows = [row for run_id in listed if (row := await _seen(services, who, run_id)) is not None]
    return sorted(rows, key=lambda row: row.place, reverse=True)


async def _seen(services: Services, who: Principal, run_id: str) -> ViewRow | None:
    """The run, unless the visitor does not see it."""
    try:
        return await services.runs.get(who, run_id)
    except Refusal as refusal:
        if refusal.code != "not_found":
            raise
        return None


async def _tabs(services: Services, who: Principal, filters: Filters) -> list[Tab]:
    """The groups with how many runs each has under the other filters."""
    tabs = await _source(services, who).tabs(filters, TABS)
    failed = filters.at(filters.address.first_page(status=PROOF_FAILED))
    count = Count((await _found(services, who, failed)).searched)
    return [*tabs, tab(filters, PROOF_FAILED, "Proof failed", count)]


async def _newer(services: Services, who: Principal, filters: Filters, top: str) -> Count:
    """How many runs that meet the filters are newer than the place `top`; an empty one is the beginning."""
    query = filters.query(who.org_id, everywhere=True)
    places = [place for place in (parse_cursor(top or None), query.after) if place]
    query = replace(query, after=max(places, default=None), limit=NEWER_COUNTED_MAX)
    found = await _source(services, who).search(query, filters, NEWER_SEARCHED_MAX)
    return Count(len(found.rows), found.next_place is not None)


async def _count_over_all_time(services: Services, who: Principal, filters: Filters) -> Count | None:
    """How many runs the other filters find, None when no time is chosen."""
    if not filters.timed:
        return None
    whole = filters.at(filters.address.having(since="", to="", **{"from": ""}))
    counts = await _source(services, who).counts(whole, {"": GROUPS[filters.status]})
    return counts[""]
