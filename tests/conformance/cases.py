"""Rules as parameters of tests, awaited ones marked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.awaited import AWAITED
from tests.conformance.registry import RULES, Rule
from tests.conformance.suite import SECTIONS
from tests.conformance.target import Violated

assert SECTIONS, "importing the sections registers their rules"


def _case(rule: Rule, *more: str) -> Any:
    """A rule whose feature is awaited must fail until it is there, and then leave the list."""
    awaited = rule.needs in AWAITED
    mark = pytest.mark.xfail(strict=True, reason=f"awaits {rule.needs}", raises=(Violated, AssertionError))
    return pytest.param(rule, *more, id=" ".join((rule.name, *more)), marks=[mark] if awaited else [])


CASES = [_case(rule) for rule in RULES.values()]
CONTROLS = [_case(rule) for rule in RULES.values() if rule.clause.startswith("0.")]
"""As with mutants, `make conformance` sends every rule through the proxy that changes nothing."""


def _tried_in_tests(rule: Rule) -> list[str]:
    """All of the fifteen rules that break clients, one of each other: `make conformance` tries all."""
    return list(rule.broken_by) if rule.clause.startswith("0.") else list(rule.broken_by)[:1]


MUTANTS = [_case(rule, name) for rule in RULES.values() for name in _tried_in_tests(rule)]
