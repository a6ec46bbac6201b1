"""Photographs every page at both widths in both themes: `python -m tests.browser.screenshots`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import httpx2
from playwright.sync_api import Browser

from tests.browser.driven import chromium, new_context, sign_in
from tests.browser.pages import PAGES, Shown
from tests.browser.samples import FINISH_S_MAX, Site, fill
from tests.browser.watched import settled, watch
from tests.cli.real_server import serving

WIDTHS = {1440: 1000, 360: 740}
THEMES = ("light", "dark")
SETTLE_MS = 400
"""Fonts and plots are drawn, and what streams has begun."""


def photograph(browser: Browser, site: Site, shown: Shown, folder: Path) -> list[str]:
    """The page's pictures; what went wrong on it."""
    problems: list[str] = []
    for width, height in WIDTHS.items():
        for theme in THEMES:
            context = new_context(browser, site.url, width=width, height=height, theme=theme)
            watched = watch(context, site.url)
            if shown.expected:
                watched.expect(shown.expected)
            if shown.signed_in:
                sign_in(context, site.key)
            page = context.new_page()
            page.goto(shown.path(site))
            settled(page)
            shown.prepare(page)
            page.wait_for_timeout(SETTLE_MS)
            page.screenshot(path=folder / f"{shown.name}-{width}-{theme}.png")
            wide = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            if wide > 0:
                problems.append(f"{shown.name} at {width}: scrolls sideways by {wide} px")
            problems += [f"{shown.name} at {width}: {one}" for one in watched.problems]
            context.close()
    return problems


def main() -> int:
    """Exit code 1 when a page had a problem, which is printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("screenshots"))
    parser.add_argument("--only", default="", help="pages whose name contains this")
    chosen = parser.parse_args()
    chosen.out.mkdir(exist_ok=True)
    problems: list[str] = []
    signing_in = {"CROWNEST_SIGN_IN__ATTEMPTS_PER_MINUTE": "0"}  # each picture is a browser of its own
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), **signing_in) as server,
        chromium() as browser,
    ):
        headers = {"authorization": f"Bearer {server.key}"}
        with httpx2.Client(base_url=server.url, headers=headers, timeout=FINISH_S_MAX) as http:
            site = Site(server.url, server.key, http)
            pages = [shown for shown in PAGES if chosen.only in shown.name]
            for shown in (one for one in pages if one.empty):
                problems += photograph(browser, site, shown, chosen.out)
            fill(site)
            for shown in (one for one in pages if not one.empty):
                problems += photograph(browser, site, shown, chosen.out)
            site.cancel(site.ids["running"])
    print(f"{len(pages)} pages, {len(WIDTHS) * len(THEMES)} pictures each, in {chosen.out}/")
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
