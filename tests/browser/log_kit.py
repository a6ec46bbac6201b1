"""What the tests of the log share: a run that is recorded bit by bit, and the log as its reader sees it."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
from playwright.sync_api import Locator, Page, expect

PRODUCER = "kit"
MOUNTED = "[data-lines]"
"""Empty until what stands beside the log is loaded, its keys too: the log comes first."""
CONNECTED = re.compile("Following|Complete|follow again", re.IGNORECASE)


def out(text: str) -> dict[str, str]:
    """A stdout event."""
    return {"type": "stdout", "data": text}


def err(text: str) -> dict[str, str]:
    """A stderr event."""
    return {"type": "stderr", "data": text}


def raw(data: bytes, stream: str = "stdout") -> dict[str, str]:
    """An event of any bytes."""
    return {"type": stream, "dataBase64": base64.b64encode(data).decode()}


@dataclass
class Recording:
    """A run whose output the test writes, event by event."""

    http: httpx2.Client
    run_id: str
    batches: int = 0

    def write(self, *events: dict[str, str]) -> None:
        """Append the events; they are durable when this returns."""
        self.batches += 1
        body = {"producerId": PRODUCER, "number": self.batches, "events": list(events)}
        answer = self.http.post(f"/v1/workspace-runs/{self.run_id}/events", json=body)
        assert answer.status_code == 200, answer.text

    def finish(self, exit_code: int = 0) -> None:
        """End the command and the run."""
        answer = self.http.post(f"/v1/workspace-runs/{self.run_id}/finish", json={"exitCode": exit_code})
        assert answer.status_code == 200, answer.text

    def events(self) -> list[dict[str, Any]]:
        """All public events, as the API gives them out."""
        path = f"/v1/workspace-runs/{self.run_id}/events"
        answer = self.http.get(path, headers={"accept": "application/x-ndjson"})
        return [httpx2.Response(200, text=line).json() for line in answer.text.split("\n") if line]

    def output(self) -> str:
        """The text of both streams, in order of arrival."""
        return "".join(event["data"] for event in self.events() if event["type"] in {"stdout", "stderr"})


def record(http: httpx2.Client, *events: dict[str, str], command: str = "make test") -> Recording:
    """A recorded run that has begun, with these events."""
    answer = http.post("/v1/workspace-runs", json={"command": command, "template": "external"})
    assert answer.status_code == 201, answer.text
    made = Recording(http, answer.json()["workspaceRun"]["id"])
    made.write(*events)
    return made


@dataclass
class Log:
    """The log on a run's page."""

    page: Page
    rows: Locator = field(init=False)
    status: Locator = field(init=False)
    scroller: Locator = field(init=False)

    def __post_init__(self) -> None:
        self.rows = self.page.locator("#log .ln[data-line]")
        self.status = self.page.locator("[data-log-status]")
        self.scroller = self.page.locator("#log .log")

    def open(self, run_id: str, place: str = "") -> Log:
        """Go to the run's page; returns when the history is there."""
        self.page.goto(f"/workspace-runs/{run_id}{place}")
        expect(self.status).to_have_text(CONNECTED)
        expect(self.page.locator(MOUNTED)).not_to_be_empty()
        return self

    def line(self, number: int) -> Locator:
        """The row of a line, if it is among the elements."""
        return self.page.locator(f'#log .ln[data-line="{number}"]')

    def text(self, number: int) -> Locator:
        """What the row of a line shows."""
        return self.line(number).locator("code")

    def wheel(self, px: int) -> None:
        """Turn the wheel over the log."""
        self.scroller.hover()
        self.page.mouse.wheel(0, px)

    def visible(self) -> Sequence[str]:
        """Line numbers that are inside the view, in order."""
        numbers: list[str] = self.scroller.evaluate(
            """(log) => {
              const view = log.getBoundingClientRect();
              return [...log.querySelectorAll(".ln[data-line]")]
                .filter((row) => row.getBoundingClientRect().bottom > view.top + 1)
                .filter((row) => row.getBoundingClientRect().top < view.bottom - 1)
                .map((row) => row.dataset.line);
            }"""
        )
        return numbers

    def copied(self) -> str:
        """What the copy button takes: every line that is seen, as text."""
        # The word "Copied" is no sign of it: that the run has ended is said in the same place.
        self.page.evaluate("() => navigator.clipboard.writeText('')")
        self.page.get_by_role("button", name="Copy log").click()
        self.page.wait_for_function("async () => await navigator.clipboard.readText() !== ''")
        text: str = self.page.evaluate("() => navigator.clipboard.readText()")
        return text


def module(page: Page, name: str) -> str:
    """Where a module of the dashboard is, for `import()` in the page."""
    source = page.locator('script[src*="/shell/main.js"]').get_attribute("src")
    assert source is not None
    return source.replace("shell/main.js", name)
