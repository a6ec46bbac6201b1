"""Cancel from the page: asked first, told what became of it, and said when it comes too late."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.samples import Site
from tests.browser.test_run_page import open_run
from tests.browser.watched import Watch
from tests.recording_kit import PRODUCER

FOREVER = "echo begun; sleep 600"


def ask(page: Page) -> None:
    """Open the question."""
    page.locator("#cancel summary").click()
    expect(page.get_by_role("heading", name="Cancel this run?")).to_be_visible()


def test_a_run_is_canceled_through_the_page(site: Site, page: Page) -> None:
    """After a question that says what stays; the page shows the end by itself."""
    run_id = site.start(FOREVER)
    site.wait_for(run_id, "running")
    open_run(page, run_id)
    expect(page.locator("#log").get_by_text("begun")).to_be_visible()
    ask(page)
    expect(page.locator("#cancel")).to_contain_text("Everything recorded so far stays")
    expect(page.locator("#cancel")).to_contain_text("Artifacts are not collected")
    page.get_by_role("button", name="Keep it running").click()
    expect(page.get_by_role("heading", name="Cancel this run?")).to_be_hidden()
    assert site.status(run_id) == "running"
    ask(page)
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.locator("#run-status")).to_have_text("Canceled")
    expect(page.locator("#cancel-notice")).to_contain_text("Cancel was asked for.")
    expect(page.locator(".phases li.wide")).to_have_attribute("data-state", "stop")
    expect(page.locator("#evidence")).to_contain_text("Canceled by")
    assert site.status(run_id) == "canceled"


def test_escape_is_the_safe_answer(site: Site, page: Page) -> None:
    """It closes the question, and the focus goes back to where it was opened."""
    run_id = site.create("true")
    open_run(page, run_id)
    page.locator("#cancel summary").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#cancel")).to_contain_text("It has not started, and will not.")
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="Cancel this run?")).to_be_hidden()
    expect(page.locator("#cancel summary")).to_be_focused()
    assert site.status(run_id) == "awaiting_archive"
    ask(page)
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.locator("#run-status")).to_have_text("Canceled")


def test_a_cancel_that_comes_too_late_says_so(site: Site, page: Page) -> None:
    """With how and when the run had ended; the page does not pretend."""
    run_id = site.create("true")
    page.route("**/events?*", lambda route: route.abort())  # the page does not hear of the end
    page.goto(f"/workspace-runs/{run_id}")
    ask(page)
    site.upload_and_start(run_id)
    site.wait_for(run_id, "succeeded")
    page.get_by_role("button", name="Cancel the run").click()
    notice = page.locator("#cancel-notice")
    expect(notice).to_contain_text("This run could not be canceled. It had already ended with exit code 0")
    expect(notice.locator("time")).to_have_count(1)
    assert site.status(run_id) == "succeeded"


def test_a_cancel_that_is_refused_says_why(site: Site, page: Page, watched: Watch) -> None:
    """A reader's key may not, and the run goes on."""
    made = site.http.post("/v1/api-keys", json={"name": "reader", "scopes": ["workspace_run:read"]})
    run_id = site.create("true")
    page.context.clear_cookies()
    page.context.request.post(
        "/sign-in", form={"key": made.json()["secret"]}, headers={"sec-fetch-site": "same-origin"}
    )
    watched.expect("status of 403")
    open_run(page, run_id)
    ask(page)
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.locator("#cancel-notice")).to_contain_text("This run was not canceled. This needs the scope")
    assert site.status(run_id) == "awaiting_archive"


def test_a_recorded_run_says_who_is_told(site: Site, page: Page) -> None:
    """Nobody here can stop its command: its producer hears of it."""
    run_id = site.create("make", template="external")
    path = f"/v1/workspace-runs/{run_id}/events"
    event = {"type": "stdout", "data": "begun\n"}
    site.http.post(path, json={"producerId": PRODUCER, "number": 1, "events": [event]})
    open_run(page, run_id)
    expect(page.locator("#log").get_by_text("begun")).to_be_visible()
    ask(page)
    expect(page.locator("#cancel")).to_contain_text("its producer is told")
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.locator("#run-status")).to_have_text("Canceled")
    expect(page.locator("#cancel-notice")).to_contain_text("This run is canceled.")
