"""The group orgs: organisations, their people, and the record of what was changed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import click

from cli import output
from cli.lazy import ExampleCommand
from cli.listing import Item, View, flat, page_options, show_list, show_one, since
from cli.options import JSON, YES, Id, WholeNumber, agreed, idempotency_key_option, session
from cli.problems import EXIT_ERROR, EXIT_OK, failure, usage
from client.shapes import PLANS, ROLES
from evidence.visible import one_line

if TYPE_CHECKING:
    from client.api import CrownestClient
    from client.shapes import Event

EVENTS_PER_PAGE = 500
_EVENT_COLUMNS = frozenset({"seq", "createdAt", "type", "actor"})
ORG = click.option(
    "--org", metavar="ORG_ID", type=Id("org", "an organisation's id"), help="[default: the key's own]"
)
USER_ID = click.argument("user_id", metavar="USER-ID", type=Id("usr", "a person's id"))
PLAN = click.option("--plan", metavar="PLAN", type=click.Choice(PLANS), help=f"{', '.join(PLANS)}.")
ORG_REMEDIES = {"not_found": "Check the id. The organisations that the key may see: crownest orgs list"}
USER_REMEDIES = {"not_found": "Check the id. The organisation's people: crownest orgs users"}


def _chosen(client: CrownestClient, org_id: str | None) -> str:
    """The organisation that is named, else the key's own, which every project of it tells."""
    if org_id is not None:
        return org_id
    for project in client.list_projects(limit=1).items:
        if own := project.get("orgId"):
            return own
    raise failure("The server does not tell which organisation the key belongs to.", "Name it: --org ORG_ID")


@click.group("orgs")
def orgs() -> None:
    """Read and change organisations and their people."""


@orgs.command("list", cls=ExampleCommand, examples=("crownest orgs list",))
@JSON
def list_orgs(*, as_json: bool) -> None:
    """List the key's organisation; with the operator's key all of them."""
    with session() as client:
        organizations = client.list_organizations()
    show_list(organizations, _ORGS, as_json=as_json)


@orgs.command(cls=ExampleCommand, examples=("crownest orgs get",))
@ORG
@JSON
def get(*, org: str | None, as_json: bool) -> None:
    """Show an organisation."""
    with session(remedies=ORG_REMEDIES) as client:
        organization = client.get_organization(_chosen(client, org))
    show_one(organization, as_json=as_json, first=("id", "name", "plan"))


@orgs.command(cls=ExampleCommand, examples=("crownest orgs create --name Acme --plan builder",))
@click.option("--name", metavar="NAME", required=True, help="What the organisation is called.")
@PLAN
@JSON
def create(*, name: str, plan: str | None, as_json: bool) -> None:
    """Create an organisation and print the secret of its first key once.

    Only the operator's key, which the server's first start made, may do this. The new organisation has
    an owner, a project and a key; the secret alone goes to stdout. Without --plan the server decides.
    """
    with session() as client:
        made = client.create_organization(name, plan=plan)
    if as_json:
        output.json_data(made)
        return
    from cli.api_keys import say_made

    organization = made["organization"]
    output.note(
        one_line(f"made {organization['id']} ({organization.get('name')}, {organization.get('plan')})")
    )
    say_made(made["apiKey"])
    output.write_out(str(made["secret"]) + "\n")


@orgs.command(
    cls=ExampleCommand,
    examples=(
        'crownest orgs update --name "Acme Ltd"',
        "crownest orgs update --org org_abc123 --plan scale",
    ),
)
@ORG
@click.option("--name", metavar="NAME", help="Another name.")
@PLAN
@JSON
def update(*, org: str | None, name: str | None, plan: str | None, as_json: bool) -> None:
    """Rename an organisation, or put it on another plan.

    Owners rename; only the operator's key changes plans.
    """
    if name is None and plan is None:
        raise usage("Say what to change: --name, --plan, or both.")
    with session(remedies=ORG_REMEDIES) as client:
        organization = client.update_organization(_chosen(client, org), name=name, plan=plan)
    show_one(organization, as_json=as_json, first=("id", "name", "plan"))


@orgs.command(cls=ExampleCommand, examples=("crownest orgs users",))
@ORG
@page_options
@JSON
def users(*, org: str | None, limit: int | None, cursor: str | None, as_json: bool) -> None:
    """List the people, newest first, removed ones too."""
    with session(remedies=ORG_REMEDIES) as client:
        page = client.list_users(_chosen(client, org), limit=limit, cursor=cursor)
    show_list(page.items, _USERS, as_json=as_json, next_cursor=page.next_cursor, cursor=cursor)


@orgs.command(
    "add-user",
    cls=ExampleCommand,
    examples=(
        "crownest orgs add-user --name Ada --role admin",
        "crownest orgs add-user --name Ada --email ada@example.org",
    ),
)
@click.option("--name", metavar="NAME", required=True, help="What the person is called.")
@click.option(
    "--role",
    metavar="ROLE",
    type=click.Choice(ROLES),
    default="member",
    help="owner, admin or member.  [default: member]",
)
@click.option("--email", metavar="ADDRESS", help="Invite them to sign in with this address.")
@ORG
@idempotency_key_option("one person")
@JSON
def add_user(
    *,
    name: str,
    role: str,
    email: str | None,
    org: str | None,
    idempotency_key: str | None,
    as_json: bool,
) -> None:
    """Add a person, and with --email invite them.

    Who is invited signs in with a browser; the server's provider must have verified that address. No mail
    is sent: tell them. Who was added without --email cannot sign in: remove them, and add them again.
    """
    with session(remedies=ORG_REMEDIES) as client:
        user = client.add_user(_chosen(client, org), name, role, email=email, idempotency_key=idempotency_key)
    show_one(user, as_json=as_json, first=("id", "name", "role"))
    if email is not None and not as_json:
        output.hint("next: tell them to open /auth/sign-in of this server.")


@orgs.command(
    "update-user", cls=ExampleCommand, examples=("crownest orgs update-user usr_abc123 --role owner",)
)
@USER_ID
@click.option("--name", metavar="NAME", help="Another name.")
@click.option("--role", metavar="ROLE", type=click.Choice(ROLES), help="Another role.")
@ORG
@JSON
def update_user(*, user_id: str, name: str | None, role: str | None, org: str | None, as_json: bool) -> None:
    """Rename a person, or give them another role.

    The last owner stays one.
    """
    if name is None and role is None:
        raise usage("Say what to change: --name, --role, or both.")
    with session(remedies=USER_REMEDIES) as client:
        user = client.update_user(_chosen(client, org), user_id, name=name, role=role)
    show_one(user, as_json=as_json, first=("id", "name", "role"))


@orgs.command("remove-user", cls=ExampleCommand, examples=("crownest orgs remove-user usr_abc123 --yes",))
@USER_ID
@ORG
@YES
@JSON
def remove_user(*, user_id: str, org: str | None, yes: bool, as_json: bool) -> int:
    """Remove a person, who may do nothing from then on.

    The record stays. So do the keys that the person made, because jobs depend on them: revoke those
    with crownest keys revoke.
    """
    if not agreed(f"Remove {user_id}?", yes=yes, as_json=as_json):
        output.note("Nothing was changed.")
        return EXIT_ERROR
    with session(remedies=USER_REMEDIES) as client:
        user = client.remove_user(_chosen(client, org), user_id)
    if as_json:
        output.json_data(user)
    else:
        output.note(one_line(f"removed {user['id']} ({user.get('name')}) at {user.get('removedAt')}"))
        output.hint("The keys that they made still work. See: crownest keys list")
    return EXIT_OK


@orgs.command(
    cls=ExampleCommand,
    examples=(
        "crownest orgs events",
        "crownest orgs events --follow --json | jq -r 'select(.data.type==\"api_key_created\")'",
    ),
)
@ORG
@click.option(
    "--after-seq", metavar="N", type=WholeNumber(0), default=0, help="Resume after this event number."
)
@click.option("--follow", is_flag=True, help="Wait for further events until Ctrl-C.")
@JSON
def events(*, org: str | None, after_seq: int, follow: bool, as_json: bool) -> None:
    """Replay what was changed outside of runs, by whom and when.

    Keys, people, projects, sandboxes, artifacts, signing keys: each change is one event of the
    organisation's own stream, which is proved as runs are.
    """
    with session(remedies=ORG_REMEDIES) as client:
        org_id = _chosen(client, org)
        stream = client.stream_organization(org_id, after_seq=after_seq) if follow else None
        for event in stream or _replay(client, org_id, after_seq):
            if as_json:
                output.json_data(event)
            else:
                output.write_out(_event_line(event))


def _replay(client: CrownestClient, org_id: str, after_seq: int) -> Iterator[Event]:
    """All events that are recorded now, page by page."""
    while True:
        page = client.organization_events(org_id, after_seq=after_seq, limit=EVENTS_PER_PAGE)
        yield from page.events
        if not page.has_more or page.next_seq is None:
            return
        after_seq = page.next_seq


def _event_line(event: Event) -> str:
    """Number, time, type, actor, and what else it says, of objects their id: in columns, or with tabs."""
    fields = cast("Item", event)
    told = " ".join(
        f"{name}={flat(_named(value))}"
        for name, value in fields.items()
        if name not in _EVENT_COLUMNS and value not in ({}, [])
    )
    columns = (event.get("createdAt", ""), event["type"], str(fields.get("actor", "")), told)
    time, kind, actor, told = map(one_line, columns)
    if not output.is_terminal(sys.stdout):
        return f"{event['seq']}\t{time}\t{kind}\t{actor}\t{told}\n"
    kind = output.paint(f"{kind:<20}", sys.stdout, colour="cyan")
    by = output.paint(f"by {actor}", sys.stdout, dim=True)
    return f"{event['seq']:>5}  {time}  {kind}  {told}  {by}\n"


def _named(value: object) -> object:
    """The id of an object that has one."""
    return cast("Item", value).get("id", value) if isinstance(value, dict) else value


def _org_row(organization: Item, now_s: float) -> dict[str, object]:
    return {
        "id": organization["id"],
        "plan": organization.get("plan"),
        "created": since(organization.get("createdAt"), now_s),
        "name": organization.get("name"),
    }


def _user_row(user: Item, now_s: float) -> dict[str, object]:
    return {
        "id": user["id"],
        "role": user.get("role"),
        "state": "removed" if "removedAt" in user else "active",
        "added": since(user.get("createdAt"), now_s),
        "name": user.get("name"),
    }


_ORGS = View(("id", "name", "plan", "createdAt"), _org_row, drop_first=("created",))
_USERS = View(
    ("id", "name", "role", "createdAt", "removedAt"),
    _user_row,
    drop_first=("added", "state"),
    colours={"active": "green", "removed": "red"},
)
