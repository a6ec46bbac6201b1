"""Clients that stop in the middle of a body: they get an answer, and hold nothing up."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.limits import ApiLimits
from tests.serving import FINISH_S_MAX, Running, archive, archive_headers, serving


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that soon gives up on a body."""
    data_dir: Path = tmp_path_factory.mktemp("impatient")
    with serving(data_dir, api=ApiLimits(body_idle_s=0.2)) as server:
        yield server


def _answer_to_half(server: Running, method: str, path: str, headers: dict[str, str]) -> tuple[bytes, bytes]:
    """Announce 100 bytes, send five, and wait until the server closes: head and body of its answer."""
    host, port = server.url.removeprefix("http://").split(":")
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", "content-length: 100"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with socket.create_connection((host, int(port)), timeout=FINISH_S_MAX) as raw:
        raw.sendall("\r\n".join([*lines, "", "{    "]).encode())
        answer = b""
        while data := raw.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


def test_a_body_that_stops_coming_is_given_up_with_an_answer(impatient: Running) -> None:
    """Also a body that is only drained, behind a refusal."""
    for headers, status, code in (
        ({"authorization": f"Bearer {impatient.key}"}, b"408", "request_timeout"),
        ({}, b"401", "unauthorized"),
    ):
        head, body = _answer_to_half(impatient, "POST", "/v1/workspace-runs", headers)
        assert head.split()[1] == status
        assert json.loads(body)["error"]["code"] == code


def test_a_stalled_upload_frees_its_idempotency_key_and_its_file(impatient: Running) -> None:
    """The retry of a client whose first connection died is served, and nothing half-written stays."""
    data = archive({"a": b"stalled"})
    before = _blobs(impatient)
    run_id = impatient.create()
    path = f"/v1/workspace-runs/{run_id}/archive"
    headers = {
        **archive_headers(data),
        "idempotency-key": "again",
        "authorization": f"Bearer {impatient.key}",
    }
    head, _ = _answer_to_half(impatient, "PUT", path, headers)
    assert head.split()[1] == b"408"
    assert impatient.http.put(path, content=data, headers=headers).status_code == 200
    assert _blobs(impatient) - before == {headers["x-crownest-archive-sha256"]}


def _blobs(server: Running) -> set[str]:
    """The names of the files that are kept."""
    return {file.name for file in (server.data_dir / "blobs").rglob("*") if file.is_file()}


def test_a_quiet_reader_of_a_stream_is_not_given_up(impatient: Running) -> None:
    """Only bodies are timed: a follower may be silent for as long as the run takes."""
    run_id = impatient.create("sleep 1; echo done")
    impatient.upload(run_id, archive({"a": b"a"}))
    impatient.http.post(f"/v1/workspace-runs/{run_id}/start")
    text = impatient.http.get(f"/v1/workspace-runs/{run_id}/events", params={"stream": "true"}).text
    assert '"type":"terminal"' in text
