"""The usage of the current month as a principal may see it: sums, quotas, projects (CONTRACT §8)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from eventstore.views import ViewQuery, ViewRow
from evidence.canonical import decode
from evidence.record import format_time
from projections.months import is_day, month_at, month_bounds_ms, split_by_month
from projections.usage import (
    ARTIFACT_BYTES_STORED,
    COMMAND_INVOCATIONS,
    COMPUTE_MS,
    FILE_BYTES_WRITTEN,
    OPEN,
    PREVIEW_MS,
    RUNS_ENDED,
    SANDBOX_CREATES,
    STORED,
)
from runs.access import Principal
from runs.dispatch import Store
from runs.plans import plan_of
from runs.quotas import ACTIVE_SANDBOXES, ARTIFACT_BYTES, COMPUTE_UNIT_SECONDS, LIVE_STATUSES

PRICING_VERSION = "self-hosted/1"
COMPUTE_UNIT_SECONDS_PER_CREDIT = 3600
PREVIEWS = "previews"
PAGE = 500
DAY_METRICS = (*RUNS_ENDED.values(), COMPUTE_MS, ARTIFACT_BYTES_STORED)
"""What is counted by day (`projections.usage`)."""
DAY_ROWS_MAX = 20_000
"""Daily counters that one page adds up: a hundred projects for well over a month."""

Quota = dict[str, Any]


@dataclass(slots=True)
class _Project:
    """What a project may use and what it does."""

    limits: Mapping[str, int] = field(default_factory=dict[str, int])
    amounts: Counter[str] = field(default_factory=Counter[str])
    sandboxes: int = 0

    def shown(self, project_id: str, reset_at: str) -> dict[str, Any]:
        """`{projectId, metrics, quotas?}`; quotas are the limits that its owner set."""
        metrics = _metrics(self.amounts)
        shown: dict[str, Any] = {"projectId": project_id, "metrics": metrics}
        quotas: dict[str, Quota] = {}
        if (most := self.limits.get("concurrentSandboxes")) is not None:
            quotas[ACTIVE_SANDBOXES] = _quota(most, self.sandboxes)
        if (most := self.limits.get("artifactBytes")) is not None:
            quotas[ARTIFACT_BYTES] = _quota(most, self.amounts[ARTIFACT_BYTES_STORED])
        if (most := self.limits.get("computeUnitSecondsPerMonth")) is not None:
            used = metrics["compute_unit_seconds"]
            quotas[COMPUTE_UNIT_SECONDS] = {**_quota(most, used), "resetAt": reset_at}
        return {**shown, "quotas": quotas} if quotas else shown


@dataclass(slots=True)
class DailyUsage:
    """Amounts by day and metric, and over all days by project and metric (`projections.usage`).

    `stored_bytes` of artifacts are stored now, `stored_later` of them since the last day asked for.
    """

    days: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter[str]))
    projects: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter[str]))
    stored_bytes: int = 0
    stored_later: int = 0
    whole: bool = True


class UsageService:
    """Reads the view `usage`."""

    def __init__(self, store: Store, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._now_ms = now_ms

    def __repr__(self) -> str:
        return "UsageService()"

    async def summary(self, who: Principal) -> dict[str, Any]:
        """The bare object of GET /v1/usage: sums over the projects that the key sees.

        Seconds and minutes may be fractions. `quotas` of the plan count the whole organisation, since
        that is what they limit; `credits` has no `remaining`: here they are unlimited.
        """
        who.require("usage:read")
        now_ms = self._now_ms()
        month, now = month_at(now_ms), format_time(now_ms)
        start, reset_at = (format_time(at_ms) for at_ms in month_bounds_ms(month))
        projects = await self._projects(who, month, now)
        total: Counter[str] = Counter()
        for project in projects.values():
            total.update(project.amounts)
        metrics = _metrics(total)
        seconds = metrics["compute_unit_seconds"]
        shown = [projects[project_id].shown(project_id, reset_at) for project_id in sorted(projects)]
        return {
            "period": {"start": start, "end": reset_at, "resetAt": reset_at},
            "pricingVersion": PRICING_VERSION,
            "computeUnitSecondsPerCredit": COMPUTE_UNIT_SECONDS_PER_CREDIT,
            "currencyPerCredit": 0,
            "computeUnitSeconds": {"used": seconds},
            "credits": {"used": seconds / COMPUTE_UNIT_SECONDS_PER_CREDIT},
            "quotas": {**_tightest(shown), **await self._plan_quotas(who.org_id, now)},
            "metrics": metrics,
            "projects": shown,
        }

    async def by_day(self, who: Principal, first: str, last: str) -> DailyUsage:
        """What the visible projects used on each day from `first` to `last` (`YYYY-MM-DD`, both included).

        At most `DAY_ROWS_MAX` counters are read, from the first day on; `whole` says whether those were all.
        """
        who.require("usage:read")
        used = DailyUsage()
        async for row in self._rows("usage", who.org_id, who.project_ids, parent=STORED):
            used.stored_bytes += decode(row.doc)["amount"]
        read = 0
        query = ViewQuery(
            who.org_id, _sorted(who.project_ids), statuses=DAY_METRICS, after=(first, ""), oldest_first=True
        )
        async for row in self._pages("usage", query):
            if not is_day(row.parent):
                continue
            if read == DAY_ROWS_MAX:
                used.whole = False
                break
            read += 1
            amount: int = decode(row.doc)["amount"]
            if row.parent > last:  # what was stored after it must be taken off again
                used.stored_later += amount if row.status == ARTIFACT_BYTES_STORED else 0
                continue
            used.days[row.parent][row.status] += amount
            used.projects[row.project_id][row.status] += amount
        return used

    async def _projects(self, who: Principal, month: str, now: str) -> dict[str, _Project]:
        """The visible projects; previews that have not ended count up to now."""
        projects: dict[str, _Project] = {}
        visible = who.project_ids
        async for row in self._rows("projects", who.org_id, visible):
            projects[row.id] = _Project(decode(row.doc).get("limits", {}))
        for period in (month, STORED):
            async for row in self._rows("usage", who.org_id, visible, parent=period):
                project = projects.setdefault(row.project_id, _Project())
                project.amounts[row.status] += decode(row.doc)["amount"]
        async for row in self._rows("usage", who.org_id, visible, parent=OPEN):
            preview = decode(row.doc)
            until = min(now, preview.get("expiresAt", now))
            lasted_ms = dict(split_by_month(preview["createdAt"], until)).get(month, 0)
            projects.setdefault(row.project_id, _Project()).amounts[PREVIEW_MS] += lasted_ms
        async for row in self._rows("sandboxes", who.org_id, visible, statuses=LIVE_STATUSES):
            projects.setdefault(row.project_id, _Project()).sandboxes += 1
        return projects

    async def _plan_quotas(self, org_id: str, now: str) -> dict[str, Quota]:
        plan = await plan_of(self._store, org_id)
        live = previews = 0
        async for _ in self._rows("sandboxes", org_id, None, statuses=LIVE_STATUSES):
            live += 1
        async for row in self._rows("usage", org_id, None, parent=OPEN):
            previews += decode(row.doc).get("expiresAt", "~") > now
        return {
            ACTIVE_SANDBOXES: _quota(plan.sandboxes_max, live),
            PREVIEWS: _quota(plan.previews_per_org_max, previews),
        }

    async def _rows(
        self, view: str, org_id: str, project_ids: frozenset[str] | None, *, parent: str | None = None,
        statuses: Sequence[str] = (),
    ) -> AsyncIterator[ViewRow]:  # fmt: skip
        """Every such row, newest first."""
        async for row in self._pages(view, ViewQuery(org_id, _sorted(project_ids), parent, statuses)):
            yield row

    async def _pages(self, view: str, query: ViewQuery) -> AsyncIterator[ViewRow]:
        """Every row that meets the query, read page by page."""
        query = replace(query, limit=PAGE)
        while rows := await self._store.list_view(view, query):
            for row in rows:
                yield row
            place = rows[-1].place
            query = replace(query, after=place) if query.oldest_first else replace(query, before=place)


def _sorted(project_ids: frozenset[str] | None) -> list[str] | None:
    return sorted(project_ids) if project_ids is not None else None


def _metrics(amounts: Counter[str]) -> dict[str, int | float]:
    """The metrics of CONTRACT §8; there are no code runs here, so they stay 0."""
    return {
        "artifact_bytes_stored": amounts[ARTIFACT_BYTES_STORED],
        "code_run_invocations": 0,
        "command_invocations": amounts[COMMAND_INVOCATIONS],
        "compute_unit_seconds": amounts[COMPUTE_MS] / 1000,
        "file_bytes_written": amounts[FILE_BYTES_WRITTEN],
        "preview_minutes": amounts[PREVIEW_MS] / 60_000,
        "sandbox_creates": amounts[SANDBOX_CREATES],
    }


def _quota(limit: int, current: float) -> Quota:
    return {"limit": limit, "current": current, "remaining": max(0, limit - current)}


def _tightest(projects: Sequence[Mapping[str, Any]]) -> dict[str, Quota]:
    """Of the limits that owners set, each kind's with the least left, and whose it is."""
    tightest: dict[str, Quota] = {}
    for project in projects:
        for name, quota in project.get("quotas", {}).items():
            if name not in tightest or quota["remaining"] < tightest[name]["remaining"]:
                tightest[name] = {**quota, "projectId": project["projectId"]}
    return tightest
