"""View rows: the cache tables of the projections, as every backend stores them.

A view is a table of rows with the same few columns; what a row means is the projection's business.
All of it can be dropped and rebuilt from the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

VIEWS = (
    "runs", "evidence", "artifacts", "sandboxes", "commands", "previews",
    "organizations", "users", "projects", "api_keys", "secrets", "usage",
)  # fmt: skip
"""The view tables. A row's `doc` is canonical JSON; the columns beside it exist to select and sort."""


@dataclass(frozen=True, slots=True)
class ViewRow:
    """One row. `sort_key` orders a listing (newest first = descending, then id descending).

    `parent` is the id that listings inside another object select by (a run's or sandbox's artifacts).
    `labels` are metadata entries that listings filter by.
    """

    id: str
    org_id: str
    doc: bytes
    project_id: str = ""
    parent: str = ""
    status: str = ""
    sort_key: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class ViewQuery:
    """What to list: rows of one organisation, all given conditions met, newest first.

    `project_ids` None means every project; `statuses` empty means every status; `before` is the
    (sort_key, id) of the last row of the page before.
    """

    org_id: str
    project_ids: Sequence[str] | None = None
    parent: str | None = None
    statuses: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    before: tuple[str, str] | None = None
    limit: int = 50


class ViewReader(Protocol):
    """Reads inside a transaction (synchronous)."""

    def get(self, view: str, row_id: str) -> ViewRow | None:
        """The row, or None."""
        ...


class Views(Protocol):
    """Reads of committed views (asynchronous, for `api` and `runs`)."""

    async def get_view(self, view: str, row_id: str) -> ViewRow | None:
        """The row, or None."""
        ...

    async def list_view(self, view: str, query: ViewQuery) -> list[ViewRow]:
        """Rows that meet the query, at most `query.limit`."""
        ...
