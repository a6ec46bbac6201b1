"""One-time links in a real browser: the one that the server prints, and fresh ones of the command line."""

import re
import subprocess
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser.driven import new_context
from tests.browser.watched import watch
from tests.cli.cli_runner import CROWNEST, THIS_CODE
from tests.cli.real_server import serving


def test_a_newcomer_opens_the_printed_link_and_is_in(browser: Browser, tmp_path: Path) -> None:
    """The second time it says how to get another, which works as well; also after a restart."""
    with serving(tmp_path) as server:
        context = new_context(browser, server.url)
        watched = watch(context, server.url)
        watched.expect("status of 410")
        page = context.new_page()
        page.goto(server.link)
        expect(page).to_have_url(f"{server.url}/workspace-runs")
        expect(page.locator("summary", has_text="Signed in as")).to_contain_text("first key")
        page.goto(server.link)
        expect(page.get_by_role("heading", name="Not signed in")).to_be_visible()
        expect(page.get_by_text("crownest dashboard")).to_be_visible()
        env = {**THIS_CODE, **server.env()}
        made = subprocess.run([CROWNEST, "dashboard"], env=env, capture_output=True, text=True, check=True)
        other = new_context(browser, server.url)
        theirs = other.new_page()
        theirs.goto(made.stdout.strip())
        expect(theirs).to_have_url(re.compile("/workspace-runs$"))
        other.close()
        assert watched.problems == []
        context.close()
    with serving(tmp_path) as again:
        context = new_context(browser, again.url)
        page = context.new_page()
        page.goto(again.link)
        expect(page).to_have_url(f"{again.url}/workspace-runs")
        context.close()
