"""What is done with a proof panel before it is looked at: a check of each outcome."""

from __future__ import annotations

import json

from playwright.sync_api import Page

from tests.browser.alterations import a_cut_end, a_payload_byte, on_entries
from tests.browser.altered import BUNDLE, alter
from tests.browser.proof_panel import ProofPanel


def checked(page: Page) -> None:
    """Checked as it is."""
    ProofPanel(page).check()


def tampered(page: Page) -> None:
    """Checked while one letter is altered on the wire."""
    alter(page, BUNDLE, on_entries(a_payload_byte))
    ProofPanel(page).check()


def cut_off(page: Page) -> None:
    """Checked while its end is cut off on the wire."""
    alter(page, BUNDLE, on_entries(a_cut_end))
    ProofPanel(page).check()


def unfinished(page: Page) -> None:
    """Checked while the connection breaks."""
    page.route(BUNDLE, lambda route: route.abort())
    ProofPanel(page).check()


def checking(page: Page) -> None:
    """In the middle of a check."""
    page.route(BUNDLE, lambda route: None)  # never answered
    ProofPanel(page).button.click()


def other_key(page: Page) -> None:
    """Checked in a browser that remembers another key."""
    known = {"keys": ["x+00000000+x"], "witnesses": [], "since": "2026-01-02T03:04:05.000Z"}
    page.evaluate("(text) => localStorage.setItem('crownest:proof:keys', text)", json.dumps(known))
    ProofPanel(page).check()


def no_cryptography(page: Page) -> None:
    """In a browser without WebCrypto."""
    page.add_init_script("Object.defineProperty(Crypto.prototype, 'subtle', { value: undefined });")
    page.reload()
    page.get_by_text("Cannot be checked in this browser").scroll_into_view_if_needed()
