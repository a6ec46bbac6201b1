"""Sign-in with a real provider on loopback: the way in, and every way that must not lead in."""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from api.dashboard.pages import PAGE_HEADERS
from api.own_paths import HEADERS
from api.sessions import CSRF_HEADER, csrf_token
from cli.main import root
from cli.oidc import OidcSettings
from cli.problems import CliError
from runs.limits import SignInLimits
from runs.sessions import SESSION
from runs.sign_in import INVITATION
from tests import oidc_provider
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, Account, Provider, serving_provider
from tests.serving import FINISH_S_MAX, Running, serving

SESSION_COOKIE, TRANSACTION_COOKIE = "crownest_session", "crownest_sign_in"
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}
ENDED_S_MAX = 5.0


def oidc_settings(provider: Provider, **fields: Any) -> OidcSettings:
    """Settings of a server that trusts this provider."""
    return OidcSettings(
        **{
            "issuer": provider.issuer,
            "client_id": CLIENT_ID,
            "client_secret": SecretStr(CLIENT_SECRET),
            **fields,
        }
    )


@pytest.fixture(scope="module")
def shared() -> Iterator[Provider]:
    """One provider for the module."""
    with serving_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def signed(shared: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for the module that people sign in to."""
    with serving(tmp_path_factory.mktemp("data"), oidc=oidc_settings(shared)) as running:
        yield running


@pytest.fixture
def provider(shared: Provider) -> Iterator[Provider]:
    """The provider, honest again after each test."""
    honest = Provider(issuer=shared.issuer, keys=dict(shared.keys))
    yield shared
    keep = shared.asked
    shared.__dict__.update(honest.__dict__)
    shared.asked = keep


class Browser:
    """A person's browser: keeps cookies, and goes one step at a time."""

    def __init__(self, running: Running) -> None:
        self.http = httpx2.Client(base_url=running.url, timeout=FINISH_S_MAX)

    def begin(self, path: str = "/auth/sign-in") -> str:
        """To the provider's page; its address."""
        answer = self.http.get(path)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def return_address(self, path: str = "/auth/sign-in") -> str:
        """Through the provider, up to the address that it sends the browser to."""
        answer = httpx2.get(self.begin(path))
        assert answer.status_code == 302
        return answer.headers["location"]

    def sign_in(self, path: str = "/auth/sign-in") -> httpx2.Response:
        """All the way; the server's last answer."""
        return self.http.get(self.return_address(path))

    def own(self) -> dict[str, str]:
        """The headers with which a page of this session changes things."""
        return {**SAME_ORIGIN, CSRF_HEADER: csrf_token(self.session or "")}

    @property
    def session(self) -> str | None:
        """The session cookie."""
        return self.http.cookies.get(SESSION_COOKIE)

    def who(self) -> dict[str, Any]:
        """What the server says of this browser's session."""
        answer = self.http.get("/auth/session")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def is_out(self) -> bool:
        """Whether the server knows no session of this browser."""
        return self.http.get("/auth/session").status_code == 401


@pytest.fixture
def browser(signed: Running) -> Iterator[Browser]:
    """A fresh browser."""
    one = Browser(signed)
    with one.http:
        yield one


def org_of(running: Running) -> str:
    """The first organisation."""
    org_id: str = running.http.get("/v1/projects").json()["data"][0]["orgId"]
    return org_id


def invite(running: Running, email: str, role: str = "member", **fields: Any) -> dict[str, Any]:
    """A new person with an invitation."""
    answer = running.http.post(
        f"/v1/orgs/{org_of(running)}/users", json={"name": "Ada", "role": role, "email": email, **fields}
    )
    assert answer.status_code == 201, answer.text
    user: dict[str, Any] = answer.json()["user"]
    return user


def invited(running: Running, provider: Provider, name: str, role: str = "member") -> dict[str, Any]:
    """Invite somebody of this name, and let the provider know them."""
    provider.account = Account(f"{name}-1", f"{name}@example.org")
    return invite(running, f"{name}@example.org", role)


def is_page(answer: httpx2.Response, status: int, text: str) -> None:
    """A protected page with this text and no session."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8"), (
        answer
    )
    assert text in answer.text
    assert PAGE_HEADERS.items() <= dict(answer.headers).items()
    assert SESSION_COOKIE not in answer.headers.get("set-cookie", "")


def until(condition: Callable[[], bool]) -> None:
    """Poll until it holds."""
    deadline = time.monotonic() + FINISH_S_MAX
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ---- the way in


def test_an_invited_person_signs_in_works_and_comes_back_as_the_same(
    signed: Running, provider: Provider, browser: Browser
) -> None:
    """The session says who it is; the second sign-in needs no invitation, and no address any more."""
    user = invited(signed, provider, "ada")
    answer = browser.sign_in("/auth/sign-in?next=/runs%3Fpage=2")
    assert answer.status_code == 200
    assert 'content="0;url=/runs?page=2"' in answer.text
    assert HEADERS.items() <= dict(answer.headers).items()
    found = browser.who()
    assert (found["user"]["id"], found["role"]) == (user["id"], "member")
    assert found["organization"]["id"] == org_of(signed)
    assert found["expiresAt"] > found["user"]["createdAt"]
    assert browser.http.get("/v1/workspace-runs").status_code == 200
    made = browser.http.post("/v1/workspace-runs", json={"command": "true"}, headers=browser.own())
    assert made.status_code == 201
    events = signed.events(made.json()["workspaceRun"]["id"])
    assert events[0]["actor"] == user["id"]
    provider.account.email = None
    again = Browser(signed)
    with again.http:
        assert again.sign_in().status_code == 200
        assert again.who()["user"]["id"] == user["id"]
        assert again.session != browser.session


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(
    signed: Running, provider: Provider, browser: Browser
) -> None:
    """HttpOnly, for the whole host, with an end; only the way back from the provider may be foreign."""
    invited(signed, provider, "cookie")
    begun = browser.http.get("/auth/sign-in")
    entered = browser.http.get(httpx2.get(begun.headers["location"]).headers["location"])
    for answer, name, site in (
        (begun, TRANSACTION_COOKIE, "samesite=lax"),
        (entered, SESSION_COOKIE, "samesite=strict"),
    ):
        cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith(f"{name}="))
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"httponly", site, "path=/"} <= attributes
        assert any(part.startswith("max-age=") for part in attributes)
    gone = next(c for c in entered.headers.get_list("set-cookie") if c.startswith(f"{TRANSACTION_COOKIE}="))
    assert "max-age=0" in gone.lower()


def test_behind_https_cookies_are_bound_to_host_and_https(provider: Provider, tmp_path: Path) -> None:
    """They carry the prefix that browsers enforce; and the provider returns to the address that was set."""
    url = "https://runs.example.org/auth/callback"
    with serving(tmp_path, oidc=oidc_settings(provider, redirect_url=url)) as running:
        answer = httpx2.get(f"{running.url}/auth/sign-in")
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"__Host-{TRANSACTION_COOKIE}=")
        assert "; Secure" in cookie
        assert parse_qs(urlsplit(answer.headers["location"]).query)["redirect_uri"] == [url]
        invited(running, provider, "https")
        back = urlsplit(httpx2.get(answer.headers["location"]).headers["location"])
        entered = httpx2.get(
            f"{running.url}{back.path}?{back.query}", headers={"cookie": cookie.partition(";")[0]}
        )
        session = next(c for c in entered.headers.get_list("set-cookie") if "session=" in c)
        assert session.startswith(f"__Host-{SESSION_COOKIE}=")
        assert "; Secure" in session
        own = {"cookie": session.partition(";")[0]}
        assert httpx2.get(f"{running.url}/auth/session", headers=own).status_code == 200
        plain = {"cookie": own["cookie"].removeprefix("__Host-")}
        assert httpx2.get(f"{running.url}/auth/session", headers=plain).status_code == 401
        for origin, status in ((running.url, 403), ("https://runs.example.org", 204)):
            token = own["cookie"].partition("=")[2]
            headers = {**own, "origin": origin, CSRF_HEADER: csrf_token(token)}
            left = httpx2.post(f"{running.url}/auth/sign-out", headers=headers)
            assert left.status_code == status


@pytest.mark.parametrize(
    ("alg", "make"), [("ES256", oidc_provider.elliptic), ("EdDSA", oidc_provider.edwards),
                      ("Ed25519", oidc_provider.edwards)],
    ids=["ES256", "EdDSA", "Ed25519"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_a_key_that_the_provider_made_meanwhile_is_fetched(
    signed: Running, provider: Provider, browser: Browser, alg: str, make: Callable[[str], Any]
) -> None:
    """Once: the keys are kept, and asked for again because this one is not among them."""
    invited(signed, provider, f"new-{alg}".lower())
    assert browser.sign_in().status_code == 200
    provider.keys[alg] = make(alg)
    provider.sign = lambda one, claims: one.signed(claims, alg=alg, kid=alg)
    before = provider.asked.count("/keys")
    assert browser.sign_in().status_code == 200
    assert provider.asked.count("/keys") == before + 1


def test_an_address_that_only_the_user_information_has_counts_as_well(
    signed: Running, provider: Provider, tmp_path: Path
) -> None:
    """As OpenID Connect allows; about somebody else it is refused."""
    provider.userinfo = {"sub": "info-1", "email": "info@example.org", "email_verified": True}
    provider.account = Account("info-1", None, None)
    with serving(tmp_path, oidc=oidc_settings(provider)) as running:
        user = invite(running, "info@example.org")
        one = Browser(running)
        with one.http:
            provider.userinfo["sub"] = "else"
            is_page(one.sign_in(), 502, "somebody else")
            provider.userinfo["sub"] = "info-1"
            assert one.sign_in().status_code == 200
            assert one.who()["user"]["id"] == user["id"]


# ---- tokens that must not be believed

LIES: dict[str, Callable[[Provider], None]] = {
    "nonce": lambda p: p.claims.update(nonce="another"),
    "no nonce": lambda p: p.claims.update(nonce=None),
    "audience": lambda p: p.claims.update(aud="another-app"),
    "no audience": lambda p: p.claims.update(aud=None),
    "audiences without azp": lambda p: p.claims.update(aud=[CLIENT_ID, "another-app"]),
    "azp": lambda p: p.claims.update(azp="another-app"),
    "issuer": lambda p: p.claims.update(iss="https://evil.example"),
    "issuer with a slash": lambda p: p.claims.update(iss=f"{p.issuer}/"),
    "expired": lambda p: p.claims.update(exp=int(time.time()) - 120),
    "no expiry": lambda p: p.claims.update(exp=None),
    "expiry is a text": lambda p: p.claims.update(exp="9999999999"),
    "from the future": lambda p: p.claims.update(iat=int(time.time()) + 3600),
    "not yet": lambda p: p.claims.update(nbf=int(time.time()) + 3600),
    "no subject": lambda p: p.claims.update(sub=None),
    "long subject": lambda p: p.claims.update(sub="x" * 256),
    "alg none": lambda p: setattr(p, "sign", oidc_provider.unsigned),
    "HS256 with the public key": lambda p: setattr(p, "sign", oidc_provider.signed_with_the_public_key),
    "stranger's signature": lambda p: setattr(p, "sign", oidc_provider.signed_by_a_stranger),
    "unknown kid": lambda p: setattr(p, "sign", oidc_provider.signed_with_an_unknown_key),
    "key in the header": lambda p: setattr(p, "sign", oidc_provider.key_in_the_header),
    "no token": lambda p: setattr(p, "sign", lambda *_: "no.to.ken"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_token_that_lies_lets_nobody_in(
    signed: Running, provider: Provider, browser: Browser, lie: str
) -> None:
    """Though the person is invited, and enters as soon as the token is honest."""
    invited(signed, provider, f"lie-{list(LIES).index(lie)}")
    LIES[lie](provider)
    is_page(browser.sign_in(), 502, "Start again")
    assert browser.session is None
    provider.claims.clear()
    provider.sign = lambda one, claims: one.signed(claims)
    assert browser.sign_in().status_code == 200


def test_an_unknown_key_makes_one_look_at_the_keys_and_no_more(
    signed: Running, provider: Provider, browser: Browser
) -> None:
    """Tokens of a stranger cannot make this server ask the provider all the time."""
    invited(signed, provider, "kid")
    assert browser.sign_in().status_code == 200
    provider.sign = oidc_provider.signed_with_an_unknown_key
    before = provider.asked.count("/keys")
    is_page(browser.sign_in(), 502, "keys")
    assert provider.asked.count("/keys") == before + 1


def test_a_provider_that_calls_itself_otherwise_is_not_asked_further(
    provider: Provider, tmp_path: Path
) -> None:
    """The description must be of the issuer that was configured."""
    provider.described_as = "https://evil.example"
    with serving(tmp_path, oidc=oidc_settings(provider)) as running:
        is_page(httpx2.get(f"{running.url}/auth/sign-in"), 502, "evil.example")
        provider.described_as = None
        assert httpx2.get(f"{running.url}/auth/sign-in").status_code == 303


def test_a_provider_that_does_not_answer_stops_sign_in_and_nothing_else(
    provider: Provider, tmp_path: Path
) -> None:
    """The server starts without it; API keys work."""
    settings = oidc_settings(provider, issuer="http://127.0.0.1:1")
    with serving(tmp_path, oidc=settings) as running:
        is_page(httpx2.get(f"{running.url}/auth/sign-in"), 502, "Nothing answers")
        assert running.http.get("/v1/projects").status_code == 200


# ---- returns that must not be believed


def test_a_state_of_another_sign_in_is_refused_and_the_true_one_still_works(
    signed: Running, provider: Provider, browser: Browser
) -> None:
    """A link with the attacker's code does not sign the victim in as the attacker."""
    invited(signed, provider, "state")
    attacker = Browser(signed)
    with attacker.http:
        stolen = attacker.return_address()
    is_page(browser.http.get(stolen), 400, "not begun in this browser")
    address = browser.return_address()
    is_page(browser.http.get(stolen), 400, "another sign-in")
    is_page(browser.http.get("/auth/callback?code=x"), 400, "another sign-in")
    assert browser.http.get(address).status_code == 200


def test_a_return_counts_once(signed: Running, provider: Provider, browser: Browser) -> None:
    """Even with its cookie, and with a code that the provider would take."""
    invited(signed, provider, "once")
    address = browser.return_address()
    cookie = {"cookie": f"{TRANSACTION_COOKIE}={browser.http.cookies[TRANSACTION_COOKIE]}"}
    code = parse_qs(urlsplit(address).query)["code"][0]
    query = dict(provider.codes[code])
    assert browser.http.get(address).status_code == 200
    provider.codes[code] = query
    is_page(httpx2.get(address, headers=cookie), 400, "completed already")


def test_a_sign_in_that_took_too_long_begins_again(provider: Provider, tmp_path: Path) -> None:
    """Its cookie is good for a few minutes."""
    limits = SignInLimits(transaction_ms=1)
    with serving(tmp_path, oidc=oidc_settings(provider), sign_in=limits) as running:
        began = httpx2.get(f"{running.url}/auth/sign-in")
        back = httpx2.get(began.headers["location"]).headers["location"]
        cookie = {"cookie": began.headers["set-cookie"].partition(";")[0]}
        is_page(httpx2.get(back, headers=cookie), 400, "too long")


@pytest.mark.parametrize("part", ["first", "last", "seal", "empty"])
def test_an_altered_sign_in_cookie_is_refused(
    signed: Running, provider: Provider, browser: Browser, part: str
) -> None:
    """In what it says and in its seal."""
    address = browser.return_address()
    body, _, seal = browser.http.cookies[TRANSACTION_COOKIE].partition(".")
    altered = {
        "first": f"{'f' if body[0] != 'f' else 'g'}{body[1:]}.{seal}",
        "last": f"{body}A.{seal}",
        "seal": f"{body}.{'A' if seal[0] != 'A' else 'B'}{seal[1:]}",
        "empty": "",
    }[part]
    answer = httpx2.get(address, headers={"cookie": f"{TRANSACTION_COOKIE}={altered}"})
    is_page(answer, 400, "not begun in this browser")


def test_what_the_provider_says_is_shown_as_text(provider: Provider, browser: Browser) -> None:
    """And only to the browser that began: a link cannot put words onto our page."""
    provider.error = {"error": "access_denied", "error_description": "<script>alert(1)</script>" + "x" * 900}
    address = browser.return_address()
    with httpx2.Client() as stranger:
        answer = stranger.get(address)
        is_page(answer, 400, "not begun")
        assert "alert" not in answer.text
    answer = browser.http.get(address)
    is_page(answer, 403, "access_denied &lt;script&gt;alert(1)&lt;/script&gt;")
    assert "<script>" not in answer.text
    assert answer.text.count("x" * 100) == 1


def test_an_answer_of_another_provider_is_refused(provider: Provider, browser: Browser) -> None:
    """Where it names itself (RFC 9207)."""
    address = browser.return_address()
    is_page(browser.http.get(f"{address}&iss=https://evil.example"), 400, "another provider")


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example",
        "javascript:alert(1)", "evil.example", "", "/a\r\nset-cookie: a=b", "/\t/evil.example", "/a b",
        "/ü", "/" + "a" * 1024,
    ],
    ids=range(12),
)  # fmt: skip
def test_a_sign_in_ends_at_a_path_of_this_server(browser: Browser, target: str) -> None:
    """No link makes it lead elsewhere."""
    answer = browser.http.get("/auth/sign-in", params={"next": target})
    is_page(answer, 400, "next must be a path")


def test_nobody_signs_in_under_a_name_that_was_made_to_point_here(
    provider: Provider, browser: Browser
) -> None:
    """Without a redirect address only loopback names are turned into one."""
    is_page(browser.http.get("/auth/sign-in", headers={"host": "evil.example"}), 400, "REDIRECT_URL")


# ---- people who must not come in


def test_who_is_not_invited_is_told_whom_to_ask(provider: Provider, browser: Browser) -> None:
    """Whatever the provider says about them."""
    provider.account = Account("eve-1", "<b>eve</b>@example.org")
    answer = browser.sign_in()
    is_page(answer, 403, "&lt;b&gt;eve&lt;/b&gt;@example.org. Ask an owner or admin")
    assert browser.session is None


@pytest.mark.parametrize("verified", [False, None, "true", 1], ids=["false", "absent", "text", "number"])
def test_an_address_that_is_not_verified_invites_nobody(
    signed: Running, provider: Provider, browser: Browser, verified: Any
) -> None:
    """Else anybody could register the address of an invited person at the provider."""
    name = f"unverified-{verified}".lower()
    invited(signed, provider, name)
    provider.account.email_verified = verified
    is_page(browser.sign_in(), 403, "vouches for no address")
    provider.account.email_verified = True
    assert browser.sign_in().status_code == 200


def test_an_invitation_binds_the_first_identity_and_no_other(
    signed: Running, provider: Provider, browser: Browser
) -> None:
    """Who gets the address later is somebody else; letters of either case are the same address."""
    user = invited(signed, provider, "first")
    provider.account.email = "First@Example.ORG"
    assert browser.sign_in().status_code == 200
    assert browser.who()["user"]["id"] == user["id"]
    provider.account.subject = "first-2"
    second = Browser(signed)
    with second.http:
        is_page(second.sign_in(), 403, "Nobody has invited")


def test_an_invitation_runs_out_and_leaves_nothing(provider: Provider, tmp_path: Path) -> None:
    """The hash of the address is gone with the next sign-in."""
    limits = SignInLimits(invitation_ms=1)
    with serving(tmp_path, oidc=oidc_settings(provider), sign_in=limits) as running:
        invited(running, provider, "late")
        one = Browser(running)
        with one.http:
            is_page(one.sign_in(), 403, "Nobody has invited")
        left = asyncio.run_coroutine_threadsafe(
            running.server.services.store.expired_records(INVITATION, 2**60), running.loop
        ).result(FINISH_S_MAX)
        assert left == []


def test_who_is_invited_by_two_organisations_chooses(
    signed: Running, provider: Provider, browser: Browser
) -> None:
    """Without a choice it is the one that was joined first; each session sees its own only."""
    mine = invited(signed, provider, "two")
    made = signed.http.post("/v1/orgs", json={"name": "Other"}).json()
    other_org = made["organization"]["id"]
    body = {"name": "Two", "role": "admin", "email": "two@example.org"}
    key = {"authorization": f"Bearer {made['secret']}"}
    theirs = httpx2.post(f"{signed.url}/v1/orgs/{other_org}/users", json=body, headers=key).json()["user"]
    assert browser.sign_in().status_code == 200
    assert browser.who()["user"]["id"] == mine["id"]
    assert browser.http.get(f"/v1/orgs/{other_org}/users").status_code == 404
    assert browser.sign_in(f"/auth/sign-in?org={other_org}").status_code == 200
    assert browser.who()["user"]["id"] == theirs["id"]
    assert browser.http.get(f"/v1/orgs/{other_org}/users").status_code == 200
    assert browser.http.get(f"/v1/orgs/{org_of(signed)}/users").status_code == 404
    is_page(browser.http.get("/auth/sign-in?org=nonsense"), 400, "org must be")


def test_an_invitation_is_no_event(signed: Running, provider: Provider, browser: Browser) -> None:
    """Neither the address nor its subject ever stands in the log."""
    invited(signed, provider, "private")
    browser.sign_in()
    headers = {"accept": "application/x-ndjson"}
    text = signed.http.get(f"/v1/orgs/{org_of(signed)}/events", headers=headers).text
    assert "user_added" in text
    assert "private" not in text


@pytest.mark.parametrize(
    "email",
    ["", "ada", "@example.org", "ada@", "a b@example.org", "a@b\n", "a" * 250 + "@b.cd"],
    ids=range(7),
)
def test_an_address_that_is_none_is_refused(signed: Running, email: str) -> None:
    """And nobody is added."""
    path = f"/v1/orgs/{org_of(signed)}/users"
    before = len(signed.http.get(f"{path}?limit=500").json()["data"])
    answer = signed.http.post(path, json={"name": "X", "role": "member", "email": email})
    assert (answer.status_code, answer.json()["error"]["details"]) == (400, {"field": "email"})
    assert len(signed.http.get(f"{path}?limit=500").json()["data"]) == before


# ---- sessions


def test_who_is_invited_on_the_command_line_signs_in(
    signed: Running, provider: Provider, browser: Browser
) -> None:
    """As the person who was added."""
    provider.account = Account("typed-1", "typed@example.org")
    args = ["orgs", "add-user", "--name", "Ada", "--role", "admin", "--email", "typed@example.org", "--json"]
    env = {"CROWNEST_API_URL": signed.url, "CROWNEST_API_KEY": signed.key, "CROWNEST_BEARER_TOKEN": None}
    added = CliRunner().invoke(root, args, env=env)
    assert added.exit_code == 0, added.output
    browser.sign_in()
    found = browser.who()
    assert (found["user"]["id"], found["role"]) == (json.loads(added.stdout)["data"]["id"], "admin")


def test_a_member_records_a_run_from_beginning_to_end(
    signed: Running, provider: Provider, browser: Browser
) -> None:
    """As they start runs; but they erase nothing."""
    invited(signed, provider, "recorder")
    browser.sign_in()
    own = browser.own()
    request = {"command": "make test", "template": "external"}
    made = browser.http.post("/v1/workspace-runs", json=request, headers=own).json()["workspaceRun"]
    path = f"/v1/workspace-runs/{made['id']}"
    batch = {"producerId": "me", "number": 1, "events": [{"type": "stdout", "data": "ok\n"}]}
    assert browser.http.post(f"{path}/events", json=batch, headers=own).status_code == 200
    ended = browser.http.post(f"{path}/finish", json={"exitCode": 0}, headers=own)
    assert ended.json()["workspaceRun"]["status"] == "succeeded"
    erasing = {"targets": [1], "reason": "no"}
    assert browser.http.post(f"{path}/redactions", json=erasing, headers=own).status_code == 403


def test_a_role_counts_from_the_next_request(signed: Running, provider: Provider, browser: Browser) -> None:
    """Up and down again: it is read each time."""
    user = invited(signed, provider, "role")
    browser.sign_in()
    path = f"/v1/orgs/{org_of(signed)}/users/{user['id']}"
    assert browser.http.get("/v1/api-keys").status_code == 403
    signed.http.patch(path, json={"role": "admin"})
    assert browser.http.get("/v1/api-keys").status_code == 200
    assert browser.who()["role"] == "admin"
    signed.http.patch(path, json={"role": "member"})
    assert browser.http.get("/v1/api-keys").status_code == 403


def test_a_removed_person_is_out_at_once_and_does_not_come_back(
    signed: Running, provider: Provider, browser: Browser
) -> None:
    """Until they are invited anew, as another person."""
    user = invited(signed, provider, "removed")
    browser.sign_in()
    signed.http.delete(f"/v1/orgs/{org_of(signed)}/users/{user['id']}")
    assert browser.is_out()
    assert browser.http.get("/v1/workspace-runs").status_code == 401
    is_page(browser.sign_in(), 403, "Nobody has invited")
    again = invited(signed, provider, "removed")
    assert browser.sign_in().status_code == 200
    assert browser.who()["user"]["id"] == again["id"] != user["id"]


def test_sign_out_ends_the_session_and_not_only_the_cookie(
    signed: Running, provider: Provider, browser: Browser
) -> None:
    """Who kept the cookie has nothing."""
    invited(signed, provider, "out")
    browser.sign_in()
    kept = {"cookie": f"{SESSION_COOKIE}={browser.session}"}
    assert httpx2.get(f"{signed.url}/auth/session", headers=kept).status_code == 200
    answer = browser.http.post(
        "/auth/sign-out", headers={"origin": signed.url, CSRF_HEADER: csrf_token(browser.session or "")}
    )
    assert answer.status_code == 204
    assert browser.session is None
    assert httpx2.get(f"{signed.url}/auth/session", headers=kept).status_code == 401
    assert httpx2.get(f"{signed.url}/v1/workspace-runs", headers=kept).status_code == 401
    assert browser.http.post("/auth/sign-out").status_code == 204


def test_a_session_that_somebody_planted_is_not_the_one_that_is_signed_in(
    signed: Running, provider: Provider, browser: Browser
) -> None:
    """Each sign-in makes a fresh one, and ends the one that the browser had."""
    invited(signed, provider, "fixed")
    browser.http.cookies.set(SESSION_COOKIE, "planted", domain="127.0.0.1")
    browser.sign_in()
    planted = {"cookie": f"{SESSION_COOKIE}=planted"}
    assert httpx2.get(f"{signed.url}/auth/session", headers=planted).status_code == 401
    former = {"cookie": f"{SESSION_COOKIE}={_given(browser)}"}
    assert httpx2.get(f"{signed.url}/auth/session", headers=former).status_code == 200
    browser.sign_in()
    assert httpx2.get(f"{signed.url}/auth/session", headers=former).status_code == 401


def _given(browser: Browser) -> str:
    """The session cookie that the server set, where a planted one may lie beside it."""
    found = [c.value for c in browser.http.cookies.jar if c.name == SESSION_COOKIE and c.value != "planted"]
    return str(found[-1])


def test_an_altered_or_invented_session_cookie_is_nobody(
    signed: Running, provider: Provider, browser: Browser
) -> None:
    """At every character."""
    invited(signed, provider, "tampered")
    browser.sign_in()
    token = browser.session or ""
    assert len(token) >= 43
    for place in range(0, len(token), 7):
        letter = "A" if token[place] != "A" else "B"
        altered = {"cookie": f"{SESSION_COOKIE}={token[:place]}{letter}{token[place + 1 :]}"}
        assert httpx2.get(f"{signed.url}/auth/session", headers=altered).status_code == 401
    for other in ("", token.swapcase(), token + "A", "x" * 5000):
        altered = {"cookie": f"{SESSION_COOKIE}={other}"}
        assert httpx2.get(f"{signed.url}/auth/session", headers=altered).status_code == 401


def test_a_session_is_not_stored_as_it_is(provider: Provider, tmp_path: Path) -> None:
    """Who reads the database cannot become anybody."""
    with serving(tmp_path, oidc=oidc_settings(provider)) as running:
        invited(running, provider, "stored")
        one = Browser(running)
        with one.http:
            one.sign_in()
            token = one.session or ""
            files = [path.read_bytes() for path in tmp_path.glob("log.sqlite*")]
            assert not any(token.encode() in data for data in files)
            assert not any(b"stored@example.org" in data or b"stored-1" in data for data in files)
            assert any(SESSION.encode() in data for data in files)


CROSS_SITE: dict[str, dict[str, str]] = {
    "cross-site": {"sec-fetch-site": "cross-site"},
    "same-site": {"sec-fetch-site": "same-site"},
    "typed": {"sec-fetch-site": "none"},
    "cross-site with our origin": {"sec-fetch-site": "cross-site", "origin": "OWN"},
    "origin": {"origin": "https://evil.example"},
    "another port": {"origin": "http://127.0.0.1:1"},
    "null": {"origin": "null"},
    "nothing": {},
}


@pytest.mark.parametrize("kind", CROSS_SITE)
def test_another_page_changes_nothing_with_a_session(
    signed: Running, provider: Provider, browser: Browser, kind: str
) -> None:
    """Neither a run nor a key is made, and nobody is signed out."""
    invited(signed, provider, f"csrf-{list(CROSS_SITE).index(kind)}", "owner")
    browser.sign_in()
    headers = {name: signed.url if value == "OWN" else value for name, value in CROSS_SITE[kind].items()}
    headers[CSRF_HEADER] = csrf_token(browser.session or "")
    for path, body in (("/v1/workspace-runs", {"command": "true"}), ("/auth/sign-out", {})):
        answer = browser.http.post(path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    key = browser.http.delete("/v1/api-keys/key_none", headers=headers)
    assert key.status_code == 403
    assert browser.http.get("/v1/workspace-runs", headers=headers).status_code == 200
    assert browser.who()
    bearer = {**headers, "authorization": f"Bearer {signed.key}"}
    assert (
        browser.http.post("/v1/workspace-runs", json={"command": "true"}, headers=bearer).status_code == 201
    )


def test_a_key_counts_before_a_session(signed: Running, provider: Provider, browser: Browser) -> None:
    """A wrong key is refused, and not replaced by the session."""
    invited(signed, provider, "both")
    browser.sign_in()
    wrong = {"authorization": "Bearer cn_live_wrong"}
    assert browser.http.get("/v1/workspace-runs", headers=wrong).status_code == 401


def test_a_session_ends_after_its_time_used_or_not(provider: Provider, tmp_path: Path) -> None:
    """Also for who keeps the cookie longer than told; and further ones than allowed end the oldest."""
    limits = SignInLimits(session_ms=6000, sessions_per_holder_max=2)
    with serving(tmp_path, oidc=oidc_settings(provider), sign_in=limits) as running:
        invited(running, provider, "short")
        browsers = [Browser(running) for _ in range(3)]
        for one in browsers:
            assert one.sign_in().status_code == 200
        kept = [{"cookie": f"{SESSION_COOKIE}={one.session}"} for one in browsers]

        def status(number: int, path: str = "/auth/session") -> int:
            return httpx2.get(f"{running.url}{path}", headers=kept[number]).status_code

        assert [status(number) for number in range(3)] == [401, 200, 200]
        until(lambda: status(2) == 401)
        assert status(2, "/v1/workspace-runs") == 401
        for one in browsers:
            one.http.close()


@pytest.mark.parametrize("end", ["sign out", "remove"])
def test_open_streams_end_with_the_session(
    signed: Running, provider: Provider, browser: Browser, end: str
) -> None:
    """Within seconds, while the run goes on."""
    user = invited(signed, provider, f"stream-{end.replace(' ', '-')}")
    browser.sign_in()
    run_id = signed.create("sleep 60")
    began, ended = threading.Event(), threading.Event()
    cookie = {"cookie": f"{SESSION_COOKIE}={browser.session}"}

    def read() -> None:
        url = f"{signed.url}/v1/workspace-runs/{run_id}/events?stream=true"
        with httpx2.stream("GET", url, headers=cookie, timeout=FINISH_S_MAX) as stream:
            for _ in stream.iter_raw():
                began.set()
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert began.wait(FINISH_S_MAX)
    if end == "remove":
        signed.http.delete(f"/v1/orgs/{org_of(signed)}/users/{user['id']}")
    else:
        assert browser.http.post("/auth/sign-out", headers=browser.own()).status_code == 204
    assert ended.wait(ENDED_S_MAX)
    reader.join()
    assert signed.get(run_id)["status"] == "awaiting_archive"


# ---- where there is no sign-in


def test_without_a_provider_nothing_of_it_is_there(running: Running) -> None:
    """Its routes are 404, and nobody can be invited."""
    for path in ("/auth/sign-in", "/auth/callback"):
        answer = httpx2.get(f"{running.url}{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    cookie = {"cookie": f"{SESSION_COOKIE}=x"}
    assert httpx2.get(f"{running.url}/v1/projects", headers=cookie).status_code == 401
    body = {"name": "Ada", "role": "member", "email": "ada@example.org"}
    answer = running.http.post(f"/v1/orgs/{org_of(running)}/users", json=body)
    assert (answer.status_code, answer.json()["error"]["details"]) == (400, {"field": "email"})


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"client_id": None}, "CLIENT_ID"),
        ({"issuer": "http://provider.example"}, "https"),
        ({"issuer": "provider"}, "https"),
        ({"redirect_url": "http://runs.example.org/auth/callback"}, "REDIRECT_URL"),
        ({"redirect_url": "https://runs.example.org/elsewhere"}, "REDIRECT_URL"),
    ],
    ids=["no client", "plain http", "no address", "plain redirect", "another path"],
)
def test_settings_that_cannot_work_end_the_start(
    provider: Provider, tmp_path: Path, fields: dict[str, Any], text: str
) -> None:
    """Before a first key is made and lost."""
    with pytest.raises(CliError, match=text), serving(tmp_path, oidc=oidc_settings(provider, **fields)):
        pass
    with serving(tmp_path) as running:
        assert running.server.first is not None


def test_the_secret_of_the_client_is_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as text nor as JSON; the issuer is."""
    monkeypatch.setenv("CROWNEST_OIDC__ISSUER", "https://accounts.example.org")
    monkeypatch.setenv("CROWNEST_OIDC__CLIENT_SECRET", "do-not-show")
    for arguments in ([], ["--json"]):
        shown = CliRunner().invoke(root, ["config", *arguments]).output
        assert "https://accounts.example.org" in shown
        assert "CROWNEST_OIDC__CLIENT_SECRET" in shown
        assert "do-not-show" not in shown


def test_without_the_extra_the_start_says_what_to_install(
    provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And without a provider nothing asks for it."""
    monkeypatch.setitem(sys.modules, "joserfc", None)
    for name in ("client.oidc", "client.id_token"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(CliError) as caught, serving(tmp_path, oidc=oidc_settings(provider)):
        pass
    assert "pip install 'crownest-server[oidc]'" in (caught.value.problem.remediation or "")
    with serving(tmp_path) as running:
        assert running.http.get("/v1/projects").status_code == 200
