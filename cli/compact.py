"""`crownest compact`: sealed runs of a stopped server's folder packed, or unpacked, and the file shrunk."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import output
from cli.problems import failure
from cli.rebuild import data_option, json_option, log_of
from cli.settings import load_settings
from cli.wiring import now_ms
from eventstore.log import LogError
from eventstore.sqlite import maintenance, migrations
from eventstore.sqlite.folder import DataFolder

if TYPE_CHECKING:
    from collections.abc import Callable


@click.command("compact")
@click.option("--expand", is_flag=True, help="The other way: turn all packs back into rows.")
@data_option
@json_option
def compact(*, expand: bool, data_dir: Path | None, as_json: bool) -> None:
    """Pack sealed runs and shrink the database.

    A server does the same by itself a minute after a seal, but leaves the free room in the file for what
    comes. This gives it back, and needs the server to be stopped; for the new copy there must be room.
    Proofs and answers do not change. Interrupted, it can be run again, or the server started.
    """
    folder, log = log_of(data_dir)
    try:
        with DataFolder(folder), _progress("unpacking" if expand else "packing") as tell:
            migrations.migrate(log, now_ms())
            if expand:
                done = maintenance.expand(log, tell)
            else:
                done = maintenance.compact(log, load_settings().log, tell)
    except LogError as error:
        raise failure(str(error)) from error
    if as_json:
        output.json_data(
            {
                "events": done.events,
                "packs": done.packs,
                "packedEvents": done.packed_events,
                "runsLeftAlone": done.left_alone,
                "bytesBefore": done.bytes_before,
                "bytesAfter": done.bytes_after,
                "shrunk": done.shrunk,
            }
        )
        return
    _print(done, expand=expand)


def _print(done: maintenance.Compacted, *, expand: bool) -> None:
    what = "back in rows" if expand else "packed"
    click.echo(f"{done.events:,} events {what}; {done.packed_events:,} lie in {done.packs:,} packs.")
    click.echo(f"The database went from {done.bytes_before:,} to {done.bytes_after:,} bytes.")
    if done.left_alone:
        click.echo(f"{done.left_alone} runs cannot be packed and stay as they are.")
    if not done.shrunk:
        click.echo("There was no room to write it anew: free pages stay in it, and new events use them.")
    if expand and done.events:
        click.echo("The next server packs them again, unless CROWNEST_LOG__COMPACT_QUIET_MS is very large.")


@contextmanager
def _progress(doing: str) -> Generator[Callable[[int], None]]:
    """Tell how far it is on stderr while a person is watching, and leave nothing behind."""
    if not output.is_terminal(sys.stderr):
        yield lambda _: None
        return
    from rich.console import Console

    console = Console(stderr=True, no_color=not output.uses_colour(sys.stderr))
    with console.status(doing) as status:
        yield lambda events: status.update(f"{doing}: {events:,} events")
