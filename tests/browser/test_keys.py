"""API keys and projects in a real browser: made, used, revoked."""

import re

import httpx2
from playwright.sync_api import Browser, Page, expect

from tests.browser.driven import new_context, sign_in
from tests.browser.samples import Site
from tests.browser.watched import Watch


def test_a_key_is_made_shown_once_and_works(page: Page, site: Site) -> None:
    """With the scopes that were ticked, for the project that was chosen."""
    page.goto("/keys")
    page.get_by_role("button", name="Create a key").click()
    dialog = page.get_by_role("dialog", name="Create an API key")
    dialog.get_by_label("Name").fill("nightly")
    for box in dialog.get_by_role("checkbox").all():
        box.set_checked(box.get_attribute("value") == "workspace_run:read")
    dialog.get_by_label("Project").select_option(label="default")
    dialog.get_by_role("button", name="Create", exact=True).click()
    secret = dialog.locator("[data-secret-text]")
    expect(secret).to_have_text(re.compile("^cn_live_[0-9a-f]{64}$"))
    key = secret.inner_text()
    dialog.get_by_role("button", name="Copy key").click()
    assert page.evaluate("navigator.clipboard.readText()") == key
    headers = {"authorization": f"Bearer {key}"}
    assert httpx2.get(f"{site.url}/v1/workspace-runs", headers=headers).status_code == 200
    refused = httpx2.post(f"{site.url}/v1/workspace-runs", json={"command": "true"}, headers=headers)
    assert refused.status_code == 403
    dialog.get_by_role("button", name="It is stored").click()
    row = page.get_by_role("row", name=re.compile("nightly"))
    expect(row).to_contain_text("workspace_run:read")
    expect(row).to_contain_text("default")
    assert key not in page.content()


def test_what_the_server_refuses_is_said_in_the_dialog(page: Page, site: Site, watched: Watch) -> None:
    """And nothing is made."""
    watched.expect("status of 400")
    page.goto("/keys")
    page.get_by_role("button", name="Create a key").click()
    dialog = page.get_by_role("dialog", name="Create an API key")
    dialog.get_by_label("Name").fill("no scopes")
    for box in dialog.get_by_role("checkbox").all():
        box.set_checked(False)
    before = len(site.http.get("/v1/api-keys").json()["data"])
    dialog.get_by_role("button", name="Create", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("scopes")
    assert len(site.http.get("/v1/api-keys").json()["data"]) == before


def test_revoking_asks_first_and_ends_the_sessions_of_the_key(
    browser: Browser, page: Page, site: Site
) -> None:
    """The quiet answer has the focus; afterwards the key and its browsers are out."""
    body = {"name": "doomed", "scopes": ["workspace_run:read"]}
    made = site.http.post("/v1/api-keys", json=body).json()
    other = new_context(browser, site.url)
    sign_in(other, made["secret"])
    theirs = other.new_page()
    theirs.goto("/workspace-runs")
    page.goto("/keys")
    revoke = page.get_by_role("button", name="Revoke doomed")
    revoke.click()
    question = page.get_by_role("dialog", name="Revoke doomed")
    expect(question.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(question).not_to_be_visible()
    assert "revokedAt" not in site.http.get(f"/v1/api-keys/{made['apiKey']['id']}").json()["apiKey"]
    revoke.click()
    question.get_by_role("button", name="Revoke the key").click()
    expect(page.get_by_role("row", name=re.compile("doomed"))).to_contain_text("Revoked")
    theirs.goto("/workspace-runs")
    expect(theirs).to_have_url(re.compile("/sign-in"))
    other.close()


def test_a_project_is_made_and_chosen_in_the_top_bar(page: Page, site: Site) -> None:
    """The choice goes along to the other pages."""
    page.goto("/keys")
    page.get_by_role("button", name="Create a project").click()
    dialog = page.get_by_role("dialog", name="Create a project")
    dialog.get_by_label("Name").fill("ledger")
    dialog.get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_role("link", name="ledger").last).to_be_visible()
    page.locator("summary", has_text="Project:").click()
    page.get_by_role("navigation", name="Project").get_by_role("link", name="ledger").click()
    expect(page).to_have_url(re.compile(r"\?project=prj_"))
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Runs").click()
    expect(page).to_have_url(re.compile(r"/workspace-runs\?project=prj_"))


def test_who_may_not_list_keys_is_told_what_is_missing(browser: Browser, site: Site) -> None:
    """And sees the projects all the same."""
    body = {"name": "reader", "scopes": ["workspace_run:read"]}
    context = new_context(browser, site.url)
    sign_in(context, site.http.post("/v1/api-keys", json=body).json()["secret"])
    page = context.new_page()
    page.goto("/keys")
    expect(page.get_by_text("api_key:read")).to_be_visible()
    expect(page.get_by_role("button", name="Create a key")).not_to_be_visible()
    expect(page.get_by_role("cell", name="default")).to_be_visible()
    context.close()
