"""axe-core looks at every page, wide and narrow, light and dark, and finds nothing serious."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from tests.browser.driven import new_context, sign_in
from tests.browser.pages import PAGES, Shown
from tests.browser.samples import Site, fill
from tests.browser.watched import settled

SERIOUS = {"serious", "critical"}


@pytest.fixture(scope="module")
def filled(site: Site) -> Iterator[Site]:
    """A site with runs of every kind."""
    fill(site)
    yield site
    site.cancel(site.ids["running"])


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (1440, "dark"), (360, "light"), (360, "dark")])
@pytest.mark.parametrize("shown", [one for one in PAGES if not one.empty], ids=lambda one: one.name)
def test_a_page_has_no_serious_fault(
    browser: Browser, filled: Site, shown: Shown, width: int, theme: str
) -> None:
    """By its rules, in the state that the table of pages names."""
    context = new_context(browser, filled.url, width=width, theme=theme)
    if shown.signed_in:
        sign_in(context, filled.key)
    page = context.new_page()
    page.goto(shown.path(filled))
    settled(page)
    shown.prepare(page)
    found = Axe().run(page).response["violations"]
    context.close()
    serious = [
        f"{one['id']}: {one['help']}: {[node['html'] for node in one['nodes']]}"
        for one in found
        if one["impact"] in SERIOUS
    ]
    assert serious == []
