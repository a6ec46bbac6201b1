"""Artifacts, sandboxes and previews, usage and the global log in a real browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.samples import Site

UNCOVERED = """(part) => {
  const { left, right, top, bottom } = part.getBoundingClientRect();
  const places = [[left + 2, top + 2], [right - 2, bottom - 2]];
  return places.every(([x, y]) => document.elementFromPoint(x, y)?.closest("button") === part);
}"""


def test_an_artifact_is_downloaded_as_a_file(page: Page, site: Site) -> None:
    """A page that a command wrote is never opened as one of ours."""
    html = "<script>document.title = 'taken'</script>"
    run = site.run(
        "true", {"page.html": html.encode()}, artifacts=[{"path": "page.html"}], metadata={"repo": "r"}
    )
    page.goto(f"/artifacts?q={run}")
    row = page.locator("tr[data-row]")
    expect(row).to_have_count(1)
    with page.expect_download() as waiting:
        row.get_by_role("link", name="Download page.html").click()
    assert waiting.value.suggested_filename == "page.html"
    assert Path(waiting.value.path()).read_text(encoding="utf-8") == html
    expect(page).to_have_title("Artifacts · CrowNest")
    row.locator(".d-run a").click()
    page.wait_for_url(f"**/workspace-runs/{run}")


def test_a_sandbox_is_extended_and_killed_after_a_question(page: Page, site: Site) -> None:
    """The safe answer is the one that has the focus; its record stays among the ended ones."""
    sandbox = site.warm()
    page.goto(f"/sandboxes?q={sandbox}")
    row = page.locator(f"tr[data-row={sandbox}]")
    expect(row.locator("[data-until]")).to_contain_text("59:")
    row.get_by_text("Extend").click()
    row.get_by_role("button", name="4 h from now", exact=True).click()
    expect(row.locator("[data-until]")).to_contain_text("3:59:")
    row.get_by_role("button", name="Kill").click()
    dialog = page.get_by_role("dialog", name="Kill this sandbox?")
    expect(dialog.get_by_role("button", name="Leave it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(row).to_have_count(1)
    row.get_by_role("button", name="Kill").click()
    page.get_by_role("button", name="Kill the sandbox").click()
    expect(row).to_have_count(0)
    page.get_by_role("link", name="Ended").click()
    expect(row).to_contain_text("killed")
    assert site.http.get(f"/v1/sandboxes/{sandbox}").json()["sandbox"]["status"] == "destroyed"


def test_a_menu_in_a_list_is_seen_whole_on_a_phone(page: Page, site: Site) -> None:
    """Each choice can be touched where it stands, below the list's end too; nothing scrolls sideways."""
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"/sandboxes?q={site.warm()}")
    page.locator("td summary", has_text="Extend").click()
    choices = page.locator("td .menu button")
    expect(choices).to_have_count(3)
    for choice in choices.all():
        assert choice.evaluate(UNCOVERED), choice.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_a_preview_is_shown_with_its_address_and_revoked(page: Page, site: Site) -> None:
    """Revoked, it stays as a record without address."""
    sandbox = site.warm()
    made = site.http.post(f"/v1/sandboxes/{sandbox}/previews", json={"port": 8000}).json()["preview"]
    page.goto(f"/sandboxes?q={sandbox}")
    preview = page.locator(f"[data-preview={made['id']}]")
    expect(preview.get_by_role("link")).to_have_attribute("href", made["url"])
    preview.get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Revoke the preview").click()
    expect(preview).to_contain_text("revoked")
    expect(preview.get_by_role("link")).to_have_count(0)


def test_the_range_of_usage_lies_in_the_address(page: Page, site: Site) -> None:
    """And each plot has its table."""
    site.run("true")
    page.goto("/usage")
    page.get_by_label("Time", exact=True).select_option("7d")
    page.wait_for_url("**/usage?range=7d")
    page.get_by_text("Show as a table").first.click()
    table = page.get_by_role("table", name="Runs per day")
    expect(table.get_by_role("row")).to_have_count(8)


def test_the_log_leads_to_the_runs_that_it_names(page: Page, site: Site) -> None:
    """And to older entries."""
    for _ in range(21):
        site.create("true")
    run = site.run("true")
    page.goto("/log")
    expect(page.get_by_role("heading", name="Latest entries")).to_be_visible()
    page.get_by_role("link", name=run).first.click()
    page.wait_for_url(f"**/workspace-runs/{run}")
    page.go_back()
    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**/log?before=*")
    expect(page.get_by_role("link", name="Newer")).to_be_visible()
