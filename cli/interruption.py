"""What is said when a person stops a command: not an error, but where things stand and how to go on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from cli import output
from cli.problems import EXIT_INTERRUPTED, Problem


@dataclass(frozen=True, slots=True)
class Interruption:
    """How things stand, the commands that go on from here by what they do, and facts for programs."""

    message: str
    ways_on: Mapping[str, str]
    details: Mapping[str, object]

    def tell(self, *, as_json: bool) -> int:
        """Say it on stderr; answers the exit status."""
        if as_json:
            remedy = "; ".join(f"{name}: {command}" for name, command in self.ways_on.items())
            problem = Problem("interrupted", self.message, remedy or None, details=self.details)
            output.error(problem, as_json=True)
            return EXIT_INTERRUPTED
        output.note(("\n" if output.is_terminal(sys.stderr) else "") + self.message)
        for name, command in self.ways_on.items():
            output.note(output.paint(f"  {name}: ", sys.stderr, colour="cyan") + command)
        return EXIT_INTERRUPTED
