"""The OpenAPI document made ready for generated requests: without endless streams, with ids that exist."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.isolation.fixtures import FIXTURES
from tests.isolation.things import Maker

STREAMS = frozenset({"streamCommandLogs"})
Operation = dict[str, Any]


def without_streams(document: dict[str, Any]) -> int:
    """Take out what never ends, so that each request has an answer; how many operations are left."""
    count = 0
    for methods in document["paths"].values():
        for method, operation in list(methods.items()):
            if operation["operationId"] in STREAMS:
                del methods[method]
                continue
            count += 1
            operation["parameters"] = [p for p in operation["parameters"] if p.get("name") != "stream"]
            for response in operation["responses"].values():
                for name in STREAMS & set(response.get("links", {})):
                    del response["links"][name]
    document["paths"] = {path: methods for path, methods in document["paths"].items() if methods}
    return count


def with_real_things(document: dict[str, Any], maker: Maker) -> None:
    """Beside what its schema says, let each id and body also be one with which the request succeeds.

    A generated id is of nothing, so that almost every request would end at 404.
    """
    for operation in _operations(document):
        call = FIXTURES[operation["operationId"]].make(maker)
        known = {**call.ids, **call.query}
        for parameter in operation["parameters"]:
            if parameter.get("name") in known and parameter["name"] not in {"limit", "from"}:
                parameter["schema"] = _or_else(parameter["schema"], known[parameter["name"]])
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is not None and call.json is not None:
            content["schema"] = _or_else(content["schema"], call.json)


def _or_else(schema: dict[str, Any], value: object) -> dict[str, Any]:
    return {"anyOf": [{"const": value}, schema]}


def _operations(document: dict[str, Any]) -> Iterator[Operation]:
    for methods in document["paths"].values():
        yield from methods.values()
