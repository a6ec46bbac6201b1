"""The page of the log shows what real monitors report of a real server, in Chromium."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from evidence.monitor_report import Found, MonitorReport, open_report
from evidence.note import NOTE_BYTES_MAX, Ed25519Signer, Verifier
from tests.browser.driven import new_context, sign_in
from tests.browser.samples import FINISH_S_MAX, Site
from tests.browser.watched import watch
from tests.cli.cli_runner import CROWNEST, PROCESS_S_MAX, THIS_CODE
from tests.cli.real_server import ROOT, RealServer, serving
from witness.reporting import Reporting

NAMES = ("honest", "other")
MARKUP = '<img src=x onerror="alert(1)"></bdi><script>alert(2)</script> \u202egnp.exe'


@dataclass(frozen=True)
class Place:
    """A folder with a server in it, and the monitors that its operator named."""

    folder: Path

    def monitor(self, name: str) -> Reporting:
        """Its key and file, made at the first call."""
        state = self.folder / f"state-{name}"
        state.mkdir(mode=0o700, exist_ok=True)
        return Reporting(state, self.folder / f"{name}.report", f"monitor.example/{name}")

    def key(self, name: str) -> Ed25519Signer:
        """What signs its reports."""
        return self.monitor(name).signer

    def look(self, server: RealServer, name: str) -> subprocess.CompletedProcess[bytes]:
        """A real look of the command at the server."""
        policy = self.folder / "trust.policy"
        if not policy.exists():
            policy.write_bytes(httpx2.get(f"{server.url}/v1/proof/policy").content)
        arguments = ["--policy", policy, "--state", self.folder / f"state-{name}", "--once"]
        return subprocess.run(
            [CROWNEST, "monitor", *arguments, "--report", self.folder / f"{name}.report", "--json"],
            env={**os.environ, **THIS_CODE, "PYTHONPATH": str(ROOT), **server.env()},
            capture_output=True, timeout=PROCESS_S_MAX, check=False,
        )  # fmt: skip

    @contextmanager
    def serving(self, data: Path) -> Iterator[tuple[RealServer, Site]]:
        """A server over these data that names the monitors."""
        data.mkdir(exist_ok=True)
        file = self.folder / "monitors"
        file.write_text("".join(f"{self.monitor(name).line} {name}.report\n" for name in NAMES))
        with serving(data, CROWNEST_MONITORS=str(file)) as server:
            headers = {"authorization": f"Bearer {server.key}"}
            with httpx2.Client(base_url=server.url, headers=headers, timeout=FINISH_S_MAX) as http:
                yield server, Site(server.url, server.key, http)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Folders for a server and two monitors."""
    return Place(tmp_path_factory.mktemp("monitors"))


@pytest.fixture(scope="module")
def running(place: Place, browser: Browser) -> Iterator[tuple[RealServer, Site]]:
    """A server with a run, at which both monitors looked."""
    del browser  # without one there is nothing to see
    with place.serving(place.folder / "server") as (server, site):
        site.run("true")
        _wait_for_entries(site, 2)
        for name in NAMES:
            assert place.look(server, name).returncode == 0
        yield server, site


@contextmanager
def log_page(browser: Browser, site: Site, key: str = "") -> Iterator[Page]:
    """The page of the log, in which nothing may go wrong."""
    context = new_context(browser, site.url)
    seen = watch(context, site.url)
    sign_in(context, key or site.key)
    page = context.new_page()
    page.goto("/log")
    yield page
    context.close()
    assert seen.problems == []


def row(page: Page, name: str) -> Locator:
    """The row of a monitor."""
    return page.locator(f'[data-monitor="monitor.example/{name}"]')


def _wait_for_entries(site: Site, size: int) -> str:
    """Wait until the published log has so many entries; answers the head of its checkpoint."""
    deadline = time.monotonic() + FINISH_S_MAX
    while True:
        answer = site.http.get("/log/checkpoint")
        if answer.status_code == 200 and int(answer.text.split("\n")[1]) >= size:
            return answer.text
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_monitor_that_agrees_is_shown(
    place: Place, running: tuple[RealServer, Site], browser: Browser
) -> None:
    """Where it was, when, by which key; a log that grew since is agreed with as far as it was seen."""
    _, site = running
    report = open_report(
        (place.folder / "honest.report").read_bytes(), Verifier.parse(place.key("honest").verifier_key)
    )
    site.create("true")
    _wait_for_entries(site, report.size + 1)
    with log_page(browser, site) as page:
        one = row(page, "honest")
        expect(one).to_have_attribute("data-state", "ok")
        expect(one).to_contain_text(f"Agrees with this log at {report.size} entries, root ")
        expect(one).to_contain_text("fewer than now")
        expect(one).to_contain_text("Nothing found")
        expect(one.locator("time")).to_have_count(1)
        expect(one).to_contain_text(place.key("honest").verifier_key.split("+")[1])


def test_the_status_bar_has_the_head_of_the_log(running: tuple[RealServer, Site], browser: Browser) -> None:
    """Size and the beginning of the root, on every page, leading to the log."""
    _, site = running
    with log_page(browser, site) as page:
        for path in ("/workspace-runs", "/keys"):
            size, root = _wait_for_entries(site, 1).split("\n")[1:3]
            page.goto(path)
            link = page.locator("footer.bar").get_by_role("link", name="Log")
            expect(link).to_have_text(f"Log {int(size):,}, root {root[:8]}…")
            expect(link).to_have_attribute("href", "/log")


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("missing", "has not reported yet"),
        ("too large", f"more than {NOTE_BYTES_MAX:,} bytes"),
        ("no note", "has a report that is none"),
        ("folder", "cannot be read: Is a directory"),
        ("changed", "was changed"),
        ("another key", "another key signed"),
        ("another log", "Its report is of another log: other.example"),
        ("stale", "Stale: no look for more than 1 hour"),
        ("ahead in time", "clock is ahead"),
        ("never read", "It has not read any of this log"),
        ("quorum", "Fewer witnesses cosigned than its policy demands: none"),
        ("unreadable", "Could not be read: the server was away"),
    ],
)
def test_what_keeps_a_report_from_being_good_news_is_said(
    place: Place, running: tuple[RealServer, Site], browser: Browser, case: str, words: str
) -> None:
    """Each in a sentence; the other monitor's row stays as it is."""
    _, site = running
    file = place.folder / "other.report"
    kept = file.read_bytes()
    report = open_report(kept, Verifier.parse(place.key("other").verifier_key))
    unread = replace(report, origin="", size=0, root=b"")
    made: dict[str, MonitorReport] = {
        "another log": replace(report, origin="other.example"),
        "stale": replace(report, looked_s=report.looked_s - 7200),
        "ahead in time": replace(report, looked_s=2**52),
        "never read": unread,
        "quorum": replace(report, quorum_met=False),
        "unreadable": replace(report, unreadable=["the server was away"]),
    }
    raw = {
        "too large": b"x" * (NOTE_BYTES_MAX + 1),
        "no note": b"{}",
        "changed": kept.replace(b'"size":', b'"size":1'),
        "another key": report.to_note(Ed25519Signer.generate("monitor.example/other")),
    }
    file.unlink()
    if case == "folder":
        file.mkdir()
    elif case in made:
        file.write_bytes(made[case].to_note(place.key("other")))
    elif case in raw:
        file.write_bytes(raw[case])
    try:
        with log_page(browser, site) as page:
            expect(row(page, "other")).to_have_attribute("data-state", "warn")
            expect(row(page, "other")).to_contain_text(words)
            expect(row(page, "honest")).to_have_attribute("data-state", "ok")
    finally:
        if case == "folder":
            file.rmdir()
        file.write_bytes(kept)


def test_hostile_text_is_only_text_and_only_for_auditors(
    place: Place, running: tuple[RealServer, Site], browser: Browser
) -> None:
    """A report names a run and brings markup; who may not read the audit trail gets our own words alone."""
    _, site = running
    file = place.folder / "other.report"
    kept = file.read_bytes()
    report = open_report(kept, Verifier.parse(place.key("other").verifier_key))
    findings = [Found("E_RUN_MISSING", MARKUP, "wsr_secret", 1), Found(MARKUP, MARKUP, MARKUP, None)]
    hostile = replace(report, findings=findings, findings_count=900, notices=[MARKUP], cosigned=[MARKUP])
    file.write_bytes(hostile.to_note(place.key("other")))
    answer = site.http.post("/v1/api-keys", json={"name": "reader", "scopes": ["workspace_run:read"]})
    reader = answer.json()["secret"]
    try:
        with log_page(browser, site) as page:
            one = row(page, "other")
            expect(one).to_have_attribute("data-state", "bad")
            expect(one).to_contain_text("Found 900")
            expect(one).to_contain_text(
                "The log names a run that is not there, or that never ended. <img src=x"
            )
            expect(one).to_contain_text("and 898 more")
            expect(page.locator("main img, main script")).to_have_count(0)
        with log_page(browser, site, reader) as page:
            one = row(page, "other")
            expect(one).to_contain_text("The log names a run that is not there")
            expect(one).not_to_contain_text("<img")
            expect(one).not_to_contain_text("wsr_secret")
    finally:
        file.write_bytes(kept)


def test_a_log_that_was_rewritten_is_told_by_monitor_and_page(browser: Browser, tmp_path: Path) -> None:
    """An older copy is brought back and goes on from there: the real monitor finds it, and is shown."""
    place = Place(tmp_path)
    data, older = tmp_path / "server", tmp_path / "older"
    with place.serving(data) as (server, site):
        site.create("true")
        _wait_for_entries(site, 1)
    shutil.copytree(data, older)
    with place.serving(data) as (server, site):
        for _ in range(3):
            site.create("true")
        _wait_for_entries(site, 4)
        for name in NAMES:
            assert place.look(server, name).returncode == 0
    with place.serving(older) as (server, site):
        with log_page(browser, site) as page:
            expect(row(page, "honest")).to_have_attribute("data-state", "bad")
            expect(row(page, "honest")).to_contain_text("an honest log never gets shorter")
        for _ in range(4):
            site.create("false")
        _wait_for_entries(site, 5)
        found = place.look(server, "honest")
        assert found.returncode == 1
        assert json.loads(found.stdout)["data"]["findings"][0]["code"] == "E_LOG_FORK"
        with log_page(browser, site) as page:
            for name in NAMES:
                expect(row(page, name)).to_have_attribute("data-state", "bad")
                expect(row(page, name)).to_contain_text("entries: two histories")
            expect(row(page, "honest")).to_contain_text("does not continue what it was")
