"""Bad input gets a clear error in the one envelope, and nothing is lost (CONTRACT §7, §11)."""

import json
import socket
from typing import Any

import httpx2
import pytest

from api.faults import NAMED_BYTES_MAX
from tests.serving import Running, archive, archive_headers


def _error(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert error["code"] == code
    assert error["message"]
    assert error["requestId"] == answer.headers["x-request-id"]
    assert isinstance(error["retryable"], bool)
    return error


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", "body"),
        (b'{"command":1}', "command"),
        (b'{"command":""}', "command"),
        (b'{"command":"a\\u0000b"}', "command"),
        (b"{}", "command"),
        (b'{"command":"x","command":"y"}', "command"),
        (b'{"command":"\\ud800"}', "command"),
        (b'{"command":"x","metadata":{"a":"\\udc00"}}', "metadata.a"),
        (b'{"command":"x","timeoutMs":NaN}', "timeoutMs"),
        (b'{"command":"x","artifacts":[{"path":-Infinity}]}', "artifacts.0.path"),
        (b'{"command":"x","timeoutMs":1.5}', "timeoutMs"),
        (b'{"command":"x","timeoutMs":0}', "timeoutMs"),
        (b'{"command":"x","timeoutMs":3600001}', "timeoutMs"),
        (b'{"command":"x","keepSandbox":"yes"}', "keepSandbox"),
        (b'{"command":"x","template":"nope"}', "template"),
        (b'{"command":"x","templateVersionId":"tplv_nope"}', "templateVersionId"),
        (b'{"command":"x","artifacts":[{"path":"*.xml"}]}', "artifacts.0.path"),
        (b'{"command":"x","artifacts":[{}]}', "artifacts.0.path"),
        (b'{"command":"x","metadata":{"a":1}}', "metadata.a"),
        (b"[" * 100_000, None),
    ],
)
def test_a_bad_body_is_refused_naming_the_field(running: Running, body: bytes, field: str | None) -> None:
    """400 `invalid_request`, never a 500."""
    error = _error(running.http.post("/v1/workspace-runs", content=body), 400, "invalid_request")
    if field is not None:
        assert error["details"]["field"] == field


def test_no_field_is_looked_for_in_a_large_body_that_is_no_json(running: Running) -> None:
    """Finding it takes a second parser and a walk, in which nobody else is served."""
    body = b'{"command":"' + b"x" * NAMED_BYTES_MAX + b'","timeoutMs":NaN}'
    error = _error(running.http.post("/v1/workspace-runs", content=body), 400, "invalid_request")
    assert error["message"].startswith("The body is not valid JSON")
    assert "details" not in error


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("workspace-runs", "", "The body is empty. Send a JSON object."),
        ("workspace-runs", "[]", "body must be an object."),
        ("workspace-runs", "{}", "command is required."),
        ("workspace-runs", '{"command":"x","metadata":[]}', "metadata must be an object."),
        ("workspace-runs", '{"command":"x","artifacts":["a"]}', "artifacts.0 must be an object."),
        ("workspace-runs", '{"command":"x","artifacts":{}}', "artifacts must be an array."),
        ("workspace-runs", '{"command":"x","keepSandbox":1}', "keepSandbox must be true or false."),
        ("workspace-runs", '{"command":"x","timeoutMs":"5"}', "timeoutMs must be a whole number."),
        ("sandboxes", '{"ttlMs":0}', "ttlMs must be at least 1."),
        ("projects", '{"name":""}', "name must not be empty."),
        ("projects", '{"name":3}', "name must be a string."),
        ("api-keys", '{"name":"x","scopes":[]}', "scopes must not be empty."),
        ("api-keys", json.dumps({"name": "x" * 101}), "name must have at most 100 characters."),
    ],
)
def test_a_bad_body_is_told_in_the_words_of_json(
    running: Running, path: str, body: str, message: str
) -> None:
    """Whoever reads it writes JSON: no dictionaries, and no classes of the server's."""
    answer = running.http.post(f"/v1/{path}", content=body.encode())
    assert _error(answer, 400, "invalid_request")["message"] == message


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ({f"k{n}": "v" for n in range(17)}, "metadata_too_many_keys"),
        ({"": "v"}, "invalid_metadata_key"),
        ({"k" * 65: "v"}, "invalid_metadata_key"),
        ({"ключ": "v"}, "invalid_metadata_key"),
        ({"k": "v" * 513}, "invalid_metadata_value"),
        ({f"k{n}": "v" * 500 for n in range(10)}, "metadata_too_large"),
    ],
)
def test_metadata_has_its_own_codes(running: Running, metadata: dict[str, str], code: str) -> None:
    """CONTRACT §3.1."""
    _error(running.http.post("/v1/workspace-runs", json={"command": "x", "metadata": metadata}), 400, code)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b"])
def test_an_artifact_stays_inside_the_workspace(running: Running, path: str) -> None:
    """Refused at creation already."""
    body = {"command": "x", "artifacts": [{"path": path}]}
    _error(running.http.post("/v1/workspace-runs", json=body), 400, "path_outside_workspace")


def test_a_foreign_project_is_forbidden(running: Running) -> None:
    """Unknown and foreign alike (§11), in body and query."""
    body = {"command": "x", "projectId": "prj_doesnotexist"}
    _error(running.http.post("/v1/workspace-runs", json=body), 403, "forbidden")
    _error(running.http.get("/v1/workspace-runs", params={"projectId": "prj_x"}), 403, "forbidden")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/workspace-runs/{id}"),
        ("PUT", "/v1/workspace-runs/{id}/archive"),
        ("POST", "/v1/workspace-runs/{id}/start"),
        ("POST", "/v1/workspace-runs/{id}/cancel"),
        ("GET", "/v1/workspace-runs/{id}/events"),
        ("GET", "/v1/workspace-runs/{id}/evidence"),
        ("GET", "/v1/workspace-runs/{id}/proof/checkpoint"),
        ("GET", "/v1/workspace-runs/{id}/proof/bundle"),
        ("POST", "/v1/workspace-runs/{id}/verify"),
        ("GET", "/v1/artifacts/{id}"),
        ("GET", "/v1/artifacts/{id}/download"),
        ("DELETE", "/v1/artifacts/{id}"),
        ("GET", "/v1/sandboxes/{id}"),
        ("DELETE", "/v1/sandboxes/{id}"),
        ("GET", "/v1/sandboxes/{id}/artifacts"),
    ],
)
@pytest.mark.parametrize("identifier", ["wsr_unknown", "prj_a", "wsr_", "%00", "wsr_%F0%9F%92%A9", "x" * 300])
def test_an_unknown_id_is_not_found(running: Running, method: str, path: str, identifier: str) -> None:
    """404 for unknown ids, ids of another type and what is no id at all."""
    data = archive({"a": b""})
    headers = archive_headers(data) if method == "PUT" else {}
    content = data if method == "PUT" else None
    answer = running.http.request(method, path.format(id=identifier), headers=headers, content=content)
    _error(answer, 404, "not_found")


@pytest.mark.parametrize(
    "text", ["-1", "1.5", "abc", "", "9007199254740992", "9" * 400, "\uff11", " 1", "+1"]
)
def test_a_bad_after_seq_is_refused(running: Running, text: str) -> None:
    """Negative, huge, or no number at all."""
    run_id = running.create()
    for stream in ({}, {"stream": "true"}):
        answer = running.http.get(f"/v1/workspace-runs/{run_id}/events", params={"afterSeq": text, **stream})
        error = _error(answer, 400, "invalid_request")
        assert error["details"]["field"] == "afterSeq"


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "501"}, {"cursor": "???"}, {"status": "nope"}])
def test_a_bad_listing_query_is_refused(running: Running, query: dict[str, str]) -> None:
    """A limit out of range is 400, like a cursor that we did not give out."""
    _error(running.http.get("/v1/workspace-runs", params=query), 400, "invalid_request")


@pytest.mark.parametrize("path", ["/v1/projects", "/v1/sandboxes", "/v1/api-keys"])
@pytest.mark.parametrize("status", ["ready", "succeeded"])
def test_a_list_passes_over_what_is_no_filter_of_its_own(running: Running, path: str, status: str) -> None:
    """`status` filters runs alone (CONTRACT §2): elsewhere it is unknown, and unknown is tolerated (§1)."""
    running.http.post("/v1/sandboxes", json={}).raise_for_status()
    every = running.http.get(path).json()["data"]
    answer = running.http.get(path, params={"status": status})
    assert answer.status_code == 200, answer.text
    assert [one["id"] for one in answer.json()["data"]] == [one["id"] for one in every] != []


@pytest.mark.parametrize(
    ("name", "other"), [("status", "failed"), ("metadata.a.b", "2"), ("projectId", "prj_x")]
)
def test_a_filter_that_is_given_twice_is_refused(running: Running, name: str, other: str) -> None:
    """The first of two values was passed over, and what it would have found was missing."""
    project = running.http.get("/v1/projects").json()["data"][0]["id"]
    first = {"status": "succeeded", "metadata.a.b": "1", "projectId": project}[name]
    answer = running.http.get("/v1/workspace-runs", params=[(name, first), (name, other)])
    assert _error(answer, 400, "invalid_request")["details"] == {"field": name}
    assert running.http.get("/v1/workspace-runs", params=[(name, first), (name, first)]).status_code == 200


def test_two_spellings_of_after_seq_must_agree(running: Running) -> None:
    """They mean the same, so they cannot differ."""
    url = f"/v1/workspace-runs/{running.create()}/events"
    assert running.http.get(url, params={"afterSeq": "1", "after_seq": "1"}).status_code == 200
    _error(running.http.get(url, params={"afterSeq": "1", "after_seq": "2"}), 400, "invalid_request")


def test_the_framework_answers_in_the_same_envelope(running: Running) -> None:
    """Unknown routes, wrong methods, slashes: no redirects (rule 11), no other shapes (rule 7)."""
    _error(running.http.get("/v1/nothing"), 404, "not_found")
    _error(running.http.get("/v1/workspace-runs/"), 404, "not_found")
    _error(running.http.patch("/v1/workspace-runs"), 405, "method_not_allowed")


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        ("/v1/workspace-runs", "DELETE", ["GET", "POST"]),
        ("/v1/workspace-runs/wsr_x", "HEAD", ["GET"]),
        ("/v1/workspace-runs/wsr_x/events", "OPTIONS", ["GET", "POST"]),
        ("/v1/artifacts/art_x", "PUT", ["DELETE", "GET"]),
        ("/.well-known/api-catalog", "POST", ["GET", "HEAD"]),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(
    running: Running, path: str, method: str, allowed: list[str]
) -> None:
    """405 names them in `Allow` (RFC 9110, 15.5.6), in the details and in words."""
    answer = running.http.request(method, path)
    assert answer.headers["allow"] == ", ".join(allowed)
    if method != "HEAD":
        error = _error(answer, 405, "method_not_allowed")
        assert error["details"] == {"allowed": allowed}
        assert " or ".join(allowed) in error["message"]


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer nope", "Basic abc", "Bearer ä"])
def test_without_a_valid_key_nothing_is_told(running: Running, header: str | None) -> None:
    """401 `unauthorized`, whatever is wrong with the credential."""
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    answer = httpx2.get(f"{running.url}/v1/workspace-runs", headers=headers)
    _error(answer, 401, "unauthorized")


def test_uploads_are_checked_against_what_was_announced(running: Running) -> None:
    """Wrong digest, wrong size, missing headers; the run still waits and takes the right bytes."""
    data = archive({"announced": b"of this test alone"})
    run_id = running.create()
    url = f"/v1/workspace-runs/{run_id}/archive"
    good = archive_headers(data)
    wrong_digest = {**good, "x-crownest-archive-sha256": "0" * 64}
    _error(running.http.put(url, content=data, headers=wrong_digest), 400, "upload_checksum_mismatch")
    wrong_size = {**good, "x-crownest-archive-size": "5"}
    _error(running.http.put(url, content=data, headers=wrong_size), 400, "upload_size_mismatch")
    _error(running.http.put(url, content=data), 400, "invalid_request")
    assert running.get(run_id)["status"] == "awaiting_archive"
    stored = {path.name for path in (running.data_dir / "blobs").rglob("*") if path.is_file()}
    assert good["x-crownest-archive-sha256"] not in stored, "mistaken uploads leave nothing behind"
    assert running.upload(run_id, data).status_code == 200
    assert running.upload(run_id, data).status_code == 200, "the same archive again is the same result"
    _error(running.upload(run_id, archive({"b": b"b"})), 409, "upload_conflict")


def test_an_archive_over_the_limit_is_refused_and_the_client_hears_it(running: Running) -> None:
    """413 at transfer and at direct upload, with the body drained so that no pipe breaks."""
    run_id = running.create()
    big = b"\0" * (8 * 1024 * 1024 + 1)
    _error(running.upload(run_id, big), 413, "file_too_large")
    wanted = {"sha256": "0" * 64, "sizeBytes": len(big)}
    error = _error(
        running.http.post(f"/v1/workspace-runs/{run_id}/archive-transfer", json=wanted), 413, "file_too_large"
    )
    assert error["details"]["maxSizeBytes"] == 8 * 1024 * 1024
    lying = {"sha256": "0" * 64, "sizeBytes": 10}
    transfer = running.http.post(f"/v1/workspace-runs/{run_id}/archive-transfer", json=lying).json()[
        "transfer"
    ]
    error = _error(running.http.put(transfer["uploadUrl"], content=big), 413, "file_too_large")
    assert error["message"].startswith("The archive is too large; at most ")  # how large is unknown
    assert running.get(run_id)["status"] == "awaiting_archive"


def test_a_staged_upload_is_judged_at_finalize(running: Running) -> None:
    """Too early, wrong bytes, foreign transfer: each by its own code."""
    data = archive({"a": b"a"})
    run_id = running.create()
    wanted = {"sha256": archive_headers(data)["x-crownest-archive-sha256"], "sizeBytes": len(data)}
    transfer = running.http.post(f"/v1/workspace-runs/{run_id}/archive-transfer", json=wanted).json()[
        "transfer"
    ]
    finalize = f"/v1/workspace-runs/{run_id}/archive/finalize"
    body = {"uploadId": transfer["id"], **wanted}
    _error(running.http.post(finalize, json=body), 409, "upload_incomplete")
    running.http.put(transfer["uploadUrl"], content=data[:-1] + b"\1")
    _error(running.http.post(finalize, json=body), 400, "upload_checksum_mismatch")
    running.http.put(transfer["uploadUrl"], content=data[:-1])
    _error(running.http.post(finalize, json=body), 400, "upload_size_mismatch")
    other = running.create()
    _error(
        running.http.post(f"/v1/workspace-runs/{other}/archive/finalize", json=body), 404, "upload_not_found"
    )
    running.http.put(transfer["uploadUrl"], content=data)
    assert running.http.post(finalize, json=body).status_code == 200


def test_a_start_before_the_upload_loses_nothing(running: Running) -> None:
    """409 `upload_incomplete`; the run still waits."""
    run_id = running.create()
    _error(running.http.post(f"/v1/workspace-runs/{run_id}/start"), 409, "upload_incomplete")
    assert running.get(run_id)["status"] == "awaiting_archive"


def test_evidence_before_the_end_says_when_to_come_back(running: Running) -> None:
    """404 with a reason (§11)."""
    error = _error(running.http.get(f"/v1/workspace-runs/{running.create()}/evidence"), 404, "not_found")
    assert error["details"]["reason"] == "evidence_not_available"


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip at all", b"\x1f\x8b\x08\x00garbage", archive({"a": b"a" * 9999})[:60]],
    ids=["empty", "no gzip", "garbage", "cut off"],
)
def test_a_bad_archive_ends_the_run_with_the_reason(running: Running, content: bytes) -> None:
    """The log tells why; the run is sealed and provable like any other."""
    run_id = running.create()
    assert running.upload(run_id, content).status_code == 200
    running.http.post(f"/v1/workspace-runs/{run_id}/start")
    run = running.finished(run_id)
    assert (run["status"], run["failureReason"], run["failureClass"]) == (
        "failed",
        "archive_invalid",
        "user_input",
    )
    assert run["failureMessage"]
    assert "startedAt" not in run
    assert running.http.post(f"/v1/workspace-runs/{run_id}/verify").json()["verdict"]["verdict"] == "COMPLETE"


def test_a_client_that_hangs_up_during_an_upload_loses_only_that_upload(running: Running) -> None:
    """The run still waits for its archive."""
    run_id = running.create()
    data = archive({"a": b"a"})
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        head = [
            f"PUT /v1/workspace-runs/{run_id}/archive HTTP/1.1",
            f"host: {host}",
            f"authorization: Bearer {running.key}",
        ]
        head += [f"{name}: {value}" for name, value in archive_headers(data).items()]
        head += [f"content-length: {len(data)}", "", ""]
        raw.sendall("\r\n".join(head).encode() + data[:5])
    assert running.upload(run_id, data).status_code == 200


def test_a_json_body_has_a_limit(running: Running) -> None:
    """413 beyond 1 MiB, also when the length is not announced."""

    def chunks() -> Any:
        for _ in range(20):
            yield b" " * 100_000

    _error(running.http.post("/v1/workspace-runs", content=chunks()), 413, "file_too_large")


def test_errors_are_json_even_for_text_that_is_no_unicode(running: Running) -> None:
    """What the caller sent is echoed safely."""
    answer = running.http.post("/v1/workspace-runs", content=b'{"command":"x","metadata":{"a\\u0000":"v"}}')
    assert json.loads(answer.content)["error"]["code"] == "invalid_metadata_key"


def test_a_websocket_is_refused_in_the_envelope(running: Running) -> None:
    """404 with code and request id, where the framework would answer plain text."""
    lines = (
        "GET /v1/workspace-runs HTTP/1.1",
        f"Host: {running.url.removeprefix('http://')}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "",
        "",
    )
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall("\r\n".join(lines).encode())
        answer = b""
        while data := connection.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404")
    error = json.loads(body)["error"]
    assert error["code"] == "not_found"
    assert f"x-request-id: {error['requestId']}".encode() in head.lower()
