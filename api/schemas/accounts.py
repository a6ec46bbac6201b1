"""Schemas of organisations and what belongs to them: users, projects, keys, secrets, usage (CONTRACT §8)."""

from __future__ import annotations

from api.schemas.parts import (
    TEXT,
    TIME,
    Schema,
    constant,
    described,
    identifier,
    list_of,
    one_of,
    record,
    ref,
)
from runs.access import OWN_SCOPES, SCOPES
from runs.quotas import PROJECT_LIMITS

METRICS = (
    "artifact_bytes_stored", "code_run_invocations", "command_invocations", "compute_unit_seconds",
    "file_bytes_written", "preview_minutes", "sandbox_creates",
)  # fmt: skip
_AMOUNT = {"type": "number", "minimum": 0}
_QUOTAS = {"type": "object", "additionalProperties": ref("Quota")}
_LIMITS = record({}, {name: {"type": "integer", "minimum": 0} for name in PROJECT_LIMITS})

ACCOUNT_SCHEMAS: dict[str, Schema] = {
    "Organization": record(
        {
            "id": identifier("org"),
            "name": TEXT,
            "plan": one_of("free", "builder", "scale", "enterprise"),
            "createdAt": TIME,
        }
    ),
    "User": record(
        {
            "id": identifier("usr"),
            "orgId": identifier("org"),
            "name": TEXT,
            "role": one_of("owner", "admin", "member"),
            "createdAt": TIME,
        },
        {"removedAt": TIME},
    ),
    "Project": record(
        {"id": identifier("prj"), "orgId": identifier("org"), "name": TEXT, "createdAt": TIME},
        {"limits": described(_LIMITS, "What an owner allows at most; what is absent is not limited.")},
    ),
    "Secret": record(
        {"name": TEXT},
        {"projectId": identifier("prj"), "createdAt": TIME, "updatedAt": TIME, "deletedAt": TIME},
        description="The name of a secret. Its value is injected into commands and never answered.",
    ),
    "Scope": one_of(*SCOPES, *OWN_SCOPES),
    "ApiKey": record(
        {
            "id": identifier("key"),
            "orgId": identifier("org"),
            "name": TEXT,
            "prefix": TEXT,
            "last4": {"type": "string", "minLength": 4, "maxLength": 4},
            "scopes": list_of(ref("Scope")),
            "createdByUserId": TEXT,
            "createdAt": TIME,
        },
        {
            "projectIds": described(list_of(identifier("prj")), "Absent: every project of the organisation."),
            "revokedAt": TIME,
            "lastUsedAt": TIME,
        },
        description="What is known of an API key. The secret itself is shown once, when it is made.",
    ),
    "Usage": record(
        {
            "period": record({"start": TIME, "end": TIME, "resetAt": TIME}),
            "pricingVersion": TEXT,
            "computeUnitSecondsPerCredit": _AMOUNT,
            "computeUnitSeconds": record({"used": _AMOUNT}),
            "credits": record({"used": _AMOUNT}, {"remaining": _AMOUNT}),
            "quotas": _QUOTAS,
        },
        {
            "currencyPerCredit": _AMOUNT,
            "events": list_of(ref("UsageEvent")),
            "metrics": ref("UsageMetrics"),
            "projects": list_of(
                record({"projectId": TEXT, "metrics": ref("UsageMetrics")}, {"quotas": _QUOTAS})
            ),
        },
        description="What the visible projects used in this UTC month, and what may still be used.",
    ),
    "Quota": record(
        {"limit": _AMOUNT},
        {
            "current": _AMOUNT,
            "remaining": _AMOUNT,
            "resetAt": {"anyOf": [TIME, {"type": "null"}]},
            "projectId": described(TEXT, "Whose limit it is, when an owner set it."),
        },
    ),
    "UsageMetrics": record(dict.fromkeys(METRICS, _AMOUNT)),
    "UsageEvent": record(
        {
            "amount": _AMOUNT,
            "createdAt": TIME,
            "metric": one_of(*METRICS),
            "orgId": identifier("org"),
        },
        {"projectId": identifier("prj"), "resourceId": TEXT},
    ),
    "Health": record({"status": constant("ok")}),
    "Linkset": record(
        {"linkset": list_of({"type": "object"})}, description="A set of links (RFC 9264, RFC 9727)."
    ),
    "OpenApiDocument": {"type": "object"},
    "Error": record(
        {
            "error": record(
                {
                    "code": TEXT,
                    "message": described(TEXT, "What happened and what to do next."),
                    "requestId": described(TEXT, "Name it when you report the failure."),
                    "retryable": {"type": "boolean"},
                },
                {"details": {"type": "object"}},
            )
        },
        description="Every refusal has this shape.",
    ),
}
