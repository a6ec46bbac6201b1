"""The way into the dashboard with an API key, and what a session of a key may do."""

import re
from collections.abc import Iterator

import httpx2
import pytest

from api.sessions import CSRF_HEADER, csrf_token
from tests.serving import FINISH_S_MAX, Running

SAME_ORIGIN = {"sec-fetch-site": "same-origin"}
SESSION_COOKIE = "crownest_session"
BROWSER = {"accept": "text/html,*/*;q=0.8"}


@pytest.fixture
def browser(running: Running) -> Iterator[httpx2.Client]:
    """A browser that is signed out."""
    with httpx2.Client(base_url=running.url, timeout=FINISH_S_MAX, headers=BROWSER) as one:
        yield one


def sign_in(browser: httpx2.Client, key: str, **fields: str) -> httpx2.Response:
    """Send the form."""
    return browser.post("/sign-in", data={"key": key, **fields}, headers=SAME_ORIGIN)


def own(browser: httpx2.Client) -> dict[str, str]:
    """The headers with which a page of this browser's session changes things."""
    return {**SAME_ORIGIN, CSRF_HEADER: csrf_token(browser.cookies.get(SESSION_COOKIE, ""))}


def test_a_page_leads_to_the_sign_in_and_back(running: Running, browser: httpx2.Client) -> None:
    """With everything that was asked for."""
    answer = browser.get("/workspace-runs?status=failed&project=x")
    assert answer.status_code == 303
    location = answer.headers["location"]
    assert location == "/sign-in?next=/workspace-runs%3Fstatus%3Dfailed%26project%3Dx"
    assert 'name="next" value="/workspace-runs?status=failed&amp;project=x"' in browser.get(location).text
    entered = sign_in(browser, running.key, next="/workspace-runs?status=failed")
    assert (entered.status_code, entered.headers["location"]) == (303, "/workspace-runs?status=failed")
    assert browser.get(entered.headers["location"]).status_code == 200
    assert browser.get("/sign-in").status_code == 303


def test_a_program_is_told_and_not_redirected(running: Running) -> None:
    """Wherever a browser would be led to the sign-in."""
    for path, status in (("/", 404), ("/workspace-runs", 401), ("/keys", 401)):
        answer = httpx2.get(f"{running.url}{path}")
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert httpx2.get(running.url, headers=BROWSER).headers["location"] == "/workspace-runs"


def test_a_session_of_a_key_does_what_the_key_may(running: Running, browser: httpx2.Client) -> None:
    """And events name the key."""
    sign_in(browser, running.key)
    made = browser.post("/v1/workspace-runs", json={"command": "true"}, headers=own(browser))
    assert made.status_code == 201
    key_id = running.events(made.json()["workspaceRun"]["id"])[0]["actor"]
    assert browser.get("/auth/session").json()["apiKey"]["id"] == key_id
    scoped = running.http.post("/v1/api-keys", json={"name": "reader", "scopes": ["workspace_run:read"]})
    with httpx2.Client(base_url=running.url, headers=BROWSER) as reader:
        sign_in(reader, scoped.json()["secret"])
        assert reader.get("/v1/workspace-runs").status_code == 200
        refused = reader.post("/v1/workspace-runs", json={"command": "true"}, headers=own(reader))
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
        running.http.delete(f"/v1/api-keys/{scoped.json()['apiKey']['id']}")
        assert reader.get("/v1/workspace-runs").status_code == 401
        assert reader.get("/workspace-runs").status_code == 303


@pytest.mark.parametrize("sent", [None, "", "x", csrf_token("another session")], ids=range(4))
def test_without_the_token_of_its_page_a_session_changes_nothing(
    running: Running, browser: httpx2.Client, sent: str | None
) -> None:
    """Though the request says that it comes from our own pages."""
    sign_in(browser, running.key)
    headers = {**SAME_ORIGIN, **({} if sent is None else {CSRF_HEADER: sent})}
    for path in ("/v1/workspace-runs", "/auth/sign-out"):
        answer = browser.post(path, json={"command": "true"}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    assert browser.get("/auth/session").status_code == 200


@pytest.mark.parametrize("key", ["", "cn_live_wrong", "\ud800", "<script>"], ids=range(4))
def test_a_wrong_key_gets_the_form_again(running: Running, browser: httpx2.Client, key: str) -> None:
    """With no session."""
    body = b"key=" + key.encode("utf-8", "surrogatepass")
    headers = {**SAME_ORIGIN, "content-type": "application/x-www-form-urlencoded"}
    answer = browser.post("/sign-in", content=body, headers=headers)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "<script>" not in answer.text


def test_another_site_signs_nobody_in(running: Running, browser: httpx2.Client) -> None:
    """Else it could have a reader work in its own organisation without noticing."""
    headers = {"sec-fetch-site": "cross-site"}
    assert browser.post("/sign-in", data={"key": running.key}, headers=headers).status_code == 403
    assert browser.post("/sign-in", data={"key": running.key}).status_code == 403


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil", "x"], ids=range(4))
def test_a_sign_in_with_a_key_ends_at_a_path_of_this_server(
    running: Running, browser: httpx2.Client, path: str
) -> None:
    """No link makes it lead elsewhere."""
    answer = sign_in(browser, running.key, next=path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/workspace-runs")


def test_pages_and_files_are_protected(running: Running, browser: httpx2.Client) -> None:
    """The same policy on each; files are kept for ever, pages never."""
    page = browser.get("/sign-in")
    script = page.text.partition('src="')[2].partition('"')[0]
    file = browser.get(script)
    assert file.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "immutable" in file.headers["cache-control"]
    assert page.headers["cache-control"] == "no-store"
    for answer in (page, file):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    digest = script.split("/")[3]
    for other in (script.replace(digest, "0" * 16), f"/dashboard/static/{digest}/../pages.py"):
        assert browser.get(other).status_code == 404


def test_every_link_of_the_sign_in_page_leads_somewhere(running: Running, browser: httpx2.Client) -> None:
    """For who is signed out."""
    found = set(re.findall('(?:href|src)="(/[^"]*)"', browser.get("/sign-in").text))
    assert "/log/checkpoint" in found
    assert {path: browser.get(path).status_code for path in found} == dict.fromkeys(found, 200)
