"""Chooses rows of a view in memory, as the contract of `eventstore.views.ViewQuery` says."""

from __future__ import annotations

from collections.abc import Iterable

from eventstore.views import ViewQuery, ViewRow


def chosen(rows: Iterable[ViewRow], query: ViewQuery) -> list[ViewRow]:
    """The rows that meet the query, in its order, at most `query.limit`."""
    found = [row for row in rows if _meets(row, query)]
    found.sort(key=lambda row: row.place, reverse=not query.oldest_first)
    return found[: query.limit]


def _meets(row: ViewRow, query: ViewQuery) -> bool:
    return (
        row.org_id == query.org_id
        and (query.project_ids is None or row.project_id in query.project_ids)
        and (query.parent is None or row.parent == query.parent)
        and (not query.statuses or row.status in query.statuses)
        and query.labels.items() <= row.labels.items()
        and (query.before is None or row.place < query.before)
        and (query.after is None or row.place > query.after)
    )
