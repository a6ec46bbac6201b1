"""Routes of organisations, users, projects, secrets, API keys and usage (CONTRACT §2, §2.1)."""

from __future__ import annotations

from api.bodies import (
    CreateApiKeyBody,
    CreateOrganizationBody,
    CreateProjectBody,
    SecretBody,
    UpdateOrganizationBody,
    UpdateProjectBody,
    UpdateUserBody,
    UserBody,
)
from api.operation_tables.operation import (
    AFTER_SEQ,
    JSON,
    NDJSON,
    SEQ_LIMIT,
    SSE,
    Operation,
    a_page,
    as_json,
)
from api.operation_tables.proof import proofs_of
from api.operation_tables.runs import REPLAY, STREAM
from api.schemas.parts import TEXT, described, record, ref, wraps

_PROJECTS, _KEYS, _ORGS = "/v1/projects", "/v1/api-keys", "/v1/orgs"
_A_PROJECT, _AN_ORG = f"{_PROJECTS}/{{project_id}}", f"{_ORGS}/{{org_id}}"
_PROJECT = as_json(wraps(project="Project"))
_KEY = as_json(wraps(apiKey="ApiKey"))
_SECRET_ONCE = {"secret": described(TEXT, "The credential itself; shown this once and stored nowhere.")}
_NEW_KEY = as_json(record({"apiKey": ref("ApiKey"), **_SECRET_ONCE}))
_ORG = as_json(wraps(organization="Organization"))
_NEW_ORG = as_json(
    record(
        {
            "organization": ref("Organization"),
            "project": ref("Project"),
            "apiKey": ref("ApiKey"),
            **_SECRET_ONCE,
        }
    )
)
_USER = as_json(wraps(user="User"))
_SECRET = as_json(record({"secret": ref("Secret")}))

PROJECT_OPERATIONS = (
    Operation(
        "GET", _PROJECTS, "listProjects", "Projects", "List the projects that the key sees",
        description="Needs no scope.", answer=a_page("Project"), is_paginated=True,
    ),
    Operation(
        "POST", _PROJECTS, "createProject", "Projects", "Create a project",
        scope="project:create", body=CreateProjectBody, status=201, answer=_PROJECT, is_idempotent=True,
        errors=("quota_exceeded",),
    ),
    Operation("GET", _A_PROJECT, "getProject", "Projects", "Get a project", answer=_PROJECT),
    Operation(
        "PATCH", _A_PROJECT, "updateProject", "Projects", "Change a project's name or limits",
        scope="project:create", description="What is left out stays; a limit of null is lifted.",
        body=UpdateProjectBody, answer=_PROJECT,
    ),
    Operation(
        "GET", f"{_A_PROJECT}/secrets", "listSecrets", "Projects", "List the names of a project's secrets",
        scope="secret:read", answer=a_page("Secret"), is_paginated=True,
    ),
    Operation(
        "PUT", f"{_A_PROJECT}/secrets/{{name}}", "setSecret", "Projects", "Set a secret",
        scope="secret:write", description="Encrypted at rest; no answer, event or log ever holds the value.",
        body=SecretBody, answer=_SECRET, is_idempotent=True, errors=("reserved_env_key", "quota_exceeded"),
    ),
    Operation(
        "DELETE", f"{_A_PROJECT}/secrets/{{name}}", "deleteSecret", "Projects", "Delete a secret",
        scope="secret:write", answer=_SECRET, is_idempotent=True,
    ),
)  # fmt: skip

KEY_OPERATIONS = (
    Operation(
        "GET", _KEYS, "listApiKeys", "API Keys", "List API keys, newest first",
        scope="api_key:read", answer=a_page("ApiKey"), is_paginated=True,
    ),
    Operation(
        "POST", _KEYS, "createApiKey", "API Keys", "Create an API key",
        scope="api_key:create",
        description="It may do at most what its maker may. The secret is shown this once.",
        body=CreateApiKeyBody, status=201, answer=_NEW_KEY,
    ),
    Operation(
        "GET", f"{_KEYS}/{{key_id}}", "getApiKey", "API Keys", "Get an API key's record",
        scope="api_key:read", answer=_KEY,
    ),
    Operation(
        "DELETE", f"{_KEYS}/{{key_id}}", "revokeApiKey", "API Keys", "Revoke an API key",
        scope="api_key:revoke", description="Its open streams end within five seconds.", answer=_KEY,
    ),
)  # fmt: skip

ORGANIZATION_OPERATIONS = (
    Operation(
        "GET", _ORGS, "listOrganizations", "Organisations", "List the organisations that the key sees",
        description="Its own; for the operator of the server, whose key has `org:create`, all of them.",
        answer=a_page("Organization"),
    ),
    Operation(
        "POST", _ORGS, "createOrganization", "Organisations", "Create an organisation",
        scope="org:create",
        description="With a first project and a first key, whose secret is shown this once.",
        body=CreateOrganizationBody, status=201, answer=_NEW_ORG,
    ),
    Operation(
        "GET", _AN_ORG, "getOrganization", "Organisations", "Get an organisation",
        scope="audit:read", answer=_ORG,
    ),
    Operation(
        "PATCH", _AN_ORG, "updateOrganization", "Organisations", "Change an organisation's name or plan",
        scope="org:update", description="Another plan wants `org:create` instead, which the operator has.",
        body=UpdateOrganizationBody, answer=_ORG,
    ),
    Operation(
        "GET", f"{_AN_ORG}/users", "listUsers", "Organisations", "List users",
        scope="user:read", answer=a_page("User"), is_paginated=True,
    ),
    Operation(
        "POST", f"{_AN_ORG}/users", "createUser", "Organisations", "Add a user",
        scope="user:write", body=UserBody, status=201, answer=_USER, is_idempotent=True,
    ),
    Operation(
        "PATCH", f"{_AN_ORG}/users/{{user_id}}", "updateUser", "Organisations",
        "Change a user's name or role",
        scope="user:write", body=UpdateUserBody, answer=_USER, errors=("conflict",),
    ),
    Operation(
        "DELETE", f"{_AN_ORG}/users/{{user_id}}", "removeUser", "Organisations", "Remove a user",
        scope="user:write", description="Keys that the person made stay.", answer=_USER, errors=("conflict",),
    ),
    Operation(
        "GET", f"{_AN_ORG}/events", "listOrganizationEvents", "Organisations",
        "Replay or follow an organisation's events",
        scope="audit:read", description=REPLAY, parameters=(AFTER_SEQ, SEQ_LIMIT, STREAM),
        answer={
            JSON: ref("OrganizationEventPage"),
            SSE: described(TEXT, "Frames of `id`, `event` and `data`; each `data` is one OrganizationEvent."),
            NDJSON: described(TEXT, "One OrganizationEvent a line."),
        },
    ),
    *proofs_of(_AN_ORG, "Organization", "Organisations", "audit:read"),
)  # fmt: skip

USAGE_OPERATIONS = (
    Operation(
        "GET", "/v1/usage", "getUsage", "Usage", "What was used and what may be",
        scope="usage:read", answer=as_json(ref("Usage")),
    ),
)  # fmt: skip
