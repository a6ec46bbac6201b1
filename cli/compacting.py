"""Packs the sealed runs of a stopped server's folder, or unpacks them, and shrinks the file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import click

from cli import output
from cli.problems import failure
from cli.rebuilding import log_of
from cli.settings import load_settings
from cli.wiring import now_ms
from eventstore.log import LogError
from eventstore.sqlite import maintenance, migrations
from eventstore.sqlite.folder import DataFolder
from evidence.wording import counted


def compact_folder(data_dir: Path | None, *, expand: bool, as_json: bool) -> None:
    """Pack, or with `expand` unpack, and print what was done. Raises `CliError` for what the log refuses."""
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
    lie = "lies" if done.packed_events == 1 else "lie"
    packs = counted(done.packs, "pack")
    click.echo(f"{counted(done.events, 'event')} {what}; {done.packed_events:,} {lie} in {packs}.")
    click.echo(f"The database went from {done.bytes_before:,} to {done.bytes_after:,} bytes.")
    if done.left_alone:
        stay = "stays as it is" if done.left_alone == 1 else "stay as they are"
        click.echo(f"{counted(done.left_alone, 'run')} cannot be packed and {stay}.")
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
        yield lambda events: status.update(f"{doing}: {counted(events, 'event')}")
