"""The command dashboard: a link that signs a browser in, once, as the API key that is configured."""

from __future__ import annotations

import webbrowser

import click

from cli import output
from cli.lazy import ExampleCommand
from cli.options import JSON, session
from evidence.visible import one_line

REMEDIES = {"not_found": "That server has no dashboard. Update it."}


@click.command(cls=ExampleCommand, examples=("crownest dashboard", "crownest dashboard --open"))
@click.option("--open", "open_it", is_flag=True, help="Open it in this computer's browser as well.")
@click.option("--api-url", metavar="URL", help="The server to ask, instead of the configured one.")
@JSON
def dashboard(*, open_it: bool, api_url: str | None, as_json: bool) -> None:
    """Print a link that signs a browser in, once.

    It signs in as the API key that is configured: who opens it first may do what the key may do, until the
    session ends or the key is revoked.
    """
    with session(remedies=REMEDIES, api_url=api_url) as client:
        url, expires_at = client.sign_in_link()
    if as_json:
        output.json_data({"url": url, "expiresAt": expires_at})
    else:
        output.write_out(f"{one_line(url)}\n")
        output.hint(one_line(f"works once, until {expires_at}"))
    if open_it and not webbrowser.open(url):
        output.warn("no browser could be started here: open the link yourself.")
