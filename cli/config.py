"""`crownest config`: every setting and named limit, its value, and the variable that sets it."""

from __future__ import annotations

import json
import sys

import click

from cli import output


@click.command("config")
@click.option("--json", "as_json", is_flag=True, help='Print { "data": ... }.')
def config(*, as_json: bool) -> None:
    """Print every setting and named limit of a server.

    Set one by its variable, for example CROWNEST_RUNS__EXECUTING_MAX=8 crownest serve.
    """
    from cli.settings import load_settings, variables

    rows = list(variables(load_settings()))
    if as_json:
        click.echo(json.dumps({"data": {row[0]: row[1] for row in rows}}, indent=2, default=str))
        return
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        shown = output.paint(str(value), sys.stdout, bold=True)
        click.echo(f"{name:<{width}}  {shown}")
