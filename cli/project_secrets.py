"""The group secrets: what the commands of a project find in their environment, and nobody reads again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from cli import output
from cli.lazy import ExampleCommand
from cli.listing import Item, View, show_list, since
from cli.options import JSON, YES, agreed, session
from cli.problems import EXIT_ERROR, EXIT_OK, failure, usage
from evidence.visible import one_line

if TYPE_CHECKING:
    from client.api import CrownestClient

VALUE_BYTES_READ_MAX = 64 * 1024
"""Read from stdin; how long a value may be the server decides, and says."""
PROJECTS_PAGE = 500
REMEDIES = {"not_found": "See which there are: crownest projects list, and crownest secrets list"}
PROJECT = click.option("--project", metavar="PRJ_ID", help="The project; without it the key's oldest one.")
NAME = click.argument("name", metavar="NAME")


@click.group("secrets")
def secrets() -> None:
    """Keep values that the commands of a project find in their environment.

    A value is encrypted on the server and never shown again. Runs, and commands in sandboxes, find it under
    its name, and it is masked in their output; proofs hold the names only.
    """


@secrets.command(
    "set",
    cls=ExampleCommand,
    examples=("crownest secrets set DEPLOY_TOKEN < token.txt", "crownest secrets set DEPLOY_TOKEN"),
)
@NAME
@PROJECT
@JSON
def set_secret(*, name: str, project: str | None, as_json: bool) -> int:
    """Set a secret to the value read from stdin, or typed.

    The value is never an argument, where others could see it in the list of processes. One line end behind
    it is dropped. Runs that start from now on find the new value.
    """
    value = _read_value(name)
    with session(remedies=REMEDIES) as client:
        secret = client.set_secret(project or _oldest_project(client), name, value)
    if as_json:
        output.json_data(secret)
        return EXIT_OK
    output.note(one_line(f"{secret['name']} is set in {secret['projectId']}"))
    output.hint(
        "Runs that are created from now on find it in their environment, and so do commands in sandboxes."
    )
    return EXIT_OK


@secrets.command("list", cls=ExampleCommand, examples=("crownest secrets list",))
@PROJECT
@JSON
def list_secrets(*, project: str | None, as_json: bool) -> None:
    """List the names of a project's secrets, newest first."""
    with session(remedies=REMEDIES) as client:
        project_id = project or _oldest_project(client)
        found = client.list_secrets(project_id, limit=500).items
    show_list(found, _VIEW, as_json=as_json)


@secrets.command("delete", cls=ExampleCommand, examples=("crownest secrets delete DEPLOY_TOKEN --yes",))
@NAME
@PROJECT
@YES
@JSON
def delete_secret(*, name: str, project: str | None, yes: bool, as_json: bool) -> int:
    """Delete a secret; its value is gone.

    A run that was created with it and has not started yet will fail.
    """
    if not agreed(f"Delete the secret {name} for good?", yes=yes, as_json=as_json):
        output.note("Nothing was deleted.")
        return EXIT_ERROR
    with session(remedies=REMEDIES) as client:
        secret = client.delete_secret(project or _oldest_project(client), name)
    if as_json:
        output.json_data(secret)
        return EXIT_OK
    output.note(one_line(f"{secret['name']} is deleted from {secret['projectId']}"))
    return EXIT_OK


def _oldest_project(client: CrownestClient) -> str:
    """Where runs go by default (CONTRACT §3.1): listings are newest first, so it is the last one."""
    page = client.list_projects(limit=PROJECTS_PAGE)
    while page.next_cursor:
        page = client.list_projects(limit=PROJECTS_PAGE, cursor=page.next_cursor)
    if not page.items:
        raise failure("This API key sees no project.", "Ask an owner to give it one.")
    return page.items[-1]["id"]


def _read_value(name: str) -> str:
    """The value: hidden when typed, else all of stdin without the line end behind it."""
    if output.is_terminal(sys.stdin):
        return str(click.prompt(f"Value of {name}", hide_input=True, err=True))
    data = sys.stdin.buffer.read(VALUE_BYTES_READ_MAX + 1)
    if len(data) > VALUE_BYTES_READ_MAX:
        raise usage(f"The value is longer than {VALUE_BYTES_READ_MAX} bytes.", "Put a file into the archive.")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise usage("The value is no UTF-8 text.", "Encode it; the command decodes it again.") from None
    return text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")


def _terminal_row(secret: Item, now_s: float) -> dict[str, object]:
    return {
        "set": since(secret.get("updatedAt"), now_s),
        "created": since(secret.get("createdAt"), now_s),
        "name": secret["name"],
    }


_VIEW = View(
    ("name", "createdAt", "updatedAt"),
    _terminal_row,
    drop_first=("created",),
    empty="No secrets yet. Set one: crownest secrets set NAME",
)
