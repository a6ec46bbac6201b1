"""The cells of the matrix: which apply to an operation, what is sent for each, what the contract answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import httpx2

from api.operation_tables.operation import Operation
from runs.ids import new_id
from tests.isolation.calls import Call
from tests.isolation.expected import (
    FORBIDDEN,
    NO_TRANSFER,
    NOT_FOUND,
    UNAUTHORIZED,
    Expected,
    lacking,
)
from tests.isolation.fixtures import Fixture
from tests.isolation.things import Maker
from tests.isolation.world import World

PREFIXES: Mapping[str, str] = {
    "run_id": "wsr", "upload_id": "upl", "sandbox_id": "sbx", "command_id": "cmd", "artifact_id": "art",
    "preview_id": "prv", "project_id": "prj", "key_id": "key", "org_id": "org", "user_id": "usr",
}  # fmt: skip
"""Parameters of paths that are the ids of a tenant's things."""
DELETABLE = frozenset(
    {"sandbox_id", "command_id", "artifact_id", "preview_id", "key_id", "user_id", "upload_id", "name"}
)
NAMES = frozenset({"name", "page", "size", "path"})
"""Parameters of paths that are no ids: a word or a number that the caller chooses or reads."""
LISTINGS = frozenset(
    {"listWorkspaceRuns", "listSandboxes", "listProjects", "listApiKeys", "listOrganizations", "getUsage"}
)
"""What answers with whatever the key sees: it must hold nothing of others."""


@dataclass(frozen=True)
class Probe:
    """One request of a cell: who sends it, and what must come back."""

    name: str
    http: httpx2.Client
    call: Call
    expected: Expected
    hides: frozenset[str] = frozenset()
    """What the answer must not hold."""
    keeps: bool = True
    """Whether nothing may have happened."""


@dataclass(frozen=True)
class Subject:
    """An operation, its fixture, and the request that is refused again and again and succeeds at the end."""

    operation: Operation
    fixture: Fixture
    world: World
    call: Call
    brief: bool = False
    """Whether few malformed ids are enough."""

    @property
    def owner(self) -> httpx2.Client:
        """Who may send it."""
        return self.world.operator if self.fixture.alone else self.world.home.full

    @property
    def ids(self) -> tuple[str, ...]:
        """The parameters of its path that are ids."""
        return tuple(p.name for p in self.operation.path_parameters if p.name in PREFIXES)

    @property
    def success(self) -> Expected:
        """The status that the document names first."""
        background = self.call.json.get("background") if isinstance(self.call.json, dict) else None
        return Expected(202 if background else self.operation.status)


def missing(id_name: str) -> Expected:
    """What an id that is not there is answered with."""
    return NO_TRANSFER if id_name == "upload_id" else NOT_FOUND


def whole(subject: Subject) -> Expected:
    """The whole request of somebody else: the first id of the path is what is not there."""
    return missing(subject.ids[0])


def other_project(subject: Subject) -> Iterator[Probe] | str:
    """A key that is restricted to another project of the same organisation."""
    operation, world = subject.operation, subject.world
    if operation.is_public:
        return "needs no key"
    if subject.fixture.alone:
        return iter((Probe("server", world.operator_restricted, subject.call, FORBIDDEN),))
    if "org_id" in subject.ids or operation.id == "createProject":
        # It tells of every project, or changes what holds for every one.
        return iter((Probe("organisation", world.restricted, subject.call, FORBIDDEN),))
    return _others(subject, world.restricted, world.home.there)


def other_org(subject: Subject) -> Iterator[Probe] | str:
    """A key with every scope of another organisation."""
    operation, world = subject.operation, subject.world
    if operation.is_public:
        return "needs no key"
    if subject.fixture.alone:
        return "concerns the whole server"
    return _others(subject, world.stranger.full, world.stranger.here)


def _others(subject: Subject, http: httpx2.Client, mine: Maker) -> Iterator[Probe] | str:
    operation, home = subject.operation, subject.world.home.here
    if operation.id in LISTINGS:
        hides = frozenset(home.ids() - {mine.org_id})
        return iter((Probe("listing", http, subject.call, subject.success, hides),))
    if subject.ids:
        crossed = (cross(mine, home) for cross in subject.fixture.crossed)
        return iter(
            (
                Probe("id", http, subject.call, whole(subject)),
                *(Probe("crossed", http, call, expected) for call, expected in crossed),
            )
        )
    if takes_project(operation):
        return iter((Probe("project", http, _in_project(subject, home.project_id), FORBIDDEN),))
    return "no id and no project in the request"


def foreign_project(subject: Subject) -> Iterator[Probe] | str:
    """A `projectId` in body or query that the key cannot use: 403, alike for foreign and unknown ones."""
    if not takes_project(subject.operation):
        return "no projectId in body or query"
    world = subject.world
    cases = {
        "of another organisation": (world.home.full, world.stranger.here.project_id),
        "unknown": (world.home.full, new_id("prj")),
        "malformed": (world.home.full, "nonsense"),
        "outside of the key's": (world.restricted, world.home.here.project_id),
    }
    return iter(
        Probe(name, http, _in_project(subject, project_id), FORBIDDEN)
        for name, (http, project_id) in cases.items()
    )


def takes_project(operation: Operation) -> bool:
    """Whether the document says that a project can be named."""
    fields = operation.body.model_fields if operation.body is not None else {}
    in_query = any(parameter.name == "projectId" for parameter in operation.parameters)
    return in_query or not {"project_id", "project_ids"}.isdisjoint(fields)


def _in_project(subject: Subject, project_id: str) -> Call:
    fields = subject.operation.body.model_fields if subject.operation.body is not None else {}
    if "project_ids" in fields:
        return subject.call.with_body(projectIds=[project_id])
    if "project_id" in fields:
        return subject.call.with_body(projectId=project_id)
    return subject.call.with_query(projectId=project_id)


def revoked_key(subject: Subject) -> Iterator[Probe] | str:
    """A key with every scope that was revoked."""
    return _keyless(subject, subject.world.revoked)


def no_key(subject: Subject) -> Iterator[Probe] | str:
    """No `Authorization` at all."""
    return _keyless(subject, subject.world.nobody)


def _keyless(subject: Subject, http: httpx2.Client) -> Iterator[Probe]:
    """Public operations do not look at keys; the others refuse before they look at anything else."""
    expected = subject.success if subject.operation.is_public else UNAUTHORIZED
    return iter((Probe("key", http, subject.call, expected),))


def missing_scope(subject: Subject) -> Iterator[Probe] | str:
    """A key with every scope of its organisation but the operation's."""
    operation, world = subject.operation, subject.world
    if operation.scope is None:
        return "needs no key" if operation.is_public else "needs no scope"
    audit = ("audit:read",) if subject.fixture.reads_by_audit else ()
    probes = [
        Probe(
            operation.scope,
            world.without(subject.owner, operation.scope, *audit),
            subject.call,
            lacking(operation.scope),
        )
    ]
    for scope, change in subject.fixture.also.items():
        http = world.without(subject.owner, scope)
        probes.append(Probe(scope, http, change(subject.call), lacking(scope)))
    return iter(probes)


def deleted(subject: Subject) -> Iterator[Probe] | str:
    """Something that was deleted, destroyed, revoked, removed or finished."""
    if subject.operation.is_public:
        return "concerns no tenant's things"
    if DELETABLE.isdisjoint(parameter.name for parameter in subject.operation.path_parameters):
        return "runs, projects and organisations are never deleted" if subject.ids else "no id in the path"
    assert subject.fixture.deleted is not None, f"{subject.operation.id} says nothing of deleted things"
    make, expected = subject.fixture.deleted
    keeps = subject.operation.id != "setSecret"  # it is set anew
    return iter((Probe("deleted", subject.owner, make(subject.world.home.here), expected, keeps=keeps),))


def malformed(subject: Subject) -> Iterator[Probe] | str:
    """What is no id: 404 like an unknown one, whatever it is."""
    if not subject.operation.path_parameters:
        return "no id in the path"
    return iter(
        Probe(f"{name} {text[:12]!r}", subject.owner, subject.call.with_ids(**{name: text}), expected)
        for parameter in subject.operation.path_parameters
        for name in (parameter.name,)
        for text, expected in _malformed(subject.operation.id, name)[: 2 if subject.brief else None]
    )


def _malformed(operation_id: str, name: str) -> list[tuple[str, Expected]]:
    if name == "name":
        refused = Expected(400, "invalid_request") if operation_id == "setSecret" else NOT_FOUND
        return [(text, refused) for text in ("1A", "A-B", "A B", "é", "A\0B")]
    if name in NAMES:
        return [(text, NOT_FOUND) for text in ("-1", "nonsense", "999999999999999999999", "x\0y", "é")]
    prefix = PREFIXES[name]
    other = "sbx" if prefix == "wsr" else "wsr"
    texts = (
        "nonsense", f"{prefix}_", f"{prefix}_" + "a" * 65, f"{prefix}_a\0b", f"{prefix}_é",
        f"{prefix}_a' OR '1'='1", f"{prefix}_%2e%2e", f"{prefix}-{new_id(prefix).partition('_')[2]}",
        new_id(other), new_id(prefix).upper(),
    )  # fmt: skip
    return [(text, missing(name)) for text in texts]


def unknown(subject: Subject) -> Iterator[Probe] | str:
    """A well-formed id of nothing."""
    probes = [
        Probe(name, subject.owner, subject.call.with_ids(**{name: new_id(PREFIXES[name])}), missing(name))
        for name in subject.ids
    ]
    if subject.operation.id == "deleteSecret":
        probes.append(Probe("name", subject.owner, subject.call.with_ids(name="NEVER_SET"), NOT_FOUND))
    if subject.operation.id == "getLogTile":
        probes.append(Probe("path", subject.owner, subject.call.with_ids(path="0/x123/456"), NOT_FOUND))
    if subject.operation.id == "getLogHandover":
        probes.append(Probe("size", subject.owner, subject.call.with_ids(size="987654321"), NOT_FOUND))
    if subject.operation.id == "getReferencePage":
        probes.append(Probe("page", subject.owner, subject.call.with_ids(page="never"), NOT_FOUND))
    if probes:
        return iter(probes)
    return "the name is the caller's choice" if subject.operation.path_parameters else "no id in the path"


def own(subject: Subject) -> Iterator[Probe] | str:
    """The very same request by its owner succeeds: it was refused for who asked, and nothing was done."""
    return iter((Probe("own", subject.owner, subject.call, subject.success, keeps=False),))


CELLS = {
    "other project": other_project,
    "other organisation": other_org,
    "foreign projectId": foreign_project,
    "revoked key": revoked_key,
    "no key": no_key,
    "missing scope": missing_scope,
    "deleted": deleted,
    "malformed id": malformed,
    "unknown id": unknown,
    "own": own,
}
"""In the order in which they are tried: `own` is the last, on what all the others were refused."""
