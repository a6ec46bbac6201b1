"""The command list: a page of runs as a table, as lines for programs, or as JSON."""

from __future__ import annotations

import sys
import time

import click

from cli import output
from cli.lazy import ExampleCommand
from cli.listing import age
from cli.options import JSON, WholeNumber, parse_metadata, session
from client.shapes import STATUSES, WorkspaceRun
from evidence.visible import one_line

COLUMNS = ("id", "status", "exit", "template", "createdAt", "took", "command")
TERMINAL_COLUMNS = ("id", "status", "exit", "took", "created", "template", "command")
DROP_FIRST = ("template", "took", "created", "exit")
COLOURS = {"succeeded": "green", "failed": "red", "canceled": "yellow"}


@click.command(
    name="list",
    cls=ExampleCommand,
    examples=(
        "crownest workspace-runs list --status failed",
        "crownest workspace-runs list --metadata repo=acme/app --json | jq '.data[].id'",
    ),
)
@click.option("--project", metavar="PRJ_ID", help="Only runs of this project.")
@click.option("--status", metavar="STATUS", type=click.Choice(STATUSES), help="Only runs in this state.")
@click.option(
    "--metadata",
    metavar="KEY=VALUE",
    multiple=True,
    callback=parse_metadata,
    help="Only runs with this label. Repeatable. (addition)",
)
@click.option("--limit", metavar="N", type=WholeNumber(1, 500), help="At most so many. (addition)")
@click.option("--cursor", metavar="CURSOR", help="Go on where the last page ended. (addition)")
@JSON
def list_runs(
    *,
    project: str | None,
    status: str | None,
    metadata: dict[str, str],
    limit: int | None,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List Workspace Runs, newest first.

    Prints one page. Where its output is piped, columns are separated by tabs and never cut. With
    --json, a page that is not the last has "nextCursor" beside "data".
    """
    with session() as client:
        page = client.list_runs(
            project_id=project, status=status, metadata=metadata, limit=limit, cursor=cursor
        )
    if as_json:
        more = {"hasMore": True, "nextCursor": page.next_cursor} if page.next_cursor else {}
        output.json_data(page.items, **more)
        return
    if output.is_terminal(sys.stdout):
        now_s = time.time()
        rows = [_terminal_row(run, now_s) for run in page.items]
        output.table(TERMINAL_COLUMNS, rows, colours=COLOURS, drop_first=DROP_FIRST)
    else:
        output.lines(COLUMNS, [_row(run) for run in page.items])
    if page.next_cursor:
        output.note(one_line(f"more: repeat with --cursor {page.next_cursor}"))
    elif not page.items and cursor is None:
        output.hint("No runs yet. Make one: crownest workspace-runs run-archive repo.tgz -- COMMAND")


def _row(run: WorkspaceRun) -> list[object]:
    return [
        run["id"],
        run["status"],
        run.get("exitCode"),
        run.get("templateSlug"),
        run.get("createdAt"),
        _took(run),
        run.get("command"),
    ]


def _terminal_row(run: WorkspaceRun, now_s: float) -> list[object]:
    return [
        run["id"],
        run["status"],
        run.get("exitCode"),
        _took(run),
        age(run.get("createdAt", ""), now_s),
        run.get("templateSlug"),
        run.get("command"),
    ]


def _took(run: WorkspaceRun) -> str | None:
    return f"{run['durationMs'] / 1000:.1f}s" if "durationMs" in run else None
