"""The contract's rules, each against our server, against a plain proxy, and against servers that break it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.awaited import AWAITED
from tests.conformance.own_server import own_server
from tests.conformance.registry import RULES, Rule
from tests.conformance.suite import SECTIONS
from tests.conformance.target import Target, Violated

FIFTEEN = 15


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One real server for all rules and all mutants."""
    with own_server(tmp_path_factory.mktemp("data")) as target:
        yield target


def _case(rule: Rule, *more: str) -> object:
    """A rule whose feature is awaited must fail until it is there, and then leave the list."""
    awaited = rule.needs in AWAITED
    mark = pytest.mark.xfail(strict=True, reason=f"awaits {rule.needs}", raises=(Violated, AssertionError))
    return pytest.param(rule, *more, id=" ".join((rule.name, *more)), marks=[mark] if awaited else [])


@pytest.mark.parametrize("rule", [_case(rule) for rule in RULES.values()])
def test_rule(server: Target, rule: Rule) -> None:
    """Our server keeps the rule."""
    rule.judge(rule.at(server))


@pytest.mark.parametrize("rule", [_case(rule) for rule in RULES.values()])
def test_control(server: Target, rule: Rule) -> None:
    """The rule holds behind a proxy that changes nothing too: a mutant is rejected for its change."""
    rule.passes_through(rule.at(server))


@pytest.mark.parametrize(
    ("rule", "mutant"), [_case(rule, name) for rule in RULES.values() for name in rule.broken_by]
)
def test_mutant(server: Target, rule: Rule, mutant: str) -> None:
    """A server that breaks this rule, and nothing else, is rejected by it."""
    if rule.needs in AWAITED:
        rule.judge(rule.at(server))  # else it would be rejected for the feature that is not there
    assert rule.rejects(mutant, rule.at(server))


def test_every_one_of_the_fifteen_rules_is_there_with_a_mutant() -> None:
    """None of CONTRACT §0 is left out."""
    broken = {rule.clause for rule in RULES.values() if rule.clause.startswith("0.") and rule.broken_by}
    assert broken == {f"0.{number}" for number in range(1, FIFTEEN + 1)}


def test_every_awaited_feature_has_a_rule() -> None:
    """The list of what is awaited holds nothing that no rule waits for."""
    assert set(AWAITED) <= {rule.needs for rule in RULES.values()}
    assert SECTIONS
