"""The log of a run that goes on: shown from its first line, followed, left, and followed again."""

import re

from playwright.sync_api import Page, expect

from tests.browser.log_kit import Log, err, out, raw, record
from tests.browser.samples import Site


def test_a_live_run_is_shown_from_line_one_though_it_was_opened_late(page: Page, site: Site) -> None:
    """What was printed before is there, what comes is added, and its end closes the log."""
    run = record(site.http, *[out(f"early {n}\n") for n in range(1, 301)])
    log = Log(page).open(run.run_id)
    expect(log.status).to_have_text("Following")
    expect(log.text(300)).to_have_text("early 300")
    run.write(out("late 301\n"), out("late 3"))
    expect(log.text(301)).to_have_text("late 301")
    run.write(out("02\n"))
    expect(log.text(302)).to_have_text("late 302")
    page.keyboard.press("g")
    expect(log.text(1)).to_be_in_viewport()
    expect(log.text(1)).to_have_text("early 1")
    run.finish()
    expect(log.status).to_have_text("Complete")
    page.keyboard.press("G")
    expect(page.get_by_text("Evidence written, record sealed")).to_be_in_viewport()
    assert log.copied() == run.output()


def test_scrolling_up_stops_following_and_what_is_read_keeps_its_place(page: Page, site: Site) -> None:
    """New lines are counted below, and the way back is offered."""
    run = record(site.http, *[out(f"line {n}\n") for n in range(1, 201)])
    log = Log(page).open(run.run_id)
    expect(log.text(200)).to_be_in_viewport()
    log.wheel(-800)
    expect(log.status).to_have_text("Follow again")
    before = log.visible()
    place = log.line(int(before[5])).bounding_box()
    run.write(*[out(f"more {n}\n") for n in range(1, 39)])
    expect(log.status).to_have_text("38 new lines, follow again")
    assert log.visible() == before
    assert log.line(int(before[5])).bounding_box() == place
    log.status.get_by_role("button").click()
    expect(log.text(238)).to_be_in_viewport()
    expect(log.status).to_have_text("Following")
    run.write(out("last\n"))
    expect(log.text(239)).to_be_in_viewport()


def test_each_stream_can_be_left_out(page: Page, site: Site) -> None:
    """Line numbers stay what they are; the first line of a stretch of stderr says so."""
    run = record(site.http, out("one\n"), err("two\nthree\n"), out("four\n"), err("five\n"))
    log = Log(page).open(run.run_id)
    expect(log.rows).to_have_count(5)
    assert log.line(2).get_attribute("class") == "ln ln--err ln--first"
    assert log.line(3).get_attribute("class") == "ln ln--err"
    stdout = page.get_by_role("button", name=re.compile("^stdout"))
    stderr = page.get_by_role("button", name=re.compile("^stderr"))
    expect(stdout).to_have_text(re.compile("2$"))
    expect(stderr).to_have_text(re.compile("3$"))
    stdout.click()
    expect(log.rows).to_have_text([re.compile("two"), re.compile("three"), re.compile("five")])
    assert log.copied() == "two\nthree\nfive\n"
    run.write(out("six\n"), err("seven\n"))
    expect(log.line(7)).to_be_visible()
    expect(log.line(6)).to_have_count(0)
    page.keyboard.press("2")
    expect(log.rows).to_have_count(0)
    page.keyboard.press("1")
    expect(log.rows).to_have_text([re.compile("one"), re.compile("four"), re.compile("six")])
    expect(stdout).to_have_attribute("aria-pressed", "true")
    expect(stderr).to_have_attribute("aria-pressed", "false")


def test_an_unfinished_line_is_shown_and_goes_on_where_it_began(page: Page, site: Site) -> None:
    """Also when the other stream writes in between, and when it rewrites itself."""
    run = record(site.http, out("building "), err("warning\n"), out("... "))
    log = Log(page).open(run.run_id)
    expect(log.text(1)).to_have_text("building ... ")
    run.write(out("done\n10%\r20"))
    expect(log.text(1)).to_have_text("building ... done")
    expect(log.text(3)).to_have_text(re.compile("^20% rewritten 1 time"))
    run.write(out("%\r30%\r"))
    expect(log.text(3)).to_have_text(re.compile("^20% rewritten 1 time|^30% rewritten 2 times"))
    run.write(out("\x1b[Kready\n"))
    expect(log.text(3)).to_have_text("ready rewritten 3 times")


def test_what_is_not_text_is_named_and_what_was_removed_is_said(page: Page, site: Site) -> None:
    """Bytes, controls, and a redaction."""
    secret = out("the secret\n")
    run = record(site.http, raw(b"bytes \xff\xfe end\n"), secret, out("bell \x07 clear \x1b[2J\n"))
    run.finish(1)
    site.wait_for(run.run_id, "failed")
    seq = next(event["seq"] for event in run.events() if event.get("data") == "the secret\n")
    body = {"targets": [seq], "reason": "leaked"}
    redacted = site.http.post(f"/v1/workspace-runs/{run.run_id}/redactions", json=body)
    assert redacted.status_code == 201
    log = Log(page).open(run.run_id)
    expect(log.line(1).locator(".esc")).to_have_text("FF FE")
    expect(log.text(1)).to_have_text("bytes FF FE end")
    expect(log.text(2)).to_have_text(f"Text of event {seq} was removed from the record")
    expect(log.line(3).locator(".esc")).to_have_text(["BEL", "ESC"])
    expect(log.text(3)).to_have_text("bell BEL clear ESC[2J")
    expect(page.get_by_text("Command ended with exit code 1")).to_be_visible()


def test_choices_of_the_reader_stay(page: Page, site: Site) -> None:
    """Wrapped lines and times, over pages."""
    run = record(site.http, out("x" * 2000 + "\n"), out("short\n"))
    log = Log(page).open(run.run_id)
    assert (log.line(1).bounding_box() or {})["height"] < 30
    page.keyboard.press("w")
    page.keyboard.press("t")
    expect(log.line(1).locator("time")).to_be_hidden()
    assert (log.line(1).bounding_box() or {})["height"] > 60
    page.reload()
    expect(log.line(1).locator("time")).to_be_hidden()
    assert (log.line(1).bounding_box() or {})["height"] > 60
    expect(page.get_by_role("button", name="Wrap lines")).to_have_attribute("aria-pressed", "true")
