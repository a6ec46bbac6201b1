"""The client sends what the contract wants, and turns every failure into one kind of error."""

from __future__ import annotations

import hashlib
import io
import re
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.api import CrownestClient
from client.archive import Archive, measure
from client.errors import ApiError, ArchiveChanged, BadAnswer, ClientError, ConnectionFailed
from client.shapes import RunRequest
from client.transport import SDK_MARKER, BodyLimits, Timeouts, Transport
from client.version import VERSION
from tests.cli.recording_server import (
    DROP,
    RUN_ID,
    UPLOAD_ID,
    RecordingServer,
    Reply,
    as_json,
    refusal,
    run_object,
    with_run_routes,
)

BASE = f"/v1/workspace-runs/{RUN_ID}"
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    """A server with the routes of one run."""
    with with_run_routes(RecordingServer()).serving() as running:
        yield running


@pytest.fixture
def client(server: RecordingServer) -> Iterator[CrownestClient]:
    """A client of that server."""
    with CrownestClient(server.url + "/", "cn_test") as connected:
        yield connected


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """A small file; nobody looks inside."""
    path = tmp_path / "repo.tgz"
    path.write_bytes(b"x" * 200_000)
    return measure(path)


def test_the_version_is_that_of_the_distribution() -> None:
    """The version others are told is the one that is built."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


def test_every_request_carries_bearer_marker_and_no_double_slash(
    server: RecordingServer, client: CrownestClient
) -> None:
    """The trailing slash of the address is trimmed; the SDK marker names this client (CONTRACT §1)."""
    client.get_run(RUN_ID)
    request = server.last("GET", BASE)
    assert request.headers["authorization"] == "Bearer cn_test"
    assert request.headers["x-crownest-sdk"] == SDK_MARKER == f"crownest-server-client/{VERSION}"


def test_create_sends_only_what_was_set(server: RecordingServer, client: CrownestClient) -> None:
    """Absent options are absent keys, so that the server's defaults hold."""
    client.create_run(RunRequest("make"))
    assert server.last("POST", "/v1/workspace-runs").json == {"command": "make"}
    full = RunRequest(
        "make",
        project_id="prj_1",
        template="base",
        sandbox_id="sbx_1",
        keep_sandbox=True,
        timeout_ms=5,
        metadata={"a.b": "c"},
        source_metadata={"branch": "main"},
        artifacts=[{"path": "p", "name": "n"}],
    )
    client.create_run(full)
    assert server.last("POST", "/v1/workspace-runs").json == {
        "command": "make",
        "projectId": "prj_1",
        "template": "base",
        "sandboxId": "sbx_1",
        "keepSandbox": True,
        "timeoutMs": 5,
        "metadata": {"a.b": "c"},
        "sourceMetadata": {"branch": "main"},
        "artifacts": [{"path": "p", "name": "n"}],
    }


def test_changing_calls_carry_a_fresh_uuid_unless_a_key_is_given(
    server: RecordingServer, client: CrownestClient, archive: Archive
) -> None:
    """CONTRACT §2: an Idempotency-Key on every changing run route, except the staged PUT."""
    client.create_run(RunRequest("make"))
    client.create_run(RunRequest("make"), idempotency_key="mine")
    client.upload_direct(RUN_ID, archive)
    client.upload_staged(RUN_ID, archive)
    client.start_run(RUN_ID)
    client.cancel_run(RUN_ID)
    keys = [r.headers.get("idempotency-key") for r in server.requests]
    staged_put = server.calls().index(f"PUT {BASE}/archive-transfer/{UPLOAD_ID}")
    assert keys[1] == "mine"
    assert keys[staged_put] is None
    fresh = [key for index, key in enumerate(keys) if index not in {1, staged_put}]
    assert all(key and UUID4.fullmatch(key) for key in fresh)
    assert len(set(fresh)) == len(fresh)


def test_start_and_cancel_have_no_body(server: RecordingServer, client: CrownestClient) -> None:
    """As measured: content-length 0 and no content type (CONTRACT §2)."""
    client.start_run(RUN_ID)
    request = server.last("POST", f"{BASE}/start")
    assert (request.body, request.headers["content-length"]) == (b"", "0")
    assert "content-type" not in request.headers


def test_a_direct_upload_names_digest_and_size(
    server: RecordingServer, client: CrownestClient, archive: Archive
) -> None:
    """CONTRACT §4.1: the headers say what the body is; its length is sent, not chunked."""
    client.upload_direct(RUN_ID, archive)
    request = server.last("PUT", f"{BASE}/archive")
    assert request.headers["content-type"] == "application/gzip"
    assert request.headers["x-crownest-archive-sha256"] == hashlib.sha256(request.body).hexdigest()
    assert request.headers["x-crownest-archive-size"] == request.headers["content-length"] == "200000"
    assert "transfer-encoding" not in request.headers


def test_a_staged_upload_goes_transfer_put_finalize_and_reports_progress(
    server: RecordingServer, client: CrownestClient, archive: Archive
) -> None:
    """CONTRACT §4.2, with a relative uploadUrl; progress grows and ends at the whole."""
    seen: list[tuple[int, int]] = []
    client.upload_staged(RUN_ID, archive, on_progress=lambda sent, total: seen.append((sent, total)))
    assert server.calls() == [
        f"POST {BASE}/archive-transfer",
        f"PUT {BASE}/archive-transfer/{UPLOAD_ID}",
        f"POST {BASE}/archive/finalize",
    ]
    facts = {"sha256": archive.sha256, "sizeBytes": archive.size_bytes}
    assert server.requests[0].json == facts
    assert server.requests[2].json == {"uploadId": UPLOAD_ID, **facts}
    assert server.requests[1].headers["content-length"] == str(archive.size_bytes)
    assert server.requests[1].headers["authorization"] == "Bearer cn_test"
    assert seen == sorted(seen)
    assert seen[-1] == (archive.size_bytes, archive.size_bytes)


def test_the_bearer_never_goes_to_another_origin(
    server: RecordingServer, client: CrownestClient, archive: Archive
) -> None:
    """An absolute uploadUrl elsewhere gets the transfer's own headers and nothing of ours."""
    with RecordingServer().serving() as store:
        store.routes["PUT /bucket/key"] = lambda _: Reply(200)
        named = {"uploadUrl": f"{store.url}/bucket/key", "id": UPLOAD_ID, "headers": {"x-amz-acl": "private"}}
        server.routes[f"POST {BASE}/archive-transfer"] = lambda _: as_json({"transfer": named}, 201)
        client.upload_staged(RUN_ID, archive)
        put = store.requests[0]
    assert put.headers["x-amz-acl"] == "private"
    assert "authorization" not in put.headers
    assert "x-crownest-sdk" not in put.headers
    assert len(put.body) == archive.size_bytes


def test_an_absolute_upload_url_of_the_own_origin_gets_the_bearer(
    server: RecordingServer, client: CrownestClient, archive: Archive
) -> None:
    """Same scheme, host and port is the same origin; the server's headers cannot replace the credential."""
    named = {"uploadUrl": f"{server.url}/up", "id": UPLOAD_ID, "headers": {"Authorization": "Basic x"}}
    server.routes[f"POST {BASE}/archive-transfer"] = lambda _: as_json({"transfer": named}, 201)
    server.routes["PUT /up"] = lambda _: Reply(204)
    client.upload_staged(RUN_ID, archive)
    assert server.last("PUT", "/up").headers["authorization"] == "Bearer cn_test"


@pytest.mark.parametrize(
    ("api", "upload", "same"),
    [
        ("https://a.example", "https://a.example:443/x", True),
        ("http://a.example:80", "http://a.example/x", True),
        ("https://a.example", "https://A.EXAMPLE/x", True),
        ("https://a.example", "https://a.example:8443/x", False),
        ("https://a.example", "https://b.a.example/x", False),
        ("https://a.example/base", "/x", True),
        ("https://a.example", "//evil.example/x", False),
        ("https://a.example", "https://a.example@evil.example/x", False),
    ],
)
def test_origins_are_compared_with_default_ports_normalised(api: str, upload: str, *, same: bool) -> None:
    """The one decision on which the credential's safety rests (CONTRACT §4.2)."""
    transport = Transport(api, "k")
    assert transport.is_own_origin(transport.resolve(upload)) is same


@pytest.mark.parametrize("upload", ["http://store.example/x", "ftp://store.example/x", "file:///etc/passwd"])
def test_an_upload_address_without_tls_or_http_is_refused(upload: str) -> None:
    """An https API cannot talk the client into sending the archive in the clear."""
    with pytest.raises(BadAnswer, match="upload address"):
        Transport("https://a.example", "k").resolve(upload)


def test_redirects_are_refused_with_a_hint(server: RecordingServer, client: CrownestClient) -> None:
    """CONTRACT rule 11: nothing redirects; following one could carry the key elsewhere."""
    server.routes[f"GET {BASE}"] = lambda _: Reply(307, headers={"location": "http://evil.example/"})
    with pytest.raises(ApiError, match=r"redirect to http://evil\.example/") as caught:
        client.get_run(RUN_ID)
    assert caught.value.status == 307
    assert server.calls() == [f"GET {BASE}"]


def test_an_error_keeps_code_details_and_request_id(server: RecordingServer, client: CrownestClient) -> None:
    """The envelope of CONTRACT §7.1, with the additions of later servers."""
    body = {"code": "quota_exceeded", "message": "No.", "details": {"quota": "runs"}, "retryable": False}
    server.routes[f"GET {BASE}"] = lambda _: as_json({"error": body}, 429, **{"x-request-id": "r1"})
    with pytest.raises(ApiError) as caught:
        client.get_run(RUN_ID)
    error = caught.value
    assert (error.code, error.message, error.status) == ("quota_exceeded", "No.", 429)
    assert (error.details, error.request_id, error.retryable) == ({"quota": "runs"}, "r1", False)


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [(429, "x", True), (500, "x", True), (503, "x", True), (400, "rate_limited", True), (404, "x", False)],
)
def test_retryable_follows_status_and_code_when_the_server_does_not_say(
    server: RecordingServer, client: CrownestClient, status: int, code: str, *, retryable: bool
) -> None:
    """429, 5xx and rate_limited may pass (CONTRACT §7.1)."""
    server.routes[f"GET {BASE}"] = lambda _: refusal(code, "No.", status)
    with pytest.raises(ApiError) as caught:
        client.get_run(RUN_ID)
    assert caught.value.retryable is retryable


@pytest.mark.parametrize(
    "body",
    [
        b"<html>nginx</html>",
        b'{"detail":"Not Found"}',
        b'{"error":"text"}',
        b"[]",
        b"",
        b"[" * 100_000,
        b"x" * 100_000,
    ],
)
def test_other_error_shapes_become_invalid_error_response(
    server: RecordingServer, client: CrownestClient, body: bytes
) -> None:
    """Whatever answers with a status is told as such, never as a traceback (CONTRACT rule 7)."""
    server.routes[f"GET {BASE}"] = lambda _: Reply(502, body)
    with pytest.raises(ApiError) as caught:
        client.get_run(RUN_ID)
    assert (caught.value.code, caught.value.status) == ("invalid_error_response", 502)


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"[1]", b"{}", b'{"workspaceRun":{}}', b'{"workspaceRun":{"id":1,"status":"x"}}']
)
def test_a_success_without_the_expected_object_is_a_bad_answer(
    server: RecordingServer, client: CrownestClient, body: bytes
) -> None:
    """A 2xx of something that is no CrowNest API is said to be that."""
    server.routes[f"GET {BASE}"] = lambda _: Reply(200, body)
    with pytest.raises(BadAnswer):
        client.get_run(RUN_ID)


def test_an_endless_answer_is_refused(server: RecordingServer) -> None:
    """Every body has a named limit."""
    server.routes[f"GET {BASE}"] = lambda _: Reply(200, b'{"workspaceRun":"' + b"x" * 10_000 + b'"}')
    with (
        CrownestClient(server.url, "k", limits=BodyLimits(json_bytes_max=5_000)) as client,
        pytest.raises(BadAnswer, match="larger than 5000 bytes"),
    ):
        client.get_run(RUN_ID)


def test_a_refused_connection_says_where_nothing_answers() -> None:
    """The commonest failure of all has its own kind."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with CrownestClient(f"http://127.0.0.1:{port}", "k") as client, pytest.raises(ConnectionFailed) as caught:
        client.get_run(RUN_ID)
    assert caught.value.kind == "refused"
    assert f"http://127.0.0.1:{port}" in caught.value.message


def test_a_server_that_breaks_off_or_says_nothing_is_told_apart(server: RecordingServer) -> None:
    """A cut answer is `dropped`, silence is `timeout`; both may be tried again."""
    wait = socket.socketpair()
    server.routes[f"GET {BASE}"] = lambda _: Reply(200, parts=[b'{"work', DROP])
    server.routes["GET /v1/workspace-runs"] = lambda _: Reply(200, parts=[lambda: wait[0].recv(1)])
    with CrownestClient(server.url, "k", timeouts=Timeouts(read_s=0.2)) as client:
        with pytest.raises(ConnectionFailed) as dropped:
            client.get_run(RUN_ID)
        with pytest.raises(ConnectionFailed) as silent:
            client.list_runs()
    wait[1].close()
    wait[0].close()
    assert (dropped.value.kind, silent.value.kind) == ("dropped", "timeout")
    assert dropped.value.retryable


def test_a_file_that_changes_while_it_is_sent_is_not_uploaded(
    client: CrownestClient, archive: Archive
) -> None:
    """Measured bytes and sent bytes are the same, or the upload fails here."""
    archive.path.write_bytes(b"x" * (archive.size_bytes + 1))
    with pytest.raises(ArchiveChanged, match="Upload it again"):
        client.upload_staged(RUN_ID, archive)
    archive.path.write_bytes(b"x")
    with pytest.raises(ArchiveChanged):
        client.upload_direct(RUN_ID, archive)


def test_lists_pass_filters_and_cursors(server: RecordingServer, client: CrownestClient) -> None:
    """Metadata keys may hold dots (CONTRACT rule 12); only given filters are sent."""
    server.routes["GET /v1/workspace-runs"] = lambda _: as_json(
        {"data": [run_object()], "hasMore": True, "nextCursor": "c2"}
    )
    page = client.list_runs(status="failed", metadata={"agent.id": "7"}, limit=1, cursor="c1")
    query = server.last("GET", "/v1/workspace-runs").query
    assert query == {"status": "failed", "metadata.agent.id": "7", "limit": "1", "cursor": "c1"}
    assert (page.items[0]["id"], page.next_cursor) == (RUN_ID, "c2")


@pytest.mark.parametrize("extra", [{}, {"nextCursor": "same"}])
def test_a_list_that_leads_nowhere_or_in_a_circle_is_refused(
    server: RecordingServer, client: CrownestClient, extra: dict[str, str]
) -> None:
    """A loop over pages must end (CONTRACT §1)."""
    server.routes["GET /v1/workspace-runs"] = lambda _: as_json({"data": [], "hasMore": True, **extra})
    with pytest.raises(BadAnswer, match="no next page"):
        client.list_runs(cursor="same")


def test_an_event_page_tells_where_to_go_on(server: RecordingServer, client: CrownestClient) -> None:
    """CONTRACT §6.2."""
    events = [{"type": "stdout", "seq": 7, "data": "x"}]
    server.routes[f"GET {BASE}/events"] = lambda _: as_json({"data": events, "hasMore": True, "nextSeq": 7})
    page = client.events(RUN_ID, after_seq=6, limit=1)
    assert server.last("GET", f"{BASE}/events").query == {"afterSeq": "6", "limit": "1"}
    assert (page.events, page.has_more, page.next_seq) == (events, True, 7)


def test_evidence_proof_policy_and_verdict_are_fetched(
    server: RecordingServer, client: CrownestClient
) -> None:
    """The routes of CONTRACT §2.1 that a person needs."""
    out = io.BytesIO()
    assert client.evidence(RUN_ID)["workspaceRunId"] == RUN_ID
    assert client.proof_bundle(RUN_ID, out, without=("stdout", "stderr"), artifacts=True) == len(
        out.getvalue()
    )
    assert server.last("GET", f"{BASE}/proof/bundle").query == {
        "without": "stdout,stderr",
        "artifacts": "true",
    }
    assert out.getvalue() == b"PK-bundle"
    assert client.checkpoint(RUN_ID) == "note\n"
    assert client.policy().startswith("log ")
    assert client.verify_on_server(RUN_ID) == {"verdict": "COMPLETE"}


def test_artifacts_and_sandboxes_are_listed_read_and_deleted(
    server: RecordingServer, client: CrownestClient
) -> None:
    """CONTRACT §2: every 2xx is JSON, deletions included."""
    artifact, sandbox = {"id": "art_1"}, {"id": "sbx_1", "status": "destroyed"}
    server.routes.update(
        {
            "GET /v1/sandboxes/sbx_1/artifacts": lambda _: as_json({"data": [artifact], "hasMore": False}),
            "GET /v1/artifacts/art_1": lambda _: as_json({"artifact": artifact}),
            "GET /v1/artifacts/art_1/download": lambda _: Reply(200, b"\x00\xff"),
            "DELETE /v1/artifacts/art_1": lambda _: as_json({"artifact": {**artifact, "deletedAt": "x"}}),
            "GET /v1/sandboxes": lambda _: as_json({"data": [sandbox], "hasMore": False}),
            "GET /v1/sandboxes/sbx_1": lambda _: as_json({"sandbox": sandbox}),
            "DELETE /v1/sandboxes/sbx_1": lambda _: as_json({"sandbox": sandbox}),
        }
    )
    out = io.BytesIO()
    assert client.list_artifacts("sbx_1").items == [artifact]
    assert client.get_artifact("art_1") == artifact
    assert client.download_artifact("art_1", out) == 2
    assert out.getvalue() == b"\x00\xff"
    assert client.delete_artifact("art_1")["deletedAt"] == "x"
    assert client.list_sandboxes().items == [sandbox]
    assert client.get_sandbox("sbx_1")["status"] == "destroyed"
    assert client.delete_sandbox("sbx_1")["status"] == "destroyed"
    assert server.last("GET", "/v1/artifacts/art_1/download").headers["accept"] == "application/octet-stream"


@pytest.mark.parametrize("run_id", ["../admin", "wsr_1/../../x", "", "wsr_1?x", "wsr_%2e", "ü"])
def test_an_id_cannot_leave_its_place_in_the_path(
    server: RecordingServer, client: CrownestClient, run_id: str
) -> None:
    """Ids have letters, digits, '_' and '-'; nothing else is ever put into a path."""
    with pytest.raises(ClientError, match="is not an id"):
        client.get_run(run_id)
    assert server.requests == []


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8787", "ftp://x", "http://", "http://x/?a=b", "http://u:p@x", "http://[::1"]
)
def test_an_address_that_is_none_is_refused_before_anything_is_sent(url: str) -> None:
    """The message shows how to write one."""
    with pytest.raises(ClientError, match="is not an"):
        CrownestClient(url, "k")


@pytest.mark.parametrize("key", ["a b", "a\nb", "ключ", "a\r\nx: y"])
def test_a_credential_cannot_smuggle_headers(key: str) -> None:
    """Printable ASCII without spaces, or nothing is sent."""
    with pytest.raises(ClientError, match="characters that no key has"):
        CrownestClient("http://127.0.0.1:1", key)


def test_representations_do_not_show_the_credential() -> None:
    """Tracebacks and logs end up in many places."""
    assert "cn_secret" not in repr(CrownestClient("http://127.0.0.1:1", "cn_secret"))
