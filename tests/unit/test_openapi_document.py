"""The OpenAPI document says of every operation what it takes, answers and refuses."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.errors import STATUS
from api.openapi import document, document_bytes
from api.operation_tables.fields import EXAMPLES, FIELDS
from api.operation_tables.operation import Operation
from api.operations import BY_ID, OPERATIONS
from api.schemas.events import ORGANIZATION_EVENT_TYPES
from evidence.canonical import decode, encode
from projections.organization import _HANDLERS
from projections.usage import _METERS
from runs.access import OWN_SCOPES, SCOPES

DOCUMENT: dict[str, Any] = decode(document_bytes())
each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def test_the_document_is_valid_openapi_31() -> None:
    """An independent validator finds nothing wrong with it, defaults and examples included."""
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_the_validator_can_find_something_wrong() -> None:
    """The check above would fail for a document with a parameter that stands nowhere."""
    broken = document()
    del broken["paths"]["/v1/workspace-runs/{run_id}"]["get"]["parameters"]
    assert list(OpenAPIV31SpecValidator(broken).iter_errors())


def test_the_document_is_the_same_bytes_each_time() -> None:
    """Its ETag changes only when the interface does."""
    assert encode(document()) == encode(document()) == document_bytes()


def test_every_component_schema_is_used() -> None:
    """No schema is left behind by an operation that went; events are in streams, which are text."""
    used = {name.rsplit("/", 1)[1] for name in _references(DOCUMENT)}
    in_streams = {"CommandEvent"}
    assert set(DOCUMENT["components"]["schemas"]) - used <= in_streams


def test_names_are_unique() -> None:
    """Operation ids and pairs of method and path are each there once."""
    assert len(BY_ID) == len(OPERATIONS)
    assert len({(o.method, o.path) for o in OPERATIONS}) == len(OPERATIONS)


@each_operation
def test_an_operation_is_documented_with_its_errors(operation: Operation) -> None:
    """Each code stands under the status that the server answers it with, and no other code does."""
    responses = DOCUMENT["paths"][operation.path][operation.method.lower()]["responses"]
    found: dict[str, int] = {}
    for status, response in responses.items():
        if int(status) < 400:
            continue
        name = response.get("$ref", "").rsplit("/", 1)[-1]
        stated = DOCUMENT["components"]["responses"][name] if name else response
        schema = stated["content"]["application/json"]["schema"]["allOf"]
        assert schema[0] == {"$ref": "#/components/schemas/Error"}
        found |= dict.fromkeys(schema[1]["properties"]["error"]["properties"]["code"]["enum"], int(status))
    assert found == {code: STATUS[code] for code in operation.codes}


@each_operation
def test_an_operation_says_who_may_call_it(operation: Operation) -> None:
    """A key or none, and a scope that keys can have."""
    stated = DOCUMENT["paths"][operation.path][operation.method.lower()]
    assert stated["security"] == ([] if operation.is_public else [{"bearerAuth": []}])
    assert stated.get("x-required-scope") == operation.scope
    assert operation.scope is None or operation.scope in {*SCOPES, *OWN_SCOPES}


@each_operation
def test_an_operation_names_every_part_of_its_path(operation: Operation) -> None:
    """Parameters of the path are those in its braces, in order."""
    assert [p.name for p in operation.path_parameters] == re.findall(r"\{(\w+)\}", operation.path)


def test_deprecated_aliases_name_what_takes_their_place() -> None:
    """The older names of gen-1 clients are marked, and nothing else is (CONTRACT §10)."""
    aliases = {
        o.path.rsplit("/v1/sandboxes/{sandbox_id}", 1)[1]: o.successor for o in OPERATIONS if o.successor
    }
    assert aliases == {
        "/extend": "setSandboxTtl",
        "/commands/run": "createCommand",
        "/commands/start": "createCommand",
    }
    for operation in OPERATIONS:
        stated = DOCUMENT["paths"][operation.path][operation.method.lower()]
        assert stated.get("deprecated", False) is (operation.successor is not None)


def test_every_event_of_an_organisation_that_is_folded_is_described() -> None:
    """What the views and the meters know of is in the document, also what decision 0906 added."""
    assert {*_HANDLERS, *_METERS} <= set(ORGANIZATION_EVENT_TYPES)


def test_what_is_made_links_to_what_can_be_done_with_it() -> None:
    """Each creation but that of an organisation, with a value for every part of the linked path."""
    creations = {o.id for o in OPERATIONS if o.status == 201} - {"createOrganization", "redactWorkspaceRun"}
    linking = {o.id: links for o in OPERATIONS if (links := _links(o))}
    assert set(linking) == creations | {"createCommand", "setSecret"}
    for links in linking.values():
        for name, link in links.items():
            assert name == link["operationId"]
            assert set(link["parameters"]) == {p.name for p in BY_ID[name].path_parameters}
    assert linking["createUser"]["removeUser"]["parameters"] == {
        "org_id": "$request.path.org_id", "user_id": "$response.body#/user/id",
    }  # fmt: skip


def _links(operation: Operation) -> dict[str, Any]:
    stated = DOCUMENT["paths"][operation.path][operation.method.lower()]
    found: dict[str, Any] = stated["responses"][str(operation.status)].get("links", {})
    return found


BODIES = {o.body.__name__: o.body for o in OPERATIONS if o.body is not None}


@pytest.mark.parametrize("name", sorted(BODIES))
def test_the_example_of_a_body_is_one(name: str) -> None:
    """What the reference shows is accepted, and no field of it is ignored."""
    shown = BODIES[name].model_validate(EXAMPLES[name]).model_dump(by_alias=True, exclude_unset=True)
    assert shown == EXAMPLES[name]


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_the_fields_of_a_body_are_all_explained(name: str) -> None:
    """Every field that a body has is explained, and no other one."""
    assert set(FIELDS[name]) == set(DOCUMENT["components"]["schemas"][name]["properties"])
