"""The registry of rules: what each says, what it needs of the server, and what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.conformance.proxy import Mutation, proxying
from tests.conformance.target import Target, Violated

Check = Callable[[Target], None]
BROKEN = (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration)
"""What a rule runs into when an answer has another shape: the server's fault as well."""


@dataclass(frozen=True)
class Rule:
    """One rule of the contract."""

    name: str
    clause: str
    what: str
    check: Check
    broken_by: Mapping[str, Mutation]
    needs: str
    on: str
    """The variant of the server on which it can be seen, such as one with a rate limit."""

    def at(self, server: Target) -> Target:
        """The server that the rule is about."""
        return server.variant(self.on) if self.on else server

    def judge(self, server: Target) -> None:
        """Raise `Violated` unless the server keeps the rule."""
        try:
            self.check(server)
        except BROKEN as error:
            raise Violated(f"{type(error).__name__}: {error}") from error

    def rejects(self, mutant: str, server: Target) -> str:
        """Why the rule rejects the mutant of a server; raises AssertionError when it does not."""
        with proxying(server.url, self.broken_by[mutant]) as (url, proxy):
            broken = Target(url, server.key, server.patience_s, server, server.shared)
            why = ""
            try:
                self.judge(broken)
            except Violated as violation:
                why = str(violation)
        assert proxy.applied, f"the mutation never applied; rejected for: {why or 'nothing'}"
        assert why, "the mutant passed"
        return why

    def passes_through(self, server: Target) -> None:
        """The control: raise `Violated` unless a proxy that changes nothing keeps the rule."""
        with proxying(server.url, Mutation()) as (url, _):
            self.judge(Target(url, server.key, server.patience_s, server, server.shared))


RULES: dict[str, Rule] = {}


def rule(
    clause: str, *, needs: str = "", on: str = "", broken_by: Mapping[str, Mutation] | None = None
) -> Callable[[Check], Check]:
    """Register a check under its clause of CONTRACT; the first line of its docstring says what it holds."""

    def register(check: Check) -> Check:
        what = (check.__doc__ or "").split("\n")[0]
        add(check.__name__, clause, what, check=check, broken_by=broken_by or {}, needs=needs, on=on)
        return check

    return register


def add(
    name: str,
    clause: str,
    what: str,
    *,
    check: Check,
    broken_by: Mapping[str, Mutation],
    needs: str = "",
    on: str = "",
) -> None:
    """Register one rule by its parts."""
    assert name.startswith("rule_"), name
    assert name not in RULES, f"{name} is there twice"
    assert what, f"{name} does not say what it holds"
    RULES[name] = Rule(name, clause, what, check, broken_by, needs, on)
