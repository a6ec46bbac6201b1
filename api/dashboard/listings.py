"""Pages of lists: the rows at a place, the pages beside, the tabs with their counts (decision 1142)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from api.dashboard.address import Address
from api.dashboard.filters import Fields, Filters
from api.queries import format_cursor, parse_cursor
from api.services import Services
from eventstore.views import Place, ViewQuery, ViewRow
from runs.access import Principal
from runs.searching import Count, Found, search, tally
from runs.service import restrict

Find = Callable[[Filters], Awaitable[Found]]


@dataclass(frozen=True, slots=True)
class Tab:
    """A group of statuses: its words, how many rows, and the list of them."""

    name: str
    word: str
    count: Count
    address: Address
    chosen: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of a list, newest first. `top` is the cursor of its newest row; empty without one."""

    rows: Sequence[ViewRow]
    found: Found
    top: str
    newer: Address | None
    older: Address | None
    is_first: bool


@dataclass(frozen=True, slots=True)
class Source:
    """A view as a visitor sees it, and the texts of its documents that a search looks at.

    Whoever makes one has asked for the scope.
    """

    services: Services
    who: Principal
    view: str
    fields: Fields

    async def found(self, filters: Filters) -> Found:
        """The rows of the page."""
        return await self.search(filters.query(self.who.org_id), filters)

    async def search(self, query: ViewQuery, filters: Filters, searched_max: int | None = None) -> Found:
        """The rows that meet the query, and what the filters demand beside."""
        most = searched_max or self.services.limits.rows_searched_max
        query = restrict(self.who, query)
        return await search(
            self.services.store, self.view, query, filters.test(self.fields), searched_max=most
        )

    async def counts(self, filters: Filters, groups: Mapping[str, Sequence[str]]) -> dict[str, Count]:
        """How many rows each group of statuses has under the other filters, wherever in the list."""
        limits = self.services.limits
        return await tally(
            self.services.store,
            self.view,
            restrict(self.who, filters.query(self.who.org_id, everywhere=True)),
            filters.test(self.fields),
            groups=groups,
            counted_max=limits.rows_counted_max,
            searched_max=limits.rows_searched_max,
        )

    async def tabs(self, filters: Filters, tabs: Sequence[tuple[str, str]]) -> list[Tab]:
        """A tab for each of these groups and words."""
        counts = await self.counts(filters, {name: filters.groups[name] for name, _ in tabs})
        return [tab(filters, name, word, counts[name]) for name, word in tabs]


async def paged(filters: Filters, find: Find) -> Listed:
    """The page that `find` answers, with the addresses of those beside it."""
    found = await find(filters)
    if filters.going_back and len(found.rows) < filters.page_rows and found.next_place is None:
        # The way back has come to its end: the first page, whole, and not what is left of it.
        filters = filters.at(filters.address.first_page())
        found = await find(filters)
    rows = found.rows[::-1] if filters.going_back else found.rows
    newer, older = _ends(filters, found, rows)
    address = filters.address
    return Listed(
        rows,
        found,
        format_cursor(rows[0].place) if rows else "",
        address.first_page(after=format_cursor(newer)) if newer else None,
        address.first_page(before=format_cursor(older)) if older else None,
        is_first=not (address.value("before") or address.value("after")),
    )


def tab(filters: Filters, name: str, word: str, count: Count) -> Tab:
    """The tab of a group."""
    return Tab(name, word, count, filters.address.first_page(status=name), name == filters.status)


def _ends(filters: Filters, found: Found, rows: Sequence[ViewRow]) -> tuple[Place | None, Place | None]:
    """Where the page before and the one behind begin, None where there is none."""
    if filters.going_back:
        return found.next_place, rows[-1].place if rows else parse_cursor(filters.address.value("after"))
    begun = parse_cursor(filters.address.value("before") or None)
    newer = (rows[0].place if rows else begun) if begun else None
    return newer, found.next_place
