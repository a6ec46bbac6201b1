"""The group signing-keys: which keys sign the log, and the change to a new one."""

from __future__ import annotations

import sys

import click

from cli import output
from cli.lazy import ExampleCommand
from cli.options import JSON, YES, agreed, session
from cli.problems import EXIT_ERROR, EXIT_OK
from evidence.visible import one_line

COLUMNS = ("keyId", "status", "from", "until", "verifierKey")


@click.group("signing-keys")
def signing_keys() -> None:
    """List or rotate the log's signing keys.

    Each key counts between two sizes of the global log. `crownest policy` prints them as auditors need
    them; whoever holds an older policy finds the change in the log itself, signed by both keys.
    """


@signing_keys.command("list", cls=ExampleCommand, examples=("crownest signing-keys list",))
@JSON
def list_keys(*, as_json: bool) -> None:
    """List the keys, newest first."""
    with session() as client:
        keys = client.signing_keys()
    if as_json:
        output.json_data(keys)
        return
    rows = [[key.get(column) for column in COLUMNS] for key in keys]
    if output.is_terminal(sys.stdout):
        output.table(COLUMNS, rows, colours={"active": "green"}, drop_first=("until", "from"))
    else:
        output.lines(COLUMNS, rows)


@signing_keys.command("rotate", cls=ExampleCommand, examples=("crownest signing-keys rotate --yes",))
@YES
@JSON
def rotate(*, yes: bool, as_json: bool) -> int:
    """Put a new key in force; the old one vouches for it and is destroyed.

    Afterwards hand out the policy anew: an older one does not know the new key.
    """
    if not agreed("Make a new signing key and destroy the present one?", yes=yes, as_json=as_json):
        output.note("Nothing was changed.")
        return EXIT_ERROR
    with session() as client:
        key = client.rotate_signing_key()
    if as_json:
        output.json_data(key)
        return EXIT_OK
    output.note(one_line(f"{key['verifierKey']} signs from log size {key['from']} on"))
    output.hint("next: crownest policy > trust.policy, and hand it to your auditors")
    return EXIT_OK
