"""What every backend promises about views: the contract of `eventstore.views`."""

from pathlib import Path
from typing import Any

import pytest

from eventstore.log import Append
from eventstore.views import VIEWS, ViewQuery
from tests.log_kit import RUN, World, event, opened, putting, view_row

PROJECTS = ("prj_a", "prj_b", "prj_c")
STATUSES = ("running", "succeeded", "failed")


async def put(world: World, *rows: dict[str, Any]) -> None:
    """Have the projector write these rows in an append of their own."""
    await world.log.append(Append(RUN, None, [putting(*rows)]))


def row_fields(number: int) -> dict[str, Any]:
    """Row `number` of a listing: projects, statuses, parents and labels take turns; sort keys repeat."""
    return {
        "view": "artifacts",
        "id": f"art_{number:03d}",
        "org_id": "org_1" if number % 10 else "org_2",
        "project_id": PROJECTS[number % 3],
        "status": STATUSES[number // 3 % 3],
        "parent": f"wsr_{number % 4}",
        "sort_key": f"2026-{number // 3:04d}",
        "doc": f'{{"n":{number}}}',
        "labels": {"repo": f"r{number % 2}", "kind": f"k{number % 5}"} if number % 7 else {},
    }


@pytest.fixture
async def listing(world: World) -> World:
    """120 rows in one view, stored in an order that is not the listing's."""
    await world.create()
    numbers = sorted(range(120), key=lambda number: number * 37 % 120)
    await put(world, *(row_fields(number) for number in numbers))
    return world


async def ids(world: World, **conditions: Any) -> list[str]:
    """What a query of org_1 lists."""
    query = ViewQuery("org_1", **{"limit": 500, **conditions})
    return [row.id for row in await world.log.list_view("artifacts", query)]


def wanted(**conditions: Any) -> list[str]:
    """What it should list, chosen in plain Python."""
    rows = [row_fields(number) for number in range(120)]
    chosen = [
        row
        for row in rows
        if row["org_id"] == "org_1"
        and all(row["labels"].get(name) == value for name, value in conditions.get("labels", {}).items())
        and row["status"] in (conditions.get("statuses") or STATUSES)
        and row["project_id"] in conditions.get("project_ids", PROJECTS)
        and row["parent"] == conditions.get("parent", row["parent"])
    ]
    return [row["id"] for row in sorted(chosen, key=place_of, reverse=True)]


def place_of(row: dict[str, Any]) -> tuple[str, str]:
    """Where the row stands."""
    return row["sort_key"], row["id"]


CONDITIONS: list[dict[str, Any]] = [
    {},
    {"project_ids": ["prj_a"]},
    {"project_ids": ["prj_a", "prj_c"]},
    {"project_ids": ["prj_a", "prj_a", "prj_none"]},
    {"project_ids": []},
    {"project_ids": [*(f"prj_{n}" for n in range(70)), "prj_b"]},
    {"statuses": ["failed"]},
    {"statuses": ["failed", "running"]},
    {"statuses": ["canceled"]},
    {"project_ids": ["prj_b", "prj_c"], "statuses": ["succeeded", "failed"]},
    {"parent": "wsr_3"},
    {"parent": "wsr_3", "statuses": ["failed"], "project_ids": ["prj_a", "prj_b"]},
    {"labels": {"repo": "r1"}},
    {"labels": {"repo": "r1", "kind": "k3"}},
    {"labels": {"kind": "k3", "repo": "r1"}, "statuses": ["failed"], "project_ids": ["prj_a", "prj_b"]},
    {"labels": {"repo": "r1"}, "parent": "wsr_1"},
    {"labels": {"repo": "none"}},
    {"labels": {"repo": "r1' OR 1=1 --"}},
]


async def test_cursors_give_every_row_once(listing: World) -> None:
    """Page by page, each from the last row of the one before."""
    for conditions in CONDITIONS:
        seen: list[str] = []
        before: tuple[str, str] | None = None
        while True:
            query = ViewQuery("org_1", before=before, limit=5, **conditions)
            page = await listing.log.list_view("artifacts", query)
            seen += [row.id for row in page]
            if len(page) < 5:
                break
            before = (page[-1].sort_key, page[-1].id)
        assert seen == wanted(**conditions), conditions


async def test_a_page_may_lie_between_two_places_and_be_read_backwards(listing: World) -> None:
    """Both places are left out, whichever way the page is read; the rows nearest to its start come first."""
    first, last = (place_of(row_fields(number)) for number in (37, 84))
    for conditions in CONDITIONS:
        listed = wanted(**conditions)
        between = [one for one in listed if first < place_of(row_fields(int(one[4:]))) < last]
        assert await ids(listing, after=first, before=last, **conditions) == between, conditions
        backwards = await ids(listing, after=first, before=last, oldest_first=True, limit=7, **conditions)
        assert backwards == between[::-1][:7], conditions
    assert await ids(listing, after=("2026-0020", "")) == [
        one for one in wanted() if row_fields(int(one[4:]))["sort_key"] >= "2026-0020"
    ]


async def test_rows_are_counted_up_to_the_limit(listing: World) -> None:
    """As a listing of them would be long, whatever selects them."""
    after = place_of(row_fields(60))
    for conditions in CONDITIONS:
        for limit in (1, 7, 500):
            query = ViewQuery("org_1", limit=limit, **conditions)
            counted = await listing.log.count_view("artifacts", query)
            assert counted == min(limit, len(wanted(**conditions))), conditions
        query = ViewQuery("org_1", limit=500, after=after, **conditions)
        assert await listing.log.count_view("artifacts", query) == len(
            await ids(listing, after=after, **conditions)
        )


async def test_a_row_comes_back_as_it_was_put(world: World) -> None:
    """Every column, the labels and the exact document bytes; in every view."""
    await world.create()
    fields: dict[str, Any] = {
        "id": "x", "org_id": "org_7", "project_id": "p", "parent": "q", "status": "s", "sort_key": "k",
        "doc": '{"ü":"\\u2028"}', "labels": {"b": "2", "a": "ü'\""},
    }  # fmt: skip
    for view in VIEWS:
        await put(world, {"view": view, **fields})
        assert await world.log.get_view(view, "x") == view_row(**fields)
        assert await world.log.list_view(view, ViewQuery("org_7")) == [view_row(**fields)]
    assert await world.log.get_view("users", "y") is None


@pytest.mark.parametrize(
    "change",
    [
        {"doc": '{"n":2}'},
        {"status": "failed"},
        {"sort_key": "2027", "project_id": "prj_z", "parent": "wsr_z"},
        {"labels": {}},
        {"labels": {"repo": "other"}},
        {"labels": {"repo": "r1", "kind": "k1", "more": "m"}, "sort_key": "2028"},
        {"org_id": "org_2"},
    ],
    ids=str,
)
async def test_a_put_row_replaces_the_one_before(world: World, change: dict[str, Any]) -> None:
    """Whichever columns change, listings see the new row and no trace of the old one."""
    await world.create()
    old: dict[str, Any] = {"view": "runs", **row_fields(1), "id": "wsr_x"}
    new = {**old, **change, "view": "runs"}
    await put(world, {**old, "view": "runs"})
    await put(world, new)
    row = view_row(**{name: value for name, value in new.items() if name != "view"})
    assert await world.log.get_view("runs", "wsr_x") == row
    for query in (
        ViewQuery(row.org_id, labels={"repo": "r1"}),
        ViewQuery(row.org_id, statuses=["running"]),
        ViewQuery(row.org_id, project_ids=["prj_b"]),
        ViewQuery(row.org_id, parent="wsr_1"),
    ):
        meets = (
            query.labels.items() <= row.labels.items()
            and (not query.statuses or row.status in query.statuses)
            and (query.project_ids is None or row.project_id in query.project_ids)
            and (query.parent is None or query.parent == row.parent)
        )
        found = [one.id for one in await world.log.list_view("runs", query)]
        assert ("wsr_x" in found) is meets, query
    if "org_id" in change:
        assert "wsr_x" not in [one.id for one in await world.log.list_view("runs", ViewQuery("org_1"))]


async def test_a_deleted_row_is_gone_with_its_labels(world: World) -> None:
    """And may come back later, or be deleted twice."""
    await world.create()
    await put(world, row_fields(1))
    for _ in range(2):
        await world.log.append(Append(RUN, None, [event(delete=[["artifacts", "art_001"]])]))
        assert await world.log.get_view("artifacts", "art_001") is None
        assert await ids(world, labels={"repo": "r1"}) == []
    await put(world, {**row_fields(1), "labels": {}})
    assert await ids(world, labels={"repo": "r1"}) == []
    assert await ids(world) == ["art_001"]


async def test_views_are_committed_with_their_events(backend: str, tmp_path: Path) -> None:
    """Whoever sees the event sees the view, and the other way round."""
    async with opened(backend, tmp_path) as world:
        await world.create()
        for number in range(2, 30):
            await world.log.append(Append(RUN, None, [event()]))
            row = await world.log.get_view("runs", RUN)
            head = await world.log.head(RUN)
            assert row is not None
            assert head is not None
            assert row.doc == b'{"events":%d}' % number
            assert head.size == number


async def test_an_unknown_view_is_a_mistake_of_the_program(world: World) -> None:
    """No name from outside ever becomes part of a statement."""
    with pytest.raises(KeyError):
        await world.log.get_view("runs; DROP TABLE runs", "x")
    with pytest.raises(KeyError):
        await world.log.list_view("sqlite_master", ViewQuery("org_1"))
