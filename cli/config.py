"""`crownest config`: every setting and named limit, its value, and the variable that sets it."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from cli import output

if TYPE_CHECKING:
    from cli.settings import Settings


@click.command("config")
@click.option("--json", "as_json", is_flag=True, help='Print { "data": ... }.')
def config(*, as_json: bool) -> None:
    """Print every setting and named limit of a server.

    Set one by its variable, for example CROWNEST_RUNS__EXECUTING_MAX=8 crownest serve.
    """
    from cli.settings import load_settings

    rows = list(_rows(load_settings()))
    if as_json:
        click.echo(json.dumps({"data": {row[0]: row[1] for row in rows}}, indent=2, default=str))
        return
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        shown = output.paint(str(value), sys.stdout, bold=True)
        click.echo(f"{name:<{width}}  {shown}")


def _rows(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Variable names with their values, limits under their group."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            for field in dataclasses.fields(value):
                yield f"CROWNEST_{name}__{field.name}".upper(), getattr(value, field.name)
        else:
            yield f"CROWNEST_{name}".upper(), value
