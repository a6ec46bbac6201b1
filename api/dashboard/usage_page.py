"""Usage over time, and what of the limits is used (`/usage`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.address import Address
from api.dashboard.days import days_between, short_day
from api.dashboard.pages import page
from api.dashboard.plots import LABELS_NARROW, LABELS_WIDE, Frame, Plot, Series, bars, line
from api.dashboard.visitors import visit_of, visitor
from api.dashboard.words import size_text
from api.services import services_of
from evidence.record import format_time
from projections.usage import ARTIFACT_BYTES_STORED, COMPUTE_MS, RUNS_ENDED
from runs.access import Principal
from runs.plans import plan_of
from runs.quotas import ACTIVE_SANDBOXES, ARTIFACT_BYTES, COMPUTE_UNIT_SECONDS
from runs.refusal import Refusal
from runs.usage import PREVIEWS, DailyUsage

router = APIRouter()
PATH = "/usage"
RANGES = (
    ("7d", "Last 7 days"), ("30d", "Last 30 days"), ("90d", "Last 90 days"),
    ("month", "This month"), ("last-month", "Last month"),
)  # fmt: skip
DEFAULT_RANGE = "30d"
TENTHS_BELOW_MS = 10_000
NEAR_SHARE = 0.8
"""From this share of a limit on its bar warns."""
WIDE, NARROW, HALF = (1000.0, 236.0), (300.0, 180.0), (480.0, 172.0)
"""Width and height of a plot over the whole column, on a narrow screen, and of one of two in a row."""
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
QUOTA_WORDS = {
    ACTIVE_SANDBOXES: "Sandboxes at once",
    PREVIEWS: "Previews at once",
    COMPUTE_UNIT_SECONDS: "Compute seconds this month",
    ARTIFACT_BYTES: "Artifacts stored",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot in both its sizes, and the same as a table."""

    id: str
    title: str
    words: str
    wide: Plot
    narrow: Plot
    heads: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit and what is used of it; `text` says both with their unit."""

    word: str
    current: float
    limit: float
    text: str
    near: bool
    whose: str


@router.get(PATH)
async def get_usage_page(request: Request) -> Response:
    """What the visible projects, or the one in the address, used in the time that the address names."""
    who, services = await visitor(request), services_of(request)
    visit = visit_of(request)
    address = Address.of(request, ("project", "range"))
    if address.value("project") and (visit is None or visit.project is None):
        raise Refusal("forbidden", "You cannot see this project. Choose another one in the top bar.")
    chosen = address.value("range") or DEFAULT_RANGE
    today = date.fromisoformat(format_time(services.runs.now_ms())[:10])
    first, last = span_of(chosen, today)
    seen: Principal = (
        replace(who, project_ids=frozenset({visit.project.id})) if visit and visit.project else who
    )
    used = await services.usage.by_day(seen, first.isoformat(), last.isoformat())
    summary = await services.usage.summary(seen)
    names = {project.id: project.name for project in visit.projects} if visit else {}
    days = days_between(first, last)
    return page(
        request,
        "usage.html",
        address=address,
        chosen=chosen,
        ranges=RANGES,
        first=first,
        last=last,
        used=used,
        totals=_totals(used),
        stored=size_text(used.stored_bytes),
        figures=[_runs(used, days, today), _compute(used, days, today), _stored(used, days, today)],
        limits=limits_of(summary, names),
        plan=(await plan_of(services.store, who.org_id)).name,
        projects=_by_project(used, names),
        seconds=_seconds,
        summary=summary,
    )


def span_of(chosen: str, today: date) -> tuple[date, date]:
    """The first and the last day of a range. Raises `invalid_request` for none of them."""
    if chosen == "month":
        return today.replace(day=1), today
    if chosen == "last-month":
        last = today.replace(day=1) - timedelta(days=1)
        return last.replace(day=1), last
    if chosen not in {name for name, _ in RANGES}:
        words = ", ".join(name for name, _ in RANGES)
        raise Refusal("invalid_request", f"range must be one of {words}.", {"field": "range"})
    return today - timedelta(days=int(chosen.removesuffix("d")) - 1), today


def limits_of(summary: Mapping[str, Any], names: Mapping[str, str]) -> list[Limit]:
    """The limits of the plan and those that owners set, of `GET /v1/usage`."""
    found: list[Limit] = []
    for name, quota in summary["quotas"].items():
        current, limit = quota["current"], quota["limit"]
        text = (
            f"{size_text(int(current))} of {size_text(limit)}"
            if name == ARTIFACT_BYTES
            else f"{current:,.0f} of {limit:,}"
        )
        whose = names.get(quota.get("projectId", ""), "")
        found.append(
            Limit(QUOTA_WORDS.get(name, name), current, limit, text, current >= limit * NEAR_SHARE, whose)
        )
    return found


def _totals(used: DailyUsage) -> Mapping[str, int]:
    metrics = (*RUNS_ENDED.values(), COMPUTE_MS)
    totals = {metric: sum(day[metric] for day in used.days.values()) for metric in metrics}
    return {
        "runs": sum(totals[metric] for metric in RUNS_ENDED.values()),
        "failed": totals[RUNS_ENDED["failed"]],
        "canceled": totals[RUNS_ENDED["canceled"]],
        "compute_ms": totals[COMPUTE_MS],
    }


def _seconds(duration_ms: float) -> str:
    """Seconds, with tenths while there are few."""
    return f"{duration_ms / 1000:,.{0 if duration_ms >= TENTHS_BELOW_MS else 1}f}"


def _by_project(used: DailyUsage, names: Mapping[str, str]) -> list[tuple[str, int, int]]:
    """Name, runs and compute milliseconds of each project that used anything, the busiest first."""
    rows = [
        (
            names.get(project_id, project_id),
            sum(amounts[metric] for metric in RUNS_ENDED.values()),
            amounts[COMPUTE_MS],
        )
        for project_id, amounts in used.projects.items()
    ]
    return sorted(rows, key=lambda row: (-row[1], -row[2], row[0]))


def _frames(days: Sequence[date], today: date, size: tuple[float, float]) -> tuple[Frame, Frame]:
    names, partial = [short_day(day) for day in days], bool(days) and days[-1] == today
    return (
        Frame(*size, names, LABELS_WIDE if size == WIDE else LABELS_NARROW, partial),
        Frame(*NARROW, names, LABELS_NARROW, partial),
    )


def _runs(used: DailyUsage, days: Sequence[date], today: date) -> Figure:
    looks = {"succeeded": "solid", "failed": "bad", "canceled": "hollow"}
    series = [
        Series(status, looks[status], [used.days[day.isoformat()][metric] for day in days])
        for status, metric in RUNS_ENDED.items()
    ]
    wide, narrow = _frames(days, today, WIDE)
    totals = [sum(values) for values in zip(*(one.values for one in series), strict=True)]
    rows = [(short_day(day), [f"{one.values[at]:,.0f}" for one in series]) for at, day in enumerate(days)]
    words = f"Runs that ended on each day: {sum(totals):,.0f} in all, {max(totals, default=0):,.0f} at most."
    return Figure(
        "runs", "Runs per day", words, bars(wide, series, whole=True),
        bars(narrow, series, whole=True),
        ["Succeeded", "Failed", "Canceled"], rows[::-1],
    )  # fmt: skip


def _compute(used: DailyUsage, days: Sequence[date], today: date) -> Figure:
    values = [used.days[day.isoformat()][COMPUTE_MS] / 1000 for day in days]
    series = [Series("compute", "solid", values)]
    wide, narrow = _frames(days, today, HALF)
    rows = [(short_day(day), [f"{value:,.1f} s"]) for day, value in zip(days, values, strict=True)]
    words = f"Compute seconds of each day: {sum(values):,.1f} in all."
    return Figure(
        "compute", "Compute per day", words, bars(wide, series, "s"), bars(narrow, series, "s"),
        ["Compute"], rows[::-1],
    )  # fmt: skip


def _stored(used: DailyUsage, days: Sequence[date], today: date) -> Figure:
    """What was stored at the end of each day: from what is stored now, back through each day's changes."""
    left = used.stored_bytes - used.stored_later
    values: list[int] = []
    for day in reversed(days):
        values.append(left)
        left -= used.days[day.isoformat()][ARTIFACT_BYTES_STORED]
    values.reverse()
    power = min(max(max(values, default=0), 1).bit_length() // 10, len(UNITS) - 1)
    scaled = [value / 1024**power for value in values]
    wide, narrow = _frames(days, today, HALF)
    rows = [(short_day(day), [size_text(value)]) for day, value in zip(days, values, strict=True)]
    words = (
        f"Bytes of artifacts stored at the end of each day: {size_text(values[-1] if values else 0)} last."
    )
    return Figure(
        "stored", "Artifacts stored", words, line(wide, scaled, UNITS[power]),
        line(narrow, scaled, UNITS[power]), ["Stored"], rows[::-1],
    )  # fmt: skip
