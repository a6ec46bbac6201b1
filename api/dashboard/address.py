"""The address of a list: its filters and its place lie in the query, so that a link is the whole view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from starlette.requests import Request

PLACE_NAMES = ("before", "after")
"""What says where in a list a page begins; a changed filter begins it anew."""


@dataclass(frozen=True, slots=True)
class Address:
    """A path and the names and values of its query, in order. Empty values are left out."""

    path: str
    items: Sequence[tuple[str, str]] = ()

    @classmethod
    def of(cls, request: Request, names: Sequence[str]) -> Address:
        """The address of this request, as far as it consists of these names."""
        given = request.query_params.multi_items()
        return cls(request.url.path, [(name, value) for name, value in given if name in names and value])

    def __str__(self) -> str:
        """What stands in a link."""
        return f"{self.path}?{urlencode(self.items)}" if self.items else self.path

    def value(self, name: str) -> str:
        """The last value of this name, empty without one."""
        return next((value for one, value in reversed(self.items) if one == name), "")

    def values(self, name: str) -> list[str]:
        """All values of this name."""
        return [value for one, value in self.items if one == name]

    def having(self, **changes: str) -> Address:
        """The same with these values instead; an empty one takes the name away."""
        kept = [(name, value) for name, value in self.items if name not in changes]
        return replace(self, items=[*kept, *((name, value) for name, value in changes.items() if value)])

    def without(self, name: str, value: str | None = None) -> Address:
        """The first page of the list without this filter, or without one of its values."""
        return replace(
            self,
            items=[
                (one, other)
                for one, other in self.items
                if one not in PLACE_NAMES and not (one == name and value in {None, other})
            ],
        )

    def first_page(self, **changes: str) -> Address:
        """The same filters, with these changes, from the beginning."""
        return self.having(**{**dict.fromkeys(PLACE_NAMES, ""), **changes})
