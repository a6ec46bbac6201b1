"""Servers that break one rule each: the rule must reject them."""

from __future__ import annotations

import pytest

from tests.conformance.awaited import AWAITED
from tests.conformance.cases import MUTANTS
from tests.conformance.registry import Rule
from tests.conformance.target import Target


@pytest.mark.parametrize(("rule", "mutant"), MUTANTS)
def test_mutant(server: Target, rule: Rule, mutant: str) -> None:
    """A server that breaks this rule, and nothing else, is rejected by it."""
    if rule.needs in AWAITED:
        rule.judge(rule.at(server))  # else it would be rejected for the feature that is not there
    assert rule.rejects(mutant, rule.at(server))
