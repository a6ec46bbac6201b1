"""A log of many lines: every one of them can be reached, few of them are elements."""

import random

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.log_kit import Log, module
from tests.browser.samples import Site

LINES = 120_000
COMMAND = f"seq 1 {LINES}"
ELEMENTS_MAX = 400

SCALED = """
async ([path, pxMax]) => {
  const { VirtualList } = await import(path);
  const scroller = document.createElement("div");
  scroller.className = "log";
  scroller.id = "scaled";
  scroller.style.height = "400px";
  scroller.style.flex = "none";
  document.querySelector("main").replaceChildren(scroller);
  [globalThis.asked, globalThis.answering] = [[], null];
  const rowOf = (row) => ({ row, kind: "stdout", isOpen: false });
  const list = new VirtualList(scroller, {
    fetchRows: async (from, to) => {
      globalThis.asked.push(from);
      await globalThis.answering;
      return { rows: Array.from({ length: to - from }, (_, at) => rowOf(from + at)) };
    },
    make: ({ row }) => {
      const element = document.createElement("div");
      element.className = "ln";
      element.dataset.line = row;
      const code = document.createElement("code");
      code.textContent = row;
      code.style.gridColumn = "3";
      element.append(code);
      return element;
    },
    makeWaiting: () => document.createElement("div"),
    moved: () => undefined,
  }, { pxMax });
  list.isFollowing = false;
  await list.grow(1_000_000, 0);
  globalThis.list = list;
}
"""
TOP = """
async () => {
  const { list } = globalThis;
  const view = document.querySelector("#scaled").getBoundingClientRect();
  const isAtTop = (one) => one.getBoundingClientRect().bottom > view.top + 0.5;
  for (let frame = 0; frame < 120 && (frame < 2 || list.frame !== 0 || !list.isHere()); frame += 1) {
    await new Promise(requestAnimationFrame);
  }
  const row = [...document.querySelectorAll("#scaled .rows > *")].find(isAtTop);
  return Number(row.dataset.line) + (view.top - row.getBoundingClientRect().top) / 19;
}
"""
STANDS_AT = """
([share, lines]) => {
  const top = document.querySelector("#log .log").getBoundingClientRect().top;
  const isAtTop = (one) => one.getBoundingClientRect().bottom > top + 1;
  const row = [...document.querySelectorAll("#log .ln")].find(isAtTop);
  return Math.abs(Number(row?.dataset.line) / lines - share) < 0.01;
}
"""
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def scaled(page: Page) -> Locator:
    """A list of a million rows in 400,000 px, in place of the page; its rows are their own numbers."""
    page.goto("/workspace-runs")
    page.add_style_tag(url=module(page, "css/log.css"))
    page.evaluate(SCALED, [module(page, "log/list.js"), 400_000])
    return page.locator("#scaled")


@pytest.fixture(scope="module")
def large_run(site: Site) -> str:
    """A run that printed its line numbers."""
    return site.run(COMMAND)


def test_every_line_can_be_reached(page: Page, site: Site, large_run: str) -> None:
    """By its number, by the scroll bar, and at both ends."""
    log = Log(page).open(large_run)
    expect(log.text(LINES)).to_be_in_viewport()
    chosen = random.Random(7).sample(range(1, LINES), 12)
    for number in [1, *chosen]:
        page.evaluate("(number) => { location.hash = `#L${number}`; }", number)
        expect(log.text(number)).to_be_in_viewport()
        expect(log.text(number)).to_have_text(str(number))
        assert log.rows.count() < ELEMENTS_MAX
    for share in (0.25, 0.5, 0.99):
        log.scroller.evaluate("(log, share) => { log.scrollTop = share * log.scrollHeight; }", share)
        page.wait_for_function(STANDS_AT, arg=[share, LINES])
        seen = [int(number) for number in log.visible()]
        assert seen == list(range(seen[0], seen[-1] + 1))
        assert [log.text(number).inner_text() for number in seen] == [str(number) for number in seen]


def test_wrapping_keeps_what_is_read_in_its_place(page: Page, site: Site, large_run: str) -> None:
    """So does another width of the window."""
    log = Log(page).open(large_run, "#L60000")
    expect(log.line(60_000)).to_be_in_viewport()
    first = log.visible()[0]
    page.keyboard.press("w")
    assert log.visible()[0] == first
    page.set_viewport_size({"width": 1100, "height": 900})
    page.evaluate(TWO_FRAMES)
    assert log.visible()[0] == first


def test_a_list_higher_than_browsers_allow_is_scrolled_exactly_and_in_proportion(page: Page) -> None:
    """A million rows in 400,000 px: near moves are to the pixel, far ones go where the bar is."""
    scroller = scaled(page)
    height = scroller.evaluate("(log) => log.scrollHeight")
    assert height == 400_000
    scroll = "(scroller, px) => { scroller.scrollTop += px; }"
    for start in (0, 123_456, 500_000, 999_000):
        page.evaluate("(start) => globalThis.list.show(start, 'start')", start)
        at = page.evaluate(TOP)
        assert at == pytest.approx(start, abs=0.1)
        for px in (190, 95, -190, 380):
            scroller.evaluate(scroll, px)
            assert page.evaluate(TOP) == pytest.approx(at + px / 19, abs=0.1)
            at += px / 19
    for share in (0.1, 0.5, 0.9):
        scroller.evaluate("(log, top) => { log.scrollTop = top; }", share * (height - 400))
        assert page.evaluate(TOP) == pytest.approx(share * 1_000_000, rel=0.02)
    page.evaluate("() => globalThis.list.follow()")
    assert scroller.locator("[data-line]").last.inner_text() == "999999"


def test_fast_scrolling_goes_at_one_pace_and_asks_for_what_comes_next(page: Page) -> None:
    """Every far move leads as far as the one before it, and the rows behind the next ones are asked for."""
    scroller = scaled(page)
    rows_of_a_move = 3_000 * 1_000_000 / (400_000 - 400)
    for move in range(1, 11):
        scroller.evaluate("(log) => { log.scrollTop += 3000; }")
        assert page.evaluate(TOP) == pytest.approx(move * rows_of_a_move, rel=0.01)
    asked = set(page.evaluate("() => globalThis.asked"))
    for move in (11, 12, 13):
        row = move * rows_of_a_move
        assert any(first <= row < first + 64 for first in asked), f"row {row:.0f} was not asked for"


def test_rows_beside_the_view_are_made_when_the_reader_has_landed(page: Page) -> None:
    """One who flies by would never see them: a frame costs what it shows."""
    scroller = scaled(page)
    made = scroller.locator("[data-line]")
    flown = page.evaluate(
        """async () => {
          const { list } = globalThis;
          globalThis.drawn = [];
          const { fill } = list;
          list.fill = (first, last) => {
            globalThis.drawn.push([list.isFlying, last - first]);
            fill.call(list, first, last);
          };
          for (let frame = 0; frame < 8; frame += 1) {
            list.scroller.scrollTop += 3000;
            await new Promise(requestAnimationFrame);
          }
          return globalThis.drawn.filter(([isFlying]) => isFlying).map(([, rows]) => rows);
        }"""
    )
    seen = 400 // 19 + 2
    assert flown
    assert max(flown) <= seen + 1
    expect(made.nth(2 * seen)).to_be_attached()


def test_what_was_read_stays_until_the_rows_of_another_place_are_here(page: Page) -> None:
    """No empty frame between them; but who has to wait for long sees that there is nothing yet."""
    scroller = scaled(page)
    shown = scroller.locator("[data-line]")
    page.evaluate(
        "() => { globalThis.answering = new Promise((answer) => { globalThis.answer = answer; }); }"
    )
    frames = page.evaluate(
        """async () => {
          globalThis.list.show(500_000, "start");
          const view = document.querySelector("#scaled").getBoundingClientRect();
          const middle = () => document.elementFromPoint(view.x + 20, view.y + 200);
          const inView = () => middle()?.closest("[data-line]")?.dataset.line;
          const before = inView();
          await new Promise(requestAnimationFrame);
          return [before, inView()];
        }"""
    )
    assert frames == ["10", "10"]
    expect(shown).to_have_count(0)
    page.evaluate("() => globalThis.answer()")
    expect(shown.first).to_be_attached()
    assert page.evaluate(TOP) == pytest.approx(500_000, abs=0.1)
