"""Pages of other origins, in a browser that is signed in: none of them changes anything."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import BrowserContext, Page, Request, expect

from tests.browser.driven import sign_in
from tests.browser.samples import Site
from tests.browser.watched import Watch

HOSTS = ("127.0.0.1", "localhost")
TRIES = """
const url = new URLSearchParams(location.search).get("target");
const way = new URLSearchParams(location.search).get("way");
if (way === null) {
  document.title = "quiet";
} else if (way === "form") {
  const form = document.createElement("form");
  form.method = "post";
  form.action = url;
  document.body.append(form);
  form.submit();
} else {
  const guess = { mode: "cors", headers: { "x-crownest-csrf": "guess" } };
  fetch(url, { method: "POST", credentials: "include", ...(way === "cors" ? guess : { mode: "no-cors" }) })
    .catch(() => null)
    .then(() => { document.title = "tried"; });
}
"""


class _Attack(BaseHTTPRequestHandler):
    """One page that sends a request to the address in its own."""

    def do_GET(self) -> None:
        body = f"<!doctype html><title>evil</title><body><script>{TRIES}</script>".encode()
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def attacker_port() -> Iterator[int]:
    """Another server on this machine: under 127.0.0.1 of the same site, under localhost of another one."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Attack) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("attack", [f"{h} {w}" for h in HOSTS for w in ("form", "fetch", "cors")])
def test_another_origin_cancels_nothing(
    page: Page, site: Site, watched: Watch, attacker_port: int, attack: str
) -> None:
    """Neither of another site, to which no cookie goes, nor of another port, to which cookies do go."""
    host, way = attack.split()
    watched.expect("foreign request|CORS|net::ERR_FAILED|status of 40[0134]|favicon")
    run_id = site.start("sleep 600")
    site.wait_for(run_id, "running")
    target = f"{site.url}/v1/workspace-runs/{run_id}/cancel"
    sent: list[Request] = []
    page.on("request", lambda one: sent.append(one) if one.url == target else None)
    page.goto(f"http://{host}:{attacker_port}/?way={way}&target={target}")
    if way == "form":
        page.wait_for_url(target)
    else:
        expect(page).to_have_title("tried")
    if way == "form":
        assert ("cookie" in sent[0].all_headers()) == (host == "127.0.0.1"), (
            "the strict cookie was not where it should be"
        )
    assert site.status(run_id) == "running"
    page.goto(f"{site.url}/workspace-runs")
    expect(page).to_have_title("Runs · CrowNest")
    site.cancel(run_id)


def test_a_link_of_another_site_finds_a_reader_signed_in(
    context: BrowserContext, site: Site, watched: Watch, attacker_port: int
) -> None:
    """Though the strict cookie does not come along with the first request."""
    watched.expect("foreign request|favicon|status of 404")
    sign_in(context, site.key)
    page = context.new_page()
    page.goto(f"http://localhost:{attacker_port}/")
    page.evaluate("(to) => { location.href = to; }", f"{site.url}/workspace-runs?status=failed")
    expect(page).to_have_title("Runs · CrowNest")


def test_a_page_of_ours_cannot_be_framed(page: Page, site: Site, watched: Watch, attacker_port: int) -> None:
    """Not by another origin, and so it cannot be clicked through."""
    watched.expect("foreign request|favicon|frame|Refused|status of 404")
    page.goto(f"http://127.0.0.1:{attacker_port}/")
    page.evaluate(
        """(to) => { const frame = document.createElement("iframe"); frame.src = to;
           document.body.append(frame); return new Promise((done) => { frame.onload = done; }); }""",
        f"{site.url}/workspace-runs",
    )
    frame = page.frames[1]
    assert "CrowNest" not in frame.content()
