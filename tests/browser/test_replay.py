"""Replay: at every event exactly what was there, by slider, keys and play, and the way back."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.samples import Site
from tests.browser.test_run_page import open_run

STEPS = """
import sys, time
for n in range(30):
    print(f"out {n}", flush=True)
    if n % 7 == 0: print(f"err {n}", file=sys.stderr, flush=True)
    time.sleep(0.08)
time.sleep(2.5)
print("after the silence", flush=True)
sys.exit(4)
"""


@pytest.fixture(scope="module")
def ended(site: Site) -> str:
    """A run that printed, was silent, printed again, and failed."""
    return site.run("python3 steps.py", {"steps.py": STEPS.encode()}, metadata={"repo": "acme/ledger"})


def events_of(site: Site, run_id: str) -> list[dict[str, Any]]:
    """All public events."""
    found: list[dict[str, Any]] = site.http.get(f"/v1/workspace-runs/{run_id}/events?limit=500").json()[
        "data"
    ]
    return found


def lines_until(events: list[dict[str, Any]], seq: int) -> list[str]:
    """What the log held when event `seq` was the last one."""
    shown: list[str] = []
    for event in events[:seq]:
        if event["type"] in {"stdout", "stderr"}:
            shown += event["data"].splitlines()
    return shown


def shown_lines(page: Page) -> list[str]:
    """The lines on the page, in order; the run is short enough for all of them to be in the document."""
    lines = page.locator("#log .ln:not(.ln--sys) > code")
    return [text.rstrip("\n") for text in lines.all_inner_texts()]


def at(page: Page, seq: int, head: int) -> None:
    """Wait until the page stands at this event."""
    expect(page.locator("#asof [data-as-of-seq]")).to_have_text(str(seq))
    expect(page.locator("#asof [data-head]")).to_have_text(str(head))


def loaded(page: Page, run_id: str, query: str = "") -> None:
    """Open the run's page and wait for the whole log."""
    page.set_viewport_size({"width": 1440, "height": 1400})
    open_run(page, run_id, query)
    if not query:
        expect(page.get_by_text("after the silence", exact=True)).to_be_visible()


def test_at_an_event_it_shows_exactly_what_was_there(site: Site, page: Page, ended: str) -> None:
    """Lines, status, phases, evidence and counts, at every kind of event; nothing of what came later."""
    events = events_of(site, ended)
    head = len(events)
    outputs = [event["seq"] for event in events if event["type"] in {"stdout", "stderr"}]
    states = {event["seq"]: event["status"] for event in events if event["type"] == "status"}
    words = {
        "awaiting_archive": "Waiting for archive",
        "archive_uploaded": "Ready to start",
        "starting": "Starting",
        "extracting": "Unpacking",
        "running": "Running",
        "collecting": "Collecting",
    }
    for seq in (1, outputs[0] - 1, outputs[0], outputs[11], outputs[-2], outputs[-1], outputs[-1] + 1):
        loaded(page, ended, f"?seq={seq}")
        at(page, seq, head)
        state = next(states[one] for one in range(seq, 0, -1) if one in states)
        expect(page.locator("#run-status")).to_have_text(words[state])
        expect(page.locator("#asof")).to_contain_text(f"{events[seq - 1]['createdAt'][11:23]} UTC")
        expect(page.locator("#asof")).to_contain_text("It later failed with exit 4.")
        wanted = lines_until(events, seq)
        expect(page.locator("#log .ln:not(.ln--sys)")).to_have_count(len(wanted))
        assert shown_lines(page) == wanted
        expect(page.locator("#evidence")).to_contain_text("Finishednot known yet")
        expect(page.locator("#evidence")).to_contain_text(f"as it was at seq {seq}")
        stdout = sum(len(event["data"]) for event in events[:seq] if event["type"] == "stdout")
        expect(page.locator("[data-output]")).to_contain_text(f"stdout {stdout} B")
        expect(page.locator("#proof-chip")).to_contain_text("Open")


def test_the_keys_of_the_readme(site: Site, page: Page, ended: str) -> None:
    """Arrows go event by event, with Shift ten; Escape leaves; the address follows."""
    head = len(events_of(site, ended))
    loaded(page, ended)
    page.locator("body").press("ArrowLeft")
    at(page, head - 1, head)
    expect(page).to_have_url(re.compile(rf"\?seq={head - 1}$"))
    page.keyboard.press("Shift+ArrowLeft")
    at(page, head - 11, head)
    page.keyboard.press("ArrowRight")
    at(page, head - 10, head)
    for _ in range(6):  # as fast as a key repeats
        page.keyboard.press("ArrowLeft")
    at(page, head - 16, head)
    page.keyboard.press(".")
    expect(page.locator("[data-speed]")).to_have_value("8")
    page.keyboard.press(",")
    page.keyboard.press(",")
    expect(page.locator("[data-speed]")).to_have_value("2")
    page.keyboard.press("Escape")
    expect(page.locator("#asof")).to_be_hidden()
    expect(page.locator("#run-status")).to_have_text("Failed, exit 4")
    expect(page.get_by_text("after the silence", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile(r"/workspace-runs/wsr_\w+$"))


def test_space_and_arrows_work_the_control_that_has_the_focus(site: Site, page: Page, ended: str) -> None:
    """They are keys of replay everywhere else."""
    loaded(page, ended)
    page.locator("#again summary").focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("heading", name="Run again")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="Run again")).to_be_hidden()
    page.get_by_role("radio", name="Time", exact=True).focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Seq")).to_be_checked()
    expect(page.locator("#asof")).to_be_hidden()
    page.locator("#log .log").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#asof")).to_be_visible()


@pytest.mark.parametrize("width", [1440, 360])
def test_the_proof_panel_says_that_it_speaks_of_the_whole_record(
    site: Site, page: Page, ended: str, width: int
) -> None:
    """While the past is shown, also by a link to it; what was checked stays."""
    page.set_viewport_size({"width": width, "height": 900})
    open_run(page, ended, "?seq=5")
    said = page.get_by_text("The whole record, not the moment shown in the replay.")
    expect(said).to_be_visible()
    page.locator("body").press("v")
    expect(page.locator("#proof")).to_contain_text("events and the seal are as recorded")
    expect(said).to_be_visible()
    page.locator("[data-leave-replay]").click()
    expect(said).to_be_hidden()
    expect(page.locator("#proof")).to_contain_text("events and the seal are as recorded")
    page.locator("[data-first]").click()
    expect(said).to_be_visible()


def test_the_slider_is_one_for_keyboards_and_readers(site: Site, page: Page, ended: str) -> None:
    """A real range field with words for where it stands, over time and over events."""
    head = len(events_of(site, ended))
    loaded(page, ended)
    slider = page.get_by_role("slider", name="Position in the run")
    expect(slider).to_have_attribute("aria-valuetext", f"at the end, seq {head}")
    slider.focus()
    page.keyboard.press("Home")
    at(page, 1, head)
    expect(slider).to_have_attribute("aria-valuetext", "0:00.0, seq 1")
    page.keyboard.press("PageUp")
    at(page, 11, head)
    page.get_by_role("radio", name="Seq").check()
    expect(slider).to_have_attribute("max", str(head))
    expect(slider).to_have_value("11")
    slider.focus()
    page.keyboard.press("ArrowUp")
    expect(slider).to_have_value("12")
    at(page, 12, head)
    page.keyboard.press("End")
    expect(page.locator("#asof")).to_be_hidden()


def test_the_slider_is_dragged(site: Site, page: Page, ended: str) -> None:
    """The log follows the handle, back and forth, and nothing is left behind."""
    events = events_of(site, ended)
    loaded(page, ended)
    box = page.locator("[data-position]").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] - 7, middle)
    page.mouse.down()
    for share in (0.8, 0.3, 0.5, 0.2, 0.25):
        page.mouse.move(box["x"] + box["width"] * share, middle, steps=4)
    page.mouse.up()
    expect(page.locator("#asof")).to_be_visible()
    expect(page).to_have_url(re.compile(r"\?seq=\d+$"))
    seq = int(page.url.rpartition("=")[2])
    assert 1 < seq < len(events)
    wanted = lines_until(events, seq)
    expect(page.locator("#log .ln:not(.ln--sys)")).to_have_count(len(wanted))
    assert shown_lines(page) == wanted


def test_play_goes_to_the_end_and_skips_idle_stretches(site: Site, page: Page, ended: str) -> None:
    """From the start, in the order of the events, past the silence, into the present."""
    loaded(page, ended)
    page.evaluate("""() => {
      [window.seen, window.names] = [[], new Set()];
      document.addEventListener("as-of", ({ detail }) => {
        window.seen.push(detail && detail.seq);
        window.names.add(document.querySelector("[data-play]").getAttribute("aria-label"));
      });
    }""")
    page.locator("[data-speed]").select_option("16")
    page.locator("[data-first]").focus()
    page.locator("#log .log").focus()
    page.keyboard.press("Space")
    page.wait_for_function("() => window.seen.at(-1) === null")
    assert set(page.evaluate("[...window.names]")) == {"Pause", "Play the run at its recorded pace"}
    expect(page.locator("#asof")).to_be_hidden()
    seen = page.evaluate("window.seen")
    assert seen[0] == 1
    assert seen[-1] is None
    assert seen[:-1] == sorted(seen[:-1])
    expect(page.locator("#run-status")).to_have_text("Failed, exit 4")


def test_a_pause_keeps_the_moment(site: Site, page: Page, ended: str) -> None:
    """And a link to it shows the same to somebody else."""
    events = events_of(site, ended)
    loaded(page, ended)
    page.locator("[data-speed]").select_option("1")  # slow, so that it still plays when it is to pause
    page.locator("[data-skip-idle]").uncheck()
    page.get_by_role("button", name="Play the run at its recorded pace").click()
    expect(page.get_by_text("out 5", exact=True)).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page).to_have_url(re.compile(r"\?seq=\d+$"))
    seq = int(page.url.rpartition("=")[2])
    wanted = lines_until(events, seq)
    expect(page.locator("#log .ln:not(.ln--sys)")).to_have_count(len(wanted))
    other = page.context.new_page()
    other.set_viewport_size({"width": 1440, "height": 1400})
    other.goto(page.url)
    at(other, seq, len(events))
    expect(other.locator("#log .ln:not(.ln--sys)")).to_have_count(len(wanted))
    assert shown_lines(other) == wanted


def test_a_run_that_goes_on_can_be_replayed_and_followed_again(site: Site, page: Page) -> None:
    """The past stands still while the present grows behind it."""
    run_id = site.start("for n in $(seq 1 1000); do echo tick $n; sleep 0.1; done")
    site.wait_for(run_id, "running")
    open_run(page, run_id)
    ticks = page.locator("#log .ln", has_text=re.compile("tick"))
    expect(ticks.nth(4)).to_be_visible()
    page.locator("[data-first]").click()
    expect(page.locator("#run-status")).to_have_text("Waiting for archive")
    before = int(page.locator("#asof [data-head]").inner_text())
    expect(page.locator("#asof [data-head]")).not_to_have_text(str(before))
    expect(page.locator("#asof [data-as-of-seq]")).to_have_text("1")
    expect(page.locator("#asof")).to_contain_text("It went on after that.")
    assert shown_lines(page) == []
    page.get_by_role("link", name="Back to the end").click()
    expect(page.locator("#run-status")).to_have_text("Running")
    expect(ticks.nth(19)).to_be_visible()
    site.cancel(run_id)
    expect(page.locator("#run-status")).to_have_text("Canceled")
