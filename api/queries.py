"""Query strings: numbers, cursors and filters, each refused by name when it is off."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from api.limits import ApiLimits
from eventstore.log import Answer
from eventstore.views import Place, ViewQuery
from runs.refusal import Refusal
from runs.service import Page

SEQ_MAX = 2**53 - 1
NUMBER_DIGITS_MAX = 16
FILTERS_MAX = 16


def json_response(body: bytes, status: int = 200) -> Response:
    """A JSON answer of ready bytes."""
    return Response(body, status, media_type="application/json")


def answered(answer: Answer) -> Response:
    """A stored or fresh answer on the wire."""
    return json_response(answer.body, answer.status)


def integer(request: Request, names: tuple[str, ...], default: int, low: int, high: int) -> int:
    """A whole number under any of its names (`afterSeq`, `after_seq`), which must agree."""
    texts = {value for name in names for value in request.query_params.getlist(name)}
    if not texts:
        return default
    text = texts.pop()
    plain = text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS_MAX
    if texts or not plain or not low <= int(text) <= high:
        raise Refusal(
            "invalid_request",
            f"{names[0]} must be one whole number between {low} and {high}.",
            {"field": names[0]},
        )
    return int(text)


def after_seq(request: Request) -> int:
    """`afterSeq` and `after_seq` mean the same: exclusive, 0 from the start."""
    return integer(request, ("afterSeq", "after_seq"), 0, 0, SEQ_MAX)


def flag(request: Request, name: str) -> bool:
    """`true` or `false`; absent is false."""
    text = request.query_params.get(name, "false")
    if text not in {"true", "false", "1", "0"}:
        raise Refusal("invalid_request", f"{name} must be true or false.", {"field": name})
    return text in {"true", "1"}


def view_query(request: Request, org_id: str, limits: ApiLimits, *, parent: str | None = None) -> ViewQuery:
    """`limit` and `cursor` of a listing; what else the query string holds is none of its business."""
    return ViewQuery(
        org_id=org_id,
        parent=parent,
        before=parse_cursor(request.query_params.get("cursor")),
        limit=integer(request, ("limit",), limits.list_page_default, 1, limits.list_page_max),
    )


def filtered_query(
    request: Request, org_id: str, limits: ApiLimits, *, statuses: Sequence[str] = ()
) -> ViewQuery:
    """The same with `projectId`, `metadata.*` and, where states are named, `status`."""
    names = [name for name in request.query_params if name.startswith("metadata.") and name != "metadata."]
    if len(names) > FILTERS_MAX:
        raise Refusal("invalid_request", f"At most {FILTERS_MAX} metadata filters are allowed.")
    labels = {name.removeprefix("metadata."): once(request, name) for name in names}
    project = once(request, "projectId")
    status = once(request, "status") if statuses else None
    if status is not None and status not in statuses:
        raise Refusal("invalid_request", f"status must be one of {', '.join(statuses)}.", {"field": "status"})
    return replace(
        view_query(request, org_id, limits),
        project_ids=[project] if project is not None else None,
        statuses=[status] if status is not None else (),
        labels={name: value for name, value in labels.items() if value is not None},
    )


def once(request: Request, name: str) -> str | None:
    """The one value of a filter: of two, one would be passed over in silence."""
    values = set(request.query_params.getlist(name))
    if len(values) > 1:
        raise Refusal(
            "invalid_request",
            f"{name[:80]} filters by one value. Ask for each by itself.",
            {"field": name[:200]},
        )
    return values.pop() if values else None


def page_response(page: Page) -> Response:
    """`{data, hasMore, nextCursor?}` around the stored bytes of the rows."""
    body = b'{"data":[' + b",".join(row.doc for row in page.rows) + b'],"hasMore":'
    if page.next_before is None:
        return json_response(body + b"false}")
    return json_response(body + b'true,"nextCursor":"' + format_cursor(page.next_before).encode() + b'"}')


def format_cursor(before: Place) -> str:
    """A place in a listing, as clients are given it; the pair of `parse_cursor`."""
    return base64.urlsafe_b64encode("\0".join(before).encode()).decode().rstrip("=")


def parse_cursor(text: str | None) -> Place | None:
    """Where a listing goes on. Raises `invalid_request` for what was never given out."""
    if text is None:
        return None
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        sort_key, row_id = data.decode().split("\0")
    except (binascii.Error, ValueError):
        message = "cursor is not one that this server gave out. Start again without it."
        raise Refusal("invalid_request", message, {"field": "cursor"}) from None
    return sort_key, row_id
