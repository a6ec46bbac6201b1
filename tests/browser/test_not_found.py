"""What a person sees at an address where nothing is."""

import re

from playwright.sync_api import Page, expect

from tests.browser.samples import Site
from tests.browser.watched import Watch


def test_a_cut_off_run_id_is_explained_and_can_be_mended(page: Page, site: Site, watched: Watch) -> None:
    """By the field that looks up an id."""
    watched.expect("status of 404")
    run_id = site.create("true")
    page.goto(f"/workspace-runs/{run_id[:14]}")
    expect(page.get_by_role("heading", name="No run with this id here")).to_be_visible()
    expect(page.get_by_text("is 10 characters long after")).to_be_visible()
    page.get_by_label("Look up an id").fill(run_id)
    page.get_by_role("button", name="Find").click()
    expect(page).to_have_url(re.compile(f"/workspace-runs/{run_id}$"))


def test_an_unknown_address_says_so_signed_in_or_not(page: Page, stranger: Page, watched: Watch) -> None:
    """And what is in it is only text."""
    watched.expect("status of 404")
    page.goto("/nowhere/<img src=x onerror=alert(1)>")
    expect(page.get_by_role("heading", name="Nothing is at this address")).to_be_visible()
    expect(page.get_by_role("navigation", name="Main")).to_be_visible()
    page.goto("/find?id=<script>alert(1)</script>")
    expect(page.get_by_text("404")).to_be_visible()


def test_a_stranger_is_offered_to_sign_in(stranger: Page, watched: Watch) -> None:
    """With nothing of anybody's in the page."""
    watched.expect("status of 404")
    stranger.goto("/nowhere")
    expect(stranger.get_by_role("link", name="Sign in")).to_be_visible()
    expect(stranger.get_by_role("navigation", name="Main")).to_have_count(0)
