"""Signing in with a provider on another site, in a browser that keeps strict cookies to themselves."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from playwright.sync_api import Browser, expect

from tests.browser.driven import new_context
from tests.browser.watched import watch
from tests.cli.real_server import serving
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, Account, serving_provider


def test_a_person_comes_back_from_the_provider_signed_in(browser: Browser, tmp_path: Path) -> None:
    """To the page that was asked for: the strict cookie comes along with the page's own request.

    The provider is 127.0.0.1 and the server localhost, which is another site.
    """
    with serving_provider() as provider:
        settings = {
            "CROWNEST_OIDC__ISSUER": provider.issuer,
            "CROWNEST_OIDC__CLIENT_ID": CLIENT_ID,
            "CROWNEST_OIDC__CLIENT_SECRET": CLIENT_SECRET,
        }
        with serving(tmp_path, **settings) as server:
            headers = {"authorization": f"Bearer {server.key}"}
            with httpx2.Client(base_url=server.url, headers=headers) as http:
                org_id = http.get("/v1/projects").json()["data"][0]["orgId"]
                person = {"name": "Ada", "role": "admin", "email": "ada@example.org"}
                assert http.post(f"/v1/orgs/{org_id}/users", json=person).status_code == 201
            provider.account = Account("ada-1", "ada@example.org")
            url = f"http://localhost:{urlsplit(server.url).port}"
            context = new_context(browser, url)
            watched = watch(context, url)
            watched.allow_origin(provider.issuer)
            page = context.new_page()
            page.goto("/keys")
            page.get_by_role("link", name="Continue with single sign-on").click()
            expect(page).to_have_url(f"{url}/keys")
            expect(page.locator("summary", has_text="Signed in as")).to_contain_text("Ada")
            cookie = next(one for one in context.cookies() if one["name"] == "crownest_session")
            assert (cookie["sameSite"], cookie["httpOnly"]) == ("Strict", True)
            page.get_by_role("button", name="Create a project").click()
            dialog = page.get_by_role("dialog", name="Create a project")
            dialog.get_by_label("Name").fill("by Ada")
            dialog.get_by_role("button", name="Create", exact=True).click()
            expect(page.get_by_role("link", name="by Ada").last).to_be_visible()
            page.locator("summary", has_text="Signed in as").click()
            page.get_by_role("button", name="Sign out").click()
            expect(page).to_have_url(re.compile("/sign-in$"))
            assert watched.problems == []
            context.close()
