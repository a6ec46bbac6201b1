"""For each operation a request that succeeds, and the same about something deleted (CONTRACT §2, §11)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.isolation.calls import Call
from tests.isolation.expected import DESTROYED, NO_TRANSFER, NOT_FOUND, Expected
from tests.isolation.things import DATA, HEADERS, WANTED, Maker

Make = Callable[[Maker], Call]
Deleted = tuple[Make, Expected]
Crossed = Callable[[Maker, Maker], tuple[Call, Expected]]
"""Of the asker's own maker and a foreign one: a request that mixes the asker's things with foreign ones."""


@dataclass(frozen=True)
class Fixture:
    """`make` answers a request that succeeds when its owner sends it, about what no other row changes."""

    make: Make
    deleted: Deleted | None = None
    crossed: tuple[Crossed, ...] = ()
    also: Mapping[str, Callable[[Call], Call]] = field(default_factory=dict)
    """By a further scope: the change of the request that needs it as well."""
    reads_by_audit: bool = False
    """Whether `audit:read` opens it too."""
    alone: bool = False
    """Whether it is the operator's: a key of the first organisation asks."""
    again: Expected | None = None
    """What another key of the same organisation gets for the same request with the same idempotency key,
    when it is not a success with an effect of its own."""


def _run(operation: str, *, deleted: Deleted | None = None, **query: str) -> Fixture:
    return Fixture(lambda made: Call(operation, {"run_id": made.ended}, query), deleted, reads_by_audit=True)


def _org(operation: str, **query: str) -> Fixture:
    return Fixture(lambda made: Call(operation, {"org_id": made.org_id}, query))


def _in_sandbox(
    operation: str, *, query: Mapping[str, str] | None = None, body: object = None, fresh: bool = False,
    gone: Expected = DESTROYED, also: Mapping[str, Callable[[Call], Call]] | None = None,
) -> Fixture:  # fmt: skip
    def call(sandbox_id: str) -> Call:
        return Call(operation, {"sandbox_id": sandbox_id}, query or {}, body)

    return Fixture(
        lambda made: call(made.sandbox() if fresh else made.live),
        (lambda made: call(made.destroyed), gone),
        also=also or {},
    )


def _about(
    operation: str, name: str, make: Callable[[Maker], str], gone: Callable[[Maker], str], then: Expected
) -> Fixture:
    return Fixture(
        lambda made: Call(operation, {name: make(made)}),
        (lambda made: Call(operation, {name: gone(made)}), then),
    )


def _public(operation: str, **ids: str) -> Fixture:
    return Fixture(lambda _: Call(operation, ids))


def _upload(operation: str) -> Fixture:
    return Fixture(lambda made: Call(operation, {"run_id": made.awaiting()}, content=DATA, headers=HEADERS))


def _staged(made: Maker) -> Call:
    run_id = made.awaiting()
    ids = {"run_id": run_id, "upload_id": made.transfer(run_id)}
    return Call("uploadWorkspaceRunArchiveTransfer", ids, content=DATA)


def _staged_deleted(made: Maker) -> Call:
    run_id, upload_id = made.finalized_transfer()
    ids = {"run_id": run_id, "upload_id": upload_id}
    return Call("uploadWorkspaceRunArchiveTransfer", ids, content=DATA)


def _staged_crossed(mine: Maker, foreign: Maker) -> tuple[Call, Expected]:
    ids = {"run_id": mine.awaiting(), "upload_id": foreign.transfer(foreign.awaiting())}
    return Call("uploadWorkspaceRunArchiveTransfer", ids, content=DATA), NO_TRANSFER


def _finalize(made: Maker) -> Call:
    run_id = made.awaiting()
    body = {"uploadId": made.filled_transfer(run_id), **WANTED}
    return Call("finalizeWorkspaceRunArchive", {"run_id": run_id}, json=body)


def _finalize_crossed(mine: Maker, foreign: Maker) -> tuple[Call, Expected]:
    body = {"uploadId": foreign.filled_transfer(foreign.awaiting()), **WANTED}
    return Call("finalizeWorkspaceRunArchive", {"run_id": mine.awaiting()}, json=body), NO_TRANSFER


def _redact(made: Maker) -> Call:
    run_id: str = made.run()["id"]
    body = {"targets": [made.output_seq(run_id)], "reason": "by mistake"}
    return Call("redactWorkspaceRun", {"run_id": run_id}, json=body)


def _append(made: Maker) -> Call:
    events = [{"type": "stdout", "data": "from outside"}]
    body = {"producerId": "matrix", "number": 1, "events": events}
    return Call("appendWorkspaceRunEvents", {"run_id": made.awaiting(template="external")}, json=body)


def _finish(made: Maker) -> Call:
    return Call("finishWorkspaceRun", {"run_id": made.recorded()}, json={"exitCode": 0})


def _user(operation: str, body: object, then: Expected) -> Fixture:
    def crossed(mine: Maker, foreign: Maker) -> tuple[Call, Expected]:
        return Call(operation, {"org_id": mine.org_id, "user_id": foreign.user()}, json=body), NOT_FOUND

    return Fixture(
        lambda made: Call(operation, {"org_id": made.org_id, "user_id": made.user()}, json=body),
        (
            lambda made: Call(operation, {"org_id": made.org_id, "user_id": made.removed_user}, json=body),
            then,
        ),
        (crossed,),
    )


def _secret(
    operation: str, make: Callable[[Maker], str], body: object, then: Expected, again: Expected | None = None
) -> Fixture:
    def call(made: Maker, name: str) -> Call:
        return Call(operation, {"project_id": made.project_id, "name": name}, json=body)

    return Fixture(
        lambda made: call(made, make(made)),
        (lambda made: call(made, made.deleted_secret()), then),
        again=again,
    )


_ECHO = {"command": "echo hello"}
_ARTIFACTS = {
    "artifact:create": lambda call: call.with_body(artifacts=[{"path": "a.txt"}]),
    "file:read": lambda call: call.with_body(artifacts=[{"path": "a.txt"}]),
}
_COLLECTS = {
    "artifact:create": lambda call: call.with_body(collect=[{"path": "f"}]),
    "file:read": lambda call: call.with_body(collect=[{"path": "f"}]),
}
_SHOWN = Expected(200)

RUN_FIXTURES = {
    "createWorkspaceRun": Fixture(
        lambda made: Call("createWorkspaceRun", json={**_ECHO, "projectId": made.project_id}), also=_ARTIFACTS
    ),
    "listWorkspaceRuns": Fixture(lambda made: Call("listWorkspaceRuns", query={"limit": "500"})),
    "getWorkspaceRun": _run("getWorkspaceRun"),
    "uploadWorkspaceRunArchive": _upload("uploadWorkspaceRunArchive"),
    "createWorkspaceRunArchiveTransfer": Fixture(
        lambda made: Call("createWorkspaceRunArchiveTransfer", {"run_id": made.awaiting()}, json=WANTED)
    ),
    "uploadWorkspaceRunArchiveTransfer": Fixture(
        _staged, (_staged_deleted, Expected(409, "upload_conflict")), (_staged_crossed,)
    ),
    "finalizeWorkspaceRunArchive": Fixture(_finalize, crossed=(_finalize_crossed,)),
    "startWorkspaceRun": Fixture(lambda made: Call("startWorkspaceRun", {"run_id": made.uploaded()})),
    "cancelWorkspaceRun": Fixture(lambda made: Call("cancelWorkspaceRun", {"run_id": made.uploaded()})),
    "listWorkspaceRunEvents": _run("listWorkspaceRunEvents", stream="true"),
    "appendWorkspaceRunEvents": Fixture(_append),
    "finishWorkspaceRun": Fixture(_finish),
    "getWorkspaceRunEvidence": _run("getWorkspaceRunEvidence"),
    "getWorkspaceRunCheckpoint": _run("getWorkspaceRunCheckpoint"),
    "getWorkspaceRunProofBundle": Fixture(
        lambda made: Call("getWorkspaceRunProofBundle", {"run_id": made.ended}, {"artifacts": "true"}),
        also={"artifact:read": lambda call: call},
        reads_by_audit=True,
    ),
    "getWorkspaceRunProofEvents": _run("getWorkspaceRunProofEvents"),
    "getWorkspaceRunConsistency": _run("getWorkspaceRunConsistency", **{"from": "1"}),
    "verifyWorkspaceRun": _run("verifyWorkspaceRun"),
    "listWorkspaceRunAttestations": _run("listWorkspaceRunAttestations"),
    "redactWorkspaceRun": Fixture(_redact, again=Expected(409, "conflict")),
}  # fmt: skip

SANDBOX_FIXTURES = {
    "createSandbox": Fixture(lambda made: Call("createSandbox", json={"projectId": made.project_id})),
    "listSandboxes": Fixture(
        lambda made: Call("listSandboxes", query={"limit": "500", "include": "historical"})
    ),
    "getSandbox": _in_sandbox("getSandbox", gone=Expected(200, shows='"destroyedAt"')),
    "killSandbox": _in_sandbox("killSandbox", fresh=True, gone=Expected(200, shows='"destroyedAt"')),
    "setSandboxTtl": _in_sandbox("setSandboxTtl", body={"ttlMs": 600_000}, fresh=True),
    "extendSandbox": _in_sandbox("extendSandbox", body={"ttlMs": 600_000}, fresh=True),
    "createCommand": _in_sandbox("createCommand", body=_ECHO, also=_COLLECTS),
    "runCommand": _in_sandbox("runCommand", body=_ECHO),
    "startCommand": _in_sandbox("startCommand", body=_ECHO),
    "getCommand": _about(
        "getCommand", "command_id", lambda m: m.over, lambda m: m.command_of_destroyed, _SHOWN
    ),
    "cancelCommand": _about(
        "cancelCommand", "command_id", lambda m: m.command(m.live, "sleep 60", background=True),
        lambda m: m.command_of_destroyed, _SHOWN,
    ),
    "listCommandLogs": _about(
        "listCommandLogs", "command_id", lambda m: m.over, lambda m: m.command_of_destroyed, _SHOWN
    ),
    "streamCommandLogs": _about(
        "streamCommandLogs", "command_id", lambda m: m.over, lambda m: m.command_of_destroyed, _SHOWN
    ),
    "createArtifact": _in_sandbox(
        "createArtifact", body={"path": "f"}, also={"file:read": lambda call: call}
    ),
    "listArtifacts": _in_sandbox("listArtifacts", gone=_SHOWN),
    "getArtifact": _about(
        "getArtifact", "artifact_id", lambda m: m.kept, lambda m: m.deleted_artifact,
        Expected(200, shows='"deletedAt"'),
    ),
    "downloadArtifact": _about(
        "downloadArtifact", "artifact_id", lambda m: m.kept, lambda m: m.deleted_artifact, NOT_FOUND
    ),
    "createArtifactDownloadUrl": _about(
        "createArtifactDownloadUrl", "artifact_id", lambda m: m.kept, lambda m: m.deleted_artifact, NOT_FOUND
    ),
    "deleteArtifact": _about(
        "deleteArtifact", "artifact_id", lambda m: m.artifact(), lambda m: m.deleted_artifact,
        Expected(200, shows='"deletedAt"'),
    ),
    "createPreview": _in_sandbox("createPreview", body={"port": 8000}, fresh=True),
    "listPreviews": _in_sandbox("listPreviews", gone=_SHOWN),
    "getPreview": _about(
        "getPreview", "preview_id", lambda m: m.shown, lambda m: m.revoked_preview,
        Expected(200, shows='"revokedAt"'),
    ),
    "revokePreview": _about(
        "revokePreview", "preview_id", lambda m: m.preview(), lambda m: m.revoked_preview,
        Expected(200, shows='"revokedAt"'),
    ),
}  # fmt: skip

FILE_FIXTURES = {
    "listFiles": _in_sandbox("listFiles"),
    "statFile": _in_sandbox("statFile", query={"path": "f"}),
    "readFile": _in_sandbox("readFile", query={"path": "f"}),
    # Not over what is there, so that a refused request which wrote all the same is seen by the last one.
    "writeFile": _in_sandbox(
        "writeFile", body={"path": "new", "content": "n", "overwrite": False}, fresh=True
    ),
    "deleteFile": _in_sandbox("deleteFile", query={"path": "f"}, fresh=True),
    "makeDirectory": _in_sandbox("makeDirectory", body={"path": "folder"}, fresh=True),
    "moveFile": _in_sandbox("moveFile", body={"from": "f", "to": "g"}, fresh=True),
    "createFileDownloadUrl": _in_sandbox("createFileDownloadUrl", body={"path": "f"}),
    "downloadFile": _in_sandbox("downloadFile", query={"path": "f"}),
}

ACCOUNT_FIXTURES = {
    "listProjects": Fixture(lambda _: Call("listProjects", query={"limit": "500"})),
    "createProject": Fixture(lambda _: Call("createProject", json={"name": "matrix"})),
    "getProject": Fixture(lambda made: Call("getProject", {"project_id": made.project_id})),
    "updateProject": Fixture(
        lambda made: Call("updateProject", {"project_id": made.project_id}, json={"name": "renamed"})
    ),
    "listSecrets": Fixture(lambda made: Call("listSecrets", {"project_id": made.project_id})),
    "setSecret": _secret("setSecret", lambda _: "FRESH", {"value": "correct horse"}, _SHOWN),
    "deleteSecret": _secret("deleteSecret", lambda made: made.secret(), None, NOT_FOUND, NOT_FOUND),
    "listApiKeys": Fixture(lambda _: Call("listApiKeys", query={"limit": "500"})),
    "createApiKey": Fixture(
        lambda made: Call(
            "createApiKey", json={"name": "k", "scopes": ["usage:read"], "projectIds": [made.project_id]}
        )
    ),
    "getApiKey": _about(
        "getApiKey", "key_id", lambda m: m.key(), lambda m: m.revoked_key, Expected(200, shows='"revokedAt"')
    ),
    "revokeApiKey": _about(
        "revokeApiKey", "key_id", lambda m: m.key(), lambda m: m.revoked_key,
        Expected(200, shows='"revokedAt"'),
    ),
    "listOrganizations": Fixture(lambda _: Call("listOrganizations")),
    "createOrganization": Fixture(
        lambda _: Call("createOrganization", json={"name": "Third", "plan": "free"}), alone=True
    ),
    "getOrganization": _org("getOrganization"),
    "updateOrganization": Fixture(
        lambda made: Call("updateOrganization", {"org_id": made.org_id}, json={"name": "Renamed"})
    ),
    "listUsers": _org("listUsers"),
    "createUser": Fixture(
        lambda made: Call("createUser", {"org_id": made.org_id}, json={"name": "Eve", "role": "member"})
    ),
    "updateUser": _user("updateUser", {"name": "Renamed"}, NOT_FOUND),
    "removeUser": _user("removeUser", None, Expected(200, shows='"removedAt"')),
    "listOrganizationEvents": _org("listOrganizationEvents", stream="true"),
    "getOrganizationCheckpoint": _org("getOrganizationCheckpoint"),
    "getOrganizationProofBundle": _org("getOrganizationProofBundle"),
    "getOrganizationProofEvents": _org("getOrganizationProofEvents"),
    "getOrganizationConsistency": _org("getOrganizationConsistency", **{"from": "1"}),
    "getUsage": Fixture(lambda _: Call("getUsage")),
    "listSigningKeys": Fixture(lambda _: Call("listSigningKeys")),
    "rotateSigningKey": Fixture(lambda _: Call("rotateSigningKey"), alone=True),
}  # fmt: skip

PUBLIC_FIXTURES = {
    "getProofPolicy": _public("getProofPolicy"),
    "getLogCheckpoint": _public("getLogCheckpoint"),
    "getLogTile": _public("getLogTile", path="0/000.p/1"),
    "listLogHandovers": _public("listLogHandovers"),
    "getLogHandover": Fixture(
        lambda made: Call("getLogHandover", {"size": made.http.get("/log/handovers").text.split()[-1]})
    ),
    "getHealth": _public("getHealth"),
    "getOpenApi": _public("getOpenApi"),
    "getApiCatalog": _public("getApiCatalog"),
    "getApiLlmsTxt": _public("getApiLlmsTxt"),
    "getAuthMd": _public("getAuthMd"),
    "getReference": _public("getReference"),
    "getReferencePage": _public("getReferencePage", page="sandboxes"),
}

FIXTURES: Mapping[str, Fixture] = {
    **RUN_FIXTURES, **SANDBOX_FIXTURES, **FILE_FIXTURES, **ACCOUNT_FIXTURES, **PUBLIC_FIXTURES,
}  # fmt: skip
