"""No rule of the contract is left out, and none is without a server that breaks it."""

from __future__ import annotations

from tests.conformance.awaited import AWAITED
from tests.conformance.registry import RULES
from tests.conformance.suite import SECTIONS

assert SECTIONS, "importing the sections registers their rules"
FIFTEEN = 15


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
