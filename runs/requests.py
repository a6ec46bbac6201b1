"""What a caller may ask of a new run: resolved, checked against the named limits, or refused by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from evidence.canonical import encode
from runs.decide import EXTERNAL
from runs.ids import is_id
from runs.limits import RunLimits
from runs.refusal import Refusal
from runs.screening import screen

GLOB_CHARACTERS = "*?["
Artifacts = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The creation request with every default resolved (CONTRACT §3.1, §6.6 `request`)."""

    command: str
    project_id: str
    template: str
    timeout_ms: int
    keep_sandbox: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    source_metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    artifacts: Artifacts = ()
    sandbox_id: str | None = None
    template_version_id: str | None = None

    def fields(self) -> dict[str, object]:
        """The `request` object of the run's first event; optional ids only if they were asked for."""
        fields: dict[str, object] = {
            "command": self.command,
            "projectId": self.project_id,
            "template": self.template,
            "timeoutMs": self.timeout_ms,
            "keepSandbox": self.keep_sandbox,
            "metadata": dict(self.metadata),
            "sourceMetadata": dict(self.source_metadata),
            "artifacts": [dict(artifact) for artifact in self.artifacts],
        }
        if self.sandbox_id is not None:
            fields["sandboxId"] = self.sandbox_id
        if self.template_version_id is not None:
            fields["templateVersionId"] = self.template_version_id
        return fields


def check_request(request: RunRequest, limits: RunLimits) -> None:
    """Raise `Refusal` naming the field that breaks a limit; answer nothing when all is well."""
    if not request.command.strip():
        raise Refusal(
            "invalid_request", "command must not be empty. Pass the shell line to run.", {"field": "command"}
        )
    if len(request.command.encode()) > limits.command_bytes_max:
        raise Refusal(
            "invalid_request",
            f"command is longer than {limits.command_bytes_max} bytes. Put it into a script in the archive.",
            {"field": "command"},
        )
    if "\0" in request.command:
        raise Refusal("invalid_request", "command must not contain NUL.", {"field": "command"})
    recorded = request.template == EXTERNAL
    most_ms = limits.recorded_timeout_ms_max if recorded else limits.timeout_ms_max
    if not 1 <= request.timeout_ms <= most_ms:
        raise Refusal(
            "invalid_request", f"timeoutMs must be between 1 and {most_ms}.", {"field": "timeoutMs"}
        )
    if recorded:
        _check_recorded(request)
    check_metadata("metadata", request.metadata, limits)
    check_metadata("sourceMetadata", request.source_metadata, limits)
    check_artifacts(request.artifacts, limits)
    screen(_kept_for_ever(request))
    if request.sandbox_id is not None and not is_id(request.sandbox_id, "sbx"):
        message = "sandboxId must be the id of a sandbox, such as sbx_abc. Leave it out for a fresh one."
        raise Refusal("invalid_request", message, {"field": "sandboxId"})
    # Behind the limits of each field, because JSON spells some characters with six.
    size_bytes = len(encode(request.fields()))
    if size_bytes > limits.request_bytes_max:
        raise Refusal(
            "invalid_request",
            f"The request takes {size_bytes} bytes as JSON; at most {limits.request_bytes_max} are accepted. "
            "Shorten the command or the artifact paths.",
            {"field": "body"},
        )


def _check_recorded(request: RunRequest) -> None:
    """A recorded run has no sandbox here: refuse what only a sandbox could do."""
    asked = {
        "sandboxId": request.sandbox_id is not None,
        "keepSandbox": request.keep_sandbox,
        "artifacts": bool(request.artifacts),
    }
    for name, wanted in asked.items():
        if wanted:
            raise Refusal(
                "invalid_request",
                f"{name} needs a sandbox, and a run of template {EXTERNAL} runs elsewhere. Leave it out.",
                {"field": name},
            )


def _kept_for_ever(request: RunRequest) -> Iterator[tuple[str, str]]:
    yield "command", request.command
    for name, metadata in (("metadata", request.metadata), ("sourceMetadata", request.source_metadata)):
        for key, value in metadata.items():
            yield f"{name}.{key}", value


def check_metadata(name: str, metadata: Mapping[str, str], limits: RunLimits) -> None:
    """Limits of CONTRACT §3.1; keys are printable ASCII, dots included (§11)."""
    if len(metadata) > limits.metadata_keys_max:
        raise Refusal(
            "metadata_too_many_keys",
            f"{name} has more than {limits.metadata_keys_max} keys.",
            {"field": name},
        )
    for key, value in metadata.items():
        if not 1 <= len(key) <= limits.metadata_key_chars_max or not all(" " <= c <= "~" for c in key):
            raise Refusal(
                "invalid_metadata_key",
                f"A key of {name} must be 1 to {limits.metadata_key_chars_max} printable ASCII characters.",
                {"field": name, "key": key[:80]},
            )
        if len(value) > limits.metadata_value_chars_max:
            raise Refusal(
                "invalid_metadata_value",
                f"{name}.{key} is longer than {limits.metadata_value_chars_max} characters.",
                {"field": name, "key": key},
            )
    if (
        sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items())
        > limits.metadata_bytes_max
    ):
        raise Refusal(
            "metadata_too_large", f"{name} is larger than {limits.metadata_bytes_max} bytes.", {"field": name}
        )


def check_artifacts(artifacts: Artifacts, limits: RunLimits) -> None:
    """Paths are literal, relative and inside the workspace (CONTRACT §11)."""
    if len(artifacts) > limits.artifacts_requested_max:
        raise Refusal(
            "invalid_request",
            f"artifacts has more than {limits.artifacts_requested_max} entries.",
            {"field": "artifacts"},
        )
    for index, artifact in enumerate(artifacts):
        _check_path(f"artifacts.{index}.path", artifact["path"], limits)
        name = artifact.get("name")
        if name is not None and not 1 <= len(name.encode()) <= limits.artifact_name_bytes_max:
            raise Refusal(
                "invalid_request",
                f"artifacts.{index}.name must be 1 to {limits.artifact_name_bytes_max} bytes.",
                {"field": f"artifacts.{index}.name"},
            )


def _check_path(field_name: str, path: str, limits: RunLimits) -> None:
    details = {"field": field_name}
    if not path or "\0" in path or len(path.encode()) > limits.artifact_path_bytes_max:
        raise Refusal(
            "invalid_request",
            f"{field_name} must be 1 to {limits.artifact_path_bytes_max} bytes without NUL.",
            details,
        )
    if any(character in path for character in GLOB_CHARACTERS):
        raise Refusal(
            "invalid_request",
            f"{field_name}: artifact paths are literal, so *, ? and [ are not allowed. Name each file.",
            details,
        )
    if path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise Refusal(
            "path_outside_workspace", f"{field_name} must be relative and stay inside the workspace.", details
        )
