"""CONTRACT §8: the fields of the other objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.conformance import mutants, samples
from tests.conformance.registry import add
from tests.conformance.target import Target, expect, must

SANDBOX = (
    "id",
    "orgId",
    "projectId",
    "status",
    "templateId",
    "templateSlug",
    "templateVersion",
    "templateVersionId",
    "ttlMs",
    "expiresAt",
    "metadata",
)
ARTIFACT = ("id", "orgId", "projectId", "sandboxId", "name", "objectKey", "sizeBytes", "createdAt")
PREVIEW = ("id", "slug", "orgId", "projectId", "sandboxId", "port", "authMode", "url", "createdAt")
PROJECT = ("id", "orgId", "name", "createdAt")
API_KEY = ("id", "orgId", "name", "prefix", "last4", "scopes", "createdByUserId", "createdAt")
USAGE = ("period", "pricingVersion", "computeUnitSecondsPerCredit", "computeUnitSeconds", "credits", "quotas")
COMMAND = ("id", "sandboxId", "command", "status")


def shape(
    name: str,
    route: str,
    path: Callable[[Target], str],
    key: str,
    fields: tuple[str, ...],
    *,
    needs: str = "",
) -> None:
    """An object of §8 as a rule: each required field has a mutant. `key` leads to the object."""

    def check(server: Target) -> None:
        value: Any = expect(server.get(path(server)), 200)
        for part in filter(None, key.split(".")):
            value = value[part]
        for found in value if isinstance(value, list) else [value]:
            must(
                not (missing := [field for field in fields if field not in found]), f"no {missing} in {found}"
            )
            must(None not in found.values(), f"a null in {found}")
        must(value, "there is none")

    broken = {f"no {field}": mutants.without(route, f"{key}.{field}".strip(".")) for field in fields}
    add(f"rule_8_{name}", "8", f"{name} has {', '.join(fields)}", check=check, broken_by=broken, needs=needs)


def _finished_sandbox(server: Target) -> str:
    return f"/v1/sandboxes/{samples.finished(server)['sandboxId']}"


def _first_key(server: Target) -> str:
    return f"/v1/api-keys/{expect(server.base.get('/v1/api-keys'), 200)['data'][0]['id']}"


def _previews(server: Target) -> str:
    return f"/v1/sandboxes/{samples.preview(server)['sandboxId']}/previews"


shape("sandbox", "GET /v1/sandboxes/*", _finished_sandbox, "sandbox", SANDBOX)
shape(
    "artifact",
    "GET /v1/artifacts/*",
    lambda s: f"/v1/artifacts/{samples.finished(s)['artifactIds'][0]}",
    "artifact",
    ARTIFACT,
)
shape("project", "GET /v1/projects", lambda _: "/v1/projects", "data", PROJECT)
shape("api_key", "GET /v1/api-keys/*", _first_key, "apiKey", API_KEY, needs="api_keys")
shape("usage", "GET /v1/usage", lambda _: "/v1/usage", "", USAGE, needs="usage")
shape(
    "usage_period",
    "GET /v1/usage",
    lambda _: "/v1/usage",
    "period",
    ("start", "end", "resetAt"),
    needs="usage",
)
shape("preview", "GET /v1/sandboxes/*/previews", _previews, "data", PREVIEW, needs="previews")
shape(
    "command",
    "GET /v1/commands/*",
    lambda s: f"/v1/commands/{samples.command(s)['id']}",
    "command",
    COMMAND,
    needs="commands",
)
