"""The rate limit over HTTP: which answers carry its headers, what is counted, and what the refusal says."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from api.limits import ApiLimits
from tests.serving import FINISH_S_MAX, Running, serving

LIMIT = 20


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Running]:
    """A server that allows few requests."""
    with serving(tmp_path, rate_limit_per_minute=LIMIT) as running:
        yield running


def _headers(answer: httpx2.Response) -> tuple[str | None, str | None]:
    return answer.headers.get("x-ratelimit-limit"), answer.headers.get("x-ratelimit-remaining")


def test_every_counted_answer_says_what_is_left_errors_too(limited: Running) -> None:
    """200, 201, 404, 400: one token each (CONTRACT §1)."""
    answers = [
        limited.http.get("/v1/projects"),
        limited.http.post("/v1/workspace-runs", json={"command": "true"}),
        limited.http.get("/v1/workspace-runs/wsr_unknown"),
        limited.http.post("/v1/workspace-runs", json={"command": ""}),
        limited.http.get("/v1/usage"),
    ]
    assert [answer.status_code for answer in answers] == [200, 201, 404, 400, 200]
    assert [_headers(answer) for answer in answers] == [
        (str(LIMIT), str(LIMIT - number)) for number in range(1, 6)
    ]


def test_over_the_limit_the_answer_says_when_to_come_again(limited: Running) -> None:
    """429 `rate_limited`, retryable, `Retry-After` in whole seconds, the exact time in the details."""
    answers = [limited.http.get("/v1/projects") for _ in range(LIMIT + 1)]
    assert [answer.status_code for answer in answers[:LIMIT]] == [200] * LIMIT
    refused = answers[LIMIT]
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["retryable"]) == (429, "rate_limited", True)
    assert 0 < error["details"]["retryAfterMs"] <= 60_000 / LIMIT
    assert int(refused.headers["retry-after"]) == -(-error["details"]["retryAfterMs"] // 1000)
    assert _headers(refused) == (str(LIMIT), "0")


def test_a_refused_request_with_a_body_is_still_answered(limited: Running) -> None:
    """The body is drained first, so that the client sees 429 and no broken pipe (CONTRACT §11)."""
    run_id = limited.create()
    while limited.http.get("/v1/projects").status_code == 200:
        pass
    answer = limited.upload(run_id, b"x" * 4_000_000)
    assert answer.json()["error"]["code"] == "rate_limited"


def test_streams_are_not_counted_and_nothing_else_passes_for_one(limited: Running) -> None:
    """`stream=true`, NDJSON and SSE of events; the same `Accept` on another route is counted."""
    run_id = limited.create()
    limited.http.post(f"/v1/workspace-runs/{run_id}/cancel")
    events = f"/v1/workspace-runs/{run_id}/events"
    for _ in range(LIMIT):
        streams = [
            limited.http.get(events, params={"stream": "true"}),
            limited.http.get(events, headers={"accept": "application/x-ndjson"}),
            limited.http.get(events, headers={"accept": "text/event-stream"}),
        ]
        assert [(answer.status_code, *_headers(answer)) for answer in streams] == [(200, None, None)] * 3
    assert _headers(limited.http.get(events)) == (str(LIMIT), str(LIMIT - 3))
    disguised = limited.http.get("/v1/projects", headers={"accept": "text/event-stream"})
    assert _headers(disguised) == (str(LIMIT), str(LIMIT - 4))


def test_what_needs_no_key_is_not_counted(limited: Running) -> None:
    """Policy, log and health are for anybody; a bad key is refused as such, without a bucket of its own."""
    for _ in range(LIMIT + 5):
        assert limited.http.get("/v1/proof/policy").status_code == 200
        unknown = limited.http.get("/v1/projects", headers={"authorization": "Bearer cn_unknown"})
        assert (unknown.status_code, _headers(unknown)) == (401, (None, None))
    assert _headers(limited.http.get("/v1/projects")) == (str(LIMIT), str(LIMIT - 1))


def test_a_key_has_so_many_streams_open_and_no_more(tmp_path: Path) -> None:
    """They are not counted as requests, so they would be a way to use up every connection of the server."""
    with serving(tmp_path, api=ApiLimits(streams_per_key_max=2, heartbeat_s=0.1)) as running:
        path = f"/v1/workspace-runs/{running.create()}/events?stream=true"
        other = running.http.post("/v1/api-keys", json={"name": "other", "scopes": ["workspace_run:read"]})
        theirs = {"authorization": f"Bearer {other.json()['secret']}"}
        with contextlib.ExitStack() as streams:
            for headers in ({}, {"accept": "application/x-ndjson"}, theirs):
                stream = streams.enter_context(running.http.stream("GET", path, headers=headers))
                assert stream.status_code == 200
                pieces = stream.iter_raw()
                next(pieces)
                streams.callback(pieces.close)  # kept open until then
            for headers in ({}, {"accept": "application/x-ndjson"}):
                with running.http.stream("GET", path, headers=headers) as refused:
                    assert refused.status_code == 429
                    refused.read()
                    assert refused.json()["error"]["code"] == "slow_down"
            assert running.http.get(path.partition("?")[0]).status_code == 200
        deadline = time.monotonic() + FINISH_S_MAX
        while True:
            with running.http.stream("GET", path) as stream:
                if stream.status_code == 200:
                    break
            assert time.monotonic() < deadline, "a stream that was closed still counts"
