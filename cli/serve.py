"""`crownest serve`, as it is typed; `cli.serving` does it, whose imports a help text need not wait for."""

from __future__ import annotations

from pathlib import Path

import click

from cli.options import WholeNumber


@click.command("serve")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option(
    "--port", type=WholeNumber(0, 65535), help="Port to listen on, 0 for a free one.  [default: 8787]"
)
@click.option(
    "--preview-port",
    type=WholeNumber(0, 65535),
    help="Port for previews, 0 for a free one.  [default: the one after --port]",
)
@click.option(
    "--data",
    "data_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that keeps everything.",
)
def serve(host: str | None, port: int | None, preview_port: int | None, data_dir: Path | None) -> None:
    """Run the server on an embedded database.

    The first start makes an organisation, a project and an API key, and writes the key to the command
    line's configuration (mode 0600), so that a second terminal just works.
    """
    from cli.serving import run_server
    from cli.settings import load_settings

    run_server(load_settings(host=host, port=port, preview_port=preview_port, data_dir=data_dir))
