"""A browser and a server to drive with it: what tests and screenshots share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from tests.requires import chromium_path

ACTION_MS_MAX = 30_000
"""How long a page may take to do or show what a test waits for: a slow machine is only slow."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium, headless, until the block ends."""
    expect.set_options(timeout=ACTION_MS_MAX)  # it waits 5 s by itself, whatever a context's timeout is
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path(),
            args=["--no-sandbox"],  # as root, as in containers, its own sandbox cannot start
        )
        try:
            yield browser
        finally:
            browser.close()


def new_context(
    browser: Browser, url: str, *, width: int = 1440, height: int = 900, theme: str = "light"
) -> BrowserContext:
    """A fresh profile of this window size, for the server at `url`."""
    context = browser.new_context(
        base_url=url,
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        timezone_id="Europe/Berlin",
        locale="en-GB",
        reduced_motion="reduce",
    )
    context.set_default_timeout(ACTION_MS_MAX)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    return context


def sign_in(context: BrowserContext, key: str) -> None:
    """Sign the profile in with an API key, without the form: its test is another."""
    answer = context.request.post(
        "/sign-in", form={"key": key}, headers={"sec-fetch-site": "same-origin"}, max_redirects=0
    )
    assert answer.status == 303, answer.text()
