"""The texts by which programs find their way: llms.txt, auth.md, the API catalogue (CONTRACT §2)."""

from __future__ import annotations

from functools import cache

from api.operation_tables.discovery import HTML, MARKDOWN, OPENAPI
from api.operations import OPERATIONS, tags
from evidence.canonical import encode
from runs.access import OWN_SCOPES, SCOPES

_LLMS_HEAD = """\
# CrowNest

> Runs a command over an uploaded archive in a sandbox and keeps durable, replayable, checkable proof of
> what happened: every run is an append-only list of events, numbered 1, 2, 3 …

A run takes six calls: create it, create a transfer, PUT the gzipped tar to its `uploadUrl`, finalize,
start, and follow the events with `stream=true` until `terminal`. After a lost connection go on with
`afterSeq` set to the last seq that you saw. The evidence can be read as soon as `terminal` is seen.
What runs elsewhere is recorded instead: create a run of template `external`, append batches of output
with `POST …/events` (or through the WebSocket `…/events/session`), and end it with `POST …/finish`.
Every call takes `Authorization: Bearer <API key>`; a refusal is
`{"error": {"code", "message", "requestId", "retryable"}}`, and its message says what to do next. Send
`Idempotency-Key` with what creates or changes something, so that it can be retried.

## Documents

- [OpenAPI 3.1](/openapi.json): every operation, every object
- [Reference](/docs): the same for people
- [Authentication](/auth.md): keys and scopes
- [Catalogue](/.well-known/api-catalog): links for machines
"""

_AUTH_HEAD = """\
# Authentication

Send an API key with each request: `Authorization: Bearer cn_live_…`. There is nothing to sign and no session.

The first start of a server prints the first key, which has every scope. More keys are made with
`crownest keys create`, or `POST /v1/api-keys` by a key that has `api_key:create`; a new key may do at
most what its maker may. The secret is shown once and stored as a hash. `DELETE /v1/api-keys/{id}` revokes
a key for good and ends what it has open.

| answer | when | what to do |
|---|---|---|
| 401 `unauthorized` | no key, or one that is unknown or revoked | send a valid key |
| 403 `forbidden` | it lacks `details.requiredScope`, or may not use the project | use another key |
| 404 `not_found` | there is no such thing, or the key may not see it | check the id |

A key may be restricted to projects: it then sees only what belongs to them. This server knows no agent
identities and no OAuth: a program gets an API key of its own, with the scopes that it needs.

## Scopes
"""


@cache
def llms_txt() -> bytes:
    """A short index in Markdown of what there is, for language models."""
    lines = [_LLMS_HEAD]
    for tag in tags():
        lines.append(f"## {tag}\n")
        lines += [
            f"- `{o.method} {o.path}` {o.summary}" for o in OPERATIONS if o.tag == tag and not o.successor
        ]
        lines.append("")
    return "\n".join(lines).encode()


@cache
def auth_md() -> bytes:
    """How to authenticate, and which scope which operation wants."""
    lines = [_AUTH_HEAD, "| scope | for |", "|---|---|"]
    for scope in (*SCOPES, *OWN_SCOPES):
        uses = [f"`{o.method} {o.path}`" for o in OPERATIONS if o.scope == scope and not o.successor]
        lines.append(f"| `{scope}` | {', '.join(uses) or 'nothing yet'} |")
    return ("\n".join(lines) + "\n").encode()


@cache
def api_catalog() -> bytes:
    """Links to the documents (RFC 9727, RFC 9264), relative so that they are right behind any address."""
    links = {
        "anchor": "/v1",
        "service-desc": [{"href": "/openapi.json", "type": OPENAPI}],
        "service-doc": [{"href": "/docs", "type": HTML}, {"href": "/llms.txt", "type": MARKDOWN}],
        "service-meta": [{"href": "/auth.md", "type": MARKDOWN}],
        "status": [{"href": "/healthz", "type": "application/json"}],
    }
    return encode({"linkset": [links]})
