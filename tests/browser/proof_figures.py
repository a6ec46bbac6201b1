"""Figures of the check in the browser: `python -m tests.browser.proof_figures [--output-mib 256]`.

A real server holds a recorded run of so many output events of so many bytes, and a real Chromium verifies it
from the run's page, in a fresh profile each round. Printed are the time that the panel tells, and the most
memory that the browser's page processes took meanwhile, beyond what they took before. Only this machine is
asked.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import httpx2
from playwright.sync_api import Browser, Page

from tests.browser.driven import chromium, new_context, sign_in
from tests.browser.figures import machine, renderers_mib
from tests.browser.log_kit import Recording, out
from tests.browser.proof_panel import open_panel
from tests.browser.samples import Site
from tests.cli.real_server import serving

EVENTS_MAX, BYTES_MAX, ROUNDS_MAX = 1_000_000, 64 * 1024, 20
BATCH_EVENTS, BATCH_BYTES = 500, 512 * 1024
LOOK_MS = 100
CHECK_S_MAX = 600.0


def main(arguments: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="tests.browser.proof_figures")
    parser.add_argument("--events", type=int, default=100_000, metavar="N")
    parser.add_argument("--bytes", type=int, default=200, metavar="N")
    parser.add_argument(
        "--output-mib", type=int, metavar="N", help="so much output, in events of 64 KiB, in place of both"
    )
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    if given.output_mib is not None:
        given.events, given.bytes = given.output_mib * (1024 * 1024 // BYTES_MAX), BYTES_MAX
    limits = ((given.events, EVENTS_MAX), (given.bytes, BYTES_MAX), (given.rounds, ROUNDS_MAX))
    if not all(0 < value <= most for value, most in limits):
        parser.error(f"at most {EVENTS_MAX:,} events of {BYTES_MAX:,} bytes, in {ROUNDS_MAX} rounds")
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server, chromium() as browser:
        headers = {"authorization": f"Bearer {server.key}"}
        with httpx2.Client(base_url=server.url, headers=headers, timeout=CHECK_S_MAX) as http:
            site = Site(server.url, server.key, http)
            print(machine(browser))
            run_id = record(site, given.events, given.bytes)
            for number in range(given.rounds):
                print(f"round {number + 1}: {one_round(browser, site, run_id)}")


def record(site: Site, events: int, size: int) -> str:
    """A recorded run of so much output, finished."""
    recording = Recording(site.http, site.create("make figures", template="external"))
    batch = max(1, min(BATCH_EVENTS, BATCH_BYTES // size))
    for start in range(0, events, batch):
        many = range(start, min(events, start + batch))
        recording.write(*(out(f"{number:>{size - 1}}\n") for number in many))
    recording.finish()
    return recording.run_id


def one_round(browser: Browser, site: Site, run_id: str) -> str:
    """One check, in words."""
    context = new_context(browser, site.url)
    sign_in(context, site.key)
    page = context.new_page()
    panel = open_panel(page, run_id)
    wait_for_log(page)
    before = peak = renderers_mib(browser)
    panel.button.click()
    deadline = time.monotonic() + CHECK_S_MAX
    while panel.state == "checking" and time.monotonic() < deadline:
        page.wait_for_timeout(LOOK_MS)
        peak = max(peak, renderers_mib(browser))
    words = panel.section.locator(".verdict p span").inner_text()
    title = panel.title.inner_text()
    context.close()
    return f"{title}. {words} Memory: at most {peak - before:.0f} MiB more."


def wait_for_log(page: Page) -> None:
    """Until the log of the page is read, which would take its part of the machine."""
    page.locator("[data-log-status]", has_text="Complete").wait_for(timeout=CHECK_S_MAX * 1000)


if __name__ == "__main__":
    main(sys.argv[1:])
