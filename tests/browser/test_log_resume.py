"""A log whose connection breaks: it goes on after the last event, and nothing is lost or doubled."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.driven import new_context, sign_in
from tests.browser.log_kit import Log, Recording, err, out, record
from tests.browser.samples import FINISH_S_MAX, Site
from tests.browser.test_log_tabs import SHOW
from tests.browser.watched import Watch
from tests.cli.real_server import RealServer, serving

LOST = re.compile(r"^Connection lost at event \d+\. Trying again in \d+ s\.$")
PAUSED = re.compile(r"^Paused at event \d+ while hidden$")
RECONNECTED_MS_MAX = 40_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data of a server that dies and comes back."""
    return tmp_path


def client(server: RealServer) -> httpx2.Client:
    """Holds the server's key."""
    headers = {"authorization": f"Bearer {server.key}"}
    return httpx2.Client(base_url=server.url, headers=headers, timeout=FINISH_S_MAX)


def kill(server: RealServer) -> int:
    """End it by kill -9, as a power cut would; answers the port that it had."""
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    return int(server.url.rsplit(":", 1)[1])


def test_a_killed_server_loses_and_doubles_nothing(browser: Browser, folder: Path) -> None:
    """Three times, with lines written before and after: the page then shows what the API has."""
    with serving(folder) as server, client(server) as http:
        port = int(server.url.rsplit(":", 1)[1])
        context = new_context(browser, server.url)
        sign_in(context, server.key)
        run = record(http, *[out(f"first {n}\n") for n in range(200)])
        log = Log(context.new_page()).open(run.run_id)
        expect(log.status).to_have_text("Following")
        kill(server)
        expect(log.status).to_have_text(LOST)
    for life in range(2):
        with serving(folder, port) as server, client(server) as http:
            again = Recording(http, run.run_id, run.batches)
            again.write(out(f"life {life}, "), err(f"a warning of life {life}\n"), out("and its end\n"))
            run.batches = again.batches
            expect(log.page.locator("#log").get_by_text(f"a warning of life {life}")).to_be_visible(
                timeout=RECONNECTED_MS_MAX
            )
            expect(log.status).to_have_text("Following")
            kill(server)
            expect(log.status).to_have_text(LOST)
    with serving(folder, port) as server, client(server) as http:
        again = Recording(http, run.run_id, run.batches)
        again.write(*[out(f"last {n}\n") for n in range(100)])
        again.finish()
        expect(log.status).to_have_text("Complete", timeout=RECONNECTED_MS_MAX)
        assert log.copied() == lines_of(again)
        context.close()


def test_tabs_that_are_hidden_and_shown_while_a_server_is_dead_go_on_too(
    browser: Browser, folder: Path
) -> None:
    """One is shown again while nobody answers, one after the server came back, and one is always seen."""
    with serving(folder) as server, client(server) as http:
        port = int(server.url.rsplit(":", 1)[1])
        context = new_context(browser, server.url)
        sign_in(context, server.key)
        runs = [record(http, out("before\n")) for _ in range(3)]
        logs = [Log(context.new_page()).open(run.run_id) for run in runs]
        for log in logs[1:]:
            log.page.evaluate(SHOW, True)
            expect(log.status).to_have_text(PAUSED)
        for run in runs:
            run.write(out("at the very end, "), err("not seen by all\n"))
        kill(server)
        expect(logs[0].status).to_have_text(LOST)
        logs[1].page.evaluate(SHOW, False)
        expect(logs[1].status).to_have_text(LOST)
    with serving(folder, port) as server, client(server) as http:
        logs[2].page.evaluate(SHOW, False)
        for run, log in zip(runs, logs, strict=True):
            again = Recording(http, run.run_id, run.batches)
            again.write(out("and after it\n"))
            again.finish()
            expect(log.status).to_have_text("Complete", timeout=RECONNECTED_MS_MAX)
            expect(log.page.locator("#run-status")).to_have_text("Succeeded, exit 0")
            assert log.copied() == "before\nat the very end, and after it\nnot seen by all\n"
        context.close()


def lines_of(run: Recording) -> str:
    """The lines of the log as the API has it: in the order in which each began."""
    lines: list[str] = []
    open_line: dict[str, int] = {}
    for event in run.events():
        if event["type"] not in {"stdout", "stderr"}:
            continue
        for piece in re.findall(r"[^\n]*\n|[^\n]+", event["data"]):
            at = open_line.setdefault(event["type"], len(lines))
            if at == len(lines):
                lines.append("")
            lines[at] += piece
            if piece.endswith("\n"):
                del open_line[event["type"]]
    return "".join(lines)


Answer = Callable[[Route], None]


@pytest.fixture
def wire(page: Page) -> Iterator[list[Answer]]:
    """What becomes of the next requests for events; when the list is empty they go to the server."""
    answers: list[Answer] = []
    page.route(
        re.compile(r"/v1/workspace-runs/[^/]+/events\?"),
        lambda route: answers.pop(0)(route) if answers else route.continue_(),
    )
    yield answers
    page.unroute_all(behavior="ignoreErrors")


def ndjson(*lines: str) -> Answer:
    """An answer with these bytes."""
    return lambda route: route.fulfill(body="".join(lines), content_type="application/x-ndjson")


def test_an_answer_that_ends_inside_an_event_is_read_on(page: Page, site: Site, wire: list[Answer]) -> None:
    """What is whole is kept, what comes twice is dropped."""
    run = record(site.http, *[out(f"line {n}\n") for n in range(1, 51)])
    events = raw_events(site, run)
    wire.append(ndjson(*events[:20], events[20][:-10]))
    wire.append(ndjson(*events[10:40], events[40][:15]))
    log = Log(page).open(run.run_id)
    expect(log.status).to_have_text("Following", timeout=RECONNECTED_MS_MAX)
    assert log.copied() == run.output()
    assert wire == []


def test_events_that_were_left_out_are_said_where_they_are_missing(
    page: Page, site: Site, wire: list[Answer]
) -> None:
    """The lines around the gap are shown."""
    run = record(site.http, *[out(f"line {n}\n") for n in range(1, 11)])
    events = raw_events(site, run)
    wire.append(ndjson(*events[:6], *events[9:]))
    log = Log(page).open(run.run_id)
    expect(page.locator("#log .ln--sys").last).to_contain_text("Events 7 to 9 did not arrive")
    expect(log.rows).to_have_count(7)
    assert log.copied() == "".join(f"line {n}\n" for n in (1, 2, 3, 7, 8, 9, 10))


def test_a_busy_server_is_asked_again_and_a_refusal_is_final(
    page: Page, site: Site, wire: list[Answer], watched: Watch
) -> None:
    """The server's own words are shown, and no further request is made."""
    watched.expect("status of (503|404)")
    run = record(site.http, out("there\n"))
    busy = {"error": {"code": "internal_error", "message": "Later."}}
    gone = {"error": {"code": "not_found", "message": "No run with this id here."}}
    wire.append(lambda route: route.fulfill(status=503, json=busy, headers={"retry-after": "1"}))
    asked: list[float] = []
    page.on("request", lambda request: asked.append(time.monotonic()) if "/events" in request.url else None)
    log = Log(page).open(run.run_id)
    expect(log.text(1)).to_have_text("there")
    wire.append(lambda route: route.fulfill(status=404, json=gone))
    page.reload()
    expect(log.status).to_have_text("No run with this id here.")
    before = len(asked)
    page.wait_for_timeout(2_500)
    assert len(asked) == before


def raw_events(site: Site, run: Recording) -> list[str]:
    """The events as NDJSON lines."""
    path = f"/v1/workspace-runs/{run.run_id}/events"
    return site.http.get(path, headers={"accept": "application/x-ndjson"}).text.splitlines(keepends=True)
