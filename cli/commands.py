"""The group commands: what runs or ran in sandboxes, its output, and how to stop it."""

from __future__ import annotations

import click

from cli.event_output import CommandWriter
from cli.lazy import ExampleCommand
from cli.listing import show_one
from cli.options import JSON, Id, WholeNumber, session
from cli.sandbox_exec import watch

COMMAND_ID = click.argument("command_id", metavar="COMMAND-ID", type=Id("cmd", "a command's id"))
FIRST_FIELDS = ("id", "status", "exitCode", "command", "sandboxId")
REMEDIES = {"not_found": "Check the id, and that the key belongs to the same organisation."}
LOGS_PER_PAGE = 500


@click.group("commands")
def commands() -> None:
    """Read and cancel commands in sandboxes.

    They are started by crownest sandboxes exec. Commands of runs are read with crownest workspace-runs.
    """


@commands.command(
    cls=ExampleCommand, examples=("crownest commands get cmd_abc123 --json | jq .data.exitCode",)
)
@COMMAND_ID
@JSON
def get(*, command_id: str, as_json: bool) -> None:
    """Show a command and how it ended."""
    with session(remedies=REMEDIES) as client:
        command = client.get_command(command_id)
    show_one(command, as_json=as_json, first=FIRST_FIELDS)


@commands.command(
    cls=ExampleCommand,
    examples=("crownest commands logs cmd_abc123", "crownest commands logs cmd_abc123 --no-follow --json"),
)
@COMMAND_ID
@click.option("--after-seq", metavar="N", type=WholeNumber(0), default=0, help="Resume after this number.")
@click.option("--no-follow", is_flag=True, help="Print what is there now and do not wait for more.")
@JSON
def logs(*, command_id: str, after_seq: int, no_follow: bool, as_json: bool) -> None:
    """Stream a command's output, to its end if it still runs.

    What it wrote to stdout comes out on stdout, the rest on stderr. Exits 0 whatever became of the
    command; Ctrl-C does not stop it.
    """
    with session(remedies=REMEDIES) as client:
        if not no_follow:
            watch(client, command_id, as_json=as_json, after_seq=after_seq)
            return
        writer, more = CommandWriter(as_json=as_json), True
        while more:
            page = client.command_logs(command_id, after_seq=after_seq, limit=LOGS_PER_PAGE)
            for event in page.events:
                writer.write(event)
            after_seq, more = writer.last_seq, page.has_more and bool(page.events)
        writer.finish()


@commands.command(cls=ExampleCommand, examples=("crownest commands cancel cmd_abc123",))
@COMMAND_ID
@click.option("--force", is_flag=True, help="Kill it instead of asking it to end.")
@JSON
def cancel(*, command_id: str, force: bool, as_json: bool) -> None:
    """Cancel a command that runs.

    Canceling one that has ended answers its present state.
    """
    with session(remedies=REMEDIES) as client:
        command = client.cancel_command(command_id, force=force)
    show_one(command, as_json=as_json, first=FIRST_FIELDS)
