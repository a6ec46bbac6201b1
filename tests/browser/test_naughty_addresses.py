"""Every naughty string as a part of an address and in every filter, counted: it is only ever text."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, urlencode

from playwright.sync_api import Page

from tests.browser.naughty_kit import STRINGS, Account, look, look_at_all
from tests.browser.samples import Site
from tests.browser.watched import Watch

PARTS = {
    "path": "/{}",
    "token": "/auth/link?token={}",
    "next": "/sign-in?next={}",
    "find": "/find?id={}",
    "run": "/workspace-runs/{}",
    "file": "/workspace-runs/{}/log",
}
FILTERS = {
    "/workspace-runs": ("q", "meta", "project", "status", "from", "to", "since", "before", "after"),
    "/artifacts": ("q", "project", "from", "to", "since", "before", "after"),
    "/sandboxes": ("q", "meta", "project", "status", "before", "after"),
    "/usage": ("range", "project"),
    "/log": ("before", "project"),
    "/keys": ("cursor", "limit", "project"),
}


def test_parts_of_an_address(page: Page, watched: Watch) -> None:
    """As an id, a path, the token of a link, and where a sign-in leads on."""
    watched.expect("status of 4[0-9][0-9]")
    account = Account()
    look(page, "/workspace-runs")
    for part, form in PARTS.items():
        look_at_all(page, [form.format(quote(text, safe="")) for text in STRINGS])
        account.passed(part, STRINGS)
    account.close(*PARTS)


def test_every_filter_of_every_page(page: Page, site: Site, watched: Watch) -> None:
    """What is not a filter is refused with a page; what is one is shown."""
    watched.expect("status of 4[0-9][0-9]")
    account = Account()
    site.create("true")
    look(page, "/workspace-runs")
    for path, names in FILTERS.items():
        queries = [_rotated(names, number) for number in range(len(STRINGS))]
        look_at_all(page, [f"{path}?{urlencode(query)}" for query in queries])
        for name in names:
            account.passed(f"{path} {name}", [query[name] for query in queries])
    account.close(*(f"{path} {name}" for path, names in FILTERS.items() for name in names))


def _rotated(names: Sequence[str], number: int) -> dict[str, str]:
    """A string for each filter; over all numbers every filter is given every string."""
    return {name: STRINGS[(number + place) % len(STRINGS)] for place, name in enumerate(names)}
