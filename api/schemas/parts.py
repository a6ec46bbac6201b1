"""The pieces that schemas are made of: ids, times, digests, references, pages (CONTRACT §1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
SEQ: Schema = {"type": "integer", "minimum": 1}
TIME: Schema = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
}
"""ISO 8601 in UTC with milliseconds."""
SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
BASE64: Schema = {"type": "string", "contentEncoding": "base64"}
LABELS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
ANY_OBJECT: Schema = {"type": "object"}


def one_of(*values: str) -> Schema:
    """One of these words."""
    return {"type": "string", "enum": list(values)}


def constant(value: str | bool) -> Schema:  # noqa: FBT001 # the constant itself, not a switch
    """Exactly this value."""
    return {"const": value}


def identifier(prefix: str) -> Schema:
    """An id such as `wsr_…` (CONTRACT §1)."""
    return {"type": "string", "pattern": f"^{prefix}_[A-Za-z0-9]+$"}


def ref(name: str) -> Schema:
    """The component schema of this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(items: Schema, **more: Any) -> Schema:
    """An array of these."""
    return {"type": "array", "items": items, **more}


def described(schema: Schema, description: str) -> Schema:
    """The schema with a sentence for readers; OpenAPI 3.1 allows it beside a reference too."""
    return {**schema, "description": description}


def record(
    required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None, **more: Any
) -> Schema:
    """An object with these fields; others may come and are to be tolerated (CONTRACT §1)."""
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
        "additionalProperties": True,
        **more,
    }


def wraps(**fields: str) -> Schema:
    """The answer `{name: object}` around component schemas."""
    return record({name: ref(schema) for name, schema in fields.items()})


def page(items: Schema) -> Schema:
    """`{data, hasMore, nextCursor?}`: without `nextCursor` it is the last page (CONTRACT §1)."""
    return record(
        {"data": list_of(items), "hasMore": FLAG}, {"nextCursor": {"type": "string", "minLength": 1}}
    )


def sequence_page(items: Schema) -> Schema:
    """`{data, hasMore, nextSeq?}`: `nextSeq`, the last seq in it, is the next `afterSeq` (§6.2)."""
    return record({"data": list_of(items), "hasMore": FLAG}, {"nextSeq": SEQ})


def only(schema: Schema, names: Sequence[str]) -> Schema:
    """The schema with these of its fields required as well."""
    return {**schema, "required": [*schema["required"], *names]}
