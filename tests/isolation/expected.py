"""What the contract answers: statuses and codes for each cell, whatever the code may do."""

from __future__ import annotations

from dataclasses import dataclass

from tests.isolation.calls import Answer


@dataclass(frozen=True)
class Expected:
    """A status; the code of a refusal; what the body holds or must not hold."""

    status: int
    code: str | None = None
    shows: str = ""
    scope: str | None = None

    def fault(self, answer: Answer) -> str:
        """What is wrong with the answer; empty when it is as expected."""
        found = f"{answer.status} {answer.text[:200]}"
        if (answer.status, answer.code) != (self.status, self.code):
            return f"expected {self.status} {self.code or ''}, got {found}"
        if self.shows not in answer.text:
            return f"expected {self.shows} in {found}"
        if self.scope is not None and answer.json["error"].get("details") != {"requiredScope": self.scope}:
            return f"expected requiredScope {self.scope}, got {found}"
        return ""


NOT_FOUND = Expected(404, "not_found")
NO_TRANSFER = Expected(404, "upload_not_found")
UNAUTHORIZED = Expected(401, "unauthorized")
FORBIDDEN = Expected(403, "forbidden")
DESTROYED = Expected(410, "sandbox_destroyed")


def lacking(scope: str) -> Expected:
    """403 that names the scope."""
    return Expected(403, "forbidden", scope=scope)
