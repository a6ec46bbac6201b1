"""The run page in a browser: it follows a run to its end, and what it shows is only ever text."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from api.dashboard.assets import module_graph
from tests.browser.log_kit import MOUNTED
from tests.browser.samples import Site
from tests.browser.watched import Watch
from tests.cli.cli_runner import CROWNEST
from tests.serving import archive

STEPS = """
import pathlib, sys, time
def wait(name):
    while not pathlib.Path(name).exists(): time.sleep(0.02)
for n in range(400):
    print("line", n, flush=True)
    if n % 50 == 0: print("warning", n, file=sys.stderr, flush=True)
    time.sleep(0.005)
pathlib.Path("report.bin").write_bytes(bytes(range(256)) * 40)
print("waiting", flush=True)
time.sleep(float(sys.argv[1]))
sys.exit(int(sys.argv[2]))
"""
FILES = {"steps.py": STEPS.encode()}
WATCH_SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    if (entry.hadRecentInput) continue;
    const moved = entry.sources.map(({ node }) => node?.nodeName + "#" + node?.id + "." + node?.className);
    window.shifts.push({ value: entry.value, moved });
  }
}).observe({ type: "layout-shift", buffered: true });
"""
SHIFT_AT_THE_END_MAX = 0.05
"""Half of what counts as a good page: rows of the evidence get their values, some of them a second line."""
NASTY = "\"><script>alert('x')</script><img src=x onerror=alert(1)>\u202e{{7*7}}</title>"


def open_run(page: Page, run_id: str, query: str = "") -> None:
    """Go to the run's page, until what stands beside the log works too."""
    page.goto(f"/workspace-runs/{run_id}{query}")
    expect(page.locator(MOUNTED)).not_to_be_empty()


def test_a_live_run_is_followed_to_its_end(site: Site, page: Page) -> None:
    """Status, phases, evidence and artifacts change by themselves; nothing is loaded again by the reader."""
    run_id = site.create("python3 steps.py 0.5 3", artifacts=[{"path": "report.bin"}])
    open_run(page, run_id)
    expect(page.locator("#run-status")).to_have_text("Waiting for archive")
    site.upload_and_start(run_id, FILES)
    expect(page.locator("#run-status")).to_have_text("Running")
    expect(page.locator(".phases li.wide")).to_have_attribute("data-state", "now")
    expect(page.locator("#log .ln", has_text="line ").nth(12)).to_be_visible()
    expect(page.locator("#proof-chip")).to_contain_text("Open")
    expect(page.locator("#run-status")).to_have_text("Failed, exit 3")
    expect(page.locator(".phases li.wide")).to_have_attribute("data-state", "bad")
    expect(page.locator("#artifacts")).to_contain_text("1 kept")
    expect(page.locator("#evidence")).to_contain_text("evidence.json")
    expect(page).to_have_title(re.compile("^Failed: python3 steps.py"))
    expect(page.locator("[data-say]")).to_have_text(re.compile("Failed, exit 3|The run has ended"))
    expect(page.locator("#cancel")).to_have_count(0)
    expect(page.locator("#again")).to_be_visible()


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (800, 900), (360, 740)])
def test_nothing_moves_while_a_run_streams(site: Site, page: Page, width: int, height: int) -> None:
    """By the browser's own count of layout shifts: none while lines come, next to none when the run ends."""
    page.set_viewport_size({"width": width, "height": height})
    page.add_init_script(WATCH_SHIFTS)
    run_id = site.create("make test", template="external", metadata={"repo": "acme/ledger"})
    record(site, run_id, 1)
    open_run(page, run_id)
    expect(page.get_by_text("batch 1 line 19", exact=True)).to_be_visible()
    page.evaluate("window.shifts.length = 0")
    for number in range(2, 40):
        record(site, run_id, number)
    expect(page.get_by_text("batch 39 line 19", exact=True)).to_be_visible()
    assert page.evaluate("window.shifts") == []
    site.http.post(f"/v1/workspace-runs/{run_id}/finish", json={"exitCode": 1})
    expect(page.locator("#run-status")).to_have_text("Failed, exit 1")
    moved = page.evaluate("window.shifts")
    assert sum(one["value"] for one in moved) < SHIFT_AT_THE_END_MAX, moved


def record(site: Site, run_id: str, number: int) -> None:
    """Append twenty lines to a recorded run, every third time to stderr."""
    kind = "stderr" if number % 3 == 0 else "stdout"
    events = [{"type": kind, "data": f"batch {number} line {line}\n"} for line in range(20)]
    body = {"producerId": "streams", "number": number, "events": events}
    assert site.http.post(f"/v1/workspace-runs/{run_id}/events", json=body).status_code == 200


def test_the_page_is_whole_without_script_and_says_the_same_with_it(site: Site, page: Page) -> None:
    """What the script puts in place is what the server wrote at first."""
    run_id = site.run("python3 steps.py 0 0", FILES, metadata={"repo": "acme/ledger"})
    open_run(page, run_id)
    expect(page.get_by_text("waiting", exact=True)).to_be_visible()
    expect(page.locator("#proof-chip")).to_have_text("Verified by server")
    shown = [page.locator(part).inner_text() for part in ("#run-head", "#evidence", "#commands")]
    page.locator("#replay [data-first]").click()
    expect(page.locator("#asof")).to_be_visible()
    expect(page.locator("#run-status")).to_have_text("Waiting for archive")
    page.keyboard.press("Escape")
    expect(page.locator("#run-status")).to_have_text("Succeeded, exit 0")
    again = [page.locator(part).inner_text() for part in ("#run-head", "#evidence", "#commands")]
    assert [without_times(text) for text in again] == [without_times(text) for text in shown]


def without_times(text: str) -> str:
    """Relative times go on."""
    return re.sub(r"(now|\d+ \w+ ago)", "…", text)


def test_an_artifact_is_downloaded_as_it_is(site: Site, page: Page, tmp_path: Path) -> None:
    """Every byte, as a file and never as a page."""
    run_id = site.run("python3 steps.py 0 0", FILES, artifacts=[{"path": "report.bin"}])
    open_run(page, run_id)
    link = page.get_by_role("link", name="Download report.bin")
    with page.expect_download() as started:
        link.click()
    started.value.save_as(tmp_path / "report.bin")
    data = (tmp_path / "report.bin").read_bytes()
    assert data == bytes(range(256)) * 40
    assert hashlib.sha256(data).hexdigest() in (
        page.locator("#artifacts .mono").first.get_attribute("title") or ""
    )
    answer = page.request.get(link.get_attribute("href") or "")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["content-security-policy"]


def test_run_again_and_the_commands_really_work(site: Site, page: Page, tmp_path: Path) -> None:
    """The command that the panel offers makes the same run; the others read and verify it."""
    metadata = {"repo": "acme/ledger", "note": 'it\'s "quoted" $HOME'}
    run_id = site.run("python3 steps.py 0 0 && echo 'a  b'", FILES, metadata=metadata, timeoutMs=90_000)
    (tmp_path / "repo.tgz").write_bytes(archive(FILES))
    open_run(page, run_id)
    page.locator("#again summary").click()
    page.locator("#again [data-copy]").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("#again .line").inner_text().removeprefix("$ ")
    ran = shell(site, copied, tmp_path)
    assert b"waiting\na  b\n" in ran.stdout, ran.stderr
    made = site.http.get("/v1/workspace-runs?limit=1").json()["data"][0]
    first = site.http.get(f"/v1/workspace-runs/{run_id}").json()["workspaceRun"]
    assert made["id"] != run_id
    for name in ("metadata", "timeoutMs", "projectId", "templateSlug", "status"):
        assert made[name] == first[name]
    for section in page.locator("#commands .cmd").all():
        lines = section.locator("[data-copy]").get_attribute("data-copy") or ""
        if "run-archive" not in lines:
            assert shell(site, lines, tmp_path).returncode == 0, lines
    assert json.loads((tmp_path / "evidence.json").read_text())["workspaceRunId"] == run_id


def shell(site: Site, lines: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Run lines as pasted into a shell, with this server as the one that is logged in to."""
    env = {
        "PATH": f"{Path(CROWNEST).parent}:/usr/bin:/bin",
        "HOME": str(folder),
        "CROWNEST_API_URL": site.url,
        "CROWNEST_API_KEY": site.key,
    }
    return subprocess.run(
        ["/bin/bash", "-ec", lines], cwd=folder, env=env, capture_output=True, check=False, timeout=60
    )


def test_text_of_others_stays_text(site: Site, page: Page, watched: Watch) -> None:
    """In the command, the labels, the names of artifacts: no dialog, no violation, nothing that runs."""
    run_id = site.run(
        f"true {NASTY!r}",
        metadata={"repo": NASTY, "x<b>": NASTY},
        sourceMetadata={"branch": NASTY},
        artifacts=[{"path": "<img src=x>", "name": NASTY}],
    )
    open_run(page, run_id)
    expect(page.locator("#run-status")).to_be_visible()
    expect(page.locator("#source")).to_contain_text(NASTY)
    page.locator("#replay [data-first]").click()
    expect(page.locator("#run-status")).to_have_text("Waiting for archive")
    expect(page.locator("#run-head h1")).to_contain_text("<script>alert")
    assert page.locator("main img, main script").count() == 0
    assert watched.problems == []


def test_no_module_is_found_only_while_another_is_read(site: Site, page: Page) -> None:
    """Its head names what the page loads; only what stands beside the log comes when lines are shown."""
    open_run(page, site.run("echo hello"))
    named = page.locator("link[rel=modulepreload]").evaluate_all(
        "(links) => links.map(({ href }) => new URL(href).pathname)"
    )
    loaded = page.evaluate(
        """() => performance.getEntriesByType("resource").map(({ name }) => new URL(name).pathname)
          .filter((path) => path.endsWith(".js"))"""
    )
    assert set(loaded) == set(named) | set(module_graph("run/beside.js"))


@pytest.mark.parametrize("width", [360, 800, 1024, 1440])
def test_nothing_scrolls_sideways(site: Site, page: Page, width: int) -> None:
    """At any width, with words that do not break."""
    page.set_viewport_size({"width": width, "height": 800})
    run_id = site.run(
        f"true {'x' * 400}", metadata={"repo": "y" * 300, "k" * 60: "v"}, artifacts=[{"path": "p" * 200}]
    )
    open_run(page, run_id)
    expect(page.locator("#run-status")).to_be_visible()
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) == 0
    page.locator("#replay [data-first]").click()
    expect(page.locator("#asof")).to_be_visible()
    assert page.evaluate(wide) == 0


@pytest.mark.parametrize("width", [360, 800])
def test_the_head_stands_alike_whatever_the_status_is_called(site: Site, page: Page, width: int) -> None:
    """A longer word moves nothing: the command and what can be done share a line of their own."""
    page.set_viewport_size({"width": width, "height": 800})
    waiting = site.create("exit 1")
    open_run(page, waiting)
    expect(page.locator("#run-status")).to_have_text("Waiting for archive")
    first = head_of(page)
    site.upload_and_start(waiting)
    expect(page.locator("#run-status")).to_have_text("Failed, exit 1")
    expect(page.locator("#proof-chip")).to_have_text("Verified by server")
    assert head_of(page) == first


def head_of(page: Page) -> list[float]:
    """Where the command and the button begin, in pixels from the top."""
    return [
        page.locator(f".rline {part}").evaluate("(e) => e.getBoundingClientRect().top")
        for part in ("h1", ".end")
    ]


def test_a_long_command_is_shown_whole_in_the_panel(site: Site, page: Page) -> None:
    """The panel scrolls where the page does not; options of the command are not cut behind a hyphen."""
    page.set_viewport_size({"width": 1100, "height": 600})
    words = " ".join(f"--option-{number}" for number in range(400))
    open_run(page, site.run(f"true {words}"))
    page.locator("#again summary").click()
    panel = page.locator("#again .panel")
    panel.locator(".hint").scroll_into_view_if_needed()
    expect(panel.locator(".hint")).to_be_in_viewport(ratio=1)
    assert panel.evaluate("(e) => e.getBoundingClientRect().bottom") <= 600
    lines = panel.locator(".word").evaluate_all("(all) => all.map((e) => e.getBoundingClientRect().height)")
    assert len(lines) > 400
    assert len(set(lines)) == 1


def test_an_unknown_run_is_not_found_in_words(site: Site, page: Page, watched: Watch) -> None:
    """With what to look at, and a way back to the list: whatever the address is made of."""
    watched.expect("status of 404")
    for run_id in (f"wsr_{'a' * 26}", "wsr_short", "nonsense", "wsr_%3Cb%3E"):
        answer = page.goto(f"/workspace-runs/{run_id}")
        assert answer is not None
        assert answer.status == 404
        expect(page.get_by_role("heading", level=1)).to_have_text(
            re.compile("^(No run with this id here|Nothing is at this address)$")
        )
        expect(page.locator("main").get_by_role("link").first).to_be_visible()
