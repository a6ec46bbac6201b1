"""Finds rows of a listing by what an index answers and by what it does not, within a named limit.

An index answers organisation, projects, statuses, one label and a span of time. Anything else is asked of
row after row; a search gives up after `searched_max` of them and says where to go on (decision 1142).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from eventstore.views import INDEXED_MAX, Place, ViewQuery, ViewRow, Views
from evidence.canonical import decode

PAGE = 500

RowTest = Callable[[ViewRow], bool]


@dataclass(frozen=True, slots=True)
class Found:
    """The rows of one page, in the query's order.

    `next_place` is where the rest begins, None when there is none. `searched` rows were looked at;
    `gave_up` means that the limit ended the search before the page was full.
    """

    rows: list[ViewRow]
    next_place: Place | None
    searched: int = 0
    gave_up: bool = False


@dataclass(frozen=True, slots=True)
class Count:
    """A number of rows; with `or_more` it is the least that there are."""

    number: int
    or_more: bool = False

    def __str__(self) -> str:
        """`1,234`, or `1,000+` where counting stopped."""
        return f"{self.number:,}{'+' if self.or_more else ''}"


async def search(
    views: Views, view: str, query: ViewQuery, test: RowTest | None = None, *, searched_max: int
) -> Found:
    """One page of the rows that meet the query and the test."""
    walked, wanted = _divided(query, test)
    if wanted is None:
        rows = await views.list_view(view, replace(walked, limit=query.limit + 1))
        more = len(rows) > query.limit
        rows = rows[: query.limit]
        return Found(rows, rows[-1].place if more else None, len(rows))
    found: list[ViewRow] = []
    searched = 0
    while searched < searched_max:
        asked = min(PAGE, searched_max - searched)
        rows = await views.list_view(view, replace(walked, limit=asked))
        for row in rows:
            searched += 1
            if wanted(row):
                if len(found) == query.limit:
                    return Found(found, found[-1].place, searched)
                found.append(row)
        if len(rows) < asked:
            return Found(found, None, searched)
        walked = _behind(walked, rows[-1].place)
    # The last place looked at, not the last row found: what lies between was searched in vain.
    return Found(found, walked.after if walked.oldest_first else walked.before, searched, gave_up=True)


async def tally(
    views: Views, view: str, query: ViewQuery, test: RowTest | None = None, *,
    groups: Mapping[str, Sequence[str]], counted_max: int, searched_max: int,
) -> dict[str, Count]:  # fmt: skip
    """How many rows meet the query and the test in each group of statuses (an empty one is all).

    The query's own statuses are left out of account, so that the groups can be chosen between.
    """
    query = replace(query, statuses=())
    if _divided(query, test)[1] is None:
        counts: dict[str, Count] = {}
        for name, statuses in groups.items():
            asked = replace(query, statuses=statuses, limit=counted_max + 1)
            number = await views.count_view(view, asked)
            counts[name] = Count(min(number, counted_max), number > counted_max)
        return counts
    everything = replace(query, limit=searched_max)
    found = await search(views, view, everything, test, searched_max=searched_max)
    return {
        name: Count(sum(not statuses or row.status in statuses for row in found.rows), found.gave_up)
        for name, statuses in groups.items()
    }


def mentions(text: str, fields: Callable[[Mapping[str, object]], Sequence[str]]) -> RowTest:
    """Whether each word of `text` stands somewhere in what `fields` answers of the row's document."""
    words = text.casefold().split()
    # Most rows lack a word in all of their document: those need not be parsed. What JSON escapes, or what
    # folds to another spelling, is not looked for this way.
    plain = [word.encode() for word in words if word.isascii() and not set(word) & set('"\\')]

    def test(row: ViewRow) -> bool:
        folded = row.doc.lower()
        if not all(word in folded for word in plain):
            return False
        said = "\n".join(fields(decode(row.doc))).casefold()
        return all(word in said for word in words)

    return test


def _divided(query: ViewQuery, test: RowTest | None) -> tuple[ViewQuery, RowTest | None]:
    """What one walk of an index answers, and what is left to ask of each row; None for nothing.

    A label and the projects lie in different indexes. Where somebody sees only some projects, those are
    walked, so that the search looks at no row of others.
    """
    walked, tests = query, [test] if test else []
    if query.labels and query.project_ids is None:
        (name, value), *others = query.labels.items()
        walked = replace(query, labels={name: value}, statuses=())
        if others:
            tests.append(lambda row: query.labels.items() <= row.labels.items())
    elif query.labels:
        walked = replace(query, labels={}, statuses=())
        tests.append(lambda row: query.labels.items() <= row.labels.items())
    projects = query.project_ids
    if projects is not None and len(projects) * len(walked.statuses or "*") > INDEXED_MAX:
        walked = replace(walked, statuses=())
    if projects is not None and len(projects) > INDEXED_MAX:
        walked = replace(walked, project_ids=None)
        tests.append(lambda row: row.project_id in projects)
    if query.statuses and not walked.statuses:
        tests.append(lambda row: row.status in query.statuses)
    if not tests:
        return walked, None
    return walked, lambda row: all(one(row) for one in tests)


def _behind(query: ViewQuery, place: Place) -> ViewQuery:
    """The same query, from this place on."""
    return replace(query, after=place) if query.oldest_first else replace(query, before=place)
