"""The preview proxy over real sockets: who gets in, what passes, what never does, and what ends it."""

import asyncio
import contextlib
import hashlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from api.client_places import ClientPlaces
from api.limits import PreviewLimits
from api.preview_page import refusal_page
from api.preview_proxy import PreviewProxy
from cli.listening import listen
from runs.previews import PortClosed, PreviewService, SandboxGone
from runs.refusal import Refusal
from tests.preview_kit import PIECE, WAIT_S_MAX, Program, Raw, bounded, frame_bytes, program, raw, read_frame
from tests.serving import Running

PIECES = 800
"""50 MB."""
IN_FLIGHT_MAX = 4 * 1024 * 1024
"""What lies in the buffers of four sockets (twice `SOCKET_BYTES` each) and of the proxy, generously."""
ENDS_S_MAX = 2.0


@dataclass
class World:
    """A server, a proxy of its own in the same loop, and a program behind it."""

    running: Running
    program: Program
    port: int
    sandbox_id: str
    limits: PreviewLimits
    proxy: PreviewProxy

    def inside(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run it on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.running.loop).result(WAIT_S_MAX)

    def open(self, mode: str = "authenticated") -> "Opened":
        """A new preview of the program."""
        body = {"port": self.program.port, "authMode": mode}
        answer = self.running.http.post(f"/v1/sandboxes/{self.sandbox_id}/previews", json=body)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        return Opened(self, made["preview"]["slug"], made["preview"]["id"], made.get("previewToken", ""))


@dataclass
class Opened:
    """A preview, and how to ask for it."""

    world: World
    slug: str
    id: str
    token: str

    def head(self, target: str = "/", method: str = "GET", *headers: str, auth: bool = True) -> bytes:
        """A request head; without `auth` it carries no credential."""
        credential = f"Authorization: Bearer {self.world.running.key}"
        if self.token:
            credential = f"x-crownest-preview-token: {self.token}"
        lines = [
            f"{method} {target} HTTP/1.1",
            f"Host: {self.slug}.localhost:{self.world.port}",
            *([credential] if auth else []),
            *headers,
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def ask(
        self, target: str = "/", method: str = "GET", *headers: str, auth: bool = True, body: bytes = b""
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """One request on a connection of its own."""
        if body:
            headers = (*headers, f"Content-Length: {len(body)}")
        with raw(self.world.port, self.head(target, method, *headers, auth=auth) + body) as connection:
            return connection.response(method)

    def echo(self, target: str = "/", method: str = "GET", *headers: str, **given: Any) -> dict[str, Any]:
        """What the program got."""
        answer, data = self.ask(target, method, *headers, **given)
        assert answer.status == 200, data
        told: dict[str, Any] = json.loads(data)
        return told

    @contextmanager
    def websocket(self) -> Generator[Raw]:
        """An open WebSocket."""
        upgrade = ("Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: eA==")
        with raw(self.world.port, self.head("/ws", "GET", *upgrade)) as connection:
            lines = read_head(connection.socket)
            assert lines[0].split()[1] == "101", lines
            assert "sec-websocket-accept: yes" in (line.lower() for line in lines)
            assert not [line for line in lines if "crownest" in line.lower()]
            yield connection

    def revoke(self) -> None:
        assert self.world.running.http.delete(f"/v1/previews/{self.id}").status_code == 200


def read_head(connection: socket.socket) -> list[str]:
    """The lines of an answer's head, byte by byte, so that nothing behind it is taken."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, data
        data += byte
    return data.decode("latin-1").split("\r\n")[:-2]


def headers_of(told: dict[str, Any]) -> dict[str, str]:
    """Names in lower case."""
    return {name.lower(): value for name, value in told["headers"]}


def error(answer: http.client.HTTPResponse, data: bytes) -> tuple[int, str]:
    """Status and code, in the contract's envelope (rule 7)."""
    told = json.loads(data)["error"]
    assert told["requestId"] == answer.getheader("x-request-id")
    assert isinstance(told["retryable"], bool)
    return answer.status, told["code"]


@contextmanager
def proxying(
    running: Running,
    sandbox_id: str,
    behind: Program,
    limits: PreviewLimits,
    clock: Callable[[], int] | None = None,
) -> Generator[World]:
    """The real proxy, dialling the program on loopback."""
    services = running.server.services
    now_ms = clock or services.runs.now_ms
    listener = bounded(listen("127.0.0.1", 0))
    port = listener.getsockname()[1]
    previews = PreviewService(
        services.store, services.runs.limits, now_ms, lambda slug: f"http://{slug}.localhost:{port}"
    )

    async def dial(dialled: str, to_port: int) -> socket.socket:
        if dialled != sandbox_id:
            raise SandboxGone
        connection = bounded(socket.socket())
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", to_port))
        except OSError as failed:
            connection.close()
            raise PortClosed from failed
        return connection

    proxy = PreviewProxy(previews, services.authenticate, dial, limits, now_ms)
    world = World(running, behind, port, sandbox_id, limits, proxy)
    stack = contextlib.AsyncExitStack()
    world.inside(stack.enter_async_context(proxy.serving(listener)))
    try:
        yield world
    finally:
        world.inside(stack.aclose())
        listener.close()


@pytest.fixture
def behind() -> Iterator[Program]:
    """The program in the sandbox."""
    with program() as running:
        yield running


@pytest.fixture(scope="module")
def kept(running: Running) -> str:
    """A kept sandbox for all: it is needed for what the log says of it, for the program is dialled."""
    return str(running.run("true", keepSandbox=True)["sandboxId"])


@pytest.fixture
def sandbox_id(running: Running, kept: str) -> Iterator[str]:
    """The sandbox, without previews of earlier tests."""
    yield kept
    for preview in running.http.get(f"/v1/sandboxes/{kept}/previews").json()["data"]:
        running.http.delete(f"/v1/previews/{preview['id']}")


@pytest.fixture
def world(running: Running, sandbox_id: str, behind: Program) -> Iterator[World]:
    """Everything, with the usual limits but quick checks."""
    with proxying(running, sandbox_id, behind, PreviewLimits(check_s=0.1)) as made:
        yield made


@pytest.fixture(scope="module")
def foreign_key(running: Running) -> str:
    """A key with every scope, of another organisation."""
    return str(running.http.post("/v1/orgs", json={"name": "Other", "plan": "free"}).json()["secret"])


# ---- what the program gets


def test_a_request_arrives_as_the_program_expects_it(world: World) -> None:
    """Method, path, query and body as they were; Host as the program knows itself; who asked."""
    opened = world.open()
    body = b"x" * 100_000
    told = opened.echo("/a%20b/../c?x=1&y=%26", "POST", "Content-Type: text/plain", "X-Mine: 1", body=body)
    assert told["line"] == "POST /a%20b/../c?x=1&y=%26 HTTP/1.1"
    assert told["sha256"] == hashlib.sha256(body).hexdigest()
    headers = headers_of(told)
    assert headers["host"] == f"localhost:{world.program.port}"
    assert headers["x-forwarded-host"] == f"{opened.slug}.localhost:{world.port}"
    assert (headers["x-forwarded-proto"], headers["x-forwarded-for"]) == ("http", "127.0.0.1")
    assert (headers["content-type"], headers["x-mine"]) == ("text/plain", "1")


def test_who_asked_cannot_be_forged(world: World) -> None:
    """What a client says of forwarding is dropped, in any spelling."""
    told = world.open().echo(
        "/", "GET", "X-Forwarded-For: 10.0.0.1", "X_Forwarded_For: 10.0.0.2", "Forwarded: for=10.0.0.3",
        "X-Real-IP: 10.0.0.4", "X-Forwarded-Host: evil.example",
    )  # fmt: skip
    assert "10.0.0." not in str(told)
    assert "evil.example" not in str(told)


def test_headers_of_one_connection_are_not_passed_on(world: World) -> None:
    """Hop-by-hop ones and those that Connection names, which cannot take the framing away."""
    opened = world.open()
    told = opened.echo(
        "/", "POST", "Connection: x-secret, content-length, close", "X-Secret: 1", "Keep-Alive: 5",
        "TE: trailers",
        "Proxy-Authorization: Basic eA==", "Upgrade: h2c", "HTTP2-Settings: AAAA", body=b"12345",
    )  # fmt: skip
    assert told["size"] == 5
    headers = headers_of(told)
    assert headers["connection"] == "close"
    assert not {"x-secret", "keep-alive", "te", "proxy-authorization", "upgrade", "http2-settings"} & set(
        headers
    )


@pytest.mark.parametrize("mode", ["authenticated", "token"])
def test_nothing_of_ours_reaches_the_program(world: World, mode: str) -> None:
    """Key, token, cookie, header and parameter, wherever they stand; cookies of others stay."""
    opened = world.open(mode)
    key, secret = world.running.key, opened.token or "cnp_" + "0" * 64
    told = opened.echo(
        f"/p?a=1&crownest_preview_token={secret}&b=2&crownest%5Fpreview_token={secret}", "POST",
        *(["Authorization: Bearer " + key] if mode == "token" else []),
        f"Cookie: a=1; crownest_preview={secret}; __Host-crownest_session=s; b=2",
        f"Cookie: crownest_session={secret}",
        f"X-Crownest-Sdk: {secret}", f"X_CROWNEST_Preview_Token: {secret}", f"X-Crownestish: {secret}",
        f"Referer: http://x.localhost/?crownest_preview_token={secret}" if opened.token else "A: b",
    )  # fmt: skip
    text = json.dumps(told).lower()
    assert "crownest" not in text
    assert key not in text
    assert not opened.token or opened.token not in text
    assert told["line"] == "POST /p?a=1&b=2 HTTP/1.1"
    assert headers_of(told)["cookie"] == "a=1; b=2"
    assert "authorization" not in headers_of(told)


def test_a_programs_own_credentials_pass_in_token_mode(world: World) -> None:
    """Basic and foreign bearer tokens are the program's; in authenticated mode the header is ours."""
    opened = world.open("token")
    for value in ("Basic dXNlcjpwYXNz", "Bearer eyJhbGciOi.own.token"):
        assert headers_of(opened.echo("/", "GET", f"Authorization: {value}"))["authorization"] == value
    for key in ("cn_live_abc", "cn_test_x", "cnk_1"):
        assert "authorization" not in headers_of(opened.echo("/", "GET", f"authorization: bEARER   {key}"))


def test_the_origin_of_the_preview_is_the_origin_of_the_program(world: World) -> None:
    """A program that compares Origin and Host sees them agree, and foreign ones as they are."""
    opened = world.open()
    own = f"http://{opened.slug}.localhost:{world.port}"
    assert (
        headers_of(opened.echo("/", "GET", f"Origin: {own}"))["origin"]
        == f"http://localhost:{world.program.port}"
    )
    for foreign in ("http://evil.example", "null", own + "0"):
        assert headers_of(opened.echo("/", "GET", f"Origin: {foreign}"))["origin"] == foreign


# ---- what the client gets


def test_a_program_cannot_speak_for_us(world: World) -> None:
    """No cookie of our name, no header of ours, nothing of its own connection, none for its neighbours."""
    answer, data = world.open().ask("/lies")
    assert (answer.status, data) == (200, b"ok")
    names = [name.lower() for name, _ in answer.getheaders()]
    assert answer.getheader("set-cookie") == "session=1; HttpOnly"
    assert "x-mine" in names
    assert not [name for name in names if "crownest" in name]
    assert not {"x-private", "keep-alive", "proxy-authenticate"} & set(names)


@pytest.mark.parametrize("chunked", ["", "&chunked=1"])
def test_a_long_answer_streams_with_bounded_memory(world: World, chunked: str) -> None:
    """50 MB to a client that does not read at first: the program is held up, and nothing is lost."""
    with raw(world.port, world.open().head(f"/big?pieces={PIECES}{chunked}")) as connection:
        answer = connection.head()
        assert wait_until_still(lambda: world.program.sent) < IN_FLIGHT_MAX
        digest, size = hashlib.sha256(), 0
        while data := answer.read(1 << 20):
            digest.update(data)
            size += len(data)
    assert size == PIECES * len(PIECE)
    expected = hashlib.sha256()
    for _ in range(PIECES):
        expected.update(PIECE)
    assert digest.digest() == expected.digest()


def test_a_large_upload_streams_with_bounded_memory(world: World) -> None:
    """50 MB to a program that does not read at first: the client is held up, and nothing is lost."""
    size = PIECES * len(PIECE)
    sent = 0
    with raw(world.port, world.open().head("/upload", "POST", f"Content-Length: {size}")) as connection:

        def send() -> None:
            nonlocal sent
            for _ in range(PIECES):
                connection.send(PIECE)
                sent += len(PIECE)

        sender = threading.Thread(target=send)
        sender.start()
        assert wait_until_still(lambda: sent) < IN_FLIGHT_MAX
        assert world.program.received == 0
        world.program.may_read.set()
        answer, data = connection.response("POST")
        sender.join(WAIT_S_MAX)
    assert answer.status == 200
    expected = hashlib.sha256()
    for _ in range(PIECES):
        expected.update(PIECE)
    assert data.decode() == expected.hexdigest()


def test_a_chunked_upload_arrives_whole(world: World) -> None:
    """With extensions and trailers, which end here."""
    head = world.open().head("/", "POST", "Transfer-Encoding: chunked")
    body = b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n"
    with raw(world.port, head + body) as connection:
        told = json.loads(connection.response("POST")[1])
    assert told["sha256"] == hashlib.sha256(b"hello world").hexdigest()
    assert "x-trailer" not in headers_of(told)


def test_events_arrive_one_by_one(world: World) -> None:
    """The second is sent only after the first was seen here: nothing waits for more."""
    with raw(world.port, world.open().head("/sse")) as connection:
        answer = connection.head()
        assert answer.getheader("content-type") == "text/event-stream"
        assert answer.readline() == b"data: one\n"
        world.program.may_send.set()
        answer.readline()
        assert answer.readline() == b"data: two\n"


def test_a_program_notices_that_its_reader_is_gone(world: World) -> None:
    """Its connection breaks, so that it does not send for ever."""
    world.program.may_send.set()
    with raw(world.port, world.open().head("/sse")) as connection:
        connection.head().readline()
    assert world.program.gone.wait(WAIT_S_MAX)


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(world: World) -> None:
    """`Expect: 100-continue` goes to the program and its consent comes back."""
    head = world.open().head("/", "POST", "Content-Length: 5", "Expect: 100-continue")
    with raw(world.port, head) as connection:
        assert read_head(connection.socket)[0].split()[1] == "100"
        connection.send(b"12345")
        assert json.loads(connection.response("POST")[1])["size"] == 5


def test_an_answer_before_the_end_of_the_body_is_seen(world: World) -> None:
    """The program refuses and hangs up, while the client is still sending."""
    with raw(world.port, world.open().head("/refuse_upload", "POST", "Content-Length: 300000")) as connection:
        with contextlib.suppress(OSError):
            connection.send(bytes(200_000))
        answer, data = connection.response("POST")
        assert (answer.status, data) == (413, b"too much")
        assert connection.ends()


def test_a_connection_serves_several_requests_each_checked_by_itself(world: World) -> None:
    """HEAD in between; the one without credential is refused, and the connection ends there."""
    opened = world.open()
    with raw(world.port) as connection:
        for method in ("GET", "HEAD", "GET"):
            connection.send(opened.head("/", method))
            assert connection.response(method)[0].status == 200
        connection.send(opened.head("/", auth=False))
        assert error(*connection.response()) == (401, "unauthorized")
        assert connection.ends()


def test_requests_in_a_row_are_answered_in_a_row(world: World) -> None:
    """Pipelined: the second waits until the first was answered."""
    opened = world.open()
    with raw(world.port, opened.head("/one") + opened.head("/two")) as connection:
        lines = [json.loads(connection.response()[1])["line"] for _ in range(2)]
    assert lines == ["GET /one HTTP/1.1", "GET /two HTTP/1.1"]


def test_an_old_client_gets_the_answer_without_chunks(world: World) -> None:
    """HTTP/1.0: bytes until the end."""
    head = world.open().head("/big?pieces=2&chunked=1").replace(b"HTTP/1.1", b"HTTP/1.0")
    with raw(world.port, head) as connection:
        answer, data = connection.response()
        assert answer.getheader("transfer-encoding") is None
        assert data == PIECE * 2


# ---- WebSockets


def test_a_websocket_passes_frames_both_ways(world: World) -> None:
    """Small, empty and large ones, masked by the client."""
    with world.open().websocket() as connection:
        reader = connection.socket.makefile("rb")
        for payload in (b"hello", b"", bytes(range(256)) * 1000, b"\x00" * 70_000):
            connection.send(frame_bytes(payload, mask=b"\x01\x02\x03\x04"))
            assert read_frame(reader.read) == payload
        reader.close()
    assert world.program.gone.wait(WAIT_S_MAX)


def test_what_the_program_says_right_after_the_switch_is_not_lost(world: World) -> None:
    """The head and the first frame in one packet, and then the end, which ends both sides."""
    head = world.open().head("/early_ws", "GET", "Connection: Upgrade", "Upgrade: websocket")
    with raw(world.port, head) as connection:
        assert read_head(connection.socket)[0].split()[1] == "101"
        assert read_frame(connection.socket.makefile("rb").read) == b"hello"
        assert connection.ends()


def test_a_websocket_needs_the_same_credentials(world: World) -> None:
    """401 without, and the program saw nothing."""
    head = world.open("token").head("/ws", "GET", "Connection: Upgrade", "Upgrade: websocket", auth=False)
    with raw(world.port, head) as connection:
        assert error(*connection.response()) == (401, "unauthorized")
    assert world.program.requests == []


def test_a_switch_that_nobody_asked_for_is_no_answer(world: World) -> None:
    """502: the program is not let past the proxy."""
    assert error(*world.open().ask("/ws")) == (502, "preview_unavailable")


# ---- who gets in


def test_without_a_credential_a_preview_is_401(world: World) -> None:
    """In both modes, in the contract's envelope."""
    for mode in ("authenticated", "token"):
        answer, data = world.open(mode).ask(auth=False)
        assert error(answer, data) == (401, "unauthorized")
        assert answer.getheader("cache-control") == "no-store"
    assert world.program.requests == []


def test_a_browser_gets_a_page_that_says_the_same(world: World) -> None:
    """Only where `Accept` names text/html, as when an address is opened; nothing in it can run."""
    for accept, kind in (("text/html,*/*;q=0.8", "text/html; charset=utf-8"), ("*/*", "application/json")):
        answer, data = world.open().ask("/", "GET", f"Accept: {accept}", auth=False)
        assert (answer.status, answer.getheader("content-type")) == (401, kind)
        assert b"crownest previews create SANDBOX-ID PORT --token" in data
        assert (answer.getheader("x-request-id") or "?").encode() in data
    page, _ = world.open().ask("/", "GET", "Accept: text/html", auth=False)
    assert "default-src 'none'" in (page.getheader("content-security-policy") or "")


def test_what_a_message_repeats_cannot_become_markup() -> None:
    """The page shows a refusal's message, which may quote a request."""
    page = refusal_page(Refusal("invalid_request", "'<b>&' is no name."), 400, "req_a")
    assert b"&lt;b&gt;&amp;" in page
    assert b"<b>" not in page


def test_only_keys_of_the_same_organisation_and_scope_open_it(world: World, foreign_key: str) -> None:
    """A foreign key is 404, a key without the scope 403, a bad one 401; tokens open nothing here."""
    opened = world.open()

    def asked(*headers: str) -> tuple[int, str]:
        return error(*opened.ask("/", "GET", *headers, auth=False))

    narrow = world.running.http.post("/v1/api-keys", json={"name": "n", "scopes": ["sandbox:read"]}).json()
    assert asked(f"Authorization: Bearer {foreign_key}") == (404, "not_found")
    assert asked(f"Authorization: Bearer {narrow['secret']}") == (403, "forbidden")
    assert asked("Authorization: Bearer cn_live_wrong") == (401, "unauthorized")
    assert asked("Authorization: Basic eA==") == (401, "unauthorized")
    token = world.open("token").token
    assert asked(f"x-crownest-preview-token: {token}") == (401, "unauthorized")
    assert world.program.requests == []


def test_a_key_for_another_project_does_not_open_it(world: World) -> None:
    """404: it does not see the sandbox either."""
    http = world.running.http
    project = http.post("/v1/projects", json={"name": "elsewhere"}).json()["project"]["id"]
    fields = {"name": "p", "scopes": ["preview:read"], "projectIds": [project]}
    secret = http.post("/v1/api-keys", json=fields).json()["secret"]
    answer = world.open().ask("/", "GET", f"Authorization: Bearer {secret}", auth=False)
    assert error(*answer) == (404, "not_found")


def test_a_token_opens_its_own_preview_alone(world: World) -> None:
    """As header, parameter and cookie; keys open nothing in this mode."""
    opened, other = world.open("token"), world.open("token")
    for wrong in (other.token, opened.token[:-1], "", "é"):
        for header in (f"x-crownest-preview-token: {wrong}", f"Cookie: crownest_preview={wrong}"):
            assert error(*opened.ask("/", "GET", header, auth=False)) == (401, "unauthorized")
    wrong_parameter = opened.ask(f"/?crownest_preview_token={other.token}", auth=False)
    assert error(*wrong_parameter) == (401, "unauthorized")
    key = f"Authorization: Bearer {world.running.key}"
    assert error(*opened.ask("/", "GET", key, auth=False)) == (401, "unauthorized")
    assert world.program.requests == []
    assert opened.ask()[0].status == 200


def test_a_token_in_the_address_moves_into_a_cookie(world: World) -> None:
    """303 to the same place without it; the cookie is of this host, not for scripts, and opens it."""
    opened = world.open("token")
    answer, data = opened.ask(f"/a/b?x=1&crownest_preview_token={opened.token}&y=2", auth=False)
    assert (answer.status, data, answer.getheader("location")) == (303, b"", "/a/b?x=1&y=2")
    cookie = answer.getheader("set-cookie") or ""
    value, *attributes = cookie.split("; ")
    assert value == f"crownest_preview={opened.token}"
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} < set(attributes)
    assert "domain" not in cookie.lower()
    assert answer.getheader("referrer-policy") == "no-referrer"
    assert world.program.requests == []
    told = opened.echo("/a/b", "GET", f"Cookie: theirs=1; {value}", auth=False)
    assert headers_of(told)["cookie"] == "theirs=1"
    forged = f"Cookie: crownest_preview=forged; {value}"
    assert opened.ask("/", "GET", forged, auth=False)[0].status == 200


@pytest.mark.parametrize("path", ["//evil.example/x", "/\\evil.example/x", "///evil.example"])
def test_the_redirect_leads_nowhere_else(world: World, path: str) -> None:
    """A path that reads like a host is made one that does not."""
    opened = world.open("token")
    answer, _ = opened.ask(f"{path}?crownest_preview_token={opened.token}", auth=False)
    assert answer.getheader("location") == "/." + path


def test_a_request_with_a_body_is_let_in_by_the_parameter_without_a_redirect(world: World) -> None:
    """Else the body would be lost; the parameter is gone all the same."""
    opened = world.open("token")
    told = opened.echo(f"/?crownest_preview_token={opened.token}", "POST", auth=False, body=b"data")
    assert (told["line"], told["size"]) == ("POST / HTTP/1.1", 4)


def test_unknown_names_are_404_and_no_route_of_the_api_is_here(world: World) -> None:
    """Whatever the host, and with a valid key."""
    key = world.running.key
    for host in ("localhost", "127.0.0.1", "a.localhost", "a" * 26 + ".localhost", "..", "[::1]:80", ""):
        head = f"GET /v1/projects HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\r\n"
        with raw(world.port, head.encode()) as connection:
            assert error(*connection.response()) == (404, "not_found")
    opened = world.open()
    assert opened.echo("/v1/projects")["line"] == "GET /v1/projects HTTP/1.1"


def test_the_api_sets_no_cookie_and_knows_no_preview_host(world: World) -> None:
    """The other side: the API's origin is never a preview's."""
    opened = world.open("token")
    answer = httpx2.get(
        f"{world.running.url}/?crownest_preview_token={opened.token}",
        headers={"host": f"{opened.slug}.localhost"},
    )
    assert (answer.status_code, answer.headers.get("set-cookie")) == (404, None)


# ---- what ends it


def test_nothing_listens_there(world: World) -> None:
    """502 `preview_unavailable`, worth another try."""
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    world.program.port = free.getsockname()[1]
    answer, data = world.open().ask()
    assert error(answer, data) == (502, "preview_unavailable")
    assert json.loads(data)["error"]["retryable"] is True
    free.close()


@pytest.mark.parametrize(
    "wire",
    [b"", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
     b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", b"HTTP/1.1 99 No\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"],
    ids=["nothing", "no http", "two lengths", "giant head", "bad status", "bad name", "unknown coding"],
)  # fmt: skip
def test_a_program_that_speaks_no_http_is_unavailable(world: World, wire: bytes) -> None:
    """502, and nothing of it reaches the client."""
    behind = threading.Thread(target=answer_once, args=(listener := listen("127.0.0.1", 0), wire))
    behind.start()
    world.program.port = listener.getsockname()[1]
    assert error(*world.open().ask()) == (502, "preview_unavailable")
    behind.join(WAIT_S_MAX)


def answer_once(listener: socket.socket, wire: bytes) -> None:
    """A server that takes one connection and sends these bytes."""
    with listener, listener.accept()[0] as connection:
        connection.settimeout(WAIT_S_MAX)
        connection.recv(65536)
        with contextlib.suppress(OSError):
            connection.sendall(wire)


def test_an_answer_that_breaks_off_is_seen_as_broken(world: World) -> None:
    """The client does not take a part for the whole."""
    part = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
    with raw(world.port, world.open().head(f"/raw?hex={part.hex()}")) as connection:
        answer = connection.head()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            answer.read()


def test_revocation_ends_what_is_open(world: World) -> None:
    """A WebSocket and a stream, within the promised time; new requests are 404 at once."""
    opened = world.open("token")
    world.program.may_send.set()
    with opened.websocket() as websocket, raw(world.port, opened.head("/sse")) as stream:
        stream.head().readline()
        opened.revoke()
        assert error(*opened.ask()) == (404, "not_found")
        for connection in (websocket, stream):
            connection.socket.settimeout(ENDS_S_MAX)
            assert connection.ends()


def test_the_end_of_the_sandbox_ends_what_is_open(running: Running, behind: Program) -> None:
    """Killed through the API; a request afterwards is 404."""
    brief = str(running.run("true", keepSandbox=True)["sandboxId"])
    with proxying(running, brief, behind, PreviewLimits(check_s=0.1)) as world:
        opened = world.open()
        with opened.websocket() as websocket:
            running.http.delete(f"/v1/sandboxes/{brief}")
            websocket.socket.settimeout(ENDS_S_MAX)
            assert websocket.ends()
        assert error(*opened.ask()) == (404, "not_found")


def test_expiry_ends_what_is_open(running: Running, sandbox_id: str, behind: Program) -> None:
    """By the clock alone: no event says so yet."""
    ahead_ms = 0
    now_ms = running.server.services.runs.now_ms
    limits = PreviewLimits(check_s=0.1)
    with proxying(running, sandbox_id, behind, limits, lambda: now_ms() + ahead_ms) as world:
        opened = world.open()
        with opened.websocket() as websocket:
            ahead_ms = 10**12
            websocket.socket.settimeout(ENDS_S_MAX)
            assert websocket.ends()
        assert error(*opened.ask()) == (404, "not_found")


def test_a_revoked_key_ends_what_it_opened_and_nothing_else(world: World) -> None:
    """Two keys, one preview: the other one's WebSocket goes on."""
    http = world.running.http
    made = http.post("/v1/api-keys", json={"name": "brief", "scopes": ["preview:read"]}).json()
    opened = world.open()
    with opened.websocket() as other:
        head = opened.head(
            "/ws", "GET", f"Authorization: Bearer {made['secret']}", "Connection: Upgrade",
            "Upgrade: websocket", auth=False,
        )  # fmt: skip
        with raw(world.port, head) as connection:
            assert read_head(connection.socket)[0].split()[1] == "101"
            assert http.delete(f"/v1/api-keys/{made['apiKey']['id']}").status_code == 200
            connection.socket.settimeout(ENDS_S_MAX)
            assert connection.ends()
        other.send(frame_bytes(b"still", mask=b"abcd"))
        assert read_frame(other.socket.makefile("rb").read) == b"still"


# ---- hostile clients


WITH_BOTH = (
    b"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n{auth}\r\n\r\n0\r\n\r\n"
)


@pytest.mark.parametrize(
    "wire",
    [
        b"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nContent-Length: 6\r\n{auth}\r\n\r\nhello",
        WITH_BOTH,
        b"POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked, identity\r\n{auth}\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: xchunked\r\n{auth}\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding : chunked\r\n{auth}\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: +5\r\n{auth}\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5, 6\r\n{auth}\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: {host}\r\nHost: other.localhost\r\n{auth}\r\n\r\n",
        b"GET / HTTP/1.1\r\n{auth}\r\n\r\n",
        b"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: {host}\r\nX: a\rY: b\r\n{auth}\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: {host}\r\nX: a\x00b\r\n{auth}\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n\r\n",
        b"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: {host}\r\nX: " + b"a" * 200_000 + b"\r\n{auth}\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
    ],
    ids=["two lengths", "length and chunks", "identity", "xchunked", "space before colon", "plus",
         "length list", "two hosts", "no host", "absolute", "bare cr", "nul", "space in target", "connect",
         "star", "giant head", "giant target", "http2", "tls"],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_never_reaches_the_program(world: World, wire: bytes) -> None:
    """400 in the envelope, the connection ends, and the program saw nothing."""
    opened = world.open()
    host = f"{opened.slug}.localhost".encode()
    auth = f"Authorization: Bearer {world.running.key}".encode()
    with raw(world.port) as connection:
        with contextlib.suppress(OSError):
            connection.send(wire.replace(b"{host}", host).replace(b"{auth}", auth))
        assert error(*connection.response()) == (400, "invalid_request")
        assert connection.ends()
    assert world.program.requests == []


def test_a_second_request_hidden_in_a_body_is_a_body(world: World) -> None:
    """The program gets one request, whatever it reads."""
    opened = world.open()
    hidden = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
    told = opened.echo("/outer", "POST", body=hidden)
    assert told["size"] == len(hidden)
    assert world.program.requests == ["POST /outer HTTP/1.1"]


def test_bytes_behind_a_refused_request_are_no_request(world: World) -> None:
    """A refusal closes: what was pipelined behind it is never served."""
    opened = world.open()
    with raw(world.port, opened.head("/", auth=False) + opened.head("/second")) as connection:
        assert error(*connection.response()) == (401, "unauthorized")
        assert connection.ends()
    assert world.program.requests == []


def test_a_refusal_of_a_long_body_is_seen(world: World) -> None:
    """The answer is not lost to a reset, although the body was never read to its end."""
    with raw(world.port, world.open().head("/", "POST", "Content-Length: 500000", auth=False)) as connection:
        with contextlib.suppress(OSError):
            connection.send(bytes(500_000))
        assert error(*connection.response()) == (401, "unauthorized")


def test_a_slow_head_is_given_up(running: Running, sandbox_id: str, behind: Program) -> None:
    """However regularly its bytes drip; an idle connection likewise."""
    with (
        proxying(running, sandbox_id, behind, PreviewLimits(head_s=0.3)) as world,
        raw(world.port) as dripping,
        raw(world.port) as silent,
    ):
        deadline = time.monotonic() + WAIT_S_MAX
        with contextlib.suppress(OSError):
            while time.monotonic() < deadline:
                dripping.send(b"G")
                time.sleep(0.02)
        assert time.monotonic() < deadline
        assert silent.ends()


def test_silence_ends_an_exchange(running: Running, sandbox_id: str, behind: Program) -> None:
    """A WebSocket without frames is closed; a request that is never answered is 502."""
    with proxying(running, sandbox_id, behind, PreviewLimits(idle_s=0.5)) as world:
        opened = world.open()
        with opened.websocket() as websocket:
            assert websocket.ends()
        waiting = opened.ask("/upload", "POST", body=b"12345")
        assert error(*waiting) == (502, "preview_unavailable")


def test_connections_are_limited_per_preview_and_in_total(
    running: Running, sandbox_id: str, behind: Program
) -> None:
    """429 for one preview's excess; beyond the total a connection is closed unread. Closed ones make room."""
    limits = PreviewLimits(connections_max=4, connections_per_preview_max=2, head_s=60)
    with proxying(running, sandbox_id, behind, limits) as world:
        opened, other = world.open(), world.open()
        with opened.websocket(), opened.websocket():
            assert error(*opened.ask()) == (429, "slow_down")
            assert other.ask()[0].status == 200
            with raw(world.port), raw(world.port), raw(world.port) as refused:
                assert refused.ends()
        deadline = time.monotonic() + WAIT_S_MAX
        while not answers(opened):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_one_address_cannot_take_all_connections(running: Running, sandbox_id: str, behind: Program) -> None:
    """The attack: one address opens as many as there are. It is told so; others are served meanwhile."""
    limits = PreviewLimits(connections_max=8, connections_per_address_max=3, head_s=60)
    with proxying(running, sandbox_id, behind, limits) as world, contextlib.ExitStack() as stack:
        opened = world.open()
        greedy = [stack.enter_context(raw(world.port, source="127.0.0.2")) for _ in range(12)]
        for refused in greedy[3:]:
            answer, data = refused.response()
            assert error(answer, data) == (429, "slow_down")
            assert answer.getheader("connection") == "close"
            assert refused.ends()
        with raw(world.port, opened.head(), source="127.0.0.3") as other:
            assert other.response()[0].status == 200
        greedy[0].send(opened.head())
        assert greedy[0].response()[0].status == 200
        greedy[1].socket.close()
        deadline = time.monotonic() + WAIT_S_MAX
        while not answers_from(opened, "127.0.0.2"):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def answers_from(opened: Opened, source: str) -> bool:
    """Whether this address has room again: a closed connection is noticed a moment later."""
    with contextlib.suppress(ConnectionError), raw(opened.world.port, source=source) as connection:
        connection.send(opened.head())
        return connection.response()[0].status == 200
    return False


def test_behind_a_proxy_each_client_counts_by_itself(
    running: Running, sandbox_id: str, behind: Program
) -> None:
    """What a trusted proxy says last counts, however many connections it has; nobody else is believed."""
    limits = PreviewLimits(connections_per_address_max=2)
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: eA==")
    with proxying(running, sandbox_id, behind, limits) as world, contextlib.ExitStack() as stack:
        opened = world.open()
        for _ in range(2):
            said = "X-Forwarded-For: 198.51.100.1, 203.0.113.7, 127.0.0.1"
            websocket = stack.enter_context(raw(world.port, opened.head("/ws", "GET", said, *upgrade)))
            assert read_head(websocket.socket)[0].split()[1] == "101"
        assert error(*opened.ask("/", "GET", "X-Forwarded-For: 203.0.113.7")) == (429, "slow_down")
        assert opened.ask("/", "GET", "X-Forwarded-For: 203.0.113.7, 203.0.113.8")[0].status == 200
        assert opened.ask()[0].status == 200
        for _ in range(2):
            stack.enter_context(raw(world.port, source="127.0.0.2"))
        with raw(world.port, source="127.0.0.2") as liar:
            liar.send(opened.head("/", "GET", "X-Forwarded-For: 203.0.113.9"))
            assert error(*liar.response()) == (429, "slow_down")
    assert repr(world.proxy) == "PreviewProxy(0 connections)"


def test_places_are_of_networks_and_of_what_a_proxy_says() -> None:
    """An IPv6 network of 64 bits is one client, and an IPv4 address one, however it is written."""
    places = ClientPlaces(1, "10.0.0.0/8, ::1, nonsense")
    assert places.take("2001:db8::1") == "2001:db8::/64"
    assert places.take("2001:db8::ffff:2%eth0") is None
    assert places.take("2001:db8:0:1::1") is not None
    assert (places.take("192.0.2.1"), places.take("::ffff:192.0.2.1")) == ("192.0.2.1", None)
    places.give_back("192.0.2.1")
    assert places.take("192.0.2.1") == "192.0.2.1"
    assert [places.trusts(one) for one in ("10.1.2.3", "::1", "127.0.0.1", "?")] == [True, True, False, False]
    said = [(b"X-Forwarded-For", b"192.0.2.5, unknown"), (b"x-forwarded-for", b"10.0.0.2")]
    assert (places.behind("10.0.0.1", said), places.behind("192.0.2.1", said)) == ("unknown", None)
    assert places.behind("10.0.0.1", [(b"x-forwarded-for", b"10.0.0.2"), (b"host", b"x")]) is None
    everybody = ClientPlaces(1, "*")
    assert everybody.behind("192.0.2.1", said) == "192.0.2.5"
    assert everybody.behind("192.0.2.1", []) is None
    assert repr(everybody) == "ClientPlaces(1, taken={})"


def test_the_server_stops_although_connections_are_open(
    running: Running, sandbox_id: str, behind: Program
) -> None:
    """They are cut, not waited for."""
    with contextlib.ExitStack() as stack:
        with proxying(running, sandbox_id, behind, PreviewLimits()) as world:
            websocket = stack.enter_context(world.open().websocket())
            idle = stack.enter_context(raw(world.port))
        assert websocket.ends()
        assert idle.ends()


def answers(opened: Opened) -> bool:
    """Whether there is room again: a closed connection is noticed a moment later."""
    try:
        return opened.ask()[0].status == 200
    except ConnectionError:
        return False


def wait_until_still(count: Callable[[], int]) -> int:
    """The count once it has not changed for a while."""
    deadline = time.monotonic() + WAIT_S_MAX
    before = -1
    while (now := count()) != before or now == 0:
        assert time.monotonic() < deadline
        before = now
        time.sleep(0.5)
    return now


# ---- programs and clients that mean harm


ENDLESS = {
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "tiny chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    "a long body": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"12345678"),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_a_program_that_never_pauses_leaves_the_server_to_others(world: World, what: str) -> None:
    """It always has bytes ready, so that nothing ever waits for it: the API answers all the same."""
    first, again = ENDLESS[what]
    stop = threading.Event()
    listener = listen("127.0.0.1", 0)

    def shout() -> None:
        with listener, listener.accept()[0] as connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(first)
            while not stop.is_set():
                connection.sendall(again * 10_000)

    def listen_to(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not stop.is_set() and connection.recv(1 << 20):
                pass

    shouting = threading.Thread(target=shout)
    shouting.start()
    world.program.port = listener.getsockname()[1]
    with raw(world.port, world.open().head()) as connection:
        listening = threading.Thread(target=listen_to, args=(connection.socket,))
        listening.start()
        try:
            answers = [world.running.http.get("/v1/projects", timeout=WAIT_S_MAX) for _ in range(20)]
        finally:
            stop.set()
            connection.socket.shutdown(socket.SHUT_RDWR)
            listening.join(WAIT_S_MAX)
            shouting.join(WAIT_S_MAX)
    assert [answer.status_code for answer in answers] == [200] * 20


def test_a_request_has_few_interim_answers(world: World) -> None:
    """502 past that: each is a sign of life, and endless ones would hold the connection for good."""
    wire = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 33 + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    for sent, expected in ((wire, 502), (wire.removeprefix(b"HTTP/1.1 103 Early Hints\r\n\r\n"), 200)):
        behind = threading.Thread(target=answer_once, args=(listener := listen("127.0.0.1", 0), sent))
        behind.start()
        world.program.port = listener.getsockname()[1]
        assert world.open().ask()[0].status == expected
        behind.join(WAIT_S_MAX)


@pytest.mark.parametrize("place", ["/a;{}", "/?x=1;crownest_preview_token={}", "/{}/b", "/?%63={}"])
def test_a_token_elsewhere_in_the_address_is_not_passed_on(world: World, place: str) -> None:
    """400, plainly spelled or not, and the program saw nothing."""
    opened = world.open("token")
    for token in (opened.token, "".join(f"%{byte:02x}" for byte in opened.token.encode())):
        assert error(*opened.ask(place.format(token))) == (400, "invalid_request")
    assert world.program.requests == []


def test_an_answer_without_content_names_no_length(world: World) -> None:
    """Who believed it would take the next answer for a body; a cookie without a name may be ours, too."""
    wire = (
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nSet-Cookie: =crownest_preview=x\r\n"
        b"Set-Cookie: = crownest_session=x; Path=/\r\nSet-Cookie: =mine\r\n\r\nhello"
    )
    answer, data = world.open().ask(f"/raw?hex={wire.hex()}")
    assert (answer.status, data, answer.getheader("content-length")) == (204, b"", None)
    assert answer.headers.get_all("set-cookie") == ["=mine"]
