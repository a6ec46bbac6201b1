"""JSON Schemas as people read them: a short word for each type, one row for each field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from api.schemas.parts import Schema

_REF = "#/components/schemas/"


@dataclass(frozen=True, slots=True)
class Words:
    """A type in words; `link` names the object that it is or holds."""

    text: str
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an object; `depth` counts the objects around it."""

    name: str
    words: Words
    description: str
    is_required: bool
    depth: int = 0


def words(schema: Schema) -> Words:
    """The type in a few words, with its bounds."""
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix(_REF)
        return Words(name, name)
    if "anyOf" in schema:
        return _either(schema)
    if "const" in schema:
        return Words(_literal(schema["const"]))
    if "enum" in schema:
        return Words(" | ".join(_literal(value) for value in schema["enum"]))
    return _typed(schema.get("type", "any value"), schema)


def _typed(kind: str, schema: Schema) -> Words:
    if kind == "array":
        items = words(schema.get("items", {}))
        return Words(f"array of {items.text}", items.link)
    if (
        kind == "object"
        and isinstance(schema.get("additionalProperties"), Mapping)
        and "properties" not in schema
    ):
        value = words(schema["additionalProperties"])
        return Words(f"object of {value.text}", value.link)
    return Words(_plain(kind, schema))


def fields(schema: Schema, schemas: Mapping[str, Schema], depth: int = 0) -> Iterator[Field]:
    """The fields of an object; those of a body inside a body follow indented."""
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        said = words(field)
        yield Field(name, said, field.get("description", ""), name in required, depth)
        if said.link is not None and said.link.endswith("Body"):
            yield from fields(schemas[said.link], schemas, depth + 1)
        elif "properties" in field:
            yield from fields(field, schemas, depth + 1)


def _either(schema: Schema) -> Words:
    parts = [words(branch) for branch in schema["anyOf"] if branch != {"type": "null"}]
    link = next((part.link for part in parts if part.link), None)
    return Words(" or ".join(part.text for part in parts), link)


def _plain(kind: str, schema: Schema) -> str:
    if kind == "string" and schema.get("format") == "date-time":
        return "time"
    pattern = str(schema.get("pattern", ""))
    if kind == "string" and pattern.endswith("_[A-Za-z0-9]+$"):
        return f"id {pattern[1:].removesuffix('[A-Za-z0-9]+$')}…"
    if kind == "string" and "{64}" in pattern:
        return "64 hexadecimal digits"
    return " ".join([kind, *_bounds(kind, schema)])


def _bounds(kind: str, schema: Schema) -> Iterator[str]:
    low, high = ("minimum", "maximum") if kind in {"integer", "number"} else ("minLength", "maxLength")
    least, most = schema.get(low), schema.get(high)
    unit = "" if low == "minimum" else " characters"
    if most is not None and most < 2**53 - 1:
        yield (f"{least:,} to {most:,}" if least is not None else f"up to {most:,}") + unit
    elif least is not None and least > 0 and not unit:
        yield f"from {least}"
    if schema.get("default") not in (None, [], {}):
        yield f"= {_literal(schema['default'])}"


def _literal(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
