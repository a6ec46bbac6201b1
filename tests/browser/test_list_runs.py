"""The live list of runs in a real browser: it stays as it is while runs come and go; its address leads it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.samples import Site

PLACES = """
() => [...document.querySelectorAll("tr[data-row]")].map((row) => {
  const { top, height } = row.getBoundingClientRect();
  return [row.dataset.row, Math.round(top), Math.round(height)];
})
"""
SHIFTS = """
() => {
  window.shifts = [];
  const told = ({ node, previousRect: from, currentRect: to }) =>
    `${node?.className || node?.textContent} ${[from.x, from.y, from.width]} to ${[to.x, to.y, to.width]}`;
  const keep = (shift) => window.shifts.push(shift.sources.map(told));
  const observer = new PerformanceObserver((list) => list.getEntries().forEach(keep));
  observer.observe({ type: "layout-shift", buffered: false });
}
"""
HIDDEN_MS = 60_000


def ids(page: Page) -> list[str]:
    """The runs that are shown, in order."""
    return [place[0] for place in page.evaluate(PLACES)]


@pytest.fixture
def place(site: Site) -> str:
    """A project of the test's own."""
    made = site.http.post("/v1/projects", json={"name": "test"})
    project: str = made.json()["project"]["id"]
    return project


@pytest.mark.parametrize("width", [1440, 360])
def test_rows_change_where_they_are_and_new_runs_wait(page: Page, site: Site, place: str, width: int) -> None:
    """Status, last line, exit code and proof come into places that were free for them; nothing moves."""
    page.set_viewport_size({"width": width, "height": 900})
    run = site.start("echo on its way; while [ ! -e go ]; do sleep 0.1; done; exit 3", projectId=place)
    site.wait_for(run, "running")
    page.goto(f"/workspace-runs?project={place}")
    row = page.locator(f"tr[data-row={run}]")
    expect(row.locator(".d-st")).to_contain_text("Running")
    expect(row.locator(".live-line")).to_contain_text("on its way")
    expect(row.locator("[data-since]")).to_have_text(re.compile(r"^\d:\d\d$"))
    before = page.evaluate(PLACES)
    page.evaluate(SHIFTS)
    row.locator("a.go").focus()
    site.cancel(run)
    others = [site.create(f"echo {number}", projectId=place) for number in range(2)]
    expect(row.locator(".d-st")).to_contain_text("Canceled")
    expect(row.locator(".d-proof")).to_contain_text("Verified")
    newer = page.get_by_role("link", name="2 new runs. Show them")
    expect(newer).to_be_visible()
    expect(page.locator("[data-tabs] a[aria-current]")).to_contain_text("3")
    assert [one[:2] for one in page.evaluate(PLACES)] == [one[:2] for one in before]
    assert width == 360 or page.evaluate(PLACES) == before
    assert width == 360 or page.evaluate("window.shifts") == []
    assert row.locator("a.go").evaluate("(link) => link === document.activeElement")
    newer.click()
    expect(page.locator("tr[data-row]")).to_have_count(3)
    assert ids(page) == [*reversed(others), run]


def test_the_first_run_shows_up_where_there_was_none(page: Page, site: Site, place: str) -> None:
    """The empty page says how a run is started, and notices when one is."""
    page.goto(f"/workspace-runs?project={place}")
    expect(page.get_by_role("heading", name="No runs in this project yet")).to_be_visible()
    run = site.create("echo first", projectId=place)
    page.get_by_role("link", name="1 new run. Show it").click()
    assert ids(page) == [run]


def test_filters_lie_in_the_address(page: Page, site: Site, place: str) -> None:
    """A choice takes effect at once, text with Enter, a chip takes its filter away, and back is back."""
    one = site.create("make alpha", projectId=place, metadata={"repo": "acme/a"})
    two = site.create("make beta", projectId=place, metadata={"repo": "acme/b"})
    site.cancel(two)
    page.goto(f"/workspace-runs?project={place}")
    page.get_by_label("Status", exact=True).select_option("canceled")
    page.wait_for_url(f"**/workspace-runs?project={place}&status=canceled")
    assert ids(page) == [two]
    page.keyboard.press("/")
    page.keyboard.type("alpha")
    page.keyboard.press("Enter")
    page.wait_for_url("**&q=alpha&status=canceled")
    expect(page.get_by_role("heading", name="No run matches these filters")).to_be_visible()
    page.get_by_label("Status", exact=True).select_option("")
    page.wait_for_url(f"**/workspace-runs?project={place}&q=alpha")
    assert ids(page) == [one]
    page.get_by_role("link", name="Remove filter text alpha").click()
    page.wait_for_url(f"**/workspace-runs?project={place}")
    assert ids(page) == [two, one]
    page.locator("summary", has_text="More").click()
    page.get_by_label("Metadata").fill("repo=acme/a")
    page.keyboard.press("Enter")
    page.wait_for_url("**&meta=repo%3Dacme%2Fa")
    assert ids(page) == [one]
    page.go_back()
    page.wait_for_url(f"**/workspace-runs?project={place}")
    assert ids(page) == [two, one]


def test_pages_go_forth_and_back(page: Page, site: Site, place: str) -> None:
    """Fifty runs a page; the same ones on the way back."""
    made = [site.create(f"echo {number}", projectId=place) for number in range(60)]
    page.goto(f"/workspace-runs?project={place}")
    first = ids(page)
    assert first == made[:9:-1]
    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**&before=*")
    assert ids(page) == made[9::-1]
    expect(page.get_by_role("link", name="Older")).to_have_count(0)
    page.get_by_role("link", name="Newer").click()
    page.wait_for_url("**&after=*")
    assert ids(page) == first


def test_rows_are_walked_and_opened_by_keys(page: Page, site: Site, place: str) -> None:
    """`j` and `k` move, Enter opens."""
    made = [site.create(f"echo {number}", projectId=place) for number in range(3)]
    page.goto(f"/workspace-runs?project={place}")
    focused = "document.activeElement.closest('tr')?.dataset.row"
    for key, wanted in (("j", made[2]), ("j", made[1]), ("j", made[0]), ("j", made[0]), ("k", made[1])):
        page.keyboard.press(key)
        assert page.evaluate(focused) == wanted
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/workspace-runs/{made[1]}")


def test_a_hidden_tab_asks_nothing(page: Page, site: Site, place: str) -> None:
    """And is up to date as soon as it is seen again; a server that changed nothing answers 304."""
    run = site.create("echo 1", projectId=place)
    asked: list[str] = []
    page.on("request", lambda request: "/updates?" in request.url and asked.append(request.url))
    page.clock.install()
    page.goto(f"/workspace-runs?project={place}")
    with page.expect_response(lambda answer: answer.status == 304 and "/updates?" in answer.url):
        expect(page.locator("[data-connection]")).to_have_text("Live")
    hide = (
        "(hidden) => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }"
    )
    page.evaluate(hide, True)  # the argument of a script
    asked.clear()
    site.cancel(run)
    page.clock.pause_at(page.evaluate("Date.now()") + HIDDEN_MS)
    page.evaluate("() => fetch(location.href)")  # whatever was asked before it is known after it
    assert asked == []
    page.evaluate(hide, False)  # the argument of a script
    expect(page.locator(f"tr[data-row={run}] .d-st")).to_contain_text("Canceled")


def test_a_row_without_source_begins_each_of_its_lines_at_the_left(
    page: Page, site: Site, place: str
) -> None:
    """On a phone, where a row is a block: nothing stands alone at the right."""
    site.create("echo with", projectId=place, metadata={"repository": "acme/a"})
    site.create("echo without", projectId=place)
    page.set_viewport_size({"width": 360, "height": 900})
    page.goto(f"/workspace-runs?project={place}")
    expect(page.locator("tr[data-row]")).to_have_count(2)
    without, with_source = page.locator("tr[data-row]").all()
    left = without.locator(".d-run").bounding_box()
    run = without.locator(".d-id").bounding_box()
    source = with_source.locator(".d-src").bounding_box()
    assert left is not None
    assert run is not None
    assert source is not None
    assert run["x"] == left["x"] == source["x"]


@pytest.mark.parametrize("width", [1440, 360])
def test_the_list_says_which_text_is_searched(page: Page, site: Site, place: str, width: int) -> None:
    """Beside the field, and to those who hear the page; what is said is true of metadata and of output."""
    run = site.run("echo said by the command", projectId=place, metadata={"team": "payments"})
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"/workspace-runs?project={place}&q=payments")
    assert ids(page) == [run]
    expect(page.get_by_text("not in output")).to_be_in_viewport()
    expect(page.get_by_role("searchbox", name="Search")).to_have_accessible_description(
        re.compile("not in output")
    )
    page.goto(f"/workspace-runs?project={place}&q=nothing+said")
    expect(page.get_by_role("heading", name="No run matches these filters")).to_be_visible()
