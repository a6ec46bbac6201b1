"""Reads JSON objects and the error envelope of the contract (rule 7), however they came."""

from __future__ import annotations

import json
from typing import cast

from client.errors import ApiError
from client.shapes import JsonObject


def json_object(data: bytes) -> JsonObject | None:
    """The JSON object that the bytes are, None for whatever else they are."""
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return cast("JsonObject", value) if isinstance(value, dict) else None


def error_of(
    body: bytes, status: int | None, *, request_id: str | None = None, retry_after_s: float | None = None
) -> ApiError:
    """`{"error":{…}}` as an error; any other shape keeps its status, with code `invalid_error_response`.

    `status` is None for what did not come as the answer of a request.
    """
    error: object = (json_object(body) or {}).get("error")
    fields = cast("JsonObject", error) if isinstance(error, dict) else {}
    code, message, details, retryable = (fields.get(k) for k in ("code", "message", "details", "retryable"))
    if not isinstance(code, str) or not isinstance(message, str):
        return ApiError(
            "invalid_error_response",
            f"Request failed with status {status}, and not in the form of a CrowNest API.",
            status=status,
            request_id=request_id,
            retry_after_s=retry_after_s,
        )
    told: object = fields.get("requestId")
    return ApiError(
        code,
        message,
        status=status,
        details=cast("JsonObject", details) if isinstance(details, dict) else None,
        retryable=retryable if isinstance(retryable, bool) else None,
        request_id=request_id or (told if isinstance(told, str) else None),
        retry_after_s=retry_after_s,
    )
