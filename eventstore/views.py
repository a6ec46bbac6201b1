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


INDEXED_MAX = 64
"""Pairs of project and status that a listing looks up in an index; more are filtered on the way."""

Place = tuple[str, str]
"""Where a row stands in a listing: its sort key and its id."""


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

    @property
    def place(self) -> Place:
        """Where the row stands in a listing."""
        return self.sort_key, self.id


@dataclass(frozen=True, slots=True)
class ViewQuery:
    """What to list: rows of one organisation, all given conditions met, newest first.

    `project_ids` None means every project; `statuses` empty means every status. `before` and `after` are
    places (sort_key, id), themselves left out: a page ends where the next one begins. `oldest_first` turns
    the order round, to go back a page.
    """

    org_id: str
    project_ids: Sequence[str] | None = None
    parent: str | None = None
    statuses: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    before: Place | None = None
    after: Place | None = None
    oldest_first: bool = False
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

    async def count_view(self, view: str, query: ViewQuery) -> int:
        """How many rows meet the query, counted up to `query.limit`."""
        ...
