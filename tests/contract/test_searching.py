"""Searches of listings: every row once and in order, bounded, alike on every backend (`runs.searching`)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from eventstore.log import Append
from eventstore.views import Place, ViewQuery, ViewRow
from runs.searching import Count, RowTest, mentions, search, tally
from tests.log_kit import RUN, World, putting

ROWS = 300
STATUSES = ("running", "succeeded", "failed")
MANY = [f"prj_{number}" for number in range(100)]


def fields(number: int) -> dict[str, Any]:
    """Row `number`: projects, statuses, labels and words take turns."""
    return {
        "view": "artifacts",
        "id": f"wsr_{number:03d}",
        "org_id": "org_1" if number % 10 else "org_2",
        "project_id": f"prj_{number % 3}",
        "status": STATUSES[number // 3 % 3],
        "sort_key": f"2026-{number // 2:04d}",
        "doc": json.dumps(
            {"command": f"make t{number % 7}", "id": f"wsr_{number:03d}"}, separators=(",", ":")
        ),
        "labels": {"repo": f"r{number % 2}", "kind": f"k{number % 5}"},
    }


@pytest.fixture
async def listing(world: World) -> World:
    """The rows, in one view."""
    await world.create()
    await world.log.append(Append(RUN, None, [putting(*(fields(number) for number in range(ROWS)))]))
    return world


def words(doc: Mapping[str, object]) -> Sequence[str]:
    """What a search of these tests reads."""
    return [str(doc["command"]), str(doc["id"])]


CONDITIONS: list[tuple[dict[str, Any], RowTest | None]] = [
    ({}, None),
    ({"statuses": ["failed"]}, None),
    ({"labels": {"repo": "r1"}}, None),
    ({"labels": {"repo": "r1"}, "statuses": ["failed"]}, None),
    ({"labels": {"repo": "r1", "kind": "k3"}}, None),
    ({"labels": {"repo": "r1"}, "project_ids": ["prj_1"]}, None),
    ({"project_ids": ["prj_1", "prj_2"], "statuses": ["failed", "running"]}, None),
    ({"project_ids": MANY[2:], "statuses": ["failed"]}, None),
    ({"project_ids": []}, None),
    ({"after": ("2026-0050", "")}, None),
    ({}, mentions("MAKE t3", words)),
    ({"statuses": ["failed"], "after": ("2026-0020", "")}, mentions("t3", words)),
    ({"labels": {"kind": "k2"}}, mentions("wsr_1 t4", words)),
    ({}, mentions("nowhere", words)),
]


def wanted(conditions: Mapping[str, Any], test: RowTest | None) -> list[str]:
    """What should be found, chosen in plain Python."""
    found = [
        row
        for row in map(fields, range(ROWS))
        if row["org_id"] == "org_1"
        and row["project_id"] in conditions.get("project_ids", MANY)
        and row["status"] in conditions.get("statuses", STATUSES)
        and conditions.get("labels", {}).items() <= row["labels"].items()
        and (row["sort_key"], row["id"]) > conditions.get("after", ("", ""))
        and (test is None or test(ViewRow("", "", row["doc"].encode())))
    ]
    return [row["id"] for row in sorted(found, key=lambda row: (row["sort_key"], row["id"]), reverse=True)]


async def test_pages_hold_every_row_once_forwards_and_back(listing: World) -> None:
    """Also where the search gives up in the middle and goes on from there."""
    for conditions, test in CONDITIONS:
        expected = wanted(conditions, test)
        for searched_max in (37, 5000):
            for oldest_first in (False, True):
                query = ViewQuery("org_1", limit=9, oldest_first=oldest_first, **conditions)
                seen: list[str] = []
                place: Place | None = None
                while True:
                    if place is not None:
                        query = replace(query, **{"after" if oldest_first else "before": place})
                    found = await search(listing.log, "artifacts", query, test, searched_max=searched_max)
                    assert len(found.rows) <= 9
                    assert found.searched <= searched_max
                    seen += [row.id for row in found.rows]
                    if found.next_place is None:
                        break
                    assert found.gave_up or len(found.rows) == 9
                    place = found.next_place
                assert seen == (expected[::-1] if oldest_first else expected), conditions


async def test_a_search_in_vain_gives_up_and_says_so(listing: World) -> None:
    """It looks at as many rows as it may, and names the place where it stopped."""
    nothing = mentions("nowhere", words)
    found = await search(listing.log, "artifacts", ViewQuery("org_1"), nothing, searched_max=100)
    assert (found.rows, found.searched, found.gave_up) == ([], 100, True)
    listed = wanted({}, None)
    assert found.next_place is not None
    assert found.next_place[1] == listed[99]
    all_of_them = await search(listing.log, "artifacts", ViewQuery("org_1"), nothing, searched_max=1000)
    assert (all_of_them.searched, all_of_them.gave_up) == (len(listed), False)


async def test_groups_are_counted_whatever_selects_them(listing: World) -> None:
    """Exact as far as counting goes, and marked where it stopped."""
    groups = {"all": (), "live": ("running",), "ended": ("succeeded", "failed")}
    for conditions, test in CONDITIONS:
        free = {name: value for name, value in conditions.items() if name != "statuses"}
        counts = await tally(
            listing.log, "artifacts", ViewQuery("org_1", **conditions), test,
            groups=groups, counted_max=1000, searched_max=1000,
        )  # fmt: skip
        for name, statuses in groups.items():
            chosen = {**free, "statuses": statuses} if statuses else free
            assert counts[name] == Count(len(wanted(chosen, test))), (conditions, name)
    few = await tally(
        listing.log, "artifacts", ViewQuery("org_1"), groups=groups, counted_max=7, searched_max=7
    )  # fmt: skip
    assert str(few["all"]) == "7+"
    looked = await tally(
        listing.log, "artifacts", ViewQuery("org_1"), mentions("make", words),
        groups=groups, counted_max=7, searched_max=30,
    )  # fmt: skip
    assert str(looked["all"]) == "30+"


async def test_who_sees_some_projects_searches_no_row_of_others(listing: World) -> None:
    """Not even to drop it: how much was searched would tell how much there is."""
    query = ViewQuery("org_1", project_ids=["prj_1"], labels={"repo": "r1"})
    found = await search(listing.log, "artifacts", replace(query, limit=500), searched_max=5000)
    assert found.searched == len(wanted({"project_ids": ["prj_1"]}, None))
