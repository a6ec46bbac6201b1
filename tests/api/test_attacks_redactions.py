"""Redactions that come while a proof is being made: what is handed out proves itself all the same."""

import io
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.wiring import log_path
from eventstore.log import Redaction
from eventstore.sqlite.connection import open_reader
from evidence.policy import parse_policy
from evidence.verify import verify_bundle
from evidence.window import StreamReading
from tests.recording_kit import batch, finish, out, recorded
from tests.serving import Running, serving


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A server with an empty log."""
    with serving(tmp_path) as one:
        yield one


def redacting_behind(
    running: Running, function: Callable[..., Awaitable[Any]], run_id: str, targets: list[int]
) -> Callable[..., Awaitable[Any]]:
    """The function, behind which each time one of the targets is redacted, while there are any."""

    async def called(*args: Any) -> Any:
        answer = await function(*args)
        if targets:
            one = Redaction(run_id, (targets.pop(),), "leaked", "key_1")
            await running.server.services.store.redact(one)
        return answer

    return called


def chatty(running: Running) -> tuple[str, list[int]]:
    """A run with twelve output events, and their seqs. A command might join some of them."""
    run_id = recorded(running, batch(1, *map(out, "abcdefghijkl")))
    assert finish(running, run_id).status_code == 200
    return run_id, [event["seq"] for event in running.events(run_id) if event["type"] in {"stdout", "stderr"}]


def test_a_bundle_that_a_redaction_overtook_is_made_again(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoint covers the redaction of whatever is absent; the server accuses itself of nothing."""
    run_id, targets = chatty(running)
    policy = running.http.get("/v1/proof/policy").content
    store, several = running.server.services.store, targets[:3]
    monkeypatch.setattr(store, "checkpoint", redacting_behind(running, store.checkpoint, run_id, several))
    bundle = running.http.get(f"/v1/workspace-runs/{run_id}/proof/bundle").content
    verdict = verify_bundle(io.BytesIO(bundle), policy, expected_run=run_id)
    assert (verdict.verdict, several) == ("REDACTED", []), verdict
    assert len(targets) > running.server.services.limits.bundle_attempts_max + 3
    endless = targets[3:]
    monkeypatch.setattr(store, "checkpoint", redacting_behind(running, store.checkpoint, run_id, endless))
    refused = running.http.get(f"/v1/workspace-runs/{run_id}/proof/bundle")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    assert not list((running.data_dir / "tmp").iterdir())


def test_an_erasure_is_not_acknowledged_before_it_is_done(running: Running) -> None:
    """A repeated request neither: as long as something holds on to the bytes, the answer is that it does."""
    run_id, targets = chatty(running)
    reader = open_reader(log_path(running.data_dir))
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchall()  # as a backup tool might hold the file
    path = f"/v1/workspace-runs/{run_id}/redactions"
    body = {"targets": targets[:1], "reason": "leaked"}
    for _ in range(2):
        answer = running.http.post(path, json=body, headers={"idempotency-key": "k1"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    reader.close()
    assert running.http.post(path, json=body, headers={"idempotency-key": "k1"}).status_code == 201
    assert running.http.post(path, json=body, headers={"idempotency-key": "k1"}).status_code == 201
    assert [event["seq"] for event in running.events(run_id) if event.get("redacted")] == targets[:1]


def test_a_window_that_a_redaction_overtook_can_be_read_to_its_end(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The redaction of what is absent stands in the stream that the window's checkpoint covers."""
    run_id, targets = chatty(running)
    policy = parse_policy(running.http.get("/v1/proof/policy").content)
    store = running.server.services.store
    monkeypatch.setattr(store, "checkpoint", redacting_behind(running, store.checkpoint, run_id, targets[:1]))
    reading = StreamReading(run_id, policy)
    while not reading.caught_up:
        window = running.http.get(
            f"/v1/workspace-runs/{run_id}/proof/events", params={"afterSeq": reading.seq, "limit": 500}
        )
        reading.take(reading.seq, window.content, consistency=None)  # type: ignore[arg-type]  # never asked
    reading.finish()
