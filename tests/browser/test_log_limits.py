"""The limits of the log page, made small: reaching one is said where it happens, and nothing breaks."""

from __future__ import annotations

import re

from playwright.sync_api import Page, Route, expect

from tests.browser.log_kit import Log, err, out, record
from tests.browser.samples import Site

LIMITS = re.compile(r"/log/limits\.js")
SAID = "This page holds no more output. The lines after this point are in the raw download."


def limit(page: Page, name: str, value: int) -> None:
    """Let the page and its worker have another limit from the next visit on."""

    def alter(route: Route) -> None:
        answer = route.fetch()
        text, found = re.subn(rf"(export const {name} =) [^;]+;", rf"\1 {value};", answer.text())
        assert found == 1, f"there is no limit called {name}"
        route.fulfill(response=answer, body=text)

    page.context.route(LIMITS, alter)


def test_lines_beyond_the_most_that_are_kept_are_left_to_the_raw_download(page: Page, site: Site) -> None:
    """The row that says so stands where they would be; what happens to the run is shown on, to its end."""
    limit(page, "LINES_MAX", 40)
    run = record(site.http, *[out(f"line {n}\n") for n in range(1, 101)], err("a warning\n"))
    log = Log(page).open(run.run_id)
    expect(page.get_by_text(SAID)).to_be_in_viewport()
    assert "line 36\nline 37\n" in log.copied()
    kept = log.copied().splitlines()
    assert kept == [f"line {n}" for n in range(1, len(kept) + 1)]
    run.write(out("late\n"))
    run.finish()
    expect(log.status).to_have_text("Complete")
    expect(page.get_by_text("Evidence written, record sealed")).to_be_in_viewport()
    expect(page.get_by_text(SAID)).to_have_count(1)
    assert log.copied().splitlines() == kept
    raw = page.evaluate("(id) => fetch(`/workspace-runs/${id}/log`).then((one) => one.text())", run.run_id)
    assert raw == run.output()
    log.scroller.press("ArrowLeft")
    expect(page.locator("#asof")).to_be_visible()
    expect(page.get_by_text(SAID)).to_have_count(1)


def test_bytes_beyond_the_most_that_are_kept_are_left_to_the_raw_download(page: Page, site: Site) -> None:
    """Even in the middle of a line."""
    limit(page, "OUTPUT_BYTES_MAX", 1_000)
    run = record(site.http, out("begun "), out("x" * 900), out("y" * 200), err("z" * 200))
    log = Log(page).open(run.run_id)
    expect(page.get_by_text(SAID)).to_have_count(1)
    expect(log.rows).to_have_count(1)
    assert log.copied() == "begun " + "x" * 900 + "\n"
    run.finish()
    expect(log.status).to_have_text("Complete")


def test_hits_beyond_the_most_that_are_counted_are_said_to_be_more(page: Page, site: Site) -> None:
    """Behind the last one that is counted comes the first, also while lines are added."""
    limit(page, "SEARCH_HITS_MAX", 10)
    run = record(site.http, *[out(f"needle {n} needle\n") for n in range(1, 31)])
    log = Log(page).open(run.run_id)
    page.keyboard.press("g")
    expect(log.text(1)).to_be_in_viewport()
    page.keyboard.press("/")
    page.keyboard.type("needle")
    hits = page.locator("#log .hits")
    expect(hits).to_have_text("1 of first 10")
    page.keyboard.press("Shift+Enter")
    expect(hits).to_have_text("10 of first 10")
    expect(log.line(5).locator('mark[aria-current="true"]')).to_have_count(1)
    run.write(out("one more needle\n"))
    expect(log.line(31).locator("mark")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(hits).to_have_text("1 of first 10")


def test_what_is_too_much_to_copy_is_copied_from_its_end(page: Page, site: Site) -> None:
    """How many lines it was is said, and where the others are; of a line that is too long it is the end."""
    limit(page, "COPY_BYTES_MAX", 100)
    run = record(site.http, *[out(f"line {n:04}\n") for n in range(1, 41)])
    log = Log(page).open(run.run_id)
    assert log.copied() == "".join(f"line {n:04}\n" for n in range(31, 41))
    expect(page.locator("[data-say]")).to_have_text("Copied the last 10 lines; the raw download has all")
    run.write(out("a" * 80 + "b" * 70 + "\n"), out("end\n"))
    expect(log.text(42)).to_have_text("end")
    assert log.copied() == "a" * 26 + "b" * 70 + "\nend\n"


def test_of_a_long_line_its_beginning_is_shown_and_how_much_is_left_out(page: Page, site: Site) -> None:
    """No character is cut in two; of a line that rewrites itself it is what it says now."""
    limit(page, "LINE_BYTES_SHOWN_MAX", 64)
    progress = "".join(f"\r{n:3} % of everything" for n in range(1, 101))
    run = record(site.http, out("é" * 31 + "x漢字" + "y" * 36 + "\n"), out(progress + "\n"), out("short\n"))
    log = Log(page).open(run.run_id)
    expect(log.text(1)).to_have_text("é" * 31 + "x" + "41 B more of this line are in the raw download")
    expect(log.text(2)).to_have_text(re.compile("^100 % of everything rewritten"))
    expect(log.text(3)).to_have_text("short")
    page.keyboard.press("/")
    page.keyboard.type("yyyy")
    expect(page.locator("#log .hits")).to_have_text("1 of 9")
    expect(log.line(1)).to_be_in_viewport()
