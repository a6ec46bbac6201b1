"""The line model, as the browser runs it: the whole terminal corpus, however it is cut into events."""

import base64
import json

import pytest
from playwright.sync_api import Page

from tests.browser.log_kit import Log, module, raw, record
from tests.browser.samples import Site
from tests.browser.terminal_corpus import CORPUS, Case

LINES_OF = """
async ([path, stylePath, searchPath, chunks]) => {
  const { Lines } = await import(path);
  const { classesOf } = await import(stylePath);
  const { plainText } = await import(searchPath);
  const lines = new Lines();
  const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  chunks.forEach((chunk, at) => {
    const bytes = Uint8Array.from(atob(chunk), (character) => character.charCodeAt(0));
    const event = { type: "stdout", seq: at + 1, createdAt: "2026-01-01T00:00:00.000Z", data: "?" };
    try { event.data = utf8.decode(bytes); } catch { event.dataBase64 = chunk; }
    lines.add(event);
  });
  const lens = { stdout: true, stderr: true, asOf: null };
  const shown = [];
  const texts = [];
  for (let row = 0; row < lines.length; row += 1) {
    const { spans } = lines.shown(row, lens, row - 1);
    shown.push(spans.map(({ text, style, label }) => {
      const classes = classesOf(style);
      return label ? `\\u27e6${text}\\u27e7` : classes === "" ? text : `{${classes}|${text}}`;
    }).join(""));
    const text = spans.filter((span) => !span.label).map((span) => span.text).join("");
    texts.push([text, plainText(lines, row)]);
  }
  return { shown, texts };
}
"""


@pytest.fixture
def modules(page: Page, site: Site) -> list[str]:
    """Where the modules are that the tests call; the page is one of the dashboard's."""
    page.goto("/workspace-runs")
    return [module(page, f"log/{name}.js") for name in ("lines", "style", "piece")]


def lines_of(page: Page, modules: list[str], chunks: list[bytes]) -> tuple[list[str], list[list[str]]]:
    """What the line model makes of events with these bytes, and the text of each row shown and searched."""
    encoded = [base64.b64encode(chunk).decode() for chunk in chunks]
    made = page.evaluate(LINES_OF, [*modules, encoded])
    return made["shown"], made["texts"]


def test_every_case_of_the_corpus_is_shown_as_it_should(page: Page, modules: list[str]) -> None:
    """What is searched is what is shown."""
    wrong = {}
    for case in CORPUS:
        shown, texts = lines_of(page, modules, [case.data])
        if shown != list(case.lines) or any(seen != searched for seen, searched in texts):
            wrong[case.name] = (shown, texts)
    assert wrong == {}


def test_it_makes_no_difference_where_output_is_cut(page: Page, modules: list[str]) -> None:
    """Into events at any one place, and into single code points."""
    wrong = {}
    for case in CORPUS:
        for cut in cuts(case):
            shown, _ = lines_of(page, modules, cut)
            if shown != list(case.lines):
                wrong[f"{case.name} {json.dumps([str(piece) for piece in cut])}"] = shown
    assert wrong == {}


def cuts(case: Case) -> list[list[bytes]]:
    """The data in two pieces, cut between code points as the server does, and in as many as there are."""
    borders = [at for at in range(1, len(case.data)) if case.data[at] & 0xC0 != 0x80]
    ends = [*borders, len(case.data)]
    whole = [case.data[start:end] for start, end in zip([0, *borders], ends, strict=True)]
    return [[case.data[:at], case.data[at:]] for at in borders[:: max(1, len(borders) // 12)]] + [whole]


def test_all_of_the_corpus_together_is_one_log(page: Page, site: Site) -> None:
    """Recorded for real, shown, and copied."""
    run = record(site.http, *[raw(case.data) for case in CORPUS if case.data.endswith(b"\n")])
    run.write(raw(b"\x1b[0mend\n"))
    log = Log(page).open(run.run_id)
    expected = sum(len(case.lines) for case in CORPUS if case.data.endswith(b"\n"))
    assert log.text(expected + 1).inner_text() == "end"
    assert log.copied().count("\n") == expected + 1
