"""Links of the OpenAPI document: what the answer of a creation says about how to ask for the made thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.operation_tables.operation import Operation

MADE: Mapping[str, tuple[str, str]] = {
    "createWorkspaceRun": ("run_id", "$response.body#/workspaceRun/id"),
    "createWorkspaceRunArchiveTransfer": ("upload_id", "$response.body#/transfer/id"),
    "createSandbox": ("sandbox_id", "$response.body#/sandbox/id"),
    "createCommand": ("command_id", "$response.body#/command/id"),
    "createArtifact": ("artifact_id", "$response.body#/artifact/id"),
    "createPreview": ("preview_id", "$response.body#/preview/id"),
    "createProject": ("project_id", "$response.body#/project/id"),
    "createApiKey": ("key_id", "$response.body#/apiKey/id"),
    "createUser": ("user_id", "$response.body#/user/id"),
    "setSecret": ("name", "$request.path.name"),
}
"""By operation: the path parameter that what it makes is asked for by, and where its answer has it.

`createOrganization` is missing: its answer's key is the only one that sees the new organisation."""

NOT_YET = frozenset({"getWorkspaceRunEvidence"})
"""What is 404 until much later."""


def links_of(operation: Operation, operations: Sequence[Operation]) -> dict[str, Any]:
    """Link Objects to everything that takes the made thing, by operation id; empty for what makes nothing."""
    if operation.id not in MADE:
        return {}
    name, where = MADE[operation.id]
    known = {p.name: f"$request.path.{p.name}" for p in operation.path_parameters} | {name: where}
    found: dict[str, Any] = {}
    for other in operations:
        needs = [parameter.name for parameter in other.path_parameters]
        is_about = name in needs and set(needs) <= set(known) and other.id != operation.id
        if is_about and other.id not in NOT_YET:
            parameters = {need: known[need] for need in needs}
            found[other.id] = {"operationId": other.id, "parameters": parameters}
    return found
