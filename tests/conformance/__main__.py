"""Prints which rules of the contract a server keeps: `python -m tests.conformance [--url U --key K]`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.conformance.awaited import AWAITED
from tests.conformance.own_server import own_server
from tests.conformance.registry import RULES, Rule
from tests.conformance.suite import SECTIONS
from tests.conformance.target import NotTried, Target, Violated

REASON_CHARS = 160


@dataclass
class Verdict:
    """What came of one rule. `held` is None where it could not be tried."""

    rule: str
    clause: str
    what: str
    needs: str
    awaited: bool = False
    held: bool | None = None
    why: str = ""
    rejected: dict[str, str] = field(default_factory=dict)
    """Mutant to the reason for which the rule rejected it."""
    passed: dict[str, str] = field(default_factory=dict)
    """Mutants that the rule did not reject: a weak rule."""

    @property
    def fails(self) -> bool:
        """Whether this is bad news: a rule that broke, or held against the list, or lets a mutant pass."""
        return bool(self.passed) or (self.held is not None and self.held == self.awaited)

    def line(self) -> str:
        """One line of the table."""
        held = {True: "yes", False: "awaited" if self.awaited else "NO", None: "-"}[self.held]
        mutants = f"{len(self.rejected)}/{len(self.rejected) + len(self.passed)}" if self.held else "-"
        line = f"{self.clause:<5} {held:<8} {mutants:>7}  {self.rule.removeprefix('rule_'):<52} {self.what}"
        if self.held and self.awaited:
            line += f"\n      landed: take {self.needs} out of tests/conformance/awaited.py"
        elif self.fails or self.held is None:
            line += f"\n      {(self.why or 'a mutant passed: ' + '; '.join(self.passed))[:REASON_CHARS]}"
        return line


def judged(rule: Rule, server: Target, *, own: bool, mutants: bool) -> Verdict:
    """Try one rule, and then its mutants if it holds."""
    verdict = Verdict(rule.name, rule.clause, rule.what, rule.needs, own and rule.needs in AWAITED)
    try:
        about = rule.at(server)
        rule.judge(about)
    except NotTried as reason:
        verdict.why = str(reason)
        return verdict
    except Violated as violation:
        verdict.held, verdict.why = False, str(violation)
        return verdict
    verdict.held = True
    for mutant in rule.broken_by if mutants else ():
        try:
            verdict.rejected[mutant] = rule.rejects(mutant, about)
        except AssertionError as error:
            verdict.passed[mutant] = str(error)
    return verdict


@contextlib.contextmanager
def server_of(url: str | None, key: str | None) -> Iterator[Target]:
    """The server that was named, or one of our own."""
    if url:
        yield Target(url.rstrip("/"), key or os.environ.get("CROWNEST_API_KEY", ""))
        return
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder, own_server(Path(folder)) as target:
        yield target


def main() -> int:
    """Judge, print, and answer 0 when all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--url", help="a running server, of whomever; without it one of our own is started")
    parser.add_argument("--key", help="its API key, with every scope (or CROWNEST_API_KEY)")
    parser.add_argument("--only", default="", help="rules whose name or clause holds this")
    parser.add_argument("--no-mutants", action="store_true", help="do not try the mutants")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    asked = parser.parse_args()
    assert SECTIONS, "importing the sections registers their rules"
    verdicts: list[Verdict] = []
    with server_of(asked.url, asked.key) as server:
        if not asked.json:
            print(f"{'§':<5} {'held':<8} {'mutants':>7}  {'rule':<52} what")
        for rule in RULES.values():
            if asked.only not in rule.name and asked.only != rule.clause:
                continue
            verdicts.append(judged(rule, server, own=not asked.url, mutants=not asked.no_mutants))
            if not asked.json:
                print(verdicts[-1].line(), flush=True)
    print(json.dumps(_document(verdicts)) if asked.json else _told(_totals(verdicts)))
    return 1 if any(verdict.fails for verdict in verdicts) else 0


def _totals(verdicts: list[Verdict]) -> dict[str, int]:
    return {
        "rules": len(verdicts),
        "held": sum(verdict.held is True for verdict in verdicts),
        "violated": sum(verdict.held is False and not verdict.awaited for verdict in verdicts),
        "awaited": sum(verdict.held is False and verdict.awaited for verdict in verdicts),
        "not tried": sum(verdict.held is None for verdict in verdicts),
        "mutants": sum(len(verdict.rejected) + len(verdict.passed) for verdict in verdicts),
        "rejected": sum(len(verdict.rejected) for verdict in verdicts),
    }


def _document(verdicts: list[Verdict]) -> dict[str, object]:
    return {"totals": _totals(verdicts), "rules": [asdict(verdict) for verdict in verdicts]}


def _told(totals: dict[str, int]) -> str:
    return "\n" + ", ".join(f"{count} {name}" for name, count in totals.items())


if __name__ == "__main__":
    sys.exit(main())
