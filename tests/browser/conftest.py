"""A real `crownest serve`, a real Chromium, and a page of it in which nothing may go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.driven import chromium, new_context, sign_in
from tests.browser.judged import PageVerifier
from tests.browser.samples import FINISH_S_MAX, Site
from tests.browser.watched import Watch, watch
from tests.cli.real_server import serving
from tests.requires import need


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests; they skip where there is none."""
    need("chromium")
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One server for the module, empty at first; see `tests.browser.samples` for what can be made on it."""
    folder: Path = tmp_path_factory.mktemp("site")
    with serving(folder, CROWNEST_SIGN_IN__ATTEMPTS_PER_MINUTE="0") as server:  # each test signs in
        headers = {"authorization": f"Bearer {server.key}"}
        with httpx2.Client(base_url=server.url, headers=headers, timeout=FINISH_S_MAX) as http:
            yield Site(server.url, server.key, http)


@pytest.fixture
def context(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    """A fresh profile, signed out."""
    made = new_context(browser, site.url)
    yield made
    made.close()


@pytest.fixture
def watched(context: BrowserContext, site: Site) -> Iterator[Watch]:
    """Sees console errors, policy violations, dialogs and foreign requests; at the end there must be none."""
    one = watch(context, site.url)
    yield one
    assert one.problems == []


@pytest.fixture
def stranger(context: BrowserContext, watched: Watch) -> Page:
    """A page of a browser that is signed out."""
    return context.new_page()


@pytest.fixture
def page(context: BrowserContext, watched: Watch, site: Site) -> Page:
    """A page of a browser that is signed in with the first key."""
    sign_in(context, site.key)
    return context.new_page()


@pytest.fixture(scope="module")
def verifier(browser: Browser, site: Site) -> Iterator[PageVerifier]:
    """The modules of the proof panel, in one page for the whole module; its console stays empty too."""
    context = new_context(browser, site.url)
    seen = watch(context, site.url)
    page = context.new_page()
    page.goto("/sign-in")
    yield PageVerifier(page)
    context.close()
    assert seen.problems == []
