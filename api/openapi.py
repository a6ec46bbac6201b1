"""The OpenAPI 3.1 document, made from the table of operations and the component schemas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic.alias_generators import to_pascal
from pydantic.json_schema import models_json_schema

from api.errors import RETRYABLE, STATUS
from api.links import links_of
from api.operation_tables.fields import EXAMPLES, FIELDS
from api.operation_tables.operation import (
    IDEMPOTENCY_KEY,
    JSON,
    METADATA,
    PAGE_PARAMETERS,
    Operation,
    Parameter,
)
from api.operations import BY_ID, OPERATIONS, tags
from api.schemas.catalogue import SCHEMAS
from api.schemas.parts import Schema, ref
from evidence.canonical import encode

VERSION = "1.0.0"
DESCRIPTION = """\
Runs a command over an uploaded archive in a sandbox and keeps durable, replayable, checkable proof of what \
happened. Answers may hold fields that are not named here, and enums of events may grow: ignore what you do \
not know. Every refusal has the shape of the schema Error, and every answer the header `x-request-id`."""

NULL: Schema = {"type": "null"}
_SHARED_PARAMETERS = {"idempotencyKey": IDEMPOTENCY_KEY} | {p.name: p for p in PAGE_PARAMETERS}
_SHARED_NAMES = {parameter: name for name, parameter in ((n, id(p)) for n, p in _SHARED_PARAMETERS.items())}
_HEADERS: Mapping[str, Mapping[str, Any]] = {
    "x-request-id": {
        "description": "The id of this request in the server's log.",
        "schema": {"type": "string", "pattern": "^req_[a-z2-7]+$"},
    },
    "retry-after": {"description": "Seconds to wait before trying again.", "schema": {"type": "integer"}},
    "deprecation": {
        "description": "When the route became deprecated, in unix seconds (RFC 9745).",
        "schema": {"type": "string", "pattern": "^@[0-9]+$"},
    },
    "link": {"description": "The route that takes its place.", "schema": {"type": "string"}},
}


def document() -> dict[str, Any]:
    """The whole document as a JSON object."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = operation_object(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "CrowNest",
            "version": VERSION,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        # Relative, so that it is right behind any address, proxy or port map.
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in tags()],
        "paths": paths,
        "components": {
            "schemas": {**SCHEMAS, **body_schemas()},
            "parameters": {name: _parameter(parameter) for name, parameter in _SHARED_PARAMETERS.items()},
            "headers": _HEADERS,
            "responses": _error_responses(),
            "securitySchemes": {
                "bearerAuth": {"type": "http", "scheme": "bearer", "description": "An API key, `cn_live_…`."}
            },
        },
    }


@cache
def document_bytes() -> bytes:
    """The document as canonical JSON, the same bytes at each start."""
    return encode(document())


def operation_object(operation: Operation) -> dict[str, Any]:
    """One Operation Object."""
    made: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [_parameter_or_ref(parameter) for parameter in operation.all_parameters],
        "responses": _responses(operation),
        "security": [] if operation.is_public else [{"bearerAuth": []}],
    }
    if operation.description:
        made["description"] = operation.description
    if operation.scope is not None:
        made["x-required-scope"] = operation.scope
    if operation.successor is not None:
        made["deprecated"] = True
        made["x-successor"] = BY_ID[operation.successor].id
    if (body := _request_body(operation)) is not None:
        made["requestBody"] = body
    return made


@cache  # the reference asks once an operation, and making them takes milliseconds
def body_schemas() -> Mapping[str, Schema]:
    """The schemas of request bodies: what their types say, and what `FIELDS` adds."""
    bodies = sorted({o.body for o in OPERATIONS if o.body is not None}, key=lambda body: body.__name__)
    _, made = models_json_schema(
        [(body, "validation") for body in bodies], ref_template="#/components/schemas/{model}"
    )
    return {name: _body_schema(name, schema) for name, schema in made["$defs"].items()}


def errors_by_status(codes: Iterable[str]) -> dict[int, list[str]]:
    """The codes under the status that each is answered with, in order of status."""
    found: dict[int, list[str]] = {}
    for code in codes:
        found.setdefault(STATUS[code], []).append(code)
    return dict(sorted(found.items()))


def _body_schema(name: str, schema: Mapping[str, Any]) -> Schema:
    properties = {
        field: _field(_untitled(prop), FIELDS.get(name, {}).get(field, {}))
        for field, prop in schema["properties"].items()
    }
    return {**_untitled(schema), "properties": properties, "additionalProperties": True}


def _field(schema: Mapping[str, Any], notes: Schema) -> Schema:
    """A field with its notes; of one that may be null they bound the other branch."""
    if "anyOf" not in schema:
        return {**schema, **notes}
    bounds = {key: value for key, value in notes.items() if key != "description"}
    branches = [branch if branch == NULL else {**branch, **bounds} for branch in schema["anyOf"]]
    text = {"description": notes["description"]} if "description" in notes else {}
    return {**schema, "anyOf": branches, **text}


def _untitled(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Without the title that pydantic makes of the name, and the docstring, which is for programmers."""
    return {key: value for key, value in schema.items() if key not in {"title", "description"}}


def _request_body(operation: Operation) -> dict[str, Any] | None:
    if operation.upload is not None:
        return {"required": True, "content": {operation.upload: {}}}
    if operation.body is None:
        return None
    name = operation.body.__name__
    content = {JSON: {"schema": ref(name), "example": EXAMPLES[name]}}
    return {"required": operation.is_body_required, "content": content}


def _responses(operation: Operation) -> dict[str, Any]:
    headers = ["x-request-id"]
    if operation.successor is not None:
        headers += ["deprecation", "link"]
    success: dict[str, Any] = {"description": _phrase(operation.status), "headers": _headers(headers)}
    if operation.answer:
        success["content"] = {
            media: {"schema": schema} if schema.keys() - {"description"} else {}
            for media, schema in operation.answer.items()
        }
    if links := links_of(operation, OPERATIONS):
        success["links"] = links
    made = {str(operation.status): success}
    for status, meaning in operation.also.items():
        other: dict[str, Any] = {"description": meaning, "headers": _headers(headers)}
        if status == HTTPStatus.ACCEPTED:
            other["content"] = success["content"]
        made[str(status)] = other
    for status, codes in errors_by_status(operation.codes).items():
        shared = {"$ref": f"#/components/responses/{to_pascal(codes[0])}"}
        made[str(status)] = shared if len(codes) == 1 else _error_response(status, codes)
    return made


def _error_responses() -> dict[str, Any]:
    """One for each code, for statuses under which an operation has no other."""
    codes = sorted({code for operation in OPERATIONS for code in operation.codes})
    return {to_pascal(code): _error_response(STATUS[code], [code]) for code in codes}


def _error_response(status: int, codes: Sequence[str]) -> dict[str, Any]:
    code = {"properties": {"error": {"properties": {"code": {"enum": list(codes)}}}}}
    waits = status != HTTPStatus.INTERNAL_SERVER_ERROR and not RETRYABLE.isdisjoint(codes)
    return {
        "description": f"{_phrase(status)}: {', '.join(f'`{code}`' for code in codes)}.",
        "headers": _headers(["x-request-id", "retry-after"] if waits else ["x-request-id"]),
        "content": {JSON: {"schema": {"allOf": [ref("Error"), code]}}},
    }


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase


def _parameter_or_ref(parameter: Parameter) -> dict[str, Any]:
    name = _SHARED_NAMES.get(id(parameter))
    return {"$ref": f"#/components/parameters/{name}"} if name else _parameter(parameter)


def _parameter(parameter: Parameter) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.description,
        "required": parameter.required,
        "schema": parameter.schema,
    }
    return made | {"style": "form", "explode": True} if parameter is METADATA else made
