"""A very small package, so that the demo has something real to test."""

from datetime import time

NOON = time(12)
EVENING = time(18)


def greet(name: str, at: time) -> str:
    """Greet somebody the way the hour demands."""
    if not name.strip():
        msg = "a greeting needs a name"
        raise ValueError(msg)
    part = "morning" if at < NOON else "afternoon" if at < EVENING else "evening"
    return f"Good {part}, {name.strip()}!"
