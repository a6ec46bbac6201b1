"""The filters of lists: read from the address, turned into queries, shown as chips (decision 1142)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property

from starlette.requests import Request

from api.dashboard.address import Address
from api.dashboard.visitors import visit_of
from api.queries import FILTERS_MAX, parse_cursor
from api.services import services_of
from eventstore.views import Place, ViewQuery, ViewRow
from evidence.record import format_time
from runs.refusal import Refusal
from runs.searching import RowTest, mentions

TEXT_CHARS_MAX = 200
"""Of what is searched for."""
HOUR_MS = 60 * 60 * 1000
SPANS = {
    "1h": ("Last hour", HOUR_MS),
    "24h": ("Last 24 hours", 24 * HOUR_MS),
    "7d": ("Last 7 days", 7 * 24 * HOUR_MS),
    "30d": ("Last 30 days", 30 * 24 * HOUR_MS),
}
"""What `since` may be: its words, and how long."""
NAMES = ("project", "status", "since", "from", "to", "q", "meta", "before", "after")
"""The names in the address of a list."""

Fields = Callable[[Mapping[str, object]], Sequence[str]]
"""The texts of a row's document that a search looks at."""


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter that is on: its name, its value, and the list without it."""

    name: str
    value: str
    without: Address


@dataclass(frozen=True)
class Filters:
    """What an address asks a list for. `groups` are the statuses that each value of `status` stands for."""

    address: Address
    project_id: str | None
    groups: Mapping[str, Sequence[str]]
    now_ms: int
    page_rows: int

    @classmethod
    def of(cls, request: Request, groups: Mapping[str, Sequence[str]]) -> Filters:
        """The filters of this request, behind `visitor(request)`. Raises `Refusal` for what cannot be one."""
        address = Address.of(request, NAMES)
        visit = visit_of(request)
        project = visit.project if visit else None
        if address.value("project") and project is None:
            raise Refusal("forbidden", "You cannot see this project. Choose another one in the top bar.")
        services = services_of(request)
        found = cls(
            address,
            project.id if project else None,
            groups,
            now_ms=services.runs.now_ms(),
            page_rows=services.limits.list_page_default,
        )
        found.check()
        return found

    def check(self) -> None:
        """Raise `invalid_request` naming the filter that cannot be one."""
        if self.status and self.status not in self.groups:
            raise _wrong("status", f"must be one of {', '.join(name for name in self.groups if name)}")
        if self.span and self.span not in SPANS:
            raise _wrong("since", f"must be one of {', '.join(SPANS)}")
        if len(self.text) > TEXT_CHARS_MAX:
            raise _wrong("q", f"must have at most {TEXT_CHARS_MAX} characters")
        metadata = self.address.values("meta")
        if len(metadata) > FILTERS_MAX or not all(one.partition("=")[0] for one in metadata):
            raise _wrong("meta", f"must be key=value, and be given at most {FILTERS_MAX} times")
        for name in ("from", "to"):
            self._day(name)

    @property
    def status(self) -> str:
        """The name of a group of statuses, empty for all."""
        return self.address.value("status")

    @property
    def span(self) -> str:
        """The name of a span of time up to now, empty for all time."""
        return self.address.value("since")

    @property
    def text(self) -> str:
        """The words that must be mentioned."""
        return self.address.value("q").strip()

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """The metadata that is demanded: the key ends at the first `=`."""
        pairs = (one.partition("=") for one in self.address.values("meta"))
        return {key: value for key, _, value in pairs}

    @property
    def timed(self) -> bool:
        """Whether the list is limited to some time."""
        return any(self.address.value(name) for name in ("since", "from", "to"))

    @property
    def on(self) -> bool:
        """Whether anything is filtered beside the project."""
        return any(name not in {"project", "before", "after"} for name, _ in self.address.items)

    @property
    def going_back(self) -> bool:
        """Whether the page is read backwards, from a place on to newer rows."""
        return bool(self.address.value("after"))

    def query(self, org_id: str, *, everywhere: bool = False) -> ViewQuery:
        """What an index answers of it; with `everywhere` wherever in the list."""
        place = None if everywhere else parse_cursor(self.address.value("before") or None)
        until = self._until()
        after = None if everywhere else parse_cursor(self.address.value("after") or None)
        return ViewQuery(
            org_id,
            [self.project_id] if self.project_id else None,
            statuses=self.groups.get(self.status, ()),
            labels=self.labels,
            before=min((one for one in (place, until) if one), default=None),
            after=max((one for one in (after, self._since()) if one), default=None),
            oldest_first=self.going_back and not everywhere,
            limit=self.page_rows,
        )

    def at(self, address: Address) -> Filters:
        """The same list under another address."""
        return replace(self, address=address)

    def meets(self, query: ViewQuery, row: ViewRow, fields: Fields) -> bool:
        """Whether a row that was found another way is one of the list."""
        test = self.test(fields)
        return (
            self.project_id in {None, row.project_id}
            and (not query.statuses or row.status in query.statuses)
            and query.labels.items() <= row.labels.items()
            and (query.before is None or row.place < query.before)
            and (query.after is None or row.place > query.after)
            and (test is None or test(row))
        )

    def test(self, fields: Fields) -> RowTest | None:
        """What has to be asked of each row beside."""
        return mentions(self.text, fields) if self.text else None

    def chips(self) -> list[Chip]:
        """The filters that are on, each with the list without it; the status is chosen by tabs."""
        address = self.address
        found = [Chip("text", self.text, address.without("q"))] if self.text else []
        if self.span:
            found.append(Chip("time", SPANS[self.span][0].lower(), address.without("since")))
        found += [
            Chip(name, address.value(name), address.without(name))
            for name in ("from", "to")
            if address.value(name)
        ]
        metadata = (Chip(*_split(one), address.without("meta", one)) for one in address.values("meta"))
        return [*found, *metadata]

    def _since(self) -> Place | None:
        starts = [
            format_time(self.now_ms - SPANS[self.span][1]) if self.span else "",
            self._day("from") or "",
        ]
        return (max(starts), "") if any(starts) else None

    def _until(self) -> Place | None:
        day = self._day("to")
        return ((date.fromisoformat(day) + timedelta(days=1)).isoformat(), "") if day else None

    def _day(self, name: str) -> str | None:
        text = self.address.value(name)
        if not text:
            return None
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            raise _wrong(name, "must be a day such as 2026-11-22") from None


def _split(metadata: str) -> tuple[str, str]:
    key, _, value = metadata.partition("=")
    return key, value


def _wrong(field: str, rule: str) -> Refusal:
    return Refusal("invalid_request", f"The filter {field} {rule}.", {"field": field})
