"""Reads the documents that view rows hold: canonical JSON objects, made by the projections."""

from __future__ import annotations

from typing import Any

from eventstore.views import ViewReader
from evidence.canonical import decode


def known_document(views: ViewReader, view: str, row_id: str) -> dict[str, Any]:
    """What the row says, or an empty document when there is no such row yet."""
    row = views.get(view, row_id)
    return decode(row.doc) if row else {}
