"""The group sandboxes: warm ones made, listed, given more time and killed."""

from __future__ import annotations

import time

import click

from cli import output
from cli.lazy import ExampleCommand
from cli.listing import Item, View, flat, page_options, show_list, show_one, since, when
from cli.options import (
    JSON,
    METADATA,
    TEMPLATE,
    YES,
    Id,
    agreed,
    duration_option,
    idempotency_key_option,
    parse_metadata,
    session,
)
from cli.problems import EXIT_ERROR, EXIT_OK
from cli.sandbox_exec import exec_
from evidence.visible import one_line

SANDBOX_ID = click.argument("sandbox_id", metavar="SANDBOX-ID", type=Id("sbx", "a sandbox's id"))
FIRST_FIELDS = ("id", "status", "templateSlug", "expiresAt", "projectId")
REMEDIES = {
    "not_found": "Check the id, and that the key belongs to the same organisation. "
    "Your sandboxes: crownest sandboxes list",
    "sandbox_destroyed": "Make another one: crownest sandboxes create",
}


@click.group("sandboxes")
def sandboxes() -> None:
    """Create, use and kill warm sandboxes.

    A run makes a sandbox of its own. One that is made here, or kept after a run, stays until its time is
    over: run commands in it, copy files (crownest files), keep results (crownest artifacts), or give it to
    runs with --sandbox and --keep-sandbox.
    """


@sandboxes.command(
    cls=ExampleCommand,
    examples=(
        "crownest sandboxes create --template python --ttl 30m",
        "id=$(crownest sandboxes create --json | jq -r .data.id)",
    ),
)
@click.option("--project", metavar="PRJ_ID", help="Project to create it in.")
@TEMPLATE
@duration_option(
    "ttl", "How long it lives, such as 30m or 2h.  [default: an hour]", "The same in milliseconds."
)
@METADATA
@idempotency_key_option("one sandbox")
@JSON
def create(
    *,
    project: str | None,
    template: str | None,
    ttl_ms: int | None,
    metadata: dict[str, str],
    idempotency_key: str | None,
    as_json: bool,
) -> None:
    """Create a warm sandbox, ready for commands and runs."""
    with session() as client:
        sandbox = client.create_sandbox(
            project_id=project or None,
            template=template or None,
            ttl_ms=ttl_ms,
            metadata=metadata,
            idempotency_key=idempotency_key,
        )
    show_one(sandbox, as_json=as_json, first=FIRST_FIELDS)
    if not as_json:
        output.hint(f"next: crownest sandboxes exec {sandbox['id']} -- COMMAND")


@sandboxes.command(
    "list", cls=ExampleCommand, examples=("crownest sandboxes list", "crownest sandboxes list --all --json")
)
@click.option("--all", "historical", is_flag=True, help="Also those that are destroyed.")
@click.option(
    "--metadata",
    metavar="KEY=VALUE",
    multiple=True,
    callback=parse_metadata,
    help="Only sandboxes with this label. Repeatable.",
)
@page_options
@JSON
def list_sandboxes(
    *, historical: bool, metadata: dict[str, str], limit: int | None, cursor: str | None, as_json: bool
) -> None:
    """List sandboxes that live, newest first."""
    with session() as client:
        page = client.list_sandboxes(metadata=metadata, historical=historical, limit=limit, cursor=cursor)
    show_list(page.items, _VIEW, as_json=as_json, next_cursor=page.next_cursor, cursor=cursor)


@sandboxes.command(
    cls=ExampleCommand, examples=("crownest sandboxes get sbx_abc123 --json | jq .data.status",)
)
@SANDBOX_ID
@JSON
def get(*, sandbox_id: str, as_json: bool) -> None:
    """Show a sandbox, also one that is gone."""
    with session(remedies=REMEDIES) as client:
        sandbox = client.get_sandbox(sandbox_id)
    show_one(sandbox, as_json=as_json, first=FIRST_FIELDS)


@sandboxes.command(cls=ExampleCommand, examples=("crownest sandboxes extend sbx_abc123 --ttl 1h",))
@SANDBOX_ID
@duration_option(
    "ttl", "How long from now on, such as 30m or 2h.", "The same in milliseconds.", is_required=True
)
@JSON
def extend(*, sandbox_id: str, ttl_ms: int, as_json: bool) -> None:
    """Let a sandbox live so much longer, counted from now."""
    with session(remedies=REMEDIES) as client:
        sandbox = client.extend_sandbox(sandbox_id, ttl_ms)
    show_one(sandbox, as_json=as_json, first=FIRST_FIELDS)
    if not as_json:
        output.hint(f"It ends {when(sandbox.get('expiresAt'), time.time())}.")


@sandboxes.command(cls=ExampleCommand, examples=("crownest sandboxes kill sbx_abc123 --yes",))
@SANDBOX_ID
@YES
@JSON
def kill(*, sandbox_id: str, yes: bool, as_json: bool) -> int:
    """Destroy a sandbox with everything in it.

    Its record and its artifacts stay. Killing it again changes nothing.
    """
    if not agreed(f"Destroy {sandbox_id} with everything in it?", yes=yes, as_json=as_json):
        output.note("Nothing was changed.")
        return EXIT_ERROR
    with session(remedies=REMEDIES) as client:
        sandbox = client.delete_sandbox(sandbox_id)
    if as_json:
        output.json_data(sandbox)
    else:
        reason = sandbox.get("destroyedReason", "user_killed")
        output.note(one_line(f"{sandbox['id']} is {sandbox['status']} ({reason})"))
    return EXIT_OK


sandboxes.add_command(exec_)


def _terminal_row(sandbox: Item, now_s: float) -> dict[str, object]:
    over = sandbox.get("destroyedReason")
    return {
        "id": sandbox["id"],
        "status": sandbox["status"],
        "ends": str(over) if over else when(sandbox.get("expiresAt"), now_s),
        "created": since(sandbox.get("createdAt"), now_s),
        "template": sandbox.get("templateSlug"),
        "project": sandbox.get("projectId"),
        "metadata": flat(sandbox.get("metadata") or {}),
    }


_VIEW = View(
    (
        "id", "status", "templateSlug", "createdAt", "expiresAt", "destroyedAt", "destroyedReason",
        "projectId", "metadata",
    ),
    _terminal_row,
    drop_first=("project", "template", "created", "ends"),
    colours={"ready": "green", "running": "green", "destroyed": "red", "failed": "red"},
    empty="No sandbox lives. Make one: crownest sandboxes create",
)  # fmt: skip
