"""Request bodies: bounded, strictly parsed, and refused naming the field (CONTRACT §11)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel
from starlette.requests import ClientDisconnect, Request

from api.faults import broken_rule, unreadable
from runs.refusal import Refusal

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)]
SizeBytes = Annotated[int, Field(ge=0, le=2**53 - 1)]
DurationMs = Annotated[int, Field(ge=1, le=2**53 - 1)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Path = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class Body(BaseModel):
    """Strict types, camelCase names on the wire, unknown fields tolerated (CONTRACT §1)."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, alias_generator=to_camel)


class RequestedArtifactBody(Body):
    """One entry of `artifacts` (CONTRACT §3.1)."""

    path: str
    name: str | None = None


class CreateRunBody(Body):
    """POST /v1/workspace-runs."""

    command: str
    template: str | None = None
    template_version_id: str | None = None
    project_id: str | None = None
    sandbox_id: str | None = None
    keep_sandbox: bool = False
    timeout_ms: int | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    source_metadata: dict[str, str] = Field(default_factory=dict)
    artifacts: list[RequestedArtifactBody] = Field(default_factory=list[RequestedArtifactBody])


class CreateTransferBody(Body):
    """POST …/archive-transfer."""

    sha256: Sha256
    size_bytes: SizeBytes


class OutputTextBody(Body):
    """One entry of `events` in `AppendBody`: output that is text."""

    type: Literal["stdout", "stderr"]
    data: str


class OutputBytesBody(Body):
    """The same for output that may be anything."""

    type: Literal["stdout", "stderr"]
    data_base64: str


class AppendBody(Body):
    """POST …/events: the shape for the document; `api.batches.parse_batch` reads it."""

    producer_id: str
    number: Annotated[int, Field(ge=1, le=2**53 - 1)]
    expected_head: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = None
    events: list[OutputTextBody | OutputBytesBody]


class FinishBody(Body):
    """POST …/finish."""

    exit_code: Annotated[int, Field(ge=0, le=2**32 - 1)]


class RedactionBody(Body):
    """POST …/redactions."""

    targets: list[Annotated[int, Field(ge=1, le=2**53 - 1)]]
    reason: str


class FinalizeBody(Body):
    """POST …/archive/finalize."""

    upload_id: str
    sha256: Sha256
    size_bytes: SizeBytes


class CreateSandboxBody(Body):
    """POST /v1/sandboxes; `{}` makes one of the default template in the default project."""

    template: str | None = None
    template_version_id: str | None = None
    project_id: str | None = None
    ttl_ms: DurationMs | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    restore_from: str | None = None


class TtlBody(Body):
    """POST /v1/sandboxes/{id}/ttl and its older name `/extend`: counted from now."""

    ttl_ms: DurationMs


class CollectBody(Body):
    """One entry of `collect`: a file to keep as an artifact when the command ends."""

    path: Path
    name: Path | None = None


class RunCommandBody(Body):
    """POST /v1/sandboxes/{id}/commands and its older names `/commands/run` and `/commands/start`."""

    command: Annotated[str, StringConstraints(min_length=1)]
    cwd: Path | None = None
    env: dict[str, str] = Field(default_factory=dict)
    timeout_ms: DurationMs | None = None
    background: bool = False
    collect: list[CollectBody] = Field(default_factory=list[CollectBody])
    collect_on: Literal["always", "success"] = "always"


class CancelCommandBody(Body):
    """POST /v1/commands/{id}/cancel; an empty body means `graceful`."""

    mode: Literal["graceful", "force"] = "graceful"


class WriteFileBody(Body):
    """PUT /v1/sandboxes/{id}/files."""

    path: Path
    content: str
    encoding: Literal["utf8", "base64"] = "utf8"
    create_parents: bool = False
    overwrite: bool = True


class MkdirBody(Body):
    """POST …/files/mkdir."""

    path: Path
    parents: bool = False


class MoveFileBody(Body):
    """POST …/files/move."""

    from_path: Path = Field(alias="from")
    to_path: Path = Field(alias="to")
    overwrite: bool = False


class FileDownloadUrlBody(Body):
    """POST …/files/download-url."""

    path: Path


class CreateArtifactBody(Body):
    """POST /v1/sandboxes/{id}/artifacts."""

    path: Path
    name: Path | None = None


class CreatePreviewBody(Body):
    """POST /v1/sandboxes/{id}/previews."""

    port: Annotated[int, Field(ge=1, le=65535)]
    auth_mode: Literal["authenticated", "token"] = "authenticated"


class CreateProjectBody(Body):
    """POST /v1/projects."""

    name: Name


class UpdateProjectBody(Body):
    """PATCH /v1/projects/{id}: what is left out stays; a limit of null is lifted."""

    name: Name | None = None
    limits: dict[str, Annotated[int, Field(ge=0, le=2**53 - 1)] | None] | None = None


class CreateApiKeyBody(Body):
    """POST /v1/api-keys; without `projectIds` the key sees every project."""

    name: Name
    scopes: Annotated[list[str], Field(min_length=1)]
    project_ids: list[str] | None = None


class SecretBody(Body):
    """PUT /v1/projects/{id}/secrets/{name}; the value is in no repr."""

    value: str = Field(repr=False)


class CreateOrganizationBody(Body):
    """POST /v1/orgs."""

    name: Name
    plan: Literal["free", "builder", "scale", "enterprise"] | None = None


class UpdateOrganizationBody(Body):
    """PATCH /v1/orgs/{id}: what is left out stays."""

    name: Name | None = None
    plan: Literal["free", "builder", "scale", "enterprise"] | None = None


class UserBody(Body):
    """POST /v1/orgs/{id}/users; `email` invites the person to sign in (decision 0872)."""

    name: Name
    role: Literal["owner", "admin", "member"]
    email: str | None = None


class UpdateUserBody(Body):
    """PATCH /v1/orgs/{id}/users/{userId}: what is left out stays."""

    name: Name | None = None
    role: Literal["owner", "admin", "member"] | None = None


B = TypeVar("B", bound=Body)


LATE = "body_is_late"
"""The entry of a request's state that says that its body was given up (`api.edge`)."""
RECHECK = "recheck_caller"
"""The entry of a request's state that asks once more who is calling (`api.services.principal_of`)."""


async def recheck_caller(request: Request) -> None:
    """Once the body is there: 401 or 403 when the caller's key, session or role is not what it was."""
    recheck: Callable[[], Awaitable[None]] | None = getattr(request.state, RECHECK, None)
    if recheck is not None:
        await recheck()


async def read_body(request: Request, bytes_max: int) -> bytes:
    """The whole body, or `file_too_large` before it grows past the limit.

    Whoever sends slowly has their rights looked at again: a revoked key must not act by a request that it
    began before.
    """
    data = bytearray()
    try:
        async for chunk in request.stream():
            data += chunk
            if len(data) > bytes_max:
                raise Refusal("file_too_large", f"The request body is larger than {bytes_max} bytes.")
    except ClientDisconnect:
        raise incomplete(request, "The connection closed before the request body was complete.") from None
    await recheck_caller(request)
    return bytes(data)


def incomplete(request: Request, message: str) -> Refusal:
    """Why the rest of the body is missing: it came too slowly (408), or `message`, read by nobody."""
    if getattr(request.state, LATE, False):
        return Refusal(
            "request_timeout",
            "The request body stopped or came too slowly, and was given up; nothing of it is kept. Send it "
            "again over a faster connection.",
        )
    return Refusal("invalid_request", message)


async def read_json(request: Request, model: type[B], bytes_max: int) -> B:
    """The parsed body; every fault is `invalid_request` naming the field."""
    return parse_json(await read_body(request, bytes_max), model)


def parse_json(data: bytes, model: type[B]) -> B:
    """Parse strictly: no NaN, no lone surrogates, no duplicate keys, no floats for integers."""
    try:
        value = orjson.loads(data)
        # orjson keeps the last of duplicate keys silently; the standard library can tell.
        json.loads(data, object_pairs_hook=without_duplicates)
    except DuplicateKey as error:
        raise Refusal(
            "invalid_request", f"The key {error} appears twice in the body.", {"field": str(error)}
        ) from None
    except (ValueError, RecursionError) as error:
        raise unreadable(data, error) from None
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise broken_rule(error) from None


class DuplicateKey(Exception):
    """A key that stands twice in one object."""


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs, for `json.loads`. Raises `DuplicateKey`."""
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise DuplicateKey(key)
            seen.add(key)
    return found
