"""Races: many identical requests with one key at once have one effect and one answer (CONTRACT §5, §11)."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from api.operations import BY_ID
from tests.isolation.calls import Call
from tests.isolation.fixtures import FIXTURES
from tests.isolation.things import TERMINAL, Maker
from tests.isolation.world import client_of
from tests.races.effects import EFFECTS, count
from tests.races.wire import BROKEN, Answer, Connections, request_bytes
from tests.simulation.server import ServerProcess

KEYS_AT_ONCE = 4
"""Keys whose racers run at the same moment, so that races meet other races."""
STRUCK_WITHIN_S = 0.15
ENDED_S_MAX = 120.0
"""How long runs that a race began may take to end on a busy machine."""
ENVIRONMENT = {
    "CROWNEST_PROVIDER": "process",
    "CROWNEST_RUNS__REAP_INTERVAL_S": "3600",
    "CROWNEST_LOG__COMPACT_QUIET_MS": "3600000",  # effects are counted in rows
}
OTHER_BODIES = {
    "createWorkspaceRun": {"command": "echo other"},
    "createWorkspaceRunArchiveTransfer": {"sizeBytes": 1},
    "finalizeWorkspaceRunArchive": {"sizeBytes": 1},
    "finishWorkspaceRun": {"exitCode": 7},
    "redactWorkspaceRun": {"reason": "another one"},
    "createSandbox": {"ttlMs": 1234},
    "setSandboxTtl": {"ttlMs": 1234},
    "extendSandbox": {"ttlMs": 1234},
    "createCommand": {"command": "echo other"},
    "runCommand": {"command": "echo other"},
    "startCommand": {"command": "echo other"},
    "createArtifact": {"name": "other"},
    "createProject": {"name": "other"},
    "createUser": {"name": "other"},
    "setSecret": {"value": "another value"},
}
"""By operation: what makes the same key another request."""
BEGIN_RUNS = frozenset({"startWorkspaceRun"})
"""Operations after which a sandbox runs something by itself."""
CRASHED = (
    "createWorkspaceRun",
    "uploadWorkspaceRunArchive",
    "startWorkspaceRun",
    "createProject",
    "setSecret",
)
"""Operations whose things survive the server, so that their retries have the same effect afterwards."""


@dataclass
class Raced:
    """The figures of one operation, and what was wrong."""

    operation: str
    keys: int = 0
    racers: int = 0
    requests: int = 0
    effects: int = 0
    answers: int = 0
    """Distinct ones; as many as keys when all is well."""
    seconds: float = 0.0
    kills: int = 0
    broken: int = 0
    """Connections that a kill cut off, whose requests were sent again."""
    wrong: list[str] = field(default_factory=list)


@dataclass
class Course:
    """A running server, and what is needed to ask it for anything."""

    server: ServerProcess
    connections: Connections
    http: httpx2.Client
    maker: Maker
    key: str

    @property
    def data_dir(self) -> Path:
        """Where the server's log lies."""
        return self.server.data_dir


def server_in(folder: Path) -> ServerProcess:
    """A real server of its own, not started yet."""
    return ServerProcess(folder / "data", folder / "home", environment=ENVIRONMENT)


async def opened(server: ServerProcess) -> Course:
    """Wait until it serves, and be its first user."""
    await server.wait_ready()
    key: str = json.loads(server.config.read_text())["apiKey"]
    http = client_of(server.url, key)
    project = http.get("/v1/projects").json()["data"][-1]
    maker = Maker(http, project["orgId"], project["id"])
    return Course(server, Connections(server.url), http, maker, key)


async def race(course: Course, operation: str, keys: int, racers: int, *, keyed: bool = True) -> Raced:
    """`racers` identical requests at once for each of the keys; then another body with each key.

    Not `keyed`, the requests carry no key at all: the control, in which each has an effect of its own.
    """
    raced = Raced(operation, keys, racers)
    began_runs: list[str] = []
    for first in range(0, keys, KEYS_AT_ONCE):
        names = [f"{operation} {number}" for number in range(first, min(first + KEYS_AT_ONCE, keys))]
        calls = [FIXTURES[operation].make(course.maker) for _ in names]
        began_runs += [call.ids["run_id"] for call in calls if operation in BEGIN_RUNS]
        before, began = count(course.data_dir, operation), time.monotonic()
        requests = [
            request_bytes(call, course.key, name if keyed else "")
            for call, name in zip(calls, names, strict=True)
        ]
        answers = await course.connections.race([r for r in requests for _ in range(racers)])
        raced.seconds += time.monotonic() - began
        raced.requests += len(answers)
        raced.effects += count(course.data_dir, operation) - before
        for number, name in enumerate(names):
            _judge(raced, name, answers[number * racers : (number + 1) * racers])
        if keyed:
            await _other_body(course, raced, calls, names)
    if raced.effects != keys:
        raced.wrong.append(f"{keys} keys had {raced.effects} effects")
    _tidy(course, operation)
    await _ended(course, began_runs)
    return raced


def _judge(raced: Raced, name: str, answers: Sequence[Answer]) -> None:
    distinct = {answer: answers.count(answer) for answer in set(answers)}
    raced.answers += len(distinct)
    statuses = sorted({answer.status for answer in distinct})
    if len(distinct) != 1:
        raced.wrong.append(f"{name}: {len(distinct)} distinct answers, statuses {statuses}")
    if statuses != [BY_ID[raced.operation].status]:
        bodies = {answer.body[:160] for answer in distinct if answer.status >= 300 or not answer.status}
        raced.wrong.append(f"{name}: statuses {statuses}, {sorted(bodies)[:2]}")


async def _other_body(course: Course, raced: Raced, calls: Sequence[Call], names: Sequence[str]) -> None:
    change = OTHER_BODIES.get(raced.operation)
    if change is None:
        return
    requests = [
        request_bytes(call.with_body(**change), course.key, name)
        for call, name in zip(calls, names, strict=True)
    ]
    before = count(course.data_dir, raced.operation)
    for name, answer in zip(names, await course.connections.race(requests), strict=True):
        raced.requests += 1
        if answer.status != 409 or b'"idempotency_key_reused"' not in answer.body:
            raced.wrong.append(f"{name} with another body: {answer.status} {answer.body[:160]!r}")
    if count(course.data_dir, raced.operation) != before:
        raced.wrong.append("a reused key had an effect")


def _tidy(course: Course, operation: str) -> None:
    """End what was made in numbers: a server holds so many sandboxes."""
    if operation != "createSandbox":
        return
    for sandbox in course.http.get("/v1/sandboxes?limit=500").json()["data"]:
        if sandbox["id"] != course.maker.__dict__.get("live"):
            course.http.delete(f"/v1/sandboxes/{sandbox['id']}")


async def _ended(course: Course, run_ids: Sequence[str]) -> None:
    """Wait for runs to end: what a late one appends would be counted as an effect of the next race."""
    late = time.monotonic() + ENDED_S_MAX
    for run_id in run_ids:
        while (
            course.http.get(f"/v1/workspace-runs/{run_id}").json()["workspaceRun"]["status"] not in TERMINAL
        ):
            assert time.monotonic() < late, f"{run_id} did not end"
            await asyncio.sleep(0.02)


async def crash_round(
    course: Course, operation: str, racers: int, rng: random.Random
) -> tuple[Course, Raced]:
    """Race, kill -9 in the middle, start again, and let every racer that has no answer ask once more."""
    raced = Raced(operation, KEYS_AT_ONCE, racers, kills=1)
    names = [f"{operation} crash {rng.randrange(10**9)}" for _ in range(KEYS_AT_ONCE)]
    calls = [FIXTURES[operation].make(course.maker) for _ in names]
    requests = [
        (number, request_bytes(call, course.key, name))
        for number, (call, name) in enumerate(zip(calls, names, strict=True))
        for _ in range(racers)
    ]
    before, began = count(course.data_dir, operation), time.monotonic()
    answers, _ = await asyncio.gather(
        course.connections.race([request for _, request in requests]),
        _struck(course.server, rng.uniform(0.0, STRUCK_WITHIN_S)),
    )
    course.connections.close()
    course.http.close()
    course.server.start()
    course = await opened(course.server)
    raced.broken = answers.count(BROKEN)
    again = [
        (number, request) for (number, request), one in zip(requests, answers, strict=True) if one == BROKEN
    ]
    late = await course.connections.race([request for _, request in again])
    raced.seconds, raced.requests = time.monotonic() - began, len(requests) + len(again)
    raced.effects = count(course.data_dir, operation) - before
    numbered = list(zip((n for n, _ in requests), answers, strict=True))
    numbered += list(zip((n for n, _ in again), late, strict=True))
    for number, name in enumerate(names):
        _judge(raced, name, [one for n, one in numbered if n == number and one != BROKEN])
    if raced.effects != KEYS_AT_ONCE:
        raced.wrong.append(f"{KEYS_AT_ONCE} keys had {raced.effects} effects over a crash")
    return course, raced


async def _struck(server: ServerProcess, after_s: float) -> None:
    await asyncio.sleep(after_s)
    server.strike()
    server.bury()


def operations() -> tuple[str, ...]:
    """Everything that takes an idempotency key and is known here; what is not is a mistake of ours."""
    return tuple(EFFECTS)
