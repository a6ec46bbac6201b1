"""The contract's rules against our server, and against a proxy in front of it that changes nothing."""

from __future__ import annotations

import pytest

from tests.conformance.cases import CASES, CONTROLS
from tests.conformance.registry import Rule
from tests.conformance.target import Target


@pytest.mark.parametrize("rule", CASES)
def test_rule(server: Target, rule: Rule) -> None:
    """Our server keeps the rule."""
    rule.judge(rule.at(server))


@pytest.mark.parametrize("rule", CONTROLS)
def test_control(server: Target, rule: Rule) -> None:
    """The rule holds behind a proxy that changes nothing too: a mutant is rejected for its change."""
    rule.passes_through(rule.at(server))
