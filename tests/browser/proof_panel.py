"""The proof panel as a person uses it: opens a run, checks it, reads what came of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Locator, Page, expect

OUTCOMES = ("verified", "redacted", "open", "failed", "unfinished")
OUTCOME_MS_MAX = 60_000
"""A lost connection is asked for again for some seconds before a check gives up."""
_HEAR = "addEventListener('proof-state', ({ detail }) => (globalThis.heard ??= []).push(detail));"


@dataclass(frozen=True)
class ProofPanel:
    """The panel of the page's run."""

    page: Page

    @property
    def section(self) -> Locator:
        """All of it."""
        return self.page.locator("#proof")

    @property
    def title(self) -> Locator:
        """What it says first."""
        return self.section.locator(".verdict h3")

    @property
    def button(self) -> Locator:
        """The one that checks, checks again or stops."""
        return self.section.locator("[data-proof-check]")

    def check(self) -> ProofPanel:
        """Check, and wait for whatever comes of it."""
        self.button.click()
        return self.wait()

    def wait(self) -> ProofPanel:
        """Wait for the end of a check."""
        expect(self.section).to_have_attribute(
            "data-state", re.compile("|".join(OUTCOMES)), timeout=OUTCOME_MS_MAX
        )
        return self

    @property
    def state(self) -> str | None:
        """The outcome."""
        return self.section.get_attribute("data-state")

    @property
    def last(self) -> dict[str, Any]:
        """What it told the page last: state, seq, code, badSeqs."""
        heard: list[dict[str, Any]] = self.page.evaluate("globalThis.heard")
        return heard[-1]

    def row(self, name: str) -> tuple[str | None, str]:
        """State and words of a row."""
        row = self.section.locator(f'.checks li[data-check="{name}"]')
        return row.get_attribute("data-state"), row.locator("> span").inner_text()

    def rows(self, state: str) -> list[str]:
        """The names of the rows in this state."""
        found = self.section.locator(f'.checks li[data-state="{state}"]')
        return [row.get_attribute("data-check") or "" for row in found.all()]


def open_panel(page: Page, run_id: str) -> ProofPanel:
    """Open the page of a run; the panel is ready to check."""
    page.add_init_script(_HEAR)
    page.goto(f"/workspace-runs/{run_id}")
    panel = ProofPanel(page)
    panel.button.wait_for()
    return panel
