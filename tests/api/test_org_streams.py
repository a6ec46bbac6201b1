"""An organisation's own stream: as replayable and provable as a run's, and never at its end (P2.3a)."""

import io
import json
from collections.abc import Iterator

import pytest

from evidence.checkpoint import parse_checkpoint
from evidence.note import split_note
from evidence.policy import parse_policy
from evidence.proofs import parse_consistency_proof
from evidence.verify import verify_bundle
from evidence.window import StreamReading
from tests.serving import Running, serving


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server on which something happened outside of runs."""
    with serving(tmp_path_factory.mktemp("org")) as one:
        one.http.delete(f"/v1/artifacts/{_artifact(one)}")
        one.http.post("/v1/signing-keys/rotate")
        yield one


def _artifact(running: Running) -> str:
    run = running.run("echo hi > r.txt", artifacts=[{"path": "r.txt"}])
    artifact_id: str = run["artifactIds"][0]
    return artifact_id


@pytest.fixture
def base(running: Running) -> str:
    """Where the organisation's routes are."""
    run = running.http.get("/v1/workspace-runs").json()["data"][0]
    return f"/v1/orgs/{run['orgId']}"


def test_what_happened_outside_of_runs_is_replayed(running: Running, base: str) -> None:
    """Numbered from 1, in order, as a page, from any event on, and as NDJSON."""
    assert running.http.get(base).json()["organization"]["plan"] == "enterprise"
    page = running.http.get(f"{base}/events").json()["data"]
    types = [event["type"] for event in page]
    assert types[:4] == ["organization_created", "user_added", "project_created", "api_key_created"]
    assert types[-2:] == ["artifact_deleted", "signing_key_rotated"]
    assert [event["seq"] for event in page] == list(range(1, len(page) + 1))
    later = running.http.get(f"{base}/events", params={"after_seq": 4}).json()["data"]
    assert later == page[4:]
    lines = running.http.get(f"{base}/events", headers={"accept": "application/x-ndjson"}).text.splitlines()
    assert [json.loads(line) for line in lines] == page


def test_it_is_proved_as_a_run_is(running: Running, base: str) -> None:
    """Bundle, windows and consistency; the verdict is OPEN_PREFIX, for it has no end."""
    policy, org_id = running.http.get("/v1/proof/policy").content, base.rsplit("/", 1)[-1]
    bundle = running.http.get(f"{base}/proof/bundle").content
    verdict = verify_bundle(io.BytesIO(bundle), policy, expected_run=org_id, allow_open=True)
    assert (verdict.verdict, verdict.exit_code, verdict.stream) == ("OPEN_PREFIX", 0, org_id), verdict
    reading = StreamReading(org_id, parse_policy(policy))
    window = running.http.get(f"{base}/proof/events", params={"limit": 500}).content
    assert reading.take(0, window, lambda *_: b"") == running.http.get(f"{base}/events").json()["data"]
    note = running.http.get(f"{base}/proof/checkpoint").content
    proof = parse_consistency_proof(running.http.get(f"{base}/proof/consistency", params={"from": 2}).content)
    assert proof.size2 == parse_checkpoint(split_note(note)[0]).size


def test_an_organisation_that_is_not_there_is_not_found(running: Running) -> None:
    """Unknown, malformed and another's alike."""
    for org_id in ("org_unknown", "wsr_x", "..", "org_" + "a" * 300):
        assert running.http.get(f"/v1/orgs/{org_id}/events").status_code == 404
