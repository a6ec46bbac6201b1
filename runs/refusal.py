"""What the rules refuse: one typed refusal, whose code the HTTP edge translates (CONTRACT §7.1)."""

from __future__ import annotations

from collections.abc import Mapping


class Refusal(Exception):
    """The caller must act. `code` is the contract's; `message` says what to do next."""

    def __init__(self, code: str, message: str, details: Mapping[str, object] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.details = details


def not_found(what: str, resource_id: str) -> Refusal:
    """An unknown id, and alike another tenant's: nobody learns which ids exist."""
    return Refusal(
        "not_found", f"{what} {resource_id[:80]} does not exist. Check the id, or list what exists."
    )


def storage_unavailable() -> Refusal:
    """The write did not become durable; nothing of it is visible."""
    return Refusal(
        "internal_error",
        "The server could not store this durably: its disk may be full. Nothing was recorded; try again.",
    )
