"""What the tamper suite is made of: tamperings, each with the code that must name it, and their draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st

from tests.evidence_samples import StoredRow, event_of
from tests.whole_proof import OUTPUTS, RECORDED, SIZE

Value = TypeVar("Value")
TERMINAL, SEAL = SIZE - 1, SIZE
"""Seqs of the last two events."""
EVENTS = st.integers(1, SIZE)
"""Any event, by seq."""
SILENT = st.sampled_from([seq for seq in range(1, SIZE + 1) if seq not in OUTPUTS])
"""Any event that holds no output."""
OUTPUT = st.sampled_from(OUTPUTS)
HASHES = st.binary(min_size=32, max_size=32)
TYPES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=32)
SECRETS = st.text("abcdef", min_size=1, max_size=4)


class Draw(Protocol):
    """Hypothesis' way to choose."""

    def __call__(self, strategy: st.SearchStrategy[Value]) -> Value: ...


@dataclass(frozen=True)
class Tampered:
    """A bundle that must fail, the event to blame if one is, and what the auditor asked for."""

    bundle: bytes
    seq: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


Case = Tampered | Callable[[], object]
"""A bundle, or a check that must raise `VerificationError`."""


@dataclass(frozen=True)
class Tampering:
    """One way to tamper, as often as hypothesis draws; `code` must name it each time."""

    code: str
    make: Callable[[Draw], Case]

    def __str__(self) -> str:
        return f"{self.code}-{self.make.__name__}"


class Tamperings(list[Tampering]):
    """The tamperings of one module, gathered by `@these.caught_as(code)`."""

    def caught_as(self, code: str) -> Callable[[Callable[[Draw], Case]], Callable[[Draw], Case]]:
        """Register a tampering and the code that must name it."""

        def register(make: Callable[[Draw], Case]) -> Callable[[Draw], Case]:
            self.append(Tampering(code, make))
            return make

        return register


def other(draw: Draw, strategy: st.SearchStrategy[Value], than: Value) -> Value:
    """A value that differs."""
    return draw(strategy.filter(lambda value: value != than))


def bit_flipped(draw: Draw, data: bytes, start: int = 0, end: int | None = None) -> bytes:
    """One bit of data[start:end] flipped, such that lines stay lines."""
    flips = st.tuples(st.integers(start, (len(data) if end is None else end) - 1), st.integers(0, 7))
    at, bit = draw(flips.filter(lambda flip: data[flip[0]] ^ 1 << flip[1] != ord("\n")))
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def changed(draw: Draw, items: Sequence[bytes]) -> tuple[bytes, ...]:
    """Hashes with one exchanged, dropped, added or, where there are others, moved."""
    at = draw(st.integers(0, len(items)))
    ways = [(*items[:at], draw(HASHES), *items[at:])]
    if at < len(items):
        ways += [
            (*items[:at], *items[at + 1 :]),
            (*items[:at], bit_flipped(draw, items[at]), *items[at + 1 :]),
        ]
    if len(items) > 1:
        ways.append((*items[1:], items[0]))
    return draw(st.sampled_from(ways))


def forged(draw: Draw, value: Any) -> Any:
    """Another value of the same kind, or of another."""
    kinds: dict[type, st.SearchStrategy[Any]] = {
        bool: st.just(not value),
        int: st.integers(0, 2**40),
        str: st.text("abc012", max_size=8),
        list: st.lists(st.just("x"), max_size=2),
    }
    anything = st.one_of(
        kinds.get(type(value), st.just({"forged": True})), st.sampled_from([None, "x", 0, [], {}])
    )
    return draw(anything.filter(lambda new: (type(new), new) != (type(value), value)))


def field_forged(draw: Draw, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The object with one field forged, removed or added."""
    name = draw(st.sampled_from(sorted(fields)))
    left = {key: value for key, value in fields.items() if key != name}
    return draw(
        st.sampled_from([left, left | {name: forged(draw, fields[name])}, dict(fields) | {"forged": True}])
    )


def rows() -> list[StoredRow]:
    """The run's rows, to be changed."""
    return RECORDED.rows.copy()


def event(seq: int) -> dict[str, Any]:
    """The event of this seq."""
    return event_of(RECORDED.rows[seq - 1])
