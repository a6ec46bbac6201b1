"""Many tabs: a hidden one holds no connection, and eight that are seen do not starve each other."""

import re

from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.driven import sign_in
from tests.browser.log_kit import Log, out, record
from tests.browser.samples import Site
from tests.browser.watched import Watch

SHOW = """
(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}
"""
TABS = 8


def test_a_hidden_tab_closes_its_stream_and_goes_on_when_it_is_seen(page: Page, site: Site) -> None:
    """What came meanwhile is there, nothing twice."""
    run = record(site.http, out("before\n"))
    log = Log(page).open(run.run_id)
    expect(log.status).to_have_text("Following")
    with page.expect_event("requestfailed", lambda request: "stream=true" in request.url):
        page.evaluate(SHOW, True)
    expect(log.status).to_have_text(re.compile("^Paused at event 4 while hidden"))
    run.write(out("meanwhile\n"))
    page.wait_for_timeout(300)
    expect(log.rows).to_have_count(1)
    page.evaluate(SHOW, False)
    expect(log.status).to_have_text("Following")
    expect(log.rows).to_have_count(2)
    run.write(out("after\n"))
    expect(log.rows).to_have_count(3)
    assert log.copied() == "before\nmeanwhile\nafter\n"


def test_a_stream_ends_with_the_run(page: Page, site: Site) -> None:
    """And with nothing more to come, nothing more is asked."""
    run = record(site.http, out("one\n"))
    run.finish()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/events" in request.url else None)
    log = Log(page).open(run.run_id)
    expect(log.status).to_have_text("Complete")
    page.wait_for_timeout(2_000)
    assert len(asked) == 1
    page.evaluate(SHOW, True)
    page.evaluate(SHOW, False)
    page.wait_for_timeout(500)
    expect(log.status).to_have_text("Complete")
    assert len(asked) == 1


def test_eight_tabs_follow_one_server_and_more_can_be_asked(
    context: BrowserContext, watched: Watch, site: Site
) -> None:
    """A browser has six connections to a host: the tabs leave some of them free."""
    sign_in(context, site.key)
    runs = [record(site.http, out(f"run {n}\n")) for n in range(TABS)]
    logs = [Log(context.new_page()).open(run.run_id) for run in runs]
    for log in logs:
        expect(log.status).to_have_text("Following")
    for number, run in enumerate(runs):
        run.write(out(f"news of {number}\n"))
    for number, log in enumerate(logs):
        expect(log.text(2)).to_have_text(f"news of {number}")
    extra = context.new_page()
    extra.goto("/workspace-runs")
    answer = extra.evaluate("() => fetch('/v1/workspace-runs?limit=1').then((answer) => answer.status)")
    assert answer == 200
    for run in runs:
        run.finish()
    for log in logs:
        expect(log.status).to_have_text("Complete")
    assert watched.problems == []
