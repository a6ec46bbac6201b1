"""The group keys: API keys made, listed, shown and revoked."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from cli import output
from cli.lazy import ExampleCommand
from cli.listing import Item, View, flat, page_options, show_list, show_one, since
from cli.options import JSON, YES, Id, agreed, session
from cli.problems import EXIT_ERROR, EXIT_OK
from client.shapes import DEFAULT_KEY_SCOPES
from evidence.visible import one_line
from evidence.wording import counted

if TYPE_CHECKING:
    from client.api import CrownestClient
    from client.shapes import ApiKey

KEY_ID = click.argument("key_id", metavar="KEY-ID", type=Id("key", "an API key's id"))
API_URL = click.option("--api-url", metavar="URL", help="The server to ask, instead of the configured one.")
FIRST_FIELDS = ("id", "name", "prefix", "last4", "createdAt", "lastUsedAt", "revokedAt")
REMEDIES = {
    "not_found": "Check the id, and that the key belongs to the same organisation. "
    "Your keys: crownest keys list"
}


@contextmanager
def _session(api_url: str | None) -> Generator[CrownestClient]:
    """A client with a key, or in the name of the person that the environment names."""
    from cli.target import names_person

    remedies = dict(REMEDIES)
    if names_person(os.environ):
        remedies["unauthorized"] = (
            "Persons count on a development server only: CROWNEST_DEV_HEADERS=true crownest serve. "
            "With a key, set CROWNEST_API_KEY."
        )
    with session(remedies=remedies, api_url=api_url, as_person=True) as client:
        yield client


def _complete_scope(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    del ctx, param
    return [scope for scope in DEFAULT_KEY_SCOPES if scope.startswith(incomplete)]


@click.group("keys")
def keys() -> None:
    """Create, list and revoke API keys.

    They ask with the API key that is configured. Where no key is in the environment, but
    CROWNEST_ORG_ID, CROWNEST_USER_ID and CROWNEST_ROLE name a person, that person asks: a development
    server on loopback listens to that, at CROWNEST_API_URL or http://127.0.0.1:8787.
    """


@keys.command(
    cls=ExampleCommand,
    examples=(
        "crownest keys create --name ci",
        "crownest keys create --name reader --scope workspace_run:read --project prj_abc123",
        "crownest keys create --name ci --json | jq -r .data.secret",
    ),
)
@click.option("--name", metavar="NAME", required=True, help="What the key is for.")
@click.option(
    "--scope",
    "scopes",
    metavar="SCOPE",
    multiple=True,
    shell_complete=_complete_scope,
    help="What it may do. Repeatable.  [default: all that runs and sandboxes need]",
)
@click.option(
    "--project",
    "projects",
    metavar="PRJ_ID",
    multiple=True,
    type=Id("prj", "a project's id"),
    help="Restrict it to this project. Repeatable.",
)
@API_URL
@JSON
def create(
    *, name: str, scopes: tuple[str, ...], projects: tuple[str, ...], api_url: str | None, as_json: bool
) -> None:
    """Create an API key and print its secret once.

    The secret alone goes to stdout; it is stored nowhere and cannot be shown again. A key gets no more
    than its maker has. Without --scope it may do everything with sandboxes, commands, files, artifacts,
    previews and runs, but nothing with keys, projects, backups, usage and the organisation. The server's
    page /auth.md lists the scopes.
    """
    with _session(api_url) as client:
        key, secret = client.create_key(name, scopes or DEFAULT_KEY_SCOPES, project_ids=projects)
    if as_json:
        output.json_data({"apiKey": key, "secret": secret})
        return
    say_made(key)
    output.write_out(secret + "\n")


def say_made(key: ApiKey) -> None:
    """What goes to stderr beside a secret: the key's id, and that this is the only time."""
    scopes = counted(len(key.get("scopes", [])), "scope")
    output.note(one_line(f"made {key['id']} ({key.get('name')}), which holds {scopes}"))
    if output.is_terminal(sys.stdout):
        output.note(output.paint("Copy the secret now; it is not shown again:", sys.stderr, bold=True))


@keys.command("list", cls=ExampleCommand, examples=("crownest keys list", "crownest keys list --json"))
@page_options
@API_URL
@JSON
def list_keys(*, limit: int | None, cursor: str | None, api_url: str | None, as_json: bool) -> None:
    """List API keys, newest first, revoked ones too.

    Prints one page, never a secret. What it shows of the last use may be a minute old.
    """
    with _session(api_url) as client:
        page = client.list_keys(limit=limit, cursor=cursor)
    show_list(page.items, _VIEW, as_json=as_json, next_cursor=page.next_cursor, cursor=cursor)


@keys.command(cls=ExampleCommand, examples=("crownest keys get key_abc123",))
@KEY_ID
@API_URL
@JSON
def get(*, key_id: str, api_url: str | None, as_json: bool) -> None:
    """Show an API key, without its secret."""
    with _session(api_url) as client:
        key = client.get_key(key_id)
    show_one(key, as_json=as_json, first=FIRST_FIELDS)


@keys.command(cls=ExampleCommand, examples=("crownest keys revoke key_abc123 --yes",))
@KEY_ID
@YES
@API_URL
@JSON
def revoke(*, key_id: str, yes: bool, api_url: str | None, as_json: bool) -> int:
    """Revoke an API key for good; what it has open ends within seconds.

    Revoking a key again changes nothing.
    """
    if not agreed(f"Revoke {key_id} for good?", yes=yes, as_json=as_json):
        output.note("Nothing was changed.")
        return EXIT_ERROR
    with _session(api_url) as client:
        key = client.revoke_key(key_id)
    if as_json:
        output.json_data(key)
    else:
        output.note(one_line(f"revoked {key['id']} ({key.get('name')}) at {key.get('revokedAt')}"))
    return EXIT_OK


def _terminal_row(key: Item, now_s: float) -> dict[str, object]:
    return {
        "id": key["id"],
        "state": "revoked" if "revokedAt" in key else "active",
        "key": f"{key.get('prefix', '')}…{key.get('last4', '')}",
        "created": since(key.get("createdAt"), now_s),
        "last used": since(key.get("lastUsedAt"), now_s) or "never",
        "scopes": len(key.get("scopes", [])),
        "projects": flat(key["projectIds"]) if key.get("projectIds") else "all",
        "name": key.get("name"),
    }


_VIEW = View(
    ("id", "name", "prefix", "last4", "createdAt", "lastUsedAt", "revokedAt", "projectIds", "scopes"),
    _terminal_row,
    drop_first=("projects", "scopes", "created", "key", "last used"),
    colours={"active": "green", "revoked": "red"},
)
