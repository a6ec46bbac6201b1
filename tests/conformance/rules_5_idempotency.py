"""CONTRACT §5: idempotency keys."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tests.conformance import mutants, samples
from tests.conformance.proxy import Mutation
from tests.conformance.registry import rule
from tests.conformance.target import Target, announced, archive, expect, fresh, must, refused

RUNS = "/v1/workspace-runs"
KEYLESS = mutants.without_header("* **", "idempotency-key")
RACERS = 6


@rule(
    "5",
    broken_by={
        "keys are not read": KEYLESS,
        "another status": Mutation(answer=lambda r, a: replace(a, status=200) if a.status == 201 else None),
        "a different body": mutants.setting(f"POST {RUNS}", "workspaceRun.createdAt", lambda _: fresh()),
    },
)
def rule_5_a_replay_is_the_stored_answer(server: Target) -> None:
    """The same key and request answer the same status and the same bytes, and nothing is made anew."""
    key, word = fresh(), fresh()
    body = {"command": "true", "metadata": {"replay": word}}
    first = server.post(RUNS, body, idempotency_key=key)
    expect(first, 201)
    server.base.upload(first.json["workspaceRun"]["id"], archive())
    again = server.post(RUNS, body, idempotency_key=key)
    must((again.status, again.body) == (first.status, first.body), "the replay differs")
    must(len(expect(server.get(f"{RUNS}?metadata.replay={word}"), 200)["data"]) == 1, "a second run")


@rule(
    "5",
    broken_by={
        "keys are not read": KEYLESS,
        "another code": mutants.setting("* **", "error.code", "conflict", mutants.is_error),
        "422": mutants.status("* **", 422, mutants.is_error),
    },
)
def rule_5_another_request_with_the_key(server: Target) -> None:
    """The same key with another request is 409 `idempotency_key_reused`, and nothing is made."""
    key, word = fresh(), fresh()
    expect(server.post(RUNS, {"command": "true"}, idempotency_key=key), 201)
    other = {"command": "false", "metadata": {"reused": word}}
    refused(server.post(RUNS, other, idempotency_key=key), 409, "idempotency_key_reused")
    must(expect(server.base.get(f"{RUNS}?metadata.reused={word}"), 200)["data"] == [], "a run was made")


@rule("5", broken_by={"bytes are compared": mutants.instead(f"POST {RUNS}", 409, {"error": {}})})
def rule_5_the_canonical_body_is_compared(server: Target) -> None:
    """Spaces and the order of keys do not make another request."""
    key = fresh()
    one, other = b'{"command":"true","keepSandbox":false}', b'{ "keepSandbox" : false, "command": "true" }'
    first, again = (
        server.post(RUNS, body, content_type="application/json", idempotency_key=key) for body in (one, other)
    )
    must(expect(first, 201) == expect(again, 201), "another run")


@rule(
    "5",
    broken_by={
        "one record for all routes": mutants.instead(
            f"POST {RUNS}/*/start", 409, {"error": {"code": "idempotency_key_reused", "message": "x"}}
        )
    },
)
def rule_5_a_record_is_of_one_route(server: Target) -> None:
    """The same key on another route is another record."""
    key = fresh()
    run_id = expect(server.post(RUNS, {"command": "true"}, idempotency_key=key), 201)["workspaceRun"]["id"]
    expect(server.upload(run_id, archive(), idempotency_key=key), 200)
    expect(server.post(f"{RUNS}/{run_id}/start", idempotency_key=key), 200)
    expect(server.post(f"{RUNS}/{run_id}/cancel", idempotency_key=key), 200)


@rule(
    "5",
    needs="api_keys",
    broken_by={
        "one record for all keys": Mutation(
            request=lambda r: mutants.made(409, {"error": {}}, {}) if r.header("idempotency-key") else None
        )
    },
)
def rule_5_a_record_is_of_one_credential(server: Target) -> None:
    """The same key of another API key is another record."""
    key, other = fresh(), f"Bearer {samples.second_key(server)}"
    first = expect(server.post(RUNS, {"command": "true"}, idempotency_key=key), 201)
    second = expect(server.post(RUNS, {"command": "true"}, idempotency_key=key, authorization=other), 201)
    must(first["workspaceRun"]["id"] != second["workspaceRun"]["id"], "another key's answer")


@rule(
    "5",
    broken_by={
        "replays change": mutants.setting("* **/archive*", "archive.sizeBytes", lambda _: fresh()),
        "transfers are made anew": mutants.without_header(
            f"POST {RUNS}/*/archive-transfer", "idempotency-key"
        ),
    },
)
def rule_5_uploads_replay(server: Target) -> None:
    """PUT archive, archive-transfer and finalize replay; another archive under the key is refused."""
    data, other, key = archive(), archive({"b": b"b"}), fresh()
    run_id = server.base.create()["id"]
    path = f"{RUNS}/{run_id}"
    first = expect(server.post(f"{path}/archive-transfer", announced(data), idempotency_key=key), 201)
    must(
        expect(server.post(f"{path}/archive-transfer", announced(data), idempotency_key=key), 201) == first,
        "another transfer",
    )
    refused(server.post(f"{path}/archive-transfer", announced(other), idempotency_key=key), 409)
    first = expect(server.upload(run_id, data, idempotency_key=key), 200)
    must(expect(server.upload(run_id, data, idempotency_key=key), 200) == first, "another upload")
    refused(server.upload(run_id, other, idempotency_key=key), 409)


@rule(
    "5",
    broken_by={
        "started twice": mutants.setting(f"POST {RUNS}/*/start", "workspaceRun.sandboxId", lambda _: fresh())
    },
)
def rule_5_start_and_cancel_replay(server: Target) -> None:
    """A repeated start answers what the first did, also when the run is further."""
    key, run_id = fresh(), server.base.uploaded()
    first = server.post(f"{RUNS}/{run_id}/start", idempotency_key=key)
    expect(first, 200)
    server.base.finished(run_id)
    again = server.post(f"{RUNS}/{run_id}/start", idempotency_key=key)
    must(again.body == first.body, "the replay differs")


@rule("5", broken_by={"keys are not read": KEYLESS})
def rule_5_racing_requests_make_one_run(server: Target) -> None:
    """Identical requests at once are answered alike, and one run is made (§11)."""
    key, word = fresh(), fresh()
    body = {"command": "true", "metadata": {"race": word}}
    with ThreadPoolExecutor(RACERS) as pool:
        racing = [pool.submit(server.post, RUNS, body, idempotency_key=key) for _ in range(RACERS)]
        answers = {(answer.result().status, answer.result().body) for answer in racing}
    must(len(answers) == 1, f"{len(answers)} different answers")
    must(len(expect(server.base.get(f"{RUNS}?metadata.race={word}"), 200)["data"]) == 1, "more than one run")


@rule(
    "5",
    broken_by={
        "refusals are stored": mutants.instead(
            f"POST {RUNS}", 400, {"error": {"code": "invalid_request", "message": "x"}}
        )
    },
)
def rule_5_refusals_are_not_stored(server: Target) -> None:
    """A refused request leaves its key free: the corrected one passes (§11)."""
    key = fresh()
    refused(server.post(RUNS, {"command": ""}, idempotency_key=key), 400)
    expect(server.post(RUNS, {"command": "true"}, idempotency_key=key), 201)
