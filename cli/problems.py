"""What the command line says when something fails: one shape, an exit status, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cli.loopback import is_loopback
from client.errors import ApiError, ClientError, ConnectionFailed, StreamInterrupted

EXIT_OK, EXIT_ERROR, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 0, 1, 2, 130, 141
"""0 ok, 1 API or runtime error, 2 usage (CONTRACT §7.3); 128 + signal as shells show it."""

DEFAULT_PORT = 8787
LOGIN_LINE = "crownest login --api-url URL --api-key KEY"


@dataclass(frozen=True, slots=True)
class Problem:
    """A failure as people and programs see it (CONTRACT §7.3)."""

    code: str
    message: str
    remediation: str | None = None
    status: int | None = None
    details: Mapping[str, object] | None = None
    retryable: bool = False
    exit_code: int = EXIT_ERROR

    def to_dict(self) -> dict[str, object]:
        """The object under `error` in JSON mode."""
        return {
            "code": self.code,
            "details": dict(self.details) if self.details is not None else None,
            "message": self.message,
            "remediation": self.remediation,
            "retryable": self.retryable,
            "status": self.status,
        }


class CliError(Exception):
    """Ends a command with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def failure(
    message: str, remediation: str | None = None, *, reason: str | None = None, exit_code: int = EXIT_ERROR
) -> CliError:
    """A `runtime_error` of the command line itself; `reason` names it for programs."""
    details = {"reason": reason} if reason else None
    return CliError(Problem("runtime_error", message, remediation, details=details, exit_code=exit_code))


def usage(message: str, remediation: str | None = None) -> CliError:
    """A `usage_error`: the command line was not understood or asks for what cannot be."""
    return CliError(Problem("usage_error", message, remediation, exit_code=EXIT_USAGE))


def exit_status_of(code: int) -> int:
    """The status that stands for a command's exit code: eight bits, and a code that would wrap to 0 is 1."""
    return (code & 0xFF) or (EXIT_ERROR if code else EXIT_OK)


def from_client_error(
    error: ClientError, *, run_id: str | None = None, remedies: Mapping[str, str] | None = None
) -> Problem:
    """Translate what the client raised; codes of the server stay as they are (CONTRACT §7.1).

    `remedies` say by code what to do in this command, and win over what is said of codes in general.
    """
    if isinstance(error, ApiError):
        return Problem(
            error.code,
            error.message,
            (remedies or {}).get(error.code) or _api_remedy(error, run_id),
            status=error.status,
            details=error.details,
            retryable=error.retryable,
        )
    details: dict[str, object] = {"reason": error.code}
    remedy: str | None = None
    if isinstance(error, ConnectionFailed):
        details["origin"] = error.origin
        remedy = _connection_remedy(error)
    if isinstance(error, StreamInterrupted):
        details["lastSeq"] = error.last_seq
        if run_id:
            details["workspaceRunId"] = run_id
            remedy = (
                "Nothing recorded is lost. When the server answers again: crownest workspace-runs logs "
                f"{run_id} --after-seq {error.last_seq}"
            )
    return Problem("runtime_error", error.message, remedy, details=details, retryable=error.retryable)


def _connection_remedy(error: ConnectionFailed) -> str:
    if error.kind == "refused" and is_loopback(error.origin):
        from urllib.parse import urlsplit

        port = urlsplit(error.origin).port
        wanted = "" if port in {None, DEFAULT_PORT} else f" --port {port}"
        return f"Is the server running? Start it in another terminal: crownest serve{wanted}"
    if error.kind in {"refused", "unresolved"}:
        return f"Check the address. To use another one, set CROWNEST_API_URL or type: {LOGIN_LINE}"
    if error.kind == "tls":
        return "For a private certificate authority, set SSL_CERT_FILE to its certificate."
    if error.kind == "timeout":
        return "Check the network and the server, then try again."
    return "Try again. If it keeps happening, look at the server's own messages."


_BY_CODE: Mapping[str, str] = {
    "unauthorized": f"The server does not know this key. Store a valid one: {LOGIN_LINE}",
    "unauthenticated": f"The server does not know this key. Store a valid one: {LOGIN_LINE}",
    "invalid_api_key": f"The server does not know this key. Store a valid one: {LOGIN_LINE}",
    "forbidden": "The key may not do this here. Use a key with the scope, or another project.",
    "quota_exceeded": "See what is used and what is left: crownest usage",
    "file_too_large": "Build a smaller archive: leave out what the command does not need.",
    "request_timeout": "The request came too slowly. Check the network, then try again.",
    "idempotency_key_reused": "Use another --idempotency-key, or repeat exactly the same request.",
    "idempotency_request_in_progress": "The first request is still being carried out. Try again shortly.",
    "upload_checksum_mismatch": "The bytes were damaged on the way or the file changed. Upload it again.",
    "upload_size_mismatch": "The bytes were damaged on the way or the file changed. Upload it again.",
    "upload_expired": "Upload the archive again: a new transfer is made.",
    "invalid_error_response": "Check the API address: crownest talks to the base, like http://127.0.0.1:8787.",
}


def _api_remedy(error: ApiError, run_id: str | None) -> str | None:
    run = run_id or "<workspace-run-id>"
    if (error.details or {}).get("reason") == "evidence_not_available":
        return f"Evidence exists once the run has ended. Follow it: crownest workspace-runs logs {run}"
    if error.status == 429 and error.code != "quota_exceeded":
        seconds = error.retry_after_s
        return f"Wait {seconds:.0f} s, then try again." if seconds else "Wait a little, then try again."
    by_run = {
        "upload_incomplete": f"Upload the archive first: crownest workspace-runs upload {run} <archive.tgz>",
        "upload_conflict": "The run has its archive already. See where it stands: "
        f"crownest workspace-runs status {run}",
        "not_found": "Check the id, and that the key belongs to the same organisation. "
        "Your runs: crownest workspace-runs list",
    }
    known = _BY_CODE.get(error.code) or by_run.get(error.code)
    if known is None and error.status is not None and error.status >= 500:
        quoted = f" and quote request {error.request_id}" if error.request_id else ""
        return f"Try again. If it keeps happening, ask the operator{quoted}."
    return known
