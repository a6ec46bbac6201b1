"""One-time links: who may make one, and that each lets one browser in, once, for a while."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.sessions import CSRF_HEADER, csrf_token
from runs.limits import SignInLimits
from runs.sessions import LINK, SESSION
from tests.serving import FINISH_S_MAX, Running, serving

BY_HAND = {"sec-fetch-site": "none"}
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}
SESSION_COOKIE = "crownest_session"
BROWSER = {"accept": "text/html,*/*;q=0.8"}


@pytest.fixture
def browser(running: Running) -> Iterator[httpx2.Client]:
    """A browser that is signed out."""
    with httpx2.Client(base_url=running.url, timeout=FINISH_S_MAX, headers=BROWSER) as one:
        yield one


def make_link(running: Running, key: str | None = None) -> str:
    """A fresh link's address."""
    headers = {"authorization": f"Bearer {key or running.key}"}
    answer = httpx2.post(f"{running.url}/auth/links", headers=headers)
    assert answer.status_code == 201, answer.text
    url: str = answer.json()["url"]
    assert url.startswith(f"{running.url}/auth/link?token=")
    return url


def reader_key(running: Running) -> dict[str, Any]:
    """A key that only reads runs, with its secret."""
    answer = running.http.post("/v1/api-keys", json={"name": "reader", "scopes": ["workspace_run:read"]})
    made: dict[str, Any] = answer.json()
    return made


def test_a_link_lets_one_browser_in_as_the_key_that_made_it(running: Running, browser: httpx2.Client) -> None:
    """The second time it says what to do instead."""
    made = reader_key(running)
    url = make_link(running, made["secret"])
    answer = browser.get(url, headers=BY_HAND)
    assert (answer.status_code, answer.headers["location"]) == (303, "/workspace-runs")
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    assert browser.get("/auth/session").json()["apiKey"]["id"] == made["apiKey"]["id"]
    again = httpx2.get(url, headers=BY_HAND)
    assert again.status_code == 410
    assert "crownest dashboard" in again.text
    assert "set-cookie" not in again.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "none", "sec-purpose": "prefetch;prerender"},
        {},
    ],
    ids=["another site", "prerender", "a preview of a chat"],
)
def test_what_opens_a_link_by_itself_does_not_use_it_up(
    running: Running, browser: httpx2.Client, headers: dict[str, str]
) -> None:
    """It is shown a button, which works from our own page alone."""
    url = make_link(running)
    shown = browser.get(url, headers=headers)
    assert shown.status_code == 200
    assert "set-cookie" not in shown.headers
    token = re.findall('name="token" value="([^"]+)"', shown.text)[0]
    assert url.endswith(token)
    foreign = browser.post("/auth/link", data={"token": token}, headers={"sec-fetch-site": "cross-site"})
    assert foreign.status_code == 403
    assert browser.post("/auth/link", data={"token": token}, headers=SAME_ORIGIN).status_code == 303
    assert browser.get("/auth/session").status_code == 200


def test_of_many_who_follow_a_link_at_once_one_comes_in(running: Running) -> None:
    """Whatever the server is doing meanwhile."""
    url = make_link(running)

    async def follow_all() -> list[int]:
        async with httpx2.AsyncClient(timeout=FINISH_S_MAX) as http:
            answers = await asyncio.gather(*(http.get(url, headers=BY_HAND) for _ in range(8)))
        return sorted(answer.status_code for answer in answers)

    assert asyncio.run(follow_all()) == [303] + [410] * 7


def test_a_link_of_a_revoked_key_lets_nobody_in(running: Running, browser: httpx2.Client) -> None:
    """Also when it was made before."""
    made = reader_key(running)
    url = make_link(running, made["secret"])
    running.http.delete(f"/v1/api-keys/{made['apiKey']['id']}")
    assert browser.get(url, headers=BY_HAND).status_code == 410


def test_only_an_api_key_makes_links(running: Running, browser: httpx2.Client) -> None:
    """A session cannot make itself last for ever."""
    assert browser.post("/auth/links").status_code == 401
    browser.get(make_link(running), headers=BY_HAND)
    own = {**SAME_ORIGIN, CSRF_HEADER: csrf_token(browser.cookies[SESSION_COOKIE])}
    assert browser.post("/auth/links", headers=own).status_code == 403


def test_neither_link_nor_session_is_stored_as_it_is(tmp_path: Path) -> None:
    """Who reads the database cannot become anybody; what is over is cleared away."""
    with serving(tmp_path, sign_in=SignInLimits(link_ms=1)) as running:
        url = make_link(running)
        assert httpx2.get(url, headers=BY_HAND).status_code == 410
        with httpx2.Client(base_url=running.url) as one:
            one.post("/sign-in", data={"key": running.key}, headers=SAME_ORIGIN)
            cookie = one.cookies[SESSION_COOKIE]
        files = [path.read_bytes() for path in tmp_path.glob("log.sqlite*")]
        for token in (url.partition("token=")[2], cookie):
            assert not any(token.encode() in data for data in files)
        assert any(SESSION.encode() in data for data in files)
        left = asyncio.run_coroutine_threadsafe(
            running.server.services.store.expired_records(LINK, 2**60), running.loop
        ).result(FINISH_S_MAX)
        assert left == []


def test_sign_ins_from_one_address_are_counted(tmp_path: Path) -> None:
    """Right or wrong, by key or by link; the next minute they go on."""
    with serving(tmp_path, sign_in=SignInLimits(attempts_per_minute=2)) as running:
        url = make_link(running)
        for _ in range(2):
            wrong = httpx2.post(f"{running.url}/sign-in", data={"key": "x"}, headers=SAME_ORIGIN)
            assert wrong.status_code == 401
        right = httpx2.post(f"{running.url}/sign-in", data={"key": running.key}, headers=SAME_ORIGIN)
        assert right.status_code == 429
        assert "Wait" in right.text
        assert httpx2.get(url, headers=BY_HAND).status_code == 429


def test_over_plain_http_beyond_loopback_a_session_only_reads(running: Running) -> None:
    """No key is asked for there; a link lets in, and nothing can be changed."""
    host = {"host": "runs.example.org"}
    shown = httpx2.get(f"{running.url}/sign-in", headers=host)
    assert "plain http" in shown.text
    assert 'name="key"' not in shown.text
    form = {**host, **SAME_ORIGIN}
    refused = httpx2.post(f"{running.url}/sign-in", data={"key": running.key}, headers=form)
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers
    entered = httpx2.get(make_link(running), headers={**host, **BY_HAND})
    token = entered.headers["set-cookie"].partition(";")[0].partition("=")[2]
    cookie = {**host, "cookie": f"{SESSION_COOKIE}={token}"}
    assert httpx2.get(f"{running.url}/v1/workspace-runs", headers=cookie).status_code == 200
    change = {**cookie, **SAME_ORIGIN, CSRF_HEADER: csrf_token(token)}
    made = httpx2.post(f"{running.url}/v1/workspace-runs", json={"command": "true"}, headers=change)
    assert (made.status_code, made.json()["error"]["code"]) == (403, "forbidden")
    assert httpx2.post(f"{running.url}/auth/sign-out", headers=change).status_code == 204


def test_behind_https_links_and_cookies_say_so(tmp_path: Path) -> None:
    """The operator names the address that browsers use."""
    url = "https://runs.example.org"
    with serving(tmp_path, public_url=url) as running:
        headers = {"authorization": f"Bearer {running.key}"}
        link = httpx2.post(f"{running.url}/auth/links", headers=headers).json()["url"]
        assert link.startswith(f"{url}/auth/link?token=")
        own = {"origin": url, "host": "runs.example.org"}
        entered = httpx2.post(f"{running.url}/sign-in", data={"key": running.key}, headers=own)
        assert entered.status_code == 303
        cookie = entered.headers["set-cookie"]
        assert cookie.startswith(f"__Host-{SESSION_COOKIE}=")
        assert "; Secure" in cookie


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_who_follows_a_link_of_another_site_is_asked_once_more(
    running: Running, browser: httpx2.Client, site: str
) -> None:
    """The strict cookie stays behind on such a request; the page asks again by itself, and then it comes."""
    answer = browser.get("/workspace-runs?status=failed&x=%22", headers={"sec-fetch-site": site})
    assert answer.status_code == 200
    assert 'http-equiv="refresh" content="0;url=/workspace-runs?status=failed&amp;x=%22"' in answer.text
    assert browser.get("/workspace-runs", headers=SAME_ORIGIN).status_code == 303
