"""Over a rate limit the client waits as told and sends again, unless that could do something twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from client.api import CrownestClient
from client.archive import measure
from client.errors import ApiError
from client.shapes import RunRequest
from client.transport import WAITS_MAX
from tests.cli.recording_server import (
    RUN_ID,
    Recorded,
    RecordingServer,
    Reply,
    as_json,
    run_object,
    with_run_routes,
)

BASE = f"/v1/workspace-runs/{RUN_ID}"


class Waits:
    """Remembers how long to wait, and does not."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    """A server with the routes of one run."""
    with with_run_routes(RecordingServer()).serving() as running:
        yield running


@pytest.fixture
def waits() -> Waits:
    """What the client waited."""
    return Waits()


@pytest.fixture
def client(server: RecordingServer, waits: Waits) -> Iterator[CrownestClient]:
    """A client of that server."""
    with CrownestClient(server.url, "cn_test", wait=waits) as connected:
        yield connected


def limited(
    times: int, reply: Reply | None = None, *, code: str = "rate_limited", **headers: str
) -> Callable[[Recorded], Reply]:
    """Refuse so many times, then answer."""
    calls = itertools.count()
    retryable = code != "quota_exceeded"
    body: Mapping[str, object] = {"error": {"code": code, "message": "No.", "retryable": retryable}}

    def route(_: Recorded) -> Reply:
        if next(calls) < times:
            return as_json(body, 429, **headers)
        return reply or as_json({"workspaceRun": run_object()})

    return route


def test_a_get_waits_as_long_as_the_server_says(
    server: RecordingServer, client: CrownestClient, waits: Waits
) -> None:
    """And is then answered as if nothing had been."""
    server.routes[f"GET {BASE}"] = limited(2, **{"retry-after": "7"})
    assert client.get_run(RUN_ID)["id"] == RUN_ID
    assert waits.seconds == [7, 7]


def test_it_gives_up_after_a_few_waits(server: RecordingServer, client: CrownestClient, waits: Waits) -> None:
    """Then the refusal is the caller's, with what the server said."""
    server.routes[f"GET {BASE}"] = limited(99, **{"retry-after": "1"})
    with pytest.raises(ApiError) as caught:
        client.get_run(RUN_ID)
    assert (caught.value.code, caught.value.retry_after_s) == ("rate_limited", 1)
    assert len(waits.seconds) == WAITS_MAX == len(server.requests) - 1


@pytest.mark.parametrize(
    ("code", "headers"),
    [
        ("rate_limited", {"retry-after": "61"}),
        ("rate_limited", {}),
        ("rate_limited", {"retry-after": "soon"}),
        ("quota_exceeded", {"retry-after": "1"}),
    ],
    ids=["too long", "no time", "no number", "a quota"],
)
def test_what_no_short_wait_gets_past_is_told_at_once(
    server: RecordingServer, client: CrownestClient, waits: Waits, code: str, headers: dict[str, str]
) -> None:
    """More than a minute, no time at all, and quotas, which somebody has to raise."""
    server.routes[f"GET {BASE}"] = limited(99, code=code, **headers)
    with pytest.raises(ApiError):
        client.get_run(RUN_ID)
    assert not waits.seconds


def test_a_creation_is_sent_again_with_the_same_key(
    server: RecordingServer, client: CrownestClient, waits: Waits
) -> None:
    """The idempotency key makes it one run, whatever became of the first request."""
    created = as_json({"workspaceRun": run_object("awaiting_archive")}, 201)
    server.routes["POST /v1/workspace-runs"] = limited(1, created, **{"retry-after": "2"})
    client.create_run(RunRequest("make"))
    first, second = server.requests
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert (first.body, waits.seconds) == (second.body, [2])


def test_an_upload_begins_anew(
    server: RecordingServer, client: CrownestClient, waits: Waits, tmp_path: Path
) -> None:
    """The whole archive again, not what was left of the first try."""
    path = tmp_path / "repo.tgz"
    path.write_bytes(b"x" * 200_000)
    server.routes[f"PUT {BASE}/archive"] = limited(1, **{"retry-after": "1"})
    client.upload_direct(RUN_ID, measure(path))
    assert [len(request.body) for request in server.requests] == [200_000, 200_000]
    assert waits.seconds == [1]


def test_what_could_happen_twice_is_not_sent_twice(
    server: RecordingServer, client: CrownestClient, waits: Waits
) -> None:
    """A rotation of keys has no idempotency key."""
    server.routes["POST /v1/signing-keys/rotate"] = limited(99, **{"retry-after": "1"})
    with pytest.raises(ApiError):
        client.rotate_signing_key()
    assert not waits.seconds
