"""Tries every cell of every operation: the right answer, no effect, and nothing given away."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

import httpx2

from api.operation_tables.operation import Operation
from runs.ids import new_id
from tests.isolation.calls import Answer, Call
from tests.isolation.cells import CELLS, LISTINGS, PREFIXES, Probe, Subject
from tests.isolation.fixtures import FIXTURES
from tests.isolation.same_key import same_key
from tests.isolation.world import World

SETTLE_S_MAX = 20.0
SETTLED_S = 0.05
REST_S = 1.0
POLL_S = 0.01
REQUEST_ID = re.compile(rb"req_[a-z2-7]+")
UNEQUAL_HEADERS = frozenset({"x-request-id", "date"})

ORACLE, SAME_KEY = "no oracle", "same idempotency key"
COLUMNS = (*CELLS, ORACLE, SAME_KEY)
FIXTURE = "fixture"


@dataclass
class Cell:
    """What came of one cell: how many requests were right, what was wrong, or why it does not apply."""

    operation: str
    name: str
    probes: int = 0
    wrong: list[str] = field(default_factory=list)
    reason: str = ""

    @property
    def applies(self) -> bool:
        """Whether there was anything to try."""
        return not self.reason

    @property
    def mark(self) -> str:
        """How the table shows it: the number of requests, a dash, or NO."""
        return "NO" if self.wrong else str(self.probes) if self.applies else "-"


def row(world: World, operation: Operation, *, brief: bool = False) -> list[Cell]:
    """All cells of one operation; a single wrong one when nobody said how to ask for it."""
    fixture = FIXTURES.get(operation.id)
    if fixture is None:
        missing = f"no fixture: say in tests/isolation/fixtures.py how {operation.id} succeeds"
        return [Cell(operation.id, FIXTURE, wrong=[missing])]
    subject = Subject(operation, fixture, world, fixture.make(world.home.here), brief)
    found: list[Cell] = []
    for name, cell in CELLS.items():
        probes = cell(subject)
        if isinstance(probes, str):
            found.append(Cell(operation.id, name, reason=probes))
            continue
        # All of them before the first is sent: a fixture that makes something is no effect of a request.
        found.append(_tried(world, Cell(operation.id, name), list(probes)))
    return [*found, _oracle(subject), same_key(subject, Cell(operation.id, SAME_KEY))]


def _tried(world: World, cell: Cell, probes: list[Probe]) -> Cell:
    before = settled(world)
    for probe in probes:
        answer = world.send(probe.http, probe.call)
        cell.probes += 1
        if fault := probe.expected.fault(answer):
            cell.wrong.append(f"{probe.name}: {fault}")
        seen = sorted(one for one in probe.hides if one in answer.text)
        if seen:
            cell.wrong.append(f"{probe.name}: the answer shows {', '.join(seen)}")
    if all(probe.keeps for probe in probes) and world.effects() != before and _changes_again(world, probes):
        cell.wrong.append("a refused request changed what is stored")
    return cell


def _changes_again(world: World, probes: list[Probe]) -> bool:
    """On a busy machine a run of the fixtures may end just now: what refused requests do, they do again."""
    time.sleep(REST_S)
    before = settled(world)
    for probe in probes:
        world.send(probe.http, probe.call)
    return world.effects() != before


def settled(world: World) -> str:
    """What is stored, once it has stopped changing: runs and the log go on behind the answer."""
    last, since = world.effects(), time.monotonic()
    if last == world.rested:
        return last
    deadline = time.monotonic() + SETTLE_S_MAX
    while time.monotonic() - since < SETTLED_S:
        assert time.monotonic() < deadline, "the server never came to rest"
        time.sleep(POLL_S)
        found = world.effects()
        if found != last:
            last, since = found, time.monotonic()
    world.rested = last
    return last


def _oracle(subject: Subject) -> Cell:
    """To others, what exists and what does not are answered with the same bytes, but for the id itself."""
    cell = Cell(subject.operation.id, ORACLE)
    if subject.operation.is_public or not subject.ids or subject.operation.id in LISTINGS:
        cell.reason = "no id of a tenant's thing in the path"
        return cell
    askers = [subject.world.stranger.full]
    if "org_id" not in subject.ids:
        askers.append(subject.world.restricted)
    for http in askers:
        for name in subject.ids:
            unknown = subject.call.with_ids(**{name: new_id(PREFIXES[name])})
            foreign, never = (_neutral(subject.world, http, call) for call in (subject.call, unknown))
            cell.probes += 1
            if foreign != never:
                cell.wrong.append(f"{name}: {foreign} for what exists, {never} for what does not")
    return cell


def _neutral(world: World, http: httpx2.Client, call: Call) -> tuple[int, list[tuple[str, str]], bytes]:
    answer: Answer = world.send(http, call)
    body = REQUEST_ID.sub(b"req", answer.body)
    for name, value in call.ids.items():
        body = body.replace(value.encode(), name.encode())
    headers = sorted((name, value) for name, value in answer.headers.items() if name not in UNEQUAL_HEADERS)
    return answer.status, headers, body
