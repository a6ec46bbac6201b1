"""What is known of one route: the record that the tables are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from api.bodies import Body
from api.limits import ApiLimits
from api.schemas.parts import COUNT, TEXT, Schema, described, identifier, ref

JSON = "application/json"
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
PLAIN = "text/plain"
BYTES = "application/octet-stream"

Tag = Literal[
    "Workspace Runs", "Proof", "Sandboxes", "Commands", "Files", "Artifacts", "Previews", "Projects",
    "API Keys", "Organisations", "Usage", "Global log", "Discovery",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value beside the body: in the query string, a header or the path."""

    name: str
    description: str
    schema: Schema
    where: Literal["query", "header", "path"] = "query"
    required: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    `answer` maps the media type of the successful answer to its schema; empty means an answer without a
    body. `also` are further successful statuses, with what they mean. `scope` None means any key.
    `errors` are codes beyond those that every such route has (`codes`).
    """

    method: str
    path: str
    id: str
    tag: Tag
    summary: str
    scope: str | None = None
    is_public: bool = False
    description: str = ""
    body: type[Body] | None = None
    is_body_required: bool = True
    upload: str | None = None
    """The media type of a raw body."""
    parameters: tuple[Parameter, ...] = ()
    status: int = 200
    answer: Mapping[str, Schema] = field(default_factory=dict[str, Schema])
    also: Mapping[int, str] = field(default_factory=dict[int, str])
    is_idempotent: bool = False
    is_paginated: bool = False
    successor: str | None = None
    """Of a deprecated alias: the operation that takes its place."""
    errors: tuple[str, ...] = ()

    @property
    def path_parameters(self) -> tuple[Parameter, ...]:
        """What stands in braces in the path, in order."""
        return tuple(PATH_PARAMETERS[name] for name in re.findall(r"\{(\w+)\}", self.path))

    @property
    def all_parameters(self) -> tuple[Parameter, ...]:
        """Those of the path, of pages, the operation's own, and the idempotency key."""
        pages = PAGE_PARAMETERS if self.is_paginated else ()
        keys = (IDEMPOTENCY_KEY,) if self.is_idempotent else ()
        return (*self.path_parameters, *self.parameters, *pages, *keys)

    @property
    def codes(self) -> tuple[str, ...]:
        """Every error code that the route can answer, each once."""
        names = {parameter.name for parameter in self.all_parameters}
        found = ["invalid_request"]
        if not self.is_public:
            found += ["unauthorized", "rate_limited"]
        if self.scope is not None or "projectId" in names:
            found.append("forbidden")
        if self.path_parameters:
            found.append("not_found")
        if self.body is not None or self.upload is not None:
            found += ["file_too_large", "request_timeout"]
        if self.is_idempotent:
            found += ["idempotency_key_reused", "idempotency_request_in_progress"]
        return tuple(dict.fromkeys((*found, *self.errors, "internal_error")))


def _in_path(name: str, prefix: str, what: str) -> tuple[str, Parameter]:
    return name, Parameter(name, f"The id of {what}.", identifier(prefix), "path", required=True)


PATH_PARAMETERS: Mapping[str, Parameter] = dict(
    [
        _in_path("run_id", "wsr", "the run"),
        _in_path("upload_id", "upl", "the transfer"),
        _in_path("sandbox_id", "sbx", "the sandbox"),
        _in_path("command_id", "cmd", "the command"),
        _in_path("artifact_id", "art", "the artifact"),
        _in_path("preview_id", "prv", "the preview"),
        _in_path("project_id", "prj", "the project"),
        _in_path("key_id", "key", "the API key"),
        _in_path("org_id", "org", "the organisation"),
        _in_path("user_id", "usr", "the user"),
        (
            "name",
            Parameter(
                "name",
                "The secret's name, as the command sees it in its environment.",
                {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
                "path",
                required=True,
            ),
        ),
        (
            "page",
            Parameter(
                "page", "One of the pages that `/docs` lists.", {"type": "string"}, "path", required=True
            ),
        ),
        ("size", Parameter("size", "A size out of `/log/handovers`.", COUNT, "path", required=True)),
        (
            "path",
            Parameter(
                "path",
                "The tile's path as C2SP tlog-tiles writes it, such as `0/x001/234` or `entries/000.p/5`.",
                TEXT,
                "path",
                required=True,
            ),
        ),
    ]
)


def _up_to(most: int, default: int) -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": most, "default": default}


_LIMITS = ApiLimits()
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "Makes a retry safe: the same key with the same request has one effect and one answer for 24 hours.",
    {"type": "string", "minLength": 1, "maxLength": 255},
    "header",
)
PAGE_PARAMETERS = (
    Parameter("limit", "Rows in the page.", _up_to(_LIMITS.list_page_max, _LIMITS.list_page_default)),
    Parameter("cursor", "The `nextCursor` of the page before.", TEXT),
)
PROJECT = Parameter("projectId", "Only of this project.", identifier("prj"))
METADATA = Parameter(
    "metadata",
    "Only with these labels: `metadata.<key>=<value>`, once for each key; keys may hold dots.",
    {
        "type": "object",
        "propertyNames": {"pattern": "^metadata\\..+"},
        "additionalProperties": {"type": "string"},
        "maxProperties": 16,
    },
)
"""Serialised as OpenAPI's `form` with `explode`: each property is a query parameter of its own name."""
AFTER_SEQ = Parameter(
    "afterSeq",
    "Only what follows this seq; 0 is from the start.",
    {"type": "integer", "minimum": 0, "maximum": 2**53 - 1, "default": 0},
)
SEQ_LIMIT = Parameter(
    "limit", "Events in the page.", _up_to(_LIMITS.events_page_max, _LIMITS.events_page_default)
)
FILE_PATH = Parameter(
    "path",
    "A path in the workspace: absolute below `/workspace`, or relative to it.",
    {"type": "string", "minLength": 1},
    required=True,
)


def as_json(schema: Schema) -> Mapping[str, Schema]:
    """An answer in JSON."""
    return {JSON: schema}


def a_page(name: str) -> Mapping[str, Schema]:
    """An answer that is a page of these."""
    return {JSON: ref(f"{name}Page")}


def plain(description: str) -> Mapping[str, Schema]:
    """An answer in plain text of a format of its own."""
    return {PLAIN: described(TEXT, description)}


def binary(media_type: str, description: str) -> Mapping[str, Schema]:
    """An answer of bytes."""
    return {media_type: {"description": description}}
