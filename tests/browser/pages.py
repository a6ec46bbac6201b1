"""Every page of the dashboard, once: what is photographed, and what the accessibility check looks at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Page, expect

from tests.browser import proof_looks
from tests.browser.log_kit import MOUNTED
from tests.browser.samples import Site


def _nothing(_: Page) -> None:
    pass


@dataclass(frozen=True)
class Shown:
    """A page: the name of its pictures, its path on a filled site, what is done before it is looked at."""

    name: str
    path: Callable[[Site], str]
    prepare: Callable[[Page], None] = _nothing
    signed_in: bool = True
    empty: bool = False
    """Whether it is shown on a site on which nothing was made yet."""
    expected: str | None = None
    """A pattern of console errors that are part of it: an answer that is no success is one."""


def _wrong_key(page: Page) -> None:
    page.get_by_label("API key", exact=True).fill("cn_live_wrong")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("unknown or revoked").wait_for()


def _help(page: Page) -> None:
    page.keyboard.press("?")
    page.get_by_role("heading", name="Keyboard").wait_for()


def _kill(page: Page) -> None:
    page.get_by_role("button", name="Kill").first.click()
    page.get_by_role("heading", name="Kill this sandbox?").wait_for()


def _new_key(page: Page) -> None:
    page.get_by_role("button", name="Create a key").click()
    page.get_by_role("dialog", name="Create an API key").wait_for()


def _revoke(page: Page) -> None:
    page.get_by_role("button", name="Revoke ci-main").click()
    page.get_by_role("dialog", name="Revoke ci-main").wait_for()


def _in_the_past(page: Page) -> None:
    slider = page.get_by_role("slider", name="Position in the run")
    expect(page.locator(MOUNTED)).not_to_be_empty()
    slider.focus()
    page.keyboard.press("Home")
    page.locator("#asof").wait_for()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    page.locator("#run-status", has_text="Running").wait_for()


def _run_again(page: Page) -> None:
    page.locator("#again summary").click()


def _searched(page: Page) -> None:
    page.get_by_label("Search in the log").fill("case_0")
    page.locator("#log mark").first.wait_for()


def _section(name: str) -> Callable[[Page], None]:
    def show(page: Page) -> None:
        page.get_by_role("navigation", name="In this panel").get_by_role("link", name=name).click()

    return show


def _menu(page: Page) -> None:
    """The one menu of a narrow window; of a wide one that of the projects."""
    page.locator(".top summary:visible").first.click()


def _account(page: Page) -> None:
    page.locator(".top summary:visible").last.click()


def _more_filters(page: Page) -> None:
    page.locator("summary", has_text="More").click()


def _start(page: Page) -> None:
    page.locator("summary", has_text="Start a run").click()


def _extend(page: Page) -> None:
    page.locator("summary", has_text="Extend").click()


def _key_made(page: Page) -> None:
    _new_key(page)
    page.locator("#key-name").fill("photographed")
    page.get_by_role("button", name="Create", exact=True).click()
    page.get_by_role("heading", name="The key, shown this once").wait_for()


def _new_project(page: Page) -> None:
    page.get_by_role("button", name="Create a project").click()
    page.get_by_role("dialog", name="Create a project").wait_for()


def _asked_to_cancel(page: Page) -> None:
    page.locator("#cancel summary").click()


def _tables(page: Page) -> None:
    page.get_by_text("Show as a table").first.click()


PAGES = (
    Shown("sign-in", lambda _: "/sign-in", signed_in=False),
    Shown("sign-in-refused", lambda _: "/sign-in", _wrong_key, signed_in=False, expected="status of 401"),
    Shown("runs-empty", lambda _: "/workspace-runs", empty=True),
    Shown("runs", lambda _: "/workspace-runs"),
    Shown("runs-filtered", lambda _: "/workspace-runs?q=done&meta=branch%3Dmain&since=7d"),
    Shown("runs-no-match", lambda _: "/workspace-runs?q=nothing+says+this&to=2020-01-01"),
    Shown("runs-keyboard", lambda _: "/workspace-runs", lambda page: page.keyboard.press("j")),
    Shown("runs-menu", lambda _: "/workspace-runs", _menu),
    Shown("runs-account", lambda _: "/workspace-runs", _account),
    Shown("runs-more", lambda _: "/workspace-runs", _more_filters),
    Shown("runs-start", lambda _: "/workspace-runs", _start),
    Shown("artifacts-empty", lambda _: "/artifacts", empty=True),
    Shown("artifacts", lambda _: "/artifacts"),
    Shown("sandboxes-empty", lambda _: "/sandboxes", empty=True),
    Shown("sandboxes", lambda _: "/sandboxes"),
    Shown("sandboxes-ended", lambda _: "/sandboxes?status=ended"),
    Shown("sandboxes-kill", lambda _: "/sandboxes", _kill),
    Shown("sandboxes-extend", lambda _: "/sandboxes", _extend),
    Shown("usage-empty", lambda _: "/usage", empty=True),
    Shown("usage", lambda _: "/usage"),
    Shown("usage-month", lambda _: "/usage?range=month", _tables),
    Shown("log-empty", lambda _: "/log", empty=True),
    Shown("log", lambda _: "/log"),
    Shown("run-finished", lambda site: f"/workspace-runs/{site.ids['failed']}"),
    Shown("run-succeeded", lambda site: f"/workspace-runs/{site.ids['succeeded']}"),
    Shown("run-canceled", lambda site: f"/workspace-runs/{site.ids['canceled']}"),
    Shown("run-waiting", lambda site: f"/workspace-runs/{site.ids['waiting']}"),
    Shown("run-replay", lambda site: f"/workspace-runs/{site.ids['failed']}", _in_the_past),
    Shown("run-again", lambda site: f"/workspace-runs/{site.ids['failed']}", _run_again),
    Shown("run-search", lambda site: f"/workspace-runs/{site.ids['failed']}", _searched),
    *(
        Shown(f"run-{name.lower()}", lambda site: f"/workspace-runs/{site.ids['succeeded']}", _section(name))
        for name in ("Evidence", "Artifacts", "Source", "Commands")
    ),
    Shown("run-cancel", lambda site: f"/workspace-runs/{site.ids['running']}", _asked_to_cancel),
    Shown("run-live", lambda site: f"/workspace-runs/{site.ids['running']}"),
    *(
        Shown(
            f"proof-{name}",
            lambda site: f"/workspace-runs/{site.ids['succeeded']}",
            prepare,
            expected=expected,
        )
        for name, prepare, expected in (
            ("verified", proof_looks.checked, ""),
            ("checking", proof_looks.checking, ""),
            ("tampered", proof_looks.tampered, ""),
            ("cut-off", proof_looks.cut_off, ""),
            ("unfinished", proof_looks.unfinished, "ERR_FAILED"),
            ("other-key", proof_looks.other_key, ""),
            ("no-cryptography", proof_looks.no_cryptography, ""),
        )
    ),
    Shown("proof-redacted", lambda site: f"/workspace-runs/{site.ids['redacted']}", proof_looks.checked),
    Shown("proof-open", lambda site: f"/workspace-runs/{site.ids['running']}", proof_looks.checked),
    Shown("keys", lambda _: "/keys"),
    Shown("keys-create", lambda _: "/keys", _new_key),
    Shown("keys-revoke", lambda _: "/keys", _revoke),
    Shown("keys-project", lambda _: "/keys", _new_project),
    Shown("keys-made", lambda _: "/keys", _key_made),
    Shown("not-found", lambda _: "/workspace-runs/wsr_01m7zk0q8w", expected="status of 404"),
    Shown("not-found-stranger", lambda _: "/nowhere", signed_in=False, expected="status of 404"),
    Shown("link-used", lambda _: "/auth/link?token=used", signed_in=False, expected="status of 410"),
    Shown("keyboard", lambda _: "/workspace-runs", _help),
)
"""Extend it: one line for every page, and for every state of a page that looks different."""
