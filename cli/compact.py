"""`crownest compact`, as it is typed; `cli.compacting` does it."""

from __future__ import annotations

from pathlib import Path

import click

from cli.rebuild import data_option, json_option


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
    from cli.compacting import compact_folder

    compact_folder(data_dir, expand=expand, as_json=as_json)
