"""The same idempotency key of two keys, or of two tenants, is two keys (CONTRACT §5)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.isolation.calls import Answer
from tests.isolation.cells import Subject, takes_project, whole
from tests.isolation.expected import FORBIDDEN, Expected

if TYPE_CHECKING:
    from tests.isolation.matrix import Cell

CREATES = re.compile(r"^(create|run[A-Z]|start[A-Z](?!orkspace))")


def same_key(subject: Subject, cell: Cell) -> Cell:
    """One request and its repetition have one answer; the same from anybody else never gets it."""
    operation, world = subject.operation, subject.world
    if not operation.is_idempotent:
        cell.reason = "takes no Idempotency-Key"
        return cell
    home = world.home.here
    call = subject.fixture.make(home).with_headers(idempotency_key="the same")

    def tried(name: str, answer: Answer, expected: Expected) -> None:
        cell.probes += 1
        if fault := expected.fault(answer):
            cell.wrong.append(f"{name}: {fault}")

    first, again = world.send(subject.owner, call), world.send(subject.owner, call)
    tried("the first", first, subject.success)
    if (again.status, again.body) != (first.status, first.body):
        cell.wrong.append(f"the same key again: {again.status} {again.text[:200]}")
    for name, http in (("another tenant", world.stranger.full), ("another project's", world.restricted)):
        answer = world.send(http, call)
        tried(name, answer, _of_others(subject, restricted=http is world.restricted))
        if answer.body == first.body:
            cell.wrong.append(f"{name} got the stored answer")
    second = world.send(world.second, call)
    tried("another key of the same tenant", second, subject.fixture.again or subject.success)
    if is_creation(operation.id) and _id_of(second) == _id_of(first):
        cell.wrong.append(f"another key of the same tenant got {_id_of(first)}, which the first one made")
    return cell


def is_creation(operation_id: str) -> bool:
    """Whether each success makes a thing with an id of its own."""
    return CREATES.match(operation_id) is not None


def _of_others(subject: Subject, *, restricted: bool) -> Expected:
    operation = subject.operation
    if restricted and ("org_id" in subject.ids or operation.id == "createProject"):
        return FORBIDDEN
    if subject.ids:
        return whole(subject)
    return FORBIDDEN if takes_project(operation) else subject.success


def _id_of(answer: Answer) -> str:
    """The id of what was made: the answer's one object that is not the run it belongs to."""
    found = answer.json
    return next(
        (str(one["id"]) for one in found.values() if isinstance(one, dict) and "id" in one), answer.text
    )
