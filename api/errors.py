"""The error envelope: every refusal, ours or the framework's, in the contract's one shape (rule 7)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from eventstore.log import IdempotencyKeyReused, StorageUnavailable
from evidence.canonical import encode
from runs.refusal import Refusal, storage_unavailable

logger = logging.getLogger(__name__)

STATUS: Mapping[str, int] = {
    "invalid_request": 400,
    "sandbox_ttl_exceeded": 400,
    "reserved_env_key": 400,
    "invalid_file_encoding": 400,
    "invalid_metadata_key": 400,
    "invalid_metadata_value": 400,
    "metadata_too_large": 400,
    "metadata_too_many_keys": 400,
    "path_outside_workspace": 400,
    "upload_checksum_mismatch": 400,
    "upload_size_mismatch": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "feature_not_enabled": 403,
    "not_found": 404,
    "file_not_found": 404,
    "upload_not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "conflict": 409,
    "idempotency_key_reused": 409,
    "idempotency_request_in_progress": 409,
    "upload_conflict": 409,
    "upload_incomplete": 409,
    "sandbox_destroyed": 410,
    "upload_expired": 410,
    "file_too_large": 413,
    "range_not_satisfiable": 416,
    "quota_exceeded": 429,
    "rate_limited": 429,
    "slow_down": 429,
    "internal_error": 500,
    "preview_unavailable": 502,
    "resource_allocation_failed": 503,
}
"""HTTP status per code (CONTRACT §7.1, §11)."""

RETRYABLE = frozenset(
    {
        "request_timeout",
        "idempotency_request_in_progress",
        "rate_limited",
        "slow_down",
        "internal_error",
        "preview_unavailable",
        "resource_allocation_failed",
    }
)
"""What the same request may get past after a wait. A quota is none of it: somebody has to act."""
RETRY_AFTER_MS = 1000


def refusal_of(error: BaseException) -> Refusal | None:
    """Translate what lower rooms raise, once; None for what nobody foresaw."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, IdempotencyKeyReused):
        return Refusal(
            "idempotency_key_reused",
            "This idempotency key was used for another request. Use a fresh key for a new request.",
        )
    if isinstance(error, StorageUnavailable):
        return storage_unavailable()
    return None


def log_failure(request_id: str, what: str, error: BaseException) -> None:
    """Tell the operator what a caller who has only the id of the request is going to ask about.

    `what` names the request without what is secret in it: no query, no header. A full disk is one line; for
    what nobody foresaw the traceback follows.
    """
    if isinstance(error, StorageUnavailable):
        logger.error("request %s (%s) failed: %s", request_id, what, error)
    elif refusal_of(error) is None:
        logger.error("request %s (%s) failed", request_id, what, exc_info=error)


def envelope(refusal: Refusal, request_id: str) -> tuple[int, dict[str, str], bytes]:
    """Status, extra headers and body of a refusal."""
    status = STATUS[refusal.code]
    error: dict[str, object] = {
        "code": refusal.code,
        "message": refusal.message,
        "requestId": request_id,
        "retryable": refusal.code in RETRYABLE,
    }
    if refusal.details:
        error["details"] = {key: _plain(value) for key, value in refusal.details.items()}
    headers = {"content-type": "application/json"}
    if refusal.code in RETRYABLE and status != STATUS["internal_error"]:
        headers["retry-after"] = str(_retry_after_s(refusal))
    if refusal.code == "range_not_satisfiable" and refusal.details:
        headers["content-range"] = f"bytes */{refusal.details['sizeBytes']}"
    if refusal.code == "unauthorized":
        headers["www-authenticate"] = 'Bearer realm="crownest"'
    return status, headers, encode({"error": error})


def raw_answer(refusal: Refusal, request_id: str) -> bytes:
    """The whole answer, for who has only a socket; the connection closes behind it."""
    status, headers, body = envelope(refusal, request_id)
    headers |= {"content-length": str(len(body)), "connection": "close", "x-request-id": request_id}
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _retry_after_s(refusal: Refusal) -> int:
    """Whole seconds, rounded up: an exact time stands in the details."""
    wait_ms = (refusal.details or {}).get("retryAfterMs", RETRY_AFTER_MS)
    assert isinstance(wait_ms, int), "refusals give whole milliseconds"
    return max(1, -(-wait_ms // 1000))


def _plain(value: object) -> object:
    """Details echo what the caller sent, which may be no valid Unicode."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
