"""What can go wrong between this client and a server, split by who must act.

`ApiError`: the server refused and said why (CONTRACT §7.1). `ConnectionFailed`: nobody answered, or the
connection broke. `BadAnswer`: something answered that does not speak the contract. `StreamInterrupted`:
an event stream ended before the run did. `ArchiveChanged`: the caller's file is not what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

FailureKind = Literal["refused", "unresolved", "timeout", "tls", "dropped", "other"]
"""Why a connection failed: nothing listens there, unknown host, no answer in time, TLS, broken off, else."""

RETRYABLE_CODES = frozenset({"rate_limited", "idempotency_request_in_progress"})


class ClientError(Exception):
    """Base of everything the client raises; `code` is for programs, `message` for people."""

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code, self.message, self.retryable = code, message, retryable


class ApiError(ClientError):
    """The server answered with an error.

    `status` is the HTTP status, or None when the error came as an event of a stream; `details` is the
    server's object or None; `request_id` is what to quote when asking the operator.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None,
        details: Mapping[str, object] | None = None,
        retryable: bool | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        by_status = status is not None and (status == 429 or status >= 500)
        decided = by_status or code in RETRYABLE_CODES if retryable is None else retryable
        super().__init__(code, message, retryable=decided)
        self.status, self.details, self.request_id = status, details, request_id
        self.retry_after_s = retry_after_s

    def __repr__(self) -> str:
        return f"ApiError(code={self.code!r}, status={self.status}, message={self.message!r})"


class ConnectionFailed(ClientError):
    """No answer: the request may or may not have been carried out; `origin` is where it was sent."""

    def __init__(self, kind: FailureKind, origin: str, reason: str) -> None:
        super().__init__(
            "connection_failed", f"{_WHAT[kind].format(origin=origin)} ({reason})", retryable=True
        )
        self.kind, self.origin, self.reason = kind, origin, reason


_WHAT: Mapping[FailureKind, str] = {
    "refused": "Nothing answers at {origin}",
    "unresolved": "The host name in {origin} is not known",
    "timeout": "{origin} did not answer in time",
    "tls": "No trusted TLS connection to {origin}",
    "dropped": "The connection to {origin} broke off",
    "other": "No connection to {origin}",
}


class BadAnswer(ClientError):
    """The answer is not what the contract says: probably not a CrowNest API at that address."""

    def __init__(self, message: str) -> None:
        super().__init__("invalid_response", message)


class StreamInterrupted(ClientError):
    """The event stream ended early and reconnecting did not help; resume after `last_seq`."""

    def __init__(self, last_seq: int, cause: ClientError | None) -> None:
        why = f": {cause.message}" if cause else ""
        super().__init__(
            "stream_interrupted",
            f"The event stream ended before the run did, after event {last_seq}{why}.",
            retryable=True,
        )
        self.last_seq, self.cause = last_seq, cause


class ArchiveChanged(ClientError):
    """The archive file changed between measuring and sending it."""

    def __init__(self, path: str) -> None:
        super().__init__("archive_changed", f"{path} changed while it was being uploaded. Upload it again.")
