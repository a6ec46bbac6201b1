"""What each plan allows, as data (CONTRACT §7.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evidence.canonical import decode
from evidence.record import format_time, parse_time
from runs.dispatch import Store

HOUR_MS = 60 * 60 * 1000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Plan:
    """The limits of one plan, enforced per organisation; the last four are alike in all of them."""

    name: str
    artifact_retention_ms: int
    sandboxes_max: int
    """Sandboxes that live at once."""
    extend_ttl_ms_max: int
    create_ttl_ms_max: int = HOUR_MS
    file_write_bytes_max: int = 256 * 1024
    """One direct write of a file."""
    previews_per_sandbox_max: int = 3
    previews_per_org_max: int = 10


FREE = Plan("free", artifact_retention_ms=7 * DAY_MS, sandboxes_max=2, extend_ttl_ms_max=HOUR_MS)
PLANS: Mapping[str, Plan] = {
    plan.name: plan
    for plan in (
        FREE,
        Plan("builder", 30 * DAY_MS, sandboxes_max=25, extend_ttl_ms_max=24 * HOUR_MS),
        Plan("scale", 90 * DAY_MS, sandboxes_max=100, extend_ttl_ms_max=72 * HOUR_MS),
        Plan("enterprise", 365 * DAY_MS, sandboxes_max=250, extend_ttl_ms_max=168 * HOUR_MS),
    )
}


def plan_named(name: str | None) -> Plan:
    """The plan of this name; a missing or unknown one is free."""
    return PLANS.get(name or "", FREE)


async def plan_of(store: Store, org_id: str) -> Plan:
    """The organisation's plan as it stands now."""
    row = await store.get_view("organizations", org_id)
    return plan_named(decode(row.doc).get("plan")) if row else FREE


def retention_expires_at(plan: Plan, created_at: str) -> str:
    """When an artifact of this age is gone: `retentionExpiresAt` of CONTRACT §8, to the millisecond."""
    return format_time(parse_time(created_at) + plan.artifact_retention_ms)
