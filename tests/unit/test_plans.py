"""Plans as data, limits of projects as they are typed, months as calendars have them."""

from typing import Any

import pytest

from evidence.record import format_time
from projections.months import month_bounds_ms, split_by_month
from runs.plans import DAY_MS, HOUR_MS, PLANS, plan_named, retention_expires_at
from runs.quotas import parse_project_limits
from runs.refusal import Refusal


@pytest.mark.parametrize(
    ("name", "days", "sandboxes", "hours"),
    [("free", 7, 2, 1), ("builder", 30, 25, 24), ("scale", 90, 100, 72), ("enterprise", 365, 250, 168)],
)
def test_the_plans_are_those_of_the_contract(name: str, days: int, sandboxes: int, hours: int) -> None:
    """The table of CONTRACT §7.2, cell by cell."""
    plan = PLANS[name]
    assert plan.artifact_retention_ms == days * DAY_MS
    assert (plan.sandboxes_max, plan.extend_ttl_ms_max) == (sandboxes, hours * HOUR_MS)
    assert (plan.create_ttl_ms_max, plan.file_write_bytes_max) == (HOUR_MS, 262_144)
    assert (plan.previews_per_sandbox_max, plan.previews_per_org_max) == (3, 10)


@pytest.mark.parametrize("name", [None, "", "team", "Enterprise"])
def test_a_missing_plan_is_the_free_one(name: str | None) -> None:
    """CONTRACT §7.2: missing tier = free."""
    assert plan_named(name) is PLANS["free"]


def test_retention_ends_exactly_so_many_days_later() -> None:
    """Over the end of February, to the millisecond."""
    assert retention_expires_at(PLANS["free"], "2028-02-25T10:11:12.013Z") == "2028-03-03T10:11:12.013Z"


def test_limits_of_a_project_are_whole_numbers_and_null_lifts_one() -> None:
    """What an owner may set (CONTRACT §2.1)."""
    given = {"concurrentSandboxes": 0, "artifactBytes": None, "computeUnitSecondsPerMonth": 2**53 - 1}
    assert parse_project_limits(given) == given


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"sandboxes": 1}, "limits.sandboxes"),
        ({"artifactBytes": -1}, "limits.artifactBytes"),
        ({"artifactBytes": 2**53}, "limits.artifactBytes"),
        ({"artifactBytes": True}, "limits.artifactBytes"),
        ({"concurrentSandboxes": 1.0}, "limits.concurrentSandboxes"),
        ({"computeUnitSecondsPerMonth": "9"}, "limits.computeUnitSecondsPerMonth"),
    ],
)
def test_a_bad_limit_is_refused_by_name(limits: dict[str, Any], field: str) -> None:
    """400 `invalid_request` naming the field (CONTRACT §11)."""
    with pytest.raises(Refusal) as refused:
        parse_project_limits(limits)
    assert (refused.value.code, refused.value.details) == ("invalid_request", {"field": field})


def test_a_month_ends_where_the_next_begins() -> None:
    """December leads into the next year; a leap February has its day."""
    bounds = [[format_time(at_ms) for at_ms in month_bounds_ms(month)] for month in ("2027-12", "2028-02")]
    assert bounds == [
        ["2027-12-01T00:00:00.000Z", "2028-01-01T00:00:00.000Z"],
        ["2028-02-01T00:00:00.000Z", "2028-03-01T00:00:00.000Z"],
    ]


def test_a_time_is_split_at_every_months_border() -> None:
    """Nothing is lost, and a time that ends before it begins is none."""
    parts = dict(split_by_month("2027-11-30T23:59:59.000Z", "2028-01-01T00:00:00.007Z"))
    assert parts == {"2027-11": 1000, "2027-12": 31 * DAY_MS, "2028-01": 7}
    assert not dict(split_by_month("2027-11-30T23:59:59.000Z", "2027-11-30T23:59:58.000Z"))
