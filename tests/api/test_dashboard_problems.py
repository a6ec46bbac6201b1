"""Who gets a page and who the envelope where something is not there, or not allowed."""

import httpx2
import pytest

from tests.serving import FINISH_S_MAX, Running

SAME_ORIGIN = {"sec-fetch-site": "same-origin"}
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize(
    "path", ["/nowhere", "/workspace-runs/x/y", "/dashboard/static/0/none.js", "/docs/none"]
)
def test_a_browser_gets_a_page_and_a_program_the_envelope(running: Running, path: str) -> None:
    """For the same address, with the same status."""
    shown = httpx2.get(f"{running.url}{path}", headers=BROWSER)
    assert (shown.status_code, shown.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "script-src 'self'" in shown.headers["content-security-policy"]
    told = httpx2.get(f"{running.url}{path}")
    assert (told.status_code, told.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/v1/workspace-runs/wsr_x", "/v1/none", "/auth/session"])
def test_the_api_answers_a_browser_as_it_answers_programs(running: Running, path: str) -> None:
    """Scripts of pages parse what it says."""
    answer = httpx2.get(f"{running.url}{path}", headers=BROWSER)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["code"] in {"unauthorized", "not_found"}


def test_a_page_that_a_key_may_not_see_says_what_is_missing(running: Running) -> None:
    """With the frame of who is signed in."""
    made = running.http.post("/v1/api-keys", json={"name": "writer", "scopes": ["workspace_run:create"]})
    with httpx2.Client(base_url=running.url, timeout=FINISH_S_MAX) as browser:
        browser.post("/sign-in", data={"key": made.json()["secret"]}, headers=SAME_ORIGIN)
        answer = browser.get("/workspace-runs", headers=BROWSER)
        assert answer.status_code == 403
        assert "workspace_run:read" in answer.text
        assert ">writer<" in answer.text


def test_an_id_leads_to_what_it_names(running: Running) -> None:
    """Runs and projects; what names nothing is not found."""
    run_id = running.create()
    with httpx2.Client(base_url=running.url, timeout=FINISH_S_MAX) as browser:
        assert browser.get(f"/find?id={run_id}", headers=BROWSER).status_code == 303
        assert browser.get(f"/find?id={run_id}").status_code == 401
        browser.post("/sign-in", data={"key": running.key}, headers=SAME_ORIGIN)
        answer = browser.get(f"/find?id=%20{run_id}")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/workspace-runs/{run_id}")
        for sought in ("", "x", "wsr_../..", "//evil.example", "bkp_abc"):
            assert browser.get("/find", params={"id": sought}, headers=BROWSER).status_code == 404
