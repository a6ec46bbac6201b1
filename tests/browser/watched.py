"""Watches what must never happen in a page: console errors, policy violations, dialogs, foreign requests."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Page, Request, WebError

REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`policy violation: ${event.violatedDirective} blocked ${event.blockedURI} ${event.sample}`);
});
"""
LOCAL_SCHEMES = {"data", "blob", "about"}


class Watch:
    """Everything that went wrong in one browser context; `problems` is what no test expected."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self._origin = urlsplit(url)[:2]
        self._seen: list[str] = []
        self._expected: list[re.Pattern[str]] = []
        context.add_init_script(REPORT_VIOLATIONS)
        context.on("console", self._on_console)
        context.on("weberror", self._on_error)
        context.on("request", self._on_request)
        context.on("dialog", self._on_dialog)

    def expect(self, pattern: str) -> None:
        """Console errors that match are part of this test: a request that is refused on purpose, say."""
        self._expected.append(re.compile(pattern))

    @property
    def problems(self) -> list[str]:
        """What was seen and not expected."""
        return [one for one in self._seen if not any(pattern.search(one) for pattern in self._expected)]

    def allow_origin(self, url: str) -> None:
        """Let this test also visit another origin."""
        self._expected.append(re.compile("^foreign request: " + re.escape(url)))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._seen.append(f"console {message.type}: {message.text} ({message.location.get('url', '')})")

    def _on_error(self, error: WebError) -> None:
        self._seen.append(f"uncaught: {error.error}")

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in LOCAL_SCHEMES and parts[:2] != self._origin:
            self._seen.append(f"foreign request: {request.url}")

    def _on_dialog(self, dialog: Dialog) -> None:
        self._seen.append(f"dialog: {dialog.type} {dialog.message}")
        dialog.dismiss()


def watch(context: BrowserContext, url: str) -> Watch:
    """Begin to watch this context, whose pages are of the server at `url`."""
    return Watch(context, url)


def settled(page: Page) -> None:
    """Wait until the page and its modules are loaded."""
    page.wait_for_load_state("load")
