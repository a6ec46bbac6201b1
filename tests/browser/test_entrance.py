"""Signing in and out, and the frame of every page, in a real browser."""

import re

from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.samples import Site
from tests.browser.watched import Watch


def test_a_person_signs_in_with_a_key_and_comes_to_where_they_wanted(stranger: Page, site: Site) -> None:
    """The form is reached by itself, and leads on."""
    stranger.goto("/workspace-runs?status=failed")
    expect(stranger).to_have_title("Sign in · CrowNest")
    stranger.get_by_label("API key", exact=True).fill(site.key)
    stranger.get_by_role("button", name="Sign in").click()
    expect(stranger).to_have_url(re.compile("/workspace-runs\\?status=failed$"))
    expect(stranger.get_by_role("heading", name="Runs", level=1)).to_be_visible()


def test_a_wrong_key_is_said_beside_the_field(stranger: Page, watched: Watch) -> None:
    """And what was typed can be shown."""
    watched.expect("status of 401")
    stranger.goto("/sign-in")
    field = stranger.get_by_label("API key", exact=True)
    field.fill("cn_live_wrong")
    stranger.get_by_role("button", name="Show key").click()
    expect(field).to_have_attribute("type", "text")
    stranger.get_by_role("button", name="Sign in").click()
    expect(stranger.get_by_role("alert")).to_have_text("This API key is unknown or revoked.")
    expect(stranger.get_by_label("API key", exact=True)).to_be_focused()


def test_signing_out_ends_the_session(page: Page, context: BrowserContext) -> None:
    """Going back shows the sign-in, not the page."""
    page.goto("/workspace-runs")
    page.locator("summary", has_text="Signed in as").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile("/sign-in$"))
    page.go_back()
    expect(page).to_have_url(re.compile("/sign-in"))


def test_the_theme_is_kept_and_painted_at_once(page: Page) -> None:
    """System, light, dark, and around."""
    page.goto("/workspace-runs")
    button = page.get_by_role("button", name="Theme")
    for theme in ("light", "dark"):
        button.click()
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    button.click()
    assert page.locator("html").get_attribute("data-theme") is None


def test_times_are_shown_in_the_form_that_was_chosen(page: Page, site: Site) -> None:
    """On every page from then on, also before a script ran."""
    run_id = site.create("true")
    page.goto("/workspace-runs")
    expect(page.locator("main time").first).to_have_text(re.compile("ago$|^now$"))
    forms = page.get_by_role("group", name="Show times as")
    forms.get_by_role("radio", name="UTC").check()
    expect(page.locator("main time").first).to_have_text(re.compile("UTC$"))
    page.goto(f"/workspace-runs/{run_id}")
    expect(page.locator("main time").first).to_have_text(re.compile("UTC$"))
    forms.get_by_role("radio", name="Local").check()
    expect(page.locator("main time").first).not_to_have_text(re.compile("UTC$|ago$"))


def test_keys_are_listed_and_can_be_switched_off(page: Page) -> None:
    """With a question mark, and by the mouse in any case."""
    page.goto("/workspace-runs")
    dialog = page.get_by_role("dialog", name="Keyboard")
    page.keyboard.press("?")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Single keys work outside fields").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(dialog).not_to_be_visible()
    page.get_by_role("button", name="keys").click()
    dialog.get_by_label("Single keys work outside fields").check()


def test_menus_close_with_escape_and_elsewhere(page: Page) -> None:
    """And give the focus back."""
    page.goto("/workspace-runs")
    summary = page.locator("summary", has_text="Signed in as")
    summary.click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Sign out")).not_to_be_visible()
    expect(summary).to_be_focused()
    summary.click()
    page.locator("h1").click()
    expect(page.get_by_role("button", name="Sign out")).not_to_be_visible()
