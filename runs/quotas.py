"""Quotas: what a plan or a project's owner allows, refused when it would be exceeded (CONTRACT §7.2).

The count and the append that it allows lie in one lock per organisation, so that racing requests never
exceed a limit. What takes long between the two, like the boot of a warm sandbox, is reserved under the lock
and done outside it. One process owns the data folder, so locks and reservations in memory are enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from eventstore.views import ViewQuery
from evidence.canonical import decode
from evidence.record import format_time
from projections.months import month_at, month_bounds_ms
from projections.sandbox import STATUS_RANK
from projections.usage import ARTIFACT_BYTES_STORED, COMPUTE_MS, STORED, usage_id
from runs.dispatch import Store
from runs.locks import NamedLocks
from runs.plans import plan_of
from runs.refusal import Refusal

ACTIVE_SANDBOXES = "active_sandboxes"
COMPUTE_UNIT_SECONDS = "compute_unit_seconds"
ARTIFACT_BYTES = "artifact_bytes"

LIMIT_MAX = 2**53 - 1
PROJECT_LIMITS = ("concurrentSandboxes", "computeUnitSecondsPerMonth", "artifactBytes")
"""What an owner may set in a project's `limits`; one that is absent is no limit of the project's own."""

LIVE_STATUSES = tuple(status for status in STATUS_RANK if status != "destroyed")
"""A sandbox counts from the start of its run, also while that waits for its turn: its id is promised."""


class QuotaService:
    """Counts what there is and admits what still fits."""

    def __init__(self, store: Store, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._now_ms = now_ms
        self._lock = NamedLocks()
        self._arriving: Counter[str] = Counter()
        """Per project: artifact bytes admitted, but perhaps not in the log yet."""
        self._reserved: dict[str, dict[str, str]] = {}
        """Per organisation: sandboxes admitted, but perhaps not in the log yet, each with its project."""

    def __repr__(self) -> str:
        return f"QuotaService(arriving={dict(self._arriving)}, reserved={self._reserved})"

    @asynccontextmanager
    async def one_at_a_time(self, org_id: str) -> AsyncGenerator[None]:
        """Hold the organisation's lock: what is counted in the block stays true until the block ends."""
        async with self._lock(org_id):
            yield

    @asynccontextmanager
    async def admit_sandbox(self, org_id: str, project_id: str, sandbox_id: str) -> AsyncGenerator[None]:
        """Refuse one sandbox more than allowed; boot it and append the event that makes it inside the block.

        It counts from here on, and no longer once the block has ended without that event. The lock is not
        held meanwhile: a boot that hangs must not stall the organisation. Raises `quota_exceeded` (429).

        Crash window: reserved and not yet recorded. Reservations and sandboxes both end with the server.
        """
        async with self.one_at_a_time(org_id):
            await self.require_compute(org_id, project_id)
            await self.require_sandbox(org_id, project_id)
            self._reserved.setdefault(org_id, {})[sandbox_id] = project_id
        try:
            yield
        finally:  # either its row counts by now, or there is no such sandbox
            del self._reserved[org_id][sandbox_id]
            if not self._reserved[org_id]:
                del self._reserved[org_id]

    async def require_sandbox(self, org_id: str, project_id: str) -> None:
        """Refuse unless one more sandbox may live; call it within `one_at_a_time`."""
        most = (await plan_of(self._store, org_id)).sandboxes_max
        query = ViewQuery(org_id=org_id, statuses=LIVE_STATUSES, limit=most)
        # Reserved ones before the rows, and by id: one that is recorded in between counts once, not never.
        living = dict(self._reserved.get(org_id, {}))
        living |= {row.id: row.project_id for row in await self._store.list_view("sandboxes", query)}
        if len(living) >= most:
            raise _exceeded(
                ACTIVE_SANDBOXES, most, len(living),
                f"This organisation's plan allows {_sandboxes(most)} at once. Wait for a run to end, or kill "
                "a sandbox.",
            )  # fmt: skip
        own = (await self.project_limits(project_id)).get("concurrentSandboxes")
        in_project = sum(one == project_id for one in living.values())
        if own is not None and in_project >= own:
            raise _exceeded(
                ACTIVE_SANDBOXES, own, in_project,
                f"Project {project_id} allows {_sandboxes(own)} at once. Wait for a run to end, kill a "
                "sandbox, or ask an owner to raise the limit.",
                projectId=project_id,
            )  # fmt: skip

    async def require_compute(self, org_id: str, project_id: str) -> None:
        """Refuse to begin a command in a project whose month is used up; what runs already runs on."""
        most = (await self.project_limits(project_id)).get("computeUnitSecondsPerMonth")
        if most is None:
            return
        month = month_at(self._now_ms())
        used_ms = await self._used(org_id, project_id, month, COMPUTE_MS)
        if used_ms < most * 1000:
            return
        reset_at = format_time(month_bounds_ms(month)[1])
        raise _exceeded(
            COMPUTE_UNIT_SECONDS, most, used_ms // 1000,
            f"Project {project_id} has used its {most} compute unit seconds of this month. It may go on at "
            f"{reset_at}, or when an owner raises the limit.",
            projectId=project_id, resetAt=reset_at,
        )  # fmt: skip

    @asynccontextmanager
    async def admit_artifact(self, org_id: str, project_id: str, size_bytes: int) -> AsyncGenerator[None]:
        """Refuse an artifact that does not fit; append `artifact_collected` inside the block.

        Its bytes count while the block lasts, so that racing collections never share the same room.
        Raises `quota_exceeded` (429).
        """
        most = (await self.project_limits(project_id)).get("artifactBytes")
        if most is None:
            yield
            return
        async with self._lock(project_id):
            # Read before the row: an artifact that arrives in between is counted twice rather than never.
            arriving = self._arriving[project_id]
            stored = await self._used(org_id, project_id, STORED, ARTIFACT_BYTES_STORED)
            if stored + arriving + size_bytes > most:
                raise _exceeded(
                    ARTIFACT_BYTES, most, stored,
                    f"{size_bytes} bytes do not fit into the quota of project {project_id}: {stored} of "
                    f"{most} artifact bytes are stored. Delete some, or ask an owner to raise the limit.",
                    projectId=project_id,
                )  # fmt: skip
            self._arriving[project_id] += size_bytes
        try:
            yield
        finally:
            self._arriving[project_id] -= size_bytes
            if not self._arriving[project_id]:
                del self._arriving[project_id]

    async def project_limits(self, project_id: str) -> Mapping[str, int]:
        """The limits that an owner set for the project."""
        row = await self._store.get_view("projects", project_id)
        limits: Mapping[str, int] = decode(row.doc).get("limits", {}) if row else {}
        return limits

    async def _used(self, org_id: str, project_id: str, period: str, metric: str) -> int:
        row = await self._store.get_view("usage", usage_id(org_id, project_id, period, metric))
        amount: int = decode(row.doc)["amount"] if row else 0
        return amount


def parse_project_limits(value: Mapping[str, Any]) -> dict[str, int | None]:
    """The `limits` that an owner gives a project (CONTRACT §2.1), checked; None lifts one.

    Raises `invalid_request` naming the field.
    """
    limits: dict[str, int | None] = {}
    for name, limit in value.items():
        if name not in PROJECT_LIMITS:
            raise Refusal(
                "invalid_request",
                f"limits has no field {name[:80]!r}. It may hold {', '.join(PROJECT_LIMITS)}.",
                {"field": f"limits.{name[:80]}"},
            )
        if limit is not None and (type(limit) is not int or not 0 <= limit <= LIMIT_MAX):
            raise Refusal(
                "invalid_request",
                f"limits.{name} must be a whole number between 0 and {LIMIT_MAX}, or null for no limit.",
                {"field": f"limits.{name}"},
            )
        limits[name] = limit
    return limits


def _sandboxes(count: int) -> str:
    return f"{count} sandbox" if count == 1 else f"{count} sandboxes"


def _exceeded(quota: str, limit: int, current: int, message: str, **more: str) -> Refusal:
    return Refusal("quota_exceeded", message, {"quota": quota, "limit": limit, "current": current, **more})
