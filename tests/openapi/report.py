"""Reads the report that Schemathesis writes: how much was asked, how much of it succeeded, what broke."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SERVER_ERROR = "ServerError"
SCHEMA_VIOLATIONS = frozenset(
    {"JsonSchemaError", "UndefinedStatusCode", "UndefinedContentType", "MissingContentType", "MalformedJson"}
)
KINDS = ("accepted", "conflicts", "rejected")


@dataclass
class Report:
    """The figures of one run."""

    operations: int
    succeeded: int
    """Operations that answered with a success at least once outside of the stateful phase."""
    cases: int
    seconds: float
    answers: dict[str, int]
    failures: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)

    def told(self) -> str:
        """The figures in lines, and what broke."""
        kinds = Counter(str(failure["type"]) for failure in self.failures)
        violations = sum(count for kind, count in kinds.items() if kind in SCHEMA_VIOLATIONS)
        others = sum(kinds.values()) - kinds[SERVER_ERROR] - violations
        lines = [
            f"operations        {self.operations:>7}, of which {self.succeeded} answered with a success",
            f"cases             {self.cases:>7} in {self.seconds:.0f} s",
            *(f"  {name:<15} {count:>7}" for name, count in self.answers.items()),
            f"server errors     {kinds[SERVER_ERROR]:>7}",
            f"schema violations {violations:>7}",
            f"other failures    {others:>7}",
            f"errors            {len(self.errors):>7}",
        ]
        lines += [f"  {one['title']}: {', '.join(one['operations'])}" for one in self.failures]
        lines += [f"  {one['title']}" for one in self.errors]
        return "\n".join(lines)


def read_report(path: Path, seconds: float) -> Report:
    """The report at the path; `seconds` is how long the run took."""
    found = json.loads(path.read_text())
    answers: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    succeeded = 0
    for phases in found["valid_rates"].values():
        accepted = 0
        for counts in phases.values():
            answers.update({name: counts[name] for name in KINDS})
            accepted += counts["accepted"]
        succeeded += accepted > 0
    return Report(
        found["operations"]["tested"],
        succeeded,
        found["test_cases"]["generated"],
        seconds,
        dict(answers),
        found["failures"],
        found["errors"],
    )
