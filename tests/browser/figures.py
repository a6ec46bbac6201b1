"""Figures of the log view: `python -m tests.browser.figures [--lines 50000 1000000] [--rounds 3]`.

A real server runs a command that prints so many lines in colours, some of them on stderr, and a real Chromium
opens the run's page anew in every round. Printed are the median and the worst of the rounds. Only this
machine is asked. What the browser takes to paint one line of the same server is printed beside them.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.driven import chromium, new_context, sign_in
from tests.browser.log_kit import Log
from tests.browser.samples import FINISH_S_MAX, Site
from tests.cli.real_server import serving

LINES = (50_000, 1_000_000)
LINES_MAX = 2_000_000
ROUNDS_MAX = 20
SHOWN_S_MAX = 120.0
SCROLL_MS = 3_000
SETTLE_MS = 1_000
"""Before a visit: what the browser does about the profile before it is no part of what is measured."""
PRINTER = b"""
import sys
for n in range(int(sys.argv[1])):
    if n % 40 == 17:
        sys.stdout.flush()
        sys.stderr.write(f"WARN  payments: account acct_{n} is frozen, {n % 7} payouts held\\n")
        sys.stderr.flush()
    else:
        sys.stdout.write(
            f" \\x1b[32mok\\x1b[39m \\x1b[2mtest/\\x1b[22mledger/postings.spec.ts \\x1b[2m>\\x1b[22m "
            f"refuses entry {n} that does not balance \\x1b[2m{n % 97}ms\\x1b[22m\\n"
        )
"""
OBSERVE = """
globalThis.figures = { longTasks: [], firstMs: null, endMs: null };
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) figures.longTasks.push(entry.duration);
}).observe({ type: "longtask", buffered: true });
// Heard when something changes: asking in every frame, and from outside, would take part in what is measured.
figures.ended = new Promise((resolve) => {
  const lookAt = () => {
    if (document.querySelector("#log .ln[data-line]")) {
      if (figures.firstMs === null) requestAnimationFrame(() => (figures.firstMs = performance.now()));
      figures.firstMs ??= 0;
    }
    if (document.querySelector("[data-log-status]")?.textContent !== "Complete") return;
    const last = [...document.querySelectorAll("#log .ln--sys")].at(-1)?.textContent ?? "";
    if (!last.includes("record sealed")) return;
    changes.disconnect();
    requestAnimationFrame(() => resolve((figures.endMs = performance.now())));
  };
  const changes = new MutationObserver(lookAt);
  changes.observe(document, { childList: true, subtree: true });
});
"""
PAINTED = """
() => new Promise((resolve) => {
  new PerformanceObserver((list) => {
    for (const { name, startTime } of list.getEntriesByType("paint")) {
      if (name === "first-contentful-paint") resolve(startTime);
    }
  }).observe({ type: "paint", buffered: true });
})
"""
SCROLL = """
async ([pxPerFrame, ms]) => {
  const log = document.querySelector("#log .log");
  const channel = new MessageChannel();
  // A message that is sent in a frame is heard when the frame was drawn: what is there then, the reader sees.
  const drawn = () => new Promise((resolve) => {
    channel.port1.onmessage = resolve;
    channel.port2.postMessage(null);
  });
  const frames = [];
  let [blank, still, shown] = [0, 0, ""];
  let before = await new Promise(requestAnimationFrame);
  const end = before + ms;
  const isAtEnd = () => log.scrollTop + log.clientHeight >= log.scrollHeight - 1;
  while (before < end && !isAtEnd()) {
    log.scrollTop += pxPerFrame;
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - before);
    before = now;
    await drawn();
    const box = log.getBoundingClientRect();
    const seen = document.elementFromPoint(box.x + 40, box.y + box.height / 2);
    const row = seen?.closest(".ln[data-line], .sys");
    if (!row) blank += 1;
    else if (row.dataset.seq + row.dataset.line === shown) still += 1;
    shown = row ? row.dataset.seq + row.dataset.line : "";
  }
  frames.sort((a, b) => a - b);
  const at = (share) => frames[Math.min(frames.length - 1, Math.floor(frames.length * share))];
  const [blankShare, stillShare] = [blank / frames.length, still / frames.length];
  return { p50: at(0.5), p95: at(0.95), worst: at(1), blank: blankShare, still: stillShare };
}
"""
READ = """
async ([runId, how]) => {
  const path = `/v1/workspace-runs/${runId}/events`;
  const began = performance.now();
  const read = async (url, accept) => {
    const answer = await fetch(url, { headers: { accept }, cache: "no-store" });
    const body = answer.body.getReader();
    while (!(await body.read()).done);
  };
  if (how === "ndjson") await read(path, "application/x-ndjson");
  else if (how === "sse") await read(`${path}?stream=true`, "text/event-stream");
  else {
    for (let after = 0, more = true; more; ) {
      const page = await (await fetch(`${path}?limit=500&afterSeq=${after}`)).json();
      [after, more] = [page.nextSeq, page.hasMore];
    }
  }
  return performance.now() - began;
}
"""


def main(arguments: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="tests.browser.figures")
    parser.add_argument("--lines", type=int, nargs="+", default=LINES, metavar="N")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    if not all(0 < lines <= LINES_MAX for lines in given.lines) or not 0 < given.rounds <= ROUNDS_MAX:
        parser.error(f"--lines takes 1 to {LINES_MAX:,}, --rounds 1 to {ROUNDS_MAX}")
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server, chromium() as browser:
        headers = {"authorization": f"Bearer {server.key}"}
        with httpx2.Client(base_url=server.url, headers=headers, timeout=FINISH_S_MAX) as http:
            site = Site(server.url, server.key, http)
            print(machine(browser))
            for lines in given.lines:
                run_id = site.run(f"python3 printer.py {lines}", {"printer.py": PRINTER})
                table(lines, [one_round(browser, site, run_id) for _ in range(given.rounds)])


def machine(browser: Browser) -> str:
    """Where and when this was measured."""
    with Path("/proc/cpuinfo").open() as file:
        model = next(
            (line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown CPU"
        )
    load = os.getloadavg()[0]
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = (f"{model}, {os.cpu_count()} cores", f"Linux {platform.release()}", f"Chromium {browser.version}")
    return f"{when}; {'; '.join(parts)}; load {load:.1f} at the start"


def one_round(browser: Browser, site: Site, run_id: str) -> dict[str, float]:
    """One visit of the page, in a profile that has nothing cached."""
    context = new_context(browser, site.url, height=1000)
    context.set_default_timeout(SHOWN_S_MAX * 1000)
    context.add_init_script(OBSERVE)
    sign_in(context, site.key)
    figures = {"a page of one line painted, ms": painted_ms(context)}
    page = context.new_page()
    page.wait_for_timeout(SETTLE_MS)
    empty_mib = renderers_mib(browser)
    log = Log(page)
    page.goto(f"/workspace-runs/{run_id}")
    found = page.evaluate("async () => { await figures.ended; return { ...figures, ended: true }; }")
    figures["first lines shown, ms"] = found["firstMs"]
    figures["whole log, end shown, ms"] = found["endMs"]
    figures["long tasks meanwhile"] = len(found["longTasks"])
    figures["longest of them, ms"] = max(found["longTasks"], default=0)
    for name, px in (("scrolling", 300), ("flying", 3_000), ("rushing", 30_000)):
        page.keyboard.press("g")
        log.text(1).wait_for()
        moved = page.evaluate(SCROLL, [px, SCROLL_MS])
        figures[f"{name} {px} px a frame: p50, ms"] = moved["p50"]
        figures[f"{name}: p95, ms"] = moved["p95"]
        figures[f"{name}: worst frame, ms"] = moved["worst"]
        figures[f"{name}: frames without text, %"] = 100 * moved["blank"]
        figures[f"{name}: frames with the text of the one before, %"] = 100 * moved["still"]
    figures["search of all lines, ms"] = search_ms(page)
    figures["memory of the page, MiB"] = renderers_mib(browser) - empty_mib
    for how in ("ndjson", "sse", "json pages"):
        figures[f"events alone as {how}, ms"] = page.evaluate(READ, [run_id, how])
    context.close()
    return figures


def painted_ms(context: BrowserContext) -> float:
    """What this browser takes to show anything of this server, in a tab of its own."""
    page = context.new_page()
    page.goto("/healthz")
    painted: float = page.evaluate(PAINTED)
    page.close()
    return painted


def search_ms(page: Page) -> float:
    """Until it is said that a text is nowhere."""
    field = page.get_by_label("Search in the log")
    began = time.monotonic()
    field.fill("nowhere to be found")
    page.locator("#log .hits", has_text="no match").wait_for(timeout=SHOWN_S_MAX * 1000)
    return (time.monotonic() - began) * 1000


def renderers_mib(browser: Browser) -> float:
    """Memory of the browser's page processes, workers included, shared pages counted in part."""
    session = browser.new_browser_cdp_session()
    processes: list[dict[str, Any]] = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    kib = 0
    for process in processes:
        if process["type"] == "renderer":
            rollup = Path(f"/proc/{process['id']}/smaps_rollup").read_text(encoding="ascii")
            kib += int(rollup.split("Pss:")[1].split()[0])
    return kib / 1024


def table(lines: int, rounds: list[dict[str, float]]) -> None:
    """Medians and the worst, one figure a row."""
    print(f"\n| {lines:,} lines, {len(rounds)} visits | median | worst |\n|---|---:|---:|")
    for name in rounds[0]:
        values = [one[name] for one in rounds]
        print(f"| {name} | {statistics.median(values):,.0f} | {max(values):,.0f} |")


if __name__ == "__main__":
    main(sys.argv[1:])
