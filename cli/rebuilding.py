"""Folds the views of a data folder anew or compares them with a copy, and brings its schema up to date."""

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
from evidence.wording import counted
from projections.projector import Projections

DIFFERENCES_SHOWN_MAX = 20

Row = tuple[str, str, tuple[object, ...]]


def log_of(data_dir: Path | None) -> tuple[Path, Path]:
    """The folder that was named or configured, and the log in it."""
    folder = data_dir or load_settings().data_dir
    if not log_path(folder).exists():
        raise click.ClickException(
            f"There is no log in {folder}. Name the folder that `crownest serve` prints."
        )
    return folder, log_path(folder)


def rebuild_views(data_dir: Path | None, *, check: bool, as_json: bool) -> None:
    """Rebuild the views, or with `check` those of a copy, and exit with 1 where a row differs."""
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
    click.echo(f"{counted(counts['streams'], 'stream')}, {counted(counts['events'], 'event')} folded.")
    if differences is None:
        click.echo("The views are rebuilt.")
        return
    for text in differences[:DIFFERENCES_SHOWN_MAX]:
        click.echo(f"  {text}")
    if len(differences) > DIFFERENCES_SHOWN_MAX:
        click.echo(f"  … and {len(differences) - DIFFERENCES_SHOWN_MAX} more")
    verdict = (
        f"{len(differences)} {'differs' if len(differences) == 1 else 'differ'}. "
        "Stop the server and run: crownest rebuild"
        if differences
        else "equal"
    )
    click.echo(f"{counted(counts['rows'], 'view row')} compared: {verdict}.")


def migrate_folder(data_dir: Path | None, *, only_status: bool, as_json: bool) -> None:
    """Apply what is missing, unless `only_status`, and list the migrations."""
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
