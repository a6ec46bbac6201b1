"""`crownest rebuild` and `crownest migrate`, as they are typed; `cli.rebuilding` does them."""

from __future__ import annotations

from pathlib import Path

import click

data_option = click.option(
    "--data", "data_dir", type=click.Path(path_type=Path, file_okay=False), help="The server's data folder."
)
json_option = click.option("--json", "as_json", is_flag=True, help='Print { "data": ... }.')


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
    from cli.rebuilding import rebuild_views

    rebuild_views(data_dir, check=check, as_json=as_json)


@click.command("migrate")
@click.option("--status", "only_status", is_flag=True, help="Change nothing: list the migrations.")
@data_option
@json_option
def migrate(*, only_status: bool, data_dir: Path | None, as_json: bool) -> None:
    """Bring a data folder to this version's schema.

    `crownest serve` does the same at start; this is for doing it beforehand, and for looking. A folder
    of a newer version is refused and left as it is.
    """
    from cli.rebuilding import migrate_folder

    migrate_folder(data_dir, only_status=only_status, as_json=as_json)
