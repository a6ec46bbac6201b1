"""`crownest rebuild` and `crownest migrate`: what is done to a data folder beside its server."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import click

from cli.problems import failure
from cli.settings import load_settings
from cli.wiring import log_path, now_ms
from eventstore.log import LogError
from eventstore.sqlite import maintenance, migrations
from eventstore.sqlite.folder import DataFolder
from projections.projector import Projections

DIFFERENCES_SHOWN_MAX = 20

Row = tuple[str, str, tuple[object, ...]]
data_option = click.option(
    "--data", "data_dir", type=click.Path(path_type=Path, file_okay=False), help="The server's data folder."
)
json_option = click.option("--json", "as_json", is_flag=True, help='Print { "data": ... }.')


def log_of(data_dir: Path | None) -> tuple[Path, Path]:
    """The folder that was named or configured, and the log in it."""
    folder = data_dir or load_settings().data_dir
    if not log_path(folder).exists():
        raise click.ClickException(
            f"There is no log in {folder}. Name the folder that `crownest serve` prints."
        )
    return folder, log_path(folder)


@click.command("rebuild")
@click.option("--check", is_flag=True, help="Change nothing: rebuild a copy and compare it.")
@data_option
@json_option
def rebuild(*, check: bool, data_dir: Path | None, as_json: bool) -> None:
    """Fold all views anew from the log.

    With --check the log is copied, the copy's views are dropped and folded again, and every row is
    compared; a server may be running meanwhile. Exits 1 when a row differs. Without --check the views of
    the folder itself are rebuilt, which needs the server to be stopped.
    """
    folder, log = log_of(data_dir)
    try:
        if check:
            _check(log, as_json=as_json)
            return
        with DataFolder(folder):
            done = maintenance.rebuild(log, Projections())
    except LogError as error:
        raise failure(str(error)) from error
    _print({"streams": done.streams, "events": done.events}, None, as_json=as_json)


def _check(log: Path, *, as_json: bool) -> None:
    """Dump the views of a copy, rebuild them there, and compare."""
    with tempfile.TemporaryDirectory(prefix=".rebuild-", dir=log.parent) as name:
        copy = Path(name) / "copy.sqlite"
        maintenance.copy_to(log, copy)
        before = list(maintenance.dump_views(copy))
        done = maintenance.rebuild(copy, Projections())
        differences = list(compare(before, list(maintenance.dump_views(copy))))
    _print(
        {"streams": done.streams, "events": done.events, "rows": len(before)}, differences, as_json=as_json
    )
    if differences:
        raise click.exceptions.Exit(1)


def compare(before: list[Row], after: list[Row]) -> Iterator[str]:
    """Name every row that differs, is missing, or should not be there."""
    stored = {(view, row_id, _key(view, row)): row for view, row_id, row in before}
    folded = {(view, row_id, _key(view, row)): row for view, row_id, row in after}
    for key in sorted(stored.keys() | folded.keys()):
        view, row_id, _ = key
        if key not in folded:
            yield f"{view} {row_id}: stored, but the log gives no such row"
        elif key not in stored:
            yield f"{view} {row_id}: missing, the log gives it"
        elif stored[key] != folded[key]:
            columns = zip_longest(stored[key], folded[key])
            places = [str(number) for number, (one, other) in enumerate(columns, 1) if one != other]
            yield f"{view} {row_id}: column {', '.join(places)} is not what the log gives"


def _key(view: str, row: tuple[object, ...]) -> str:
    """Label tables have one row per label name, the others one per id."""
    return str(row[1]) if view.endswith("_labels") else ""


def _print(counts: Mapping[str, int], differences: Sequence[str] | None, *, as_json: bool) -> None:
    """What was folded, and what a comparison found (None: nothing was compared)."""
    if as_json:
        found = {} if differences is None else {"differences": differences}
        click.echo(json.dumps({"data": {**counts, **found}}))
        return
    click.echo(f"{counts['streams']} streams, {counts['events']} events folded.")
    if differences is None:
        click.echo("The views are rebuilt.")
        return
    for text in differences[:DIFFERENCES_SHOWN_MAX]:
        click.echo(f"  {text}")
    if len(differences) > DIFFERENCES_SHOWN_MAX:
        click.echo(f"  … and {len(differences) - DIFFERENCES_SHOWN_MAX} more")
    verdict = (
        f"{len(differences)} differ. Stop the server and run: crownest rebuild" if differences else "equal"
    )
    click.echo(f"{counts['rows']} view rows compared: {verdict}.")


@click.command("migrate")
@click.option("--status", "only_status", is_flag=True, help="Change nothing: list the migrations.")
@data_option
@json_option
def migrate(*, only_status: bool, data_dir: Path | None, as_json: bool) -> None:
    """Bring a data folder to this version's schema.

    `crownest serve` does the same at start; this is for doing it beforehand, and for looking. A folder
    of a newer version is refused and left as it is.
    """
    folder, log = log_of(data_dir)
    try:
        if not only_status:
            with DataFolder(folder):
                migrations.migrate(log, now_ms())
        known = migrations.status(log)
    except LogError as error:
        raise failure(str(error)) from error
    rows = [
        {"version": one.version, "name": one.name, "applied": one.applied_at_ms is not None} for one in known
    ]
    if as_json:
        click.echo(json.dumps({"data": rows}))
        return
    for row in rows:
        click.echo(f"{row['version']:04} {row['name']}: {'applied' if row['applied'] else 'pending'}")
