"""Redaction over HTTP: erased everywhere, recorded for ever, and the run still proves itself (PROOF P7)."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import root
from evidence.verify import verify_bundle
from tests.serving import Running, serving

SECRET = "sk-test-4f9a-do-not-show"  # what a careless command printed


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A server with an empty log."""
    with serving(tmp_path) as one:
        yield one


def leaky(running: Running) -> tuple[str, int]:
    """A run that printed a secret, and the event that holds it."""
    run = running.run("cat a.txt; echo more", {"a.txt": f"token {SECRET}\n".encode()})
    seq = next(event["seq"] for event in running.events(run["id"]) if SECRET in json.dumps(event))
    return run["id"], seq


def redact(running: Running, run_id: str, *targets: int, reason: str = "leaked", **headers: str) -> dict:
    """Ask for it; answer status and body."""
    answer = running.http.post(
        f"/v1/workspace-runs/{run_id}/redactions",
        json={"targets": list(targets), "reason": reason},
        headers=headers,
    )
    return {"status": answer.status_code, **answer.json()}


def test_an_erased_secret_is_nowhere_and_the_run_verifies(running: Running) -> None:
    """Not in replay, not in proofs, not in any file; the verdict is REDACTED and names the event."""
    run_id, seq = leaky(running)
    before = running.get(run_id)
    answer = redact(running, run_id, seq)
    assert answer["status"] == 201, answer
    assert answer["redaction"]["targets"] == [seq]
    paths = ("events", "events?stream=true", "evidence", "proof/events?limit=500", "proof/bundle", "")
    for path in paths:
        content = running.http.get(f"/v1/workspace-runs/{run_id}/{path}".rstrip("/")).content
        assert SECRET.encode() not in content, path
    for file in running.data_dir.rglob("*"):
        if file.is_file() and "blobs" not in file.parts:  # the archive is the caller's own file
            assert SECRET.encode() not in file.read_bytes(), file.name
    shown = next(event for event in running.events(run_id) if event["seq"] == seq)
    assert (shown["data"], shown["redacted"]) == ("", True)
    bundle = running.http.get(f"/v1/workspace-runs/{run_id}/proof/bundle").content
    policy = running.http.get("/v1/proof/policy").content
    verdict = verify_bundle(io.BytesIO(bundle), policy, expected_run=run_id, allow_unlogged=False)
    assert (verdict.verdict, verdict.seq, verdict.exit_code) == ("REDACTED", seq, 0), verdict
    assert running.get(run_id) == before


def test_views_are_rebuilt_as_they_were(tmp_path: Path) -> None:
    """What was counted before the erasure stays counted (P7)."""
    with serving(tmp_path) as running:
        run_id, seq = leaky(running)
        assert redact(running, run_id, seq)["status"] == 201
    result = CliRunner().invoke(root, ["rebuild", "--data", str(tmp_path), "--json", "--check"])
    assert json.loads(result.output)["data"]["differences"] == []


def test_a_repeated_request_is_answered_once(running: Running) -> None:
    """With the same key the stored answer; without one, the truth."""
    run_id, seq = leaky(running)
    first = redact(running, run_id, seq, **{"idempotency-key": "k1"})
    assert redact(running, run_id, seq, **{"idempotency-key": "k1"}) == first
    again = redact(running, run_id, seq)
    assert (again["status"], again["error"]["code"]) == (409, "conflict")
    assert "redacted already" in again["error"]["message"]


def test_what_cannot_be_redacted_is_refused_by_name(running: Running) -> None:
    """Other types, other events, no reason, a run that goes on, a key without the scope."""
    run_id, seq = leaky(running)
    for targets, reason, word in (
        ((1,), "x", "event 1 is status"),
        ((999,), "x", "no event 999"),
        ((seq, seq), "x", "each event once"),
        ((), "x", "1 to 4000"),
        ((seq,), "", "reason must be"),
        ((seq,), "x" * 513, "reason must be"),
        ((0,), "x", "targets"),
    ):
        answer = redact(running, run_id, *targets, reason=reason)
        assert (answer["status"], answer["error"]["code"]) == (400, "invalid_request"), answer
        assert word in answer["error"]["message"]
    waiting = redact(running, running.create(), 1)
    assert (waiting["status"], waiting["error"]["code"]) == (409, "conflict")
    assert redact(running, "wsr_unknown", 1)["status"] == 404
    assert SECRET in json.dumps(running.events(run_id))


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("command", "curl -H 'Authorization: Bearer cn_live_" + "0a" * 32 + "' x"),
        ("command", "echo '-----BEGIN RSA PRIVATE KEY-----'"),
        ("metadata", "AKIA" + "ABCDEFGH12345678"),
        ("sourceMetadata", "ghp_" + "a" * 36),
    ],
)
def test_credentials_are_kept_out_of_what_cannot_be_erased(running: Running, field: str, text: str) -> None:
    """Command and metadata are screened at creation, since they stand in several events (P7)."""
    body = {"command": "true", field: text if field == "command" else {"k": text}}
    answer = running.http.post("/v1/workspace-runs", json=body)
    assert answer.status_code == 400
    assert "can never be erased" in answer.json()["error"]["message"]
