"""One effect and one answer per idempotency key, also when requests race (CONTRACT §5)."""

import threading
from pathlib import Path

from tests.serving import Running, archive, serving


def _create(running: Running, key: str, command: str = "true") -> tuple[int, bytes]:
    answer = running.http.post(
        "/v1/workspace-runs", json={"command": command}, headers={"idempotency-key": key}
    )
    return answer.status_code, answer.content


def test_a_retry_gets_the_stored_answer(running: Running) -> None:
    """Same key, same request: same run, byte for byte, also after the run has moved on."""
    first = _create(running, "k1")
    run_id = running.http.get("/v1/workspace-runs").json()["data"][0]["id"]
    running.upload(run_id, archive({"a": b""}))
    assert _create(running, "k1") == first


def test_a_key_belongs_to_one_request(running: Running) -> None:
    """Another body with the same key is 409 `idempotency_key_reused`; another route is another key."""
    _create(running, "k2")
    status, body = _create(running, "k2", "false")
    assert status == 409
    assert b"idempotency_key_reused" in body
    run_id = running.create()
    running.upload(run_id, archive({"a": b""}))
    assert (
        running.http.post(f"/v1/workspace-runs/{run_id}/start", headers={"idempotency-key": "k2"}).status_code
        == 200
    )


def test_racing_identical_requests_have_one_effect(running: Running) -> None:
    """Sixteen racers, one run, sixteen equal answers."""
    answers: list[tuple[int, bytes]] = []
    threads = [threading.Thread(target=lambda: answers.append(_create(running, "race"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 1
    assert answers[0][0] == 201


def test_a_key_is_remembered_across_a_restart(tmp_path: Path) -> None:
    """The record was written in the append transaction, so it is as durable as the run."""
    with serving(tmp_path) as running:
        key = running.key
        first = _create(running, "k")
    with serving(tmp_path, key) as running:
        assert _create(running, "k") == first
        assert len(running.http.get("/v1/workspace-runs").json()["data"]) == 1


def test_a_bad_key_is_refused(running: Running) -> None:
    """1 to 255 characters."""
    assert _create(running, "k" * 256)[0] == 400
    assert _create(running, "")[0] == 400


def test_uploads_and_transfers_are_idempotent_too(running: Running) -> None:
    """The same PUT and the same transfer request answer the same."""
    run_id = running.create()
    wanted = {"sha256": "a" * 64, "sizeBytes": 5}
    url = f"/v1/workspace-runs/{run_id}/archive-transfer"
    first = running.http.post(url, json=wanted, headers={"idempotency-key": "t"})
    again = running.http.post(url, json=wanted, headers={"idempotency-key": "t"})
    assert first.content == again.content
    assert running.http.post(url, json=wanted).content != first.content
