"""Names that people give to projects, keys, organisations and users."""

from __future__ import annotations

from runs.refusal import Refusal

NAME_CHARS_MAX = 100


def check_name(field: str, name: str) -> None:
    """1 to 100 printable characters, not blank; `invalid_request` naming the field otherwise."""
    if not name.strip() or len(name) > NAME_CHARS_MAX or not name.isprintable():
        raise Refusal(
            "invalid_request",
            f"{field} must be 1 to {NAME_CHARS_MAX} printable characters.",
            {"field": field},
        )
