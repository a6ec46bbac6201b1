"""What a stranger finds without a key: documents, indexes, and a reference that needs no net."""

import re
from functools import cache
from html.parser import HTMLParser

import httpx2
import pytest
from fastapi import Response

from api.deprecation import deprecated
from api.operations import BY_ID, OPERATIONS
from api.reference import page_html, pages, style_css
from tests.serving import Running

CONTENT_TYPES = {
    "/openapi.json": "application/vnd.oai.openapi+json; charset=utf-8",
    "/llms.txt": "text/markdown; charset=utf-8",
    "/auth.md": "text/markdown; charset=utf-8",
    "/.well-known/api-catalog": "application/linkset+json",
    "/docs": "text/html; charset=utf-8",
    "/docs/objects": "text/html; charset=utf-8",
    "/docs/style.css": "text/css; charset=utf-8",
}
each_page = pytest.mark.parametrize("name", list(pages()), ids=lambda name: name or "overview")


def test_the_health_is_told_to_who_asks_for_the_head_alone(running: Running) -> None:
    """Load balancers ask with GET or with HEAD; the answers differ in the body alone."""
    whole, head = httpx2.get(f"{running.url}/healthz"), httpx2.head(f"{running.url}/healthz")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))


@pytest.mark.parametrize("path", CONTENT_TYPES)
def test_a_document_needs_no_key_and_is_not_sent_twice(running: Running, path: str) -> None:
    """200 with its type and an ETag; 304 without a body for who has it; 200 for who has another one."""
    answer = httpx2.get(f"{running.url}{path}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == CONTENT_TYPES[path]
    assert answer.headers["x-request-id"]
    etag = answer.headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = httpx2.get(f"{running.url}{path}", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    other = httpx2.get(f"{running.url}{path}", headers={"if-none-match": '"other"'})
    assert (other.status_code, other.content) == (200, answer.content)


def test_the_catalogue_leads_to_the_documents(running: Running) -> None:
    """Each link of RFC 9727's link set answers with the type that it names, and HEAD names the catalogue."""
    answer = httpx2.get(f"{running.url}/.well-known/api-catalog")
    (links,) = answer.json()["linkset"]
    assert links.pop("anchor") == "/v1"
    assert set(links) == {"service-desc", "service-doc", "service-meta", "status"}
    for target in [target for targets in links.values() for target in targets]:
        found = httpx2.get(f"{running.url}{target['href']}")
        assert found.status_code == 200
        assert found.headers["content-type"].split(";")[0] == target["type"]
    head = httpx2.head(f"{running.url}/.well-known/api-catalog")
    assert head.status_code == 200
    assert head.headers["link"] == '</.well-known/api-catalog>; rel="api-catalog"'


def test_the_indexes_name_every_operation_that_is_not_deprecated(running: Running) -> None:
    """llms.txt lists the operations; auth.md lists the scopes with what they are for."""
    index = httpx2.get(f"{running.url}/llms.txt").text
    auth = httpx2.get(f"{running.url}/auth.md").text
    for operation in OPERATIONS:
        line = f"`{operation.method} {operation.path}`"
        assert (line in index) is (operation.successor is None)
        if operation.scope and not operation.successor:
            (row,) = [row for row in auth.splitlines() if row.startswith(f"| `{operation.scope}` |")]
            assert line in row


@pytest.mark.parametrize("path", ["/agent/bootstrap", "/docs/nothing", "/docs/"])
def test_what_is_not_there_is_404_in_the_envelope(running: Running, path: str) -> None:
    """A route that is not ours and a page that does not exist (decision 0841)."""
    answer = httpx2.get(f"{running.url}{path}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_pages_may_load_nothing_but_their_style(running: Running) -> None:
    """The policy forbids scripts, frames and every other origin."""
    policy = httpx2.get(f"{running.url}/docs").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self';")


class _Reader(HTMLParser):
    """Collects tags, attributes, links and the ids that they may lead to."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(html.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value for name, value in attrs if name in {"href", "src"} and value]
        self.ids += [value for name, value in attrs if name == "id" and value]


@cache  # pages link to each other, and each is read for every link
def _read(name: str) -> _Reader:
    html = page_html(name)
    assert html is not None
    return _Reader(html)


@each_page
def test_a_page_needs_no_script_and_no_net(name: str) -> None:
    """No script, no inline style, no handler, no address of another host; and none in the style sheet."""
    page = _read(name)
    assert not page.tags & {"script", "style", "iframe", "object", "embed", "img", "form", "base"}
    assert not {attribute for attribute in page.attributes if attribute.startswith("on")} | (
        page.attributes & {"style", "src", "srcset"}
    )
    assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in page.links)
    assert not re.search(rb"url\(|@import|https?:", style_css())


@each_page
def test_every_link_of_a_page_leads_somewhere(name: str) -> None:
    """Pages exist, and so do the places in them; no place is there twice."""
    page = _read(name)
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        path, _, place = link.partition("#")
        if not path or path == "/docs" or path.startswith("/docs/"):
            target = page if not path else None
            page_name = path.removeprefix("/docs").removeprefix("/")
            if target is None and page_name != "style.css":
                assert page_name in pages(), link
                target = _read(page_name)
            assert not place or (target is not None and place in target.ids), link
        else:
            assert path in CONTENT_TYPES, link


def test_every_operation_has_its_place() -> None:
    """With method, path, scope, errors and a call."""
    html = {name: (page_html(name) or b"").decode().replace("<wbr>", "") for name in pages()}
    for operation in OPERATIONS:
        (page,) = [text for text in html.values() if f'<article class="card op" id="{operation.id}">' in text]
        article = page.split(f'<article class="card op" id="{operation.id}">')[1].split("</article>")[0]
        assert f"<code>{operation.path}</code>" in article
        assert all(f"<code>{code}</code>" in article for code in operation.codes)
        assert operation.scope is None or f"<code>{operation.scope}</code>" in article
        assert "curl " in article


def test_a_deprecated_answer_says_what_takes_its_place() -> None:
    """`Deprecation` as RFC 9745 writes it, and a link to the route to use."""
    answer = deprecated(Response(), BY_ID["setSandboxTtl"].path.format(sandbox_id="sbx_1"))
    assert re.fullmatch(r"@[0-9]{10}", answer.headers["deprecation"])
    assert answer.headers["link"] == '</v1/sandboxes/sbx_1/ttl>; rel="successor-version"'
