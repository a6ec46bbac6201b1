"""Finding a place in the log: search, links to lines and events, the failure, and the way out of the page."""

import re

from playwright.sync_api import Page, expect

from tests.browser.log_kit import Log, Recording, err, out, record
from tests.browser.samples import Site

FILLER = 400


def long_run(site: Site) -> Recording:
    """400 lines, three of them with needles, one of those in colours and one on stderr."""
    lines = [out(f"line {n} of the log\n") for n in range(1, FILLER + 1)]
    lines[49] = out("a Need\x1b[31mle\x1b[0m in colours\n")
    lines[199] = err("needle needle\n")
    lines[399] = out("the last NEEDLE İ needle\n")
    return record(site.http, *lines)


def test_the_search_finds_marks_and_steps(page: Page, site: Site) -> None:
    """Through colours, whatever the case, in lines that come later, and back to the start behind the end."""
    run = long_run(site)
    log = Log(page).open(run.run_id)
    page.keyboard.press("g")
    expect(log.text(1)).to_be_in_viewport()
    page.keyboard.press("/")
    page.keyboard.type("needle")
    hits = page.locator("#log .hits")
    expect(hits).to_have_text("1 of 5")
    current = page.locator('#log mark[aria-current="true"]')
    expect(current).to_have_text("Needle")
    expect(current).to_be_in_viewport()
    expect(log.line(50).locator("mark .a1")).to_have_text("le")
    page.keyboard.press("Enter")
    expect(hits).to_have_text("2 of 5")
    expect(log.line(200).locator("mark")).to_have_count(2)
    page.keyboard.press("Enter")
    expect(hits).to_have_text("3 of 5")
    expect(log.line(200).locator("mark").nth(1)).to_have_attribute("aria-current", "true")
    page.keyboard.press("Shift+Enter")
    expect(hits).to_have_text("2 of 5")
    page.get_by_role("button", name="Previous match").click()
    page.keyboard.press("N")
    expect(hits).to_have_text("5 of 5")
    expect(log.line(400).locator("mark")).to_have_text(["NEEDLE", "needle"])
    page.keyboard.press("n")
    expect(hits).to_have_text("1 of 5")
    for key in "nnnnnNN":  # quicker than one is shown: none is lost
        page.keyboard.press(key)
    expect(hits).to_have_text("4 of 5")
    run.write(out("one more needle\n"))
    expect(hits).to_have_text("4 of 6")


def test_a_search_follows_the_streams_that_are_seen_and_ends_with_escape(page: Page, site: Site) -> None:
    """What is not there is said; an empty field marks nothing."""
    Log(page).open(long_run(site).run_id)
    page.keyboard.press("/")
    page.keyboard.type("needle")
    hits = page.locator("#log .hits")
    expect(hits).to_have_text(re.compile("of 5$"))
    page.get_by_role("button", name=re.compile("^stdout")).click()
    expect(hits).to_have_text(re.compile("of 2$"))
    field = page.get_by_label("Search in the log")
    field.fill("not there")
    expect(hits).to_have_text("no match")
    field.press("Escape")
    expect(field).to_have_value("")
    expect(hits).to_have_text("")
    expect(page.locator("#log mark")).to_have_count(0)


def test_a_link_to_a_line_opens_there_and_is_made_by_a_click(page: Page, site: Site) -> None:
    """The line is marked, stays put while lines are added, and the address names it."""
    run = long_run(site)
    log = Log(page).open(run.run_id, "#L123")
    expect(log.line(123)).to_be_in_viewport()
    expect(log.line(123)).to_have_class(re.compile("ln--at"))
    place = log.line(123).bounding_box()
    run.write(*[out(f"more {n}\n") for n in range(50)])
    expect(log.status).to_have_text("50 new lines, follow again")
    assert log.line(123).bounding_box() == place
    log.line(125).get_by_role("link").click()
    expect(page).to_have_url(re.compile("#L125$"))
    expect(log.line(125)).to_have_class(re.compile("ln--at"))
    expect(log.line(125).get_by_role("link")).to_be_focused()
    assert log.line(123).bounding_box() == place
    page.keyboard.press("y")
    assert page.evaluate("() => navigator.clipboard.readText()") == page.url


def test_a_link_to_an_event_opens_where_it_is(page: Page, site: Site) -> None:
    """By both forms; a line that is not there yet is waited for, one that never comes is said."""
    run = long_run(site)
    seq = next(event["seq"] for event in run.events() if event.get("data") == "line 300 of the log\n")
    for place in (f"#seq-{seq}", f"#S{seq}"):
        log = Log(page).open(run.run_id, place)
        expect(log.line(300)).to_be_in_viewport()
        expect(log.line(300)).to_have_class(re.compile("ln--at"))
        page.goto("/workspace-runs")
    log = Log(page).open(run.run_id, "#L402")
    run.write(out("line 401\nline 402\n"))
    expect(log.line(402)).to_be_in_viewport()
    expect(log.line(402)).to_have_class(re.compile("ln--at"))
    page.goto("/workspace-runs")
    log = Log(page).open(run.run_id, "#L5000")
    run.finish()
    expect(log.status).to_have_text("This log has no line 5,000.")
    page.goto("/workspace-runs")
    log = Log(page).open(run.run_id, "#L402")
    expect(log.line(402)).to_be_in_viewport()
    expect(log.status).to_have_text("Complete")


def test_the_failure_is_one_key_away(page: Page, site: Site) -> None:
    """The line that says so, though others speak of errors; a hidden stream is shown for it."""
    lines = [out(f"0 errors in file {n}\n") for n in range(1, 201)]
    lines[119] = err("src/money.c:214:17: error: expected ';'\n")
    run = record(site.http, *lines)
    log = Log(page).open(run.run_id)
    expect(page.get_by_role("button", name="Jump to failure")).to_be_hidden()
    run.finish(1)
    page.get_by_role("button", name=re.compile("^stderr")).click()
    page.get_by_role("button", name="Jump to failure").click()
    expect(log.line(120)).to_be_in_viewport()
    expect(log.line(120)).to_have_class(re.compile("ln--at"))
    expect(page).to_have_url(re.compile("#L120$"))
    page.keyboard.press("G")
    expect(log.line(120)).not_to_be_in_viewport()
    page.keyboard.press("e")
    expect(log.line(120)).to_be_in_viewport()


def test_the_raw_log_is_downloaded(page: Page, site: Site) -> None:
    """The bytes that the command wrote, under the run's name."""
    run = long_run(site)
    Log(page).open(run.run_id)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download raw log").click()
    assert download.value.suggested_filename == f"{run.run_id}.log"
    assert download.value.path().read_bytes() == run.output().encode()


def test_what_a_search_finds_moves_nothing_on_a_phone(page: Page, site: Site) -> None:
    """It stands where the other tools were, which are back when the search is over."""
    page.set_viewport_size({"width": 360, "height": 780})
    log = Log(page).open(record(site.http, *[out(f"line {n}\n") for n in range(1, 101)]).run_id)
    expect(log.line(100)).to_be_visible()
    before = log.scroller.bounding_box()
    field = page.get_by_label("Search in the log")
    field.fill("line")
    expect(page.locator("#log .hits")).to_have_text(re.compile("of 100$"))
    assert log.scroller.bounding_box() == before
    page.get_by_role("button", name="Next match").click()
    field.fill("")
    expect(page.get_by_role("button", name="stderr")).to_be_visible()
    assert log.scroller.bounding_box() == before


def test_the_log_works_on_a_phone(page: Page, site: Site) -> None:
    """Wrapped, without times, nothing wider than the window, and followed."""
    page.set_viewport_size({"width": 360, "height": 780})
    run = record(
        site.http, *[out(f"line {n} " + "of words that do not fit " * 4 + "\n") for n in range(1, 101)]
    )
    log = Log(page).open(run.run_id)
    expect(log.line(100)).to_be_visible()
    expect(log.line(100).locator("time")).to_be_hidden()
    assert (log.line(100).bounding_box() or {})["height"] > 40
    assert page.evaluate("() => document.documentElement.scrollWidth") == 360
    log.scroller.evaluate("(log) => log.scrollBy(0, -2000)")
    again = page.locator("#log .again")
    expect(again).to_have_text("Follow again")
    before = log.visible()[1]
    place = log.line(int(before)).bounding_box()
    run.write(out("new\n"))
    expect(again).to_have_text("1 new line, follow again")
    assert log.line(int(before)).bounding_box() == place
    again.click()
    expect(log.line(101)).to_be_in_viewport()


def test_lines_are_walked_by_keys(page: Page, site: Site) -> None:
    """`j` and `k` mark line after line, as a click does, and the log moves only as far as it must."""
    log = Log(page).open(long_run(site).run_id)
    marked = page.locator("#log .ln--at")
    page.keyboard.press("g")
    expect(log.text(1)).to_be_in_viewport()
    page.keyboard.press("j")
    first = marked.inner_text()
    colours = "(rows) => rows.map((row) => getComputedStyle(row).backgroundColor)"
    assert (
        marked.evaluate_all(colours) != page.locator("#log .ln--sys:not(.ln--at)").evaluate_all(colours)[:1]
    )
    page.keyboard.press("j")
    expect(marked).not_to_have_text(first)
    page.keyboard.press("k")
    page.keyboard.press("k")
    assert marked.inner_text() == first
    page.evaluate("() => { location.hash = '#L100'; }")
    expect(log.line(100)).to_be_in_viewport()
    before = log.visible()
    for number in range(101, int(before[-1]) + 3):
        page.keyboard.press("j")
        expect(marked).to_have_attribute("data-line", str(number))
    assert int(log.visible()[-1]) == int(before[-1]) + 2
    page.keyboard.press("y")
    expect(page).to_have_url(re.compile(rf"#L{int(before[-1]) + 2}$"))
    page.keyboard.press("G")
    page.keyboard.press("k")
    expect(log.line(FILLER)).to_have_class(re.compile("ln--at"))
    expect(log.status).to_have_text("Follow again")


def test_arrows_scroll_the_log_by_a_line_when_it_has_the_focus(page: Page, site: Site) -> None:
    """Elsewhere they are the browser's; the help lists them."""
    log = Log(page).open(long_run(site).run_id)
    page.evaluate("() => { location.hash = '#L100'; }")
    expect(log.line(100)).to_be_in_viewport()
    top = int(log.visible()[0])
    page.keyboard.press("ArrowDown")
    assert int(log.visible()[0]) == top
    log.scroller.focus()
    for _ in range(5):
        page.keyboard.press("ArrowDown")
    assert int(log.visible()[0]) == top + 5
    for _ in range(3):
        page.keyboard.press("ArrowUp")
    assert int(log.visible()[0]) == top + 2
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_contain_text("scroll the log by a line")


def test_a_place_among_wrapped_lines_is_shown_though_those_above_are_higher_than_supposed(
    page: Page, site: Site
) -> None:
    """On a phone, where every line takes several: by search, by link and by line."""
    lines = [out(f"line {n} " + "goes on and on " * 12 + "\n") for n in range(1, FILLER + 1)]
    run = record(site.http, *lines)
    page.set_viewport_size({"width": 360, "height": 780})
    log = Log(page).open(run.run_id, "#L100")
    expect(log.line(100)).to_be_in_viewport(ratio=1)
    for number in (300, 200, 390):
        page.get_by_label("Search in the log").fill(f"line {number} ")
        expect(page.locator("#log mark")).to_be_in_viewport(ratio=1)
    page.get_by_label("Search in the log").fill("")
    log.scroller.press("k")
    before = int(page.locator("#log .ln--at").get_attribute("data-line") or 0)
    for number in range(before - 1, before - 8, -1):
        page.keyboard.press("k")
        expect(log.line(number)).to_have_class(re.compile("ln--at"))
        expect(log.line(number)).to_be_in_viewport(ratio=1)
