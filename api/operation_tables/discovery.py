"""Routes without a key that tell people and programs what there is (CONTRACT §2)."""

from __future__ import annotations

from api.operation_tables.operation import Operation, as_json
from api.schemas.parts import TEXT, ref

OPENAPI = "application/vnd.oai.openapi+json"
LINKSET = "application/linkset+json"
MARKDOWN = "text/markdown"
HTML = "text/html"
CURRENT = {304: "The copy that `If-None-Match` names is current."}

DISCOVERY_OPERATIONS = (
    Operation(
        "GET", "/healthz", "getHealth", "Discovery", "Whether the server answers",
        is_public=True, answer=as_json(ref("Health")),
    ),
    Operation(
        "GET", "/openapi.json", "getOpenApi", "Discovery", "This document",
        is_public=True, answer={OPENAPI: ref("OpenApiDocument")}, also=CURRENT,
    ),
    Operation(
        "GET", "/.well-known/api-catalog", "getApiCatalog", "Discovery", "Where the documents are (RFC 9727)",
        is_public=True, answer={LINKSET: ref("Linkset")}, also=CURRENT,
    ),
    Operation(
        "GET", "/llms.txt", "getApiLlmsTxt", "Discovery", "A short index for language models",
        is_public=True, answer={MARKDOWN: TEXT}, also=CURRENT,
    ),
    Operation(
        "GET", "/auth.md", "getAuthMd", "Discovery", "How to authenticate",
        is_public=True, answer={MARKDOWN: TEXT}, also=CURRENT,
    ),
    Operation(
        "GET", "/docs", "getReference", "Discovery", "The reference for people",
        is_public=True, answer={HTML: TEXT}, also=CURRENT,
    ),
    Operation(
        "GET", "/docs/{page}", "getReferencePage", "Discovery", "A page of the reference",
        is_public=True, answer={HTML: TEXT, "text/css": TEXT}, also=CURRENT,
    ),
)  # fmt: skip
