"""The commands create, upload, start, status and cancel: one request, one answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import output
from cli.lazy import ExampleCommand
from cli.options import (
    ARCHIVE,
    JSON,
    RUN_ID,
    Sha256,
    create_options,
    measured,
    run_request,
    session,
)

if TYPE_CHECKING:
    from client.shapes import WorkspaceRun

FIRST_FIELDS = ("id", "status", "exitCode", "failureReason", "failureClass", "failureMessage", "command")


def show_run(run: WorkspaceRun, *, as_json: bool) -> None:
    """Print a run: as it came in JSON mode, else one field a line with the telling ones first."""
    if as_json:
        output.json_data(run)
        return
    fields: Mapping[str, object] = dict(run)
    first = {key: fields[key] for key in FIRST_FIELDS if key in fields}
    output.record({**first, **fields})


@click.command(
    cls=ExampleCommand,
    examples=(
        "crownest workspace-runs create \\",
        '  --template python-node --command "pnpm test" --metadata repo=acme/app',
    ),
)
@click.option(
    "--command", "command", metavar="COMMAND", required=True, help="Shell command to run after extraction."
)
@create_options
@JSON
def create(*, command: str, as_json: bool, idempotency_key: str | None, **options: Any) -> None:
    """Create a Workspace Run record.

    The run then waits for its archive: upload it, then start the run.
    """
    if not command:
        raise click.BadParameter("must not be empty.", param_hint="'--command'")
    with session() as client:
        run = client.create_run(run_request(command, options), idempotency_key=idempotency_key)
    show_run(run, as_json=as_json)
    if not as_json:
        output.hint(f"next: crownest workspace-runs upload {run['id']} <archive.tgz>")


@click.command(cls=ExampleCommand, examples=("crownest workspace-runs upload wsr_abc123 repo.tgz",))
@RUN_ID
@ARCHIVE
@click.option(
    "--sha256", metavar="HEX", type=Sha256(), help="Refuse to upload unless the file has this SHA-256."
)
@JSON
def upload(*, run_id: str, archive_path: Path, sha256: str | None, as_json: bool) -> None:
    """Upload an existing archive to a run.

    The archive must be a file ending in .tgz or .tar.gz. The server takes up to 8 MiB unless its
    operator chose another limit.
    """
    from cli.progress import upload_progress

    archive = measured(archive_path)
    if sha256 is not None and sha256 != archive.sha256:
        raise click.BadParameter(f"the file has {archive.sha256}, not {sha256}.", param_hint="'--sha256'")
    with session(run_id) as client, upload_progress(archive.size_bytes) as on_progress:
        answer = client.upload_staged(run_id, archive, on_progress=on_progress)
    if as_json:
        output.json_data(answer)
        return
    run = answer["workspaceRun"]
    facts = {"sha256": archive.sha256, "sizeBytes": archive.size_bytes}
    output.record({"id": run["id"], "status": run["status"], **facts})
    output.hint(f"next: crownest workspace-runs start {run_id}")


@click.command(cls=ExampleCommand, examples=("crownest workspace-runs start wsr_abc123",))
@RUN_ID
@JSON
def start(*, run_id: str, as_json: bool) -> None:
    """Start extraction and command execution.

    Starting a run again changes nothing.
    """
    with session(run_id) as client:
        run = client.start_run(run_id)
    show_run(run, as_json=as_json)
    if not as_json:
        output.hint(f"next: crownest workspace-runs logs {run_id}")


@click.command(
    cls=ExampleCommand, examples=("crownest workspace-runs status wsr_abc123 --json | jq .data.exitCode",)
)
@RUN_ID
@JSON
def status(*, run_id: str, as_json: bool) -> None:
    """Retrieve current run status."""
    with session(run_id) as client:
        run = client.get_run(run_id)
    show_run(run, as_json=as_json)


@click.command(cls=ExampleCommand, examples=("crownest workspace-runs cancel wsr_abc123",))
@RUN_ID
@JSON
def cancel(*, run_id: str, as_json: bool) -> None:
    """Cancel an active run.

    Canceling a run that has ended answers its present state.
    """
    with session(run_id) as client:
        run = client.cancel_run(run_id)
    show_run(run, as_json=as_json)
