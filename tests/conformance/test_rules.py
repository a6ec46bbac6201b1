"""The contract's rules against our server, and against a proxy in front of it that changes nothing."""

from __future__ import annotations

import pytest

from tests.conformance.awaited import AWAITED
from tests.conformance.cases import CASES, CONTROLS
from tests.conformance.registry import RULES, Rule
from tests.conformance.target import Target

FIFTEEN = 15


@pytest.mark.parametrize("rule", CASES)
def test_rule(server: Target, rule: Rule) -> None:
    """Our server keeps the rule."""
    rule.judge(rule.at(server))


@pytest.mark.parametrize("rule", CONTROLS)
def test_control(server: Target, rule: Rule) -> None:
    """The rule holds behind a proxy that changes nothing too: a mutant is rejected for its change."""
    rule.passes_through(rule.at(server))


def test_every_one_of_the_fifteen_rules_is_there_with_a_mutant() -> None:
    """None of CONTRACT §0 is left out."""
    broken = {rule.clause for rule in RULES.values() if rule.clause.startswith("0.") and rule.broken_by}
    assert broken == {f"0.{number}" for number in range(1, FIFTEEN + 1)}


def test_every_rule_has_a_mutant() -> None:
    """A rule that nothing breaks says nothing."""
    assert not [rule.name for rule in RULES.values() if not rule.broken_by]


def test_every_awaited_feature_has_a_rule() -> None:
    """The list of what is awaited holds nothing that no rule waits for."""
    assert set(AWAITED) <= {rule.needs for rule in RULES.values()}
