"""Routes without a key that tell people and programs what there is (CONTRACT §2)."""

from __future__ import annotations

from api.operation_tables.operation import Operation, as_json
from api.schemas.parts import TEXT, ref

OPENAPI = "application/vnd.oai.openapi+json"
LINKSET = "application/linkset+json"
MARKDOWN = "text/markdown"

DISCOVERY_OPERATIONS = (
    Operation(
        "GET", "/healthz", "getHealth", "Discovery", "Whether the server answers",
        is_public=True, answer=as_json(ref("Health")),
    ),
    Operation(
        "GET", "/openapi.json", "getOpenApi", "Discovery", "This document",
        is_public=True, answer={OPENAPI: ref("OpenApiDocument")},
        also={304: "The copy that you have is current."},
    ),
    Operation(
        "GET", "/.well-known/api-catalog", "getApiCatalog", "Discovery", "Where the documents are (RFC 9727)",
        is_public=True, answer={LINKSET: ref("Linkset")},
    ),
    Operation(
        "GET", "/llms.txt", "getApiLlmsTxt", "Discovery", "A short index for language models",
        is_public=True, answer={MARKDOWN: TEXT},
    ),
    Operation(
        "GET", "/auth.md", "getAuthMd", "Discovery", "How to authenticate",
        is_public=True, answer={MARKDOWN: TEXT},
    ),
    Operation(
        "GET", "/docs", "getReference", "Discovery", "The reference for people",
        is_public=True, answer={"text/html": TEXT},
    ),
)  # fmt: skip
