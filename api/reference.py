"""The reference for people: HTML made on the server from the table of operations, without script or net."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from api.curl import curl
from api.openapi import VERSION, body_schemas, errors_by_status
from api.operation_tables.operation import Operation, Parameter
from api.operations import BY_ID, OPERATIONS, tags
from api.schemas.catalogue import SCHEMAS
from api.schemas.parts import Schema
from api.shapes import Field, Words, fields, words
from api.templating import templates_of
from runs.access import OWN_SCOPES, SCOPES

if TYPE_CHECKING:
    from jinja2 import Environment

OBJECTS = "objects"
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True)
class Answered:
    """A successful answer: its media type, what it holds, and its fields where it is a small object."""

    status: int
    media: str
    words: Words | None
    fields: Sequence[Field]
    description: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation as its page shows it."""

    operation: Operation
    parameters: Sequence[tuple[Parameter, Words]]
    body: Sequence[Field]
    answers: Sequence[Answered]
    errors: Mapping[int, Sequence[str]]
    curl: str
    successor: Operation | None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the reference: `name` is the last part of its address."""

    name: str
    title: str
    template: str
    content: Mapping[str, Any]


def slug(tag: str) -> str:
    """The address of a tag's page."""
    return tag.lower().replace(" ", "-")


@cache
def pages() -> Mapping[str, Page]:
    """Every page by its name; the first one's is empty."""
    by_tag = {tag: [o for o in OPERATIONS if o.tag == tag] for tag in tags()}
    objects = [(name, schema, list(fields(schema, SCHEMAS))) for name, schema in SCHEMAS.items()]
    made = [
        Page("", "Reference", "overview.html", {"by_tag": by_tag, "scopes": (*SCOPES, *OWN_SCOPES)}),
        *(
            Page(slug(tag), tag, "operations.html", {"entries": [entry(o) for o in by_tag[tag]]})
            for tag in by_tag
        ),
        Page(OBJECTS, "Objects", "objects.html", {"objects": objects, "words": words}),
    ]
    return {page.name: page for page in made}


@cache
def page_html(name: str) -> bytes | None:
    """The page of this name, None when there is none."""
    page = pages().get(name)
    if page is None:
        return None
    template = _environment().get_template(page.template)
    return template.render(page=page, tags=tags(), slug=slug, version=VERSION, **page.content).encode()


@cache
def style_css() -> bytes:
    """The style sheet of every page: the design's tokens, then the reference's own rules."""
    tokens = files("api.dashboard") / "static" / "css" / "tokens.css"
    return tokens.read_bytes() + (files("api") / "static" / "reference.css").read_bytes()


def entry(operation: Operation) -> Entry:
    """What the page shows of one operation."""
    bodies = body_schemas()
    name = operation.body.__name__ if operation.body else None
    return Entry(
        operation,
        [(parameter, words(parameter.schema)) for parameter in operation.all_parameters],
        list(fields(bodies[name], bodies)) if name else [],
        list(_answers(operation)),
        errors_by_status(operation.codes),
        curl(operation),
        BY_ID[operation.successor] if operation.successor else None,
    )


def _answers(operation: Operation) -> list[Answered]:
    found = [_answered(operation.status, media, schema) for media, schema in operation.answer.items()]
    if not found:
        found.append(Answered(operation.status, "", None, (), "No body."))
    return found + [Answered(status, "", None, (), text) for status, text in operation.also.items()]


def _answered(status: int, media: str, schema: Schema) -> Answered:
    inline = list(fields(schema, SCHEMAS))
    said = words(schema) if "$ref" in schema else None
    return Answered(status, media, said, inline, schema.get("description", ""))


@cache
def _environment() -> Environment:
    made = templates_of("api")
    made.filters["prose"] = prose
    made.filters["breakable"] = breakable
    return made


def breakable(path: str) -> Markup:
    """An escaped path that a narrow window breaks at its slashes."""
    return Markup("<wbr>/").join(path.split("/"))


def prose(text: str) -> Markup:
    """Escaped text whose `…` became code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 # escaped one call before
