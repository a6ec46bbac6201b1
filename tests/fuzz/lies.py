"""What a server may sign that it should not: payloads of every odd shape, soundly recorded and sealed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

from evidence.canonical import FormatError, encode
from evidence.record import format_time
from tests.evidence_samples import (
    StoredRow,
    event_of,
    numbered,
    record,
)
from tests.fuzz.mutants import Mutant
from tests.whole_proof import OUTPUTS, RECORDED, SIZE, whole_bundle

SEALED_FROM = SIZE - 2
"""Events before terminal and seal, which are made anew."""
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**53 - 1, "", "x", "a" * 300, "\u2028\u202e", "2026-11-22T14:03:00.000Z",
    "wsr_other", "00" * 32, [], ["x"], [[]], {}, {"id": 1}, [{"seq": 7}], [None],
)  # fmt: skip
"""Values to stand where others belong."""


def lies(seed: int, count: int) -> Iterator[Mutant]:
    """Bundles whose records and signatures hold, and whose payloads say odd things."""
    for number in range(count):
        chance = random.Random(f"{seed} lie {number}")
        rows = _redacted() if number % 3 == 2 else RECORDED.rows.copy()
        at = chance.choice([at for at, item in enumerate(rows) if item.payload is not None])
        event = event_of(rows[at])
        what = f"event {at + 1}: {_distort(event, chance)}"
        rows[at] = _signed(rows[at], event)
        evidence: bytes | None = RECORDED.evidence
        if number % 3 == 1 and at < SEALED_FROM:
            rows, evidence = _sealed(rows)
            what += ", sealed over it"
        yield Mutant(f"lie:{number}", what, whole_bundle(rows, evidence=evidence))


def _distort(event: dict[str, Any], chance: random.Random) -> str:
    """Change one value somewhere in the event; answers what was done."""
    places = list(_places(event))
    container, key = chance.choice(places)
    if chance.random() < 0.2 and isinstance(container, dict):
        del container[key]
        return f"without {key}"
    container[key] = value = chance.choice(ODD)
    return f"{key} is {value!a}"[:120]


def _places(value: object) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON value, as a container and the key or index in it."""
    if isinstance(value, dict):
        items: list[tuple[Any, object]] = list(cast("dict[str, object]", value).items())
    elif isinstance(value, list):
        items = list(enumerate(cast("list[object]", value)))
    else:
        return
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def _signed(item: StoredRow, event: dict[str, Any]) -> StoredRow:
    """The row with another payload; its columns stay."""
    payload = encode(event)
    return replace(item, payload=payload, payload_size=len(payload))


def _sealed(rows: list[StoredRow]) -> tuple[list[StoredRow], bytes | None]:
    """The run ended over these events, where they are numbered and dated as recorded and the folds can."""
    events = [event_of(item) for item in rows[:SEALED_FROM]]
    columns = [(item.type, format_time(item.created_at_ms)) for item in rows[:SEALED_FROM]]
    if [(event.get("type"), event.get("createdAt")) for event in events] != columns:
        return rows, RECORDED.evidence
    try:
        recorded = record(events)
    except FormatError:
        return rows, RECORDED.evidence
    return recorded.rows, recorded.evidence


def _redacted() -> list[StoredRow]:
    """The run after a redaction of its first output."""
    rows, seq = RECORDED.rows.copy(), OUTPUTS[0]
    rows[seq - 1] = rows[seq - 1].redacted()
    target = {"seq": seq, "commitment": (rows[seq - 1].commitment or b"").hex()}
    leaf = {"type": "redaction", "targets": [target], "reason": "secret", "actor": "key_k1"}
    return [*rows, numbered(leaf, SIZE + 1)]
