"""Owns the view tables: reading and writing their rows inside a transaction, and choosing listings."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

from eventstore.sqlite.queries import VIEW
from eventstore.sqlite.stored import pages
from eventstore.views import INDEXED_MAX, Place, ViewQuery, ViewRow

PAYLOADS_PAGE = 1000
"""Events that are read together when a stream is folded anew."""


class SqliteViews:
    """`eventstore.log.ViewWriter` over the writer's connection, inside the append transaction."""

    def __init__(self, connection: sqlite3.Connection, flush: Callable[[], None] = lambda: None) -> None:
        """`flush` writes events that the transaction has gathered and not written yet."""
        self._execute = connection.execute
        self._flush = flush

    def get(self, view: str, row_id: str) -> ViewRow | None:
        """The row, or None."""
        found = self._execute(VIEW[view]["get"], (row_id,)).fetchone()
        return view_row(found) if found else None

    def put(self, view: str, row: ViewRow) -> None:
        """Insert or replace the row with this id."""
        sql = VIEW[view]
        columns = (row.doc, row.id, row.org_id, row.project_id, row.parent, row.status, row.sort_key)
        if not self._execute(sql["put_doc"], columns).rowcount:
            self._execute(sql["put"], columns)
        labels = sorted((name, value, row.org_id, row.sort_key) for name, value in row.labels.items())
        if labels != sorted(self._execute(sql["labels"], (row.id,))):
            self._execute(sql["delete_labels"], (row.id,))
            for label in labels:
                self._execute(sql["put_label"], (row.id, *label))

    def delete(self, view: str, row_id: str) -> None:
        """Remove the row if it is there."""
        sql = VIEW[view]
        self._execute(sql["delete"], (row_id,))
        self._execute(sql["delete_labels"], (row_id,))

    def payloads(self, stream: str) -> Iterator[bytes | None]:
        """The stream's payloads from seq 1, those of this transaction included."""
        self._flush()
        for page in pages(self._execute, stream, PAYLOADS_PAGE):
            for event in page:
                yield event.payload


def view_row(columns: Sequence[Any]) -> ViewRow:
    """A row from the columns that the statements `get` and `list` answer."""
    row_id, org_id, doc, project_id, parent, status, sort_key, labels = columns
    found: dict[str, str] = {} if labels == "{}" else json.loads(labels)
    return ViewRow(row_id, org_id, doc, project_id, parent, status, sort_key, found)


def list_statement(view: str, query: ViewQuery) -> tuple[str, list[object]]:
    """The statement and parameters that list what `query` asks for."""
    return _statement(view, "list", query)


def count_statement(view: str, query: ViewQuery) -> tuple[str, list[object]]:
    """The statement and parameters that count what `query` asks for, up to its limit."""
    return _statement(view, "count", query)


def _statement(view: str, name: str, query: ViewQuery) -> tuple[str, list[object]]:
    """One of the statements over the arms that choose what `query` asks for.

    Every way to select is an arm that walks one index in listing order and stops after a page, so the
    cost does not grow with the table: one arm for each (project, status) asked for, or one for the
    first label. What no index covers is filtered on the way.
    """
    if query.project_ids is not None and not query.project_ids:
        arms: list[tuple[str, list[object]]] = []
    elif query.parent is None and query.labels:
        arms = [_label_arm(view, query)]
    else:
        arms = _column_arms(view, query)
    text = "\n    UNION ALL\n    ".join(f"SELECT * FROM ({arm})" for arm, _ in arms)  # noqa: S608  # statements of views.sql
    parameters = [value for _, values in arms for value in values]
    sql = VIEW[view][name].replace("{arms}", text or "SELECT '', '' WHERE false")
    return sql.replace("{order}", "ASC" if query.oldest_first else "DESC"), [*parameters, query.limit]


def _column_arms(view: str, query: ViewQuery) -> list[tuple[str, list[object]]]:
    projects: Sequence[str | None] = query.project_ids or [None]
    statuses: Sequence[str | None] = list(dict.fromkeys(query.statuses)) or [None]
    if query.project_ids:
        projects = list(dict.fromkeys(query.project_ids))
    if query.parent is not None or len(projects) * len(statuses) > INDEXED_MAX:
        return [_filtering_arm(view, query)]
    arms: list[tuple[str, list[object]]] = []
    for project_id, status in product(projects, statuses):
        where = _Conditions()
        where.equal("org_id", query.org_id)
        where.equal("project_id", project_id)
        where.equal("status", status)
        where.between(query)
        arms.append(where.arm(view, "arm_by_columns", query.limit))
    return arms


def _filtering_arm(view: str, query: ViewQuery) -> tuple[str, list[object]]:
    where = _Conditions()
    where.equal("org_id", query.org_id)
    where.equal("parent", query.parent)
    where.between(query)
    where.one_of("project_id", query.project_ids or ())
    where.one_of("status", query.statuses)
    for name, value in query.labels.items():
        where.labelled(view, "id", name, value)
    return where.arm(view, "arm_by_columns", query.limit)


def _label_arm(view: str, query: ViewQuery) -> tuple[str, list[object]]:
    (name, value), *others = query.labels.items()
    where = _Conditions()
    where.equal("l.org_id", query.org_id)
    where.equal("l.name", name)
    where.equal("l.value", value)
    where.between(query, "l.sort_key", "l.row_id")
    where.one_of("v.project_id", query.project_ids or ())
    where.one_of("v.status", query.statuses)
    for other_name, other_value in others:
        where.labelled(view, "l.row_id", other_name, other_value)
    return where.arm(view, "arm_by_label", query.limit)


class _Conditions:
    """What stands behind WHERE, with its parameters."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._values: list[object] = []

    def arm(self, view: str, name: str, limit: int) -> tuple[str, list[object]]:
        sql = VIEW[view][name].replace("{conditions}", " AND ".join(self._texts))
        return sql, [*self._values, limit]

    def equal(self, column: str, value: str | None) -> None:
        if value is not None:
            self._add(f"{column} = ?", value)

    def one_of(self, column: str, values: Sequence[str]) -> None:
        # The plus keeps this condition from choosing the index: it filters, the order comes from another.
        if values:
            self._add(f"+{column} IN ({', '.join('?' * len(values))})", *values)

    def between(self, query: ViewQuery, sort_key: str = "sort_key", row_id: str = "id") -> None:
        bounds: tuple[tuple[str, Place | None], ...] = (("<", query.before), (">", query.after))
        for comparison, place in bounds:
            if place is not None:
                self._add(f"({sort_key}, {row_id}) {comparison} (?, ?)", *place)

    def labelled(self, view: str, row_id: str, name: str, value: str) -> None:
        labels = f"{view}_labels"
        self._add(
            f"EXISTS (SELECT 1 FROM {labels} AS x WHERE x.row_id = {row_id} AND x.name = ? AND x.value = ?)",  # noqa: S608  # names of our own
            name,
            value,
        )

    def _add(self, text: str, *values: object) -> None:
        self._texts.append(text)
        self._values.extend(values)
