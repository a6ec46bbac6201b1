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
    with suppress(ValueError, RecursionError):
        odd = _odd(json.loads(data), ())
        if odd is not None:
            return _of_field(*odd)
    return Refusal("invalid_request", f"The body is not valid JSON: {error}")


def _odd(value: object, place: Place) -> tuple[Place, str] | None:
    """Where a value, or a key, is something that JSON has not; and the rule that it broke."""
    if isinstance(value, float) and not math.isfinite(value):
        return place, "must be a finite number: JSON has no NaN and no Infinity"
    if isinstance(value, str) and _SURROGATE.search(value):
        return place, "has half of a surrogate pair, which is no character"
    items: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
    elif isinstance(value, list):
        items = enumerate(cast("list[object]", value))
    found = (_odd(key, (*place, key)) or _odd(inner, (*place, key)) for key, inner in items)
    return next((one for one in found if one is not None), None)


def _of_field(place: Place, rule: str) -> Refusal:
    """A place in the body as `artifacts.0.path`, and the rule that it broke."""
    name = ".".join(str(part) for part in place).encode("utf-8", "replace").decode() or "body"
    return Refusal("invalid_request", f"{name[:FIELD_CHARS_MAX]} {rule}.", {"field": name[:FIELD_CHARS_MAX]})
