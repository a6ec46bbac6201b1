"""A call of an operation as a person types it into a shell."""

from __future__ import annotations

import json
import re

from api.operation_tables.fields import EXAMPLES
from api.operation_tables.operation import BYTES, JSON, SSE, Operation

LINE_CHARS_MAX = 56
_ARCHIVE = "archive.tar.gz"
_HEADERS = {
    "x-crownest-archive-sha256": f"$(sha256sum < {_ARCHIVE} | cut -c 1-64)",
    "x-crownest-archive-size": f"$(wc -c < {_ARCHIVE})",
}
_QUERY = {"path": "report.xml", "from": "100"}
"""Values of parameters that must be given."""
_FILES = {"application/zip": "run.proof.zip", BYTES: "content"}


def curl(operation: Operation) -> str:
    """The call over several lines; ids are shell variables such as `$RUN_ID`."""
    lines = [f'curl "{_url(operation)}"']
    if operation.method != "GET":
        lines[0] = f'curl -X {operation.method} "{_url(operation)}"'
    if not operation.is_public:
        lines.append('-H "Authorization: Bearer $CROWNEST_API_KEY"')
    if operation.is_idempotent:
        lines.append('-H "Idempotency-Key: $(uuidgen)"')
    if SSE in operation.answer:
        lines.append(f'-N -H "Accept: {SSE}"')
    headers = (p.name for p in operation.parameters if p.where == "header" and p.required)
    lines += [f'-H "{name}: {_HEADERS[name]}"' for name in headers]
    if operation.upload is not None:
        lines += [f'-H "Content-Type: {operation.upload}"', f"--data-binary @{_ARCHIVE}"]
    elif operation.body is not None:
        lines += [f'-H "Content-Type: {JSON}"', f"-d '{json_example(operation)}'"]
    media = next(iter(operation.answer), "")
    if media in _FILES:
        lines.append(f"-o {_FILES[media]}")
    return " \\\n  ".join(lines)


def json_example(operation: Operation) -> str:
    """The example of the operation's body; no quotation mark of the shell occurs in it."""
    assert operation.body is not None, "only operations with a body have an example of one"
    # Not the canonical bytes: people read it, so fields keep their order, on lines of their own when long.
    example = EXAMPLES[operation.body.__name__]
    short = json.JSONEncoder(ensure_ascii=False).encode(example)
    if len(short) <= LINE_CHARS_MAX:
        return short
    return json.JSONEncoder(ensure_ascii=False, indent=2).encode(example)


def _url(operation: Operation) -> str:
    path = re.sub(r"\{(\w+)\}", lambda found: f"${found[1].upper()}", operation.path)
    query = [f"{p.name}={_QUERY[p.name]}" for p in operation.parameters if p.required and p.where == "query"]
    return "$CROWNEST_API_URL" + path + ("?" + "&".join(query) if query else "")
