"""Output that wants to be more than text: the page shows it, letter by letter, and does nothing else."""

from playwright.sync_api import Page, expect

from tests.browser.log_kit import Log, err, out, record
from tests.browser.samples import Site

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<svg/onload=alert(1)>",
    "javascript:alert(1)",
    "<a href='javascript:alert(1)' id=log>click</a>",
    "<form action=/v1/workspace-runs method=post><button>go</button></form>",
    "<style>body { display: none }</style>",
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content='0;url=//evil.example/'>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "{{ 7 * 7 }} ${7 * 7} <%= 7 * 7 %>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "</code></div><h1>Verified in this browser</h1>",
    "__proto__ constructor toString hasOwnProperty",
    "\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07",
    "\x1b[31m<b>bold</b>\x1b[0m",
    "a" * 40_000,
)
SHOWN_CHARS_MAX = 16 * 1024


def test_hostile_output_is_only_text(page: Page, site: Site) -> None:
    """On both streams, marked by a search, and copied; the page's own guard sees dialogs and violations."""
    run = record(site.http, *[out(f"{text}\n") for text in HOSTILE], *[err(f"{text}\n") for text in HOSTILE])
    log = Log(page).open(run.run_id)
    for number, text in enumerate(HOSTILE, 1):
        page.evaluate("(number) => { location.hash = `#L${number}`; }", number)
        expect(log.line(number)).to_be_in_viewport()
        shown = log.text(number).inner_text()
        plain = (
            text.replace("\x1b[31m", "").replace("\x1b[0m", "").replace("\x1b", "ESC").replace("\x07", "BEL")
        )
        assert shown[:SHOWN_CHARS_MAX] == plain[:SHOWN_CHARS_MAX]
    page.get_by_label("Search in the log").fill("<script>alert(1)")
    expect(page.locator("#log .hits")).to_have_text("2 of 2")
    expect(page.locator('#log mark[aria-current="true"]')).to_have_text("<script>alert(1)")
    assert log.copied().startswith("<script>alert(1)</script>\n")
    inside = page.locator("#log :is(script, img, iframe, form, style, base, meta, h1, b)")
    expect(inside).to_have_count(0)


def test_a_hostile_search_and_address_are_only_text(page: Page, site: Site) -> None:
    """Whatever is looked for, whatever the address says."""
    run = record(site.http, out("(a+)+$ .* [ \\ <b>\n"))
    hostile = ("(a+)+$", ".*", "[", "\\", "<b>", "\u0130", "\ud800", "%00", "$&")
    places = (
        "#L0",
        "#L-1",
        "#L99999999999999999999",
        "#seq-1e9",
        "#<img src=x onerror=alert(1)>",
        "#__proto__",
    )
    for place in places:
        log = Log(page).open(run.run_id, place)
        expect(log.text(1)).to_be_in_viewport()
        page.goto("/workspace-runs")
    log = Log(page).open(run.run_id)
    field = page.get_by_label("Search in the log")
    for text in hostile:
        field.fill(text)
        expected = "1 of 1" if text in "(a+)+$ .* [ \\ <b>" else "no match"
        expect(page.locator("#log .hits")).to_have_text(expected)
    expect(log.text(1)).to_have_text("(a+)+$ .* [ \\ <b>")


def test_one_endless_line_is_bounded(page: Page, site: Site) -> None:
    """What is shown of it, and of one that rewrites itself; the rest is said."""
    run = record(site.http)
    for _ in range(20):
        run.write(out("x" * 60_000))
    log = Log(page).open(run.run_id)
    expect(log.text(1)).to_contain_text("1.1 MiB more of this line are in the raw download")
    assert len(log.text(1).inner_text()) < SHOWN_CHARS_MAX + 100
    run.write(out("\n"))
    for start in range(0, 20_000, 2_500):
        run.write(out("".join(f"\r{number:7d} of many" for number in range(start, start + 2_500))))
    expect(log.text(2)).to_have_text("  19999 of many rewritten 20,000 times")
