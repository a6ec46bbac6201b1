"""What is wrong with a request body, in the words of JSON and by the name of its field (CONTRACT §11)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import cast

from pydantic import ValidationError

from runs.refusal import Refusal

RULES: Mapping[str, str] = {
    "missing": "is required",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be an array",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "too_short": "must have at least {min_length} entries",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
}
"""The rule that a kind of fault broke: what the framework says names types of Python and classes of ours."""
EMPTY = "must not be empty"
"""Said of what must have at least one character or entry."""
FIELD_CHARS_MAX = 200
NAMED_BYTES_MAX = 64 * 1024
"""Of what is larger no field is looked for: others would wait while one caller's mistake is found."""
_SURROGATE = re.compile("[\ud800-\udfff]")
Place = tuple[str | int, ...]
"""The keys and indices that lead to a value."""


def broken_rule(error: ValidationError) -> Refusal:
    """The first field that is not as the body's model wants it."""
    first = error.errors(include_url=False, include_input=False)[0]
    facts = first.get("ctx", {})
    rule = RULES.get(first["type"], first["msg"])
    if facts.get("min_length") == 1:
        rule = EMPTY
    return _of_field(first["loc"], rule.format(**facts) if first["type"] in RULES else rule)


def unreadable(data: bytes, error: Exception) -> Refusal:
    """What is no JSON. NaN and halves of surrogate pairs, which other parsers read, by their field."""
    if not data:
        return Refusal("invalid_request", "The body is empty. Send a JSON object.")
    if len(data) <= NAMED_BYTES_MAX:
        with suppress(ValueError, RecursionError):
            odd = _odd(json.loads(data))
            if odd is not None:
                return _of_field(*odd)
    return Refusal("invalid_request", f"The body is not valid JSON: {error}")


def _odd(root: object) -> tuple[Place, str] | None:
    """Where a value, or a key, is something that JSON has not; and the rule that it broke."""
    waiting: list[tuple[Place, object]] = [((), [root])]
    while waiting:
        place, parent = waiting.pop()
        if isinstance(parent, dict):
            items: Iterable[tuple[str | int, object]] = cast("dict[str, object]", parent).items()
        else:
            items = enumerate(cast("list[object]", parent))
        for key, value in items:
            if isinstance(value, (dict, list)):
                waiting.append(((*place, key), cast("object", value)))
            elif isinstance(value, float) and not math.isfinite(value):
                return (*place, key)[1:], "must be a finite number: JSON has no NaN and no Infinity"
            elif _has_half(key) or _has_half(value):
                return (*place, key)[1:], "has half of a surrogate pair, which is no character"
    return None


def _has_half(text: object) -> bool:
    return isinstance(text, str) and _SURROGATE.search(text) is not None


def _of_field(place: Place, rule: str) -> Refusal:
    """A place in the body as `artifacts.0.path`, and the rule that it broke."""
    name = ".".join(str(part) for part in place).encode("utf-8", "replace").decode() or "body"
    return Refusal("invalid_request", f"{name[:FIELD_CHARS_MAX]} {rule}.", {"field": name[:FIELD_CHARS_MAX]})
