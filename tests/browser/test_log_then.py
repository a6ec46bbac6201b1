"""The log as it was at an event, and the lines of events that were changed after they were recorded."""

from playwright.sync_api import Page, expect

from tests.browser.log_kit import Log, Recording, err, module, out, record
from tests.browser.samples import Site

WARNING = "warning\n"
REST = "goes on\n"
CHANGED = """
(badSeqs) => {
  const detail = { state: "failed", seq: badSeqs[0] ?? null, badSeqs };
  document.querySelector("#proof").dispatchEvent(new CustomEvent("proof-state", { bubbles: true, detail }));
}
"""


def seq_of(run: Recording, data: str) -> int:
    """The event with this output."""
    seq: int = next(event["seq"] for event in run.events() if event.get("data") == data)
    return seq


def test_the_log_is_shown_as_it_was(page: Page, site: Site) -> None:
    """Lines that came later are not there, and those that went on later end where they ended then."""
    run = record(site.http, out("one\n"), out("two "), err(WARNING), out(REST), out("three\n"))
    run.finish()
    log = Log(page)
    page.goto(f"/workspace-runs/{run.run_id}?seq={seq_of(run, WARNING)}")
    expect(log.rows).to_have_count(3)
    expect(log.text(2)).to_have_text("two ")
    expect(log.text(3)).to_have_text("warning")
    page.goto(f"/workspace-runs/{run.run_id}?seq={seq_of(run, REST)}")
    expect(log.text(2)).to_have_text("two goes on")
    expect(log.rows).to_have_count(3)
    page.keyboard.press("ArrowRight")
    expect(log.text(4)).to_have_text("three")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(log.text(2)).to_have_text("two ")
    expect(log.rows).to_have_count(3)
    page.keyboard.press("Escape")
    expect(log.rows).to_have_count(4)
    expect(log.status).to_have_text("Complete")


def test_the_session_answers_for_every_moment(page: Page, site: Site) -> None:
    """Positions by event and by time, and output over time that adds up to all of it."""
    run = record(site.http, out("first\n"), err("second\n"), out("third\nfourth\n"))
    run.finish()
    page.goto(f"/workspace-runs/{run.run_id}")
    answers = page.evaluate(
        """async ([path, runId, seqs]) => {
          const { openRun } = await import(path);
          const session = openRun(runId);
          const state = () => session.connection.state;
          while (state() !== "ended") await new Promise((go) => session.addEventListener("connection", go));
          const positions = await Promise.all(seqs.map((seq) => session.positionAt({ seq })));
          const byTime = await session.positionAt({ time: positions[1].time });
          const histogram = await session.histogram(7);
          const lines = await session.lines(2, 4);
          session.close();
          return { positions, byTime, histogram, lines };
        }""",
        [module(page, "log/session.js"), run.run_id, [0, seq_of(run, "second\n"), 10**9]],
    )
    before, then, last = answers["positions"]
    assert (before["seq"], before["lines"]) == (0, 0)
    assert (then["stdoutLines"], then["stderrLines"], then["stdoutBytes"], then["stderrBytes"]) == (
        1,
        1,
        6,
        7,
    )
    assert (last["seq"], last["lines"]) == (run.events()[-1]["seq"], 4)
    assert answers["byTime"]["time"] == then["time"]
    histogram = answers["histogram"]
    assert (sum(histogram["stdout"]), sum(histogram["stderr"])) == (19, 7)
    assert histogram["seqs"] == sorted(histogram["seqs"])
    assert [line["line"] for line in answers["lines"]] == [2, 3]


def test_lines_of_a_changed_event_are_marked_with_one_note(page: Page, site: Site) -> None:
    """Also a line that only goes on in that event; a key leads there."""
    lines = [out(f"line {n}\n") for n in range(1, 301)]
    run = record(site.http, *lines, out("begun, "), out("ended\nsecond\nthird\n"), out("last\n"))
    run.finish()
    bad = seq_of(run, "ended\nsecond\nthird\n")
    log = Log(page).open(run.run_id)
    expect(log.text(301)).to_have_text("begun, ended")
    page.evaluate(CHANGED, [bad])
    changed = page.locator("#log .ln--changed")
    expect(changed).to_have_count(3)
    expect(changed.locator("code")).to_have_text(["begun, ended", "second", "third"])
    note = page.locator("#log .note")
    expect(note).to_have_count(1)
    expect(note).to_contain_text(f"Event {bad} was changed after it was recorded.")
    page.keyboard.press("g")
    expect(log.line(1)).to_be_in_viewport()
    page.keyboard.press("e")
    expect(log.line(302)).to_be_in_viewport()
    page.evaluate(CHANGED, [])
    expect(changed).to_have_count(0)
