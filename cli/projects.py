"""The group projects: what an organisation's work is divided into, and the limits of each part."""

from __future__ import annotations

import click

from cli import output
from cli.lazy import ExampleCommand
from cli.listing import Item, View, flat, page_options, show_list, show_one, since
from cli.options import JSON, Id, idempotency_key_option, session
from cli.problems import usage

PROJECT_ID = click.argument("project_id", metavar="PROJECT-ID", type=Id("prj", "a project's id"))
REMEDIES = {"not_found": "Check the id, and which projects the key sees: crownest projects list"}
NUMBER_DIGITS_MAX = 15


def _parse_limits(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, int | None]:
    """`name=number`, or `name=none` to lift a limit; which names there are the server says."""
    limits: dict[str, int | None] = {}
    for value in values:
        name, _, text = value.partition("=")
        number = text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS_MAX
        if not name or not (number or text == "none"):
            raise click.BadParameter(f"{value!r} is not of the form name=number or name=none.", ctx, param)
        if name in limits:
            raise click.BadParameter(f"{name!r} is given twice.", ctx, param)
        limits[name] = int(text) if number else None
    return limits


@click.group("projects")
def projects() -> None:
    """List, create and limit projects."""


@projects.command("list", cls=ExampleCommand, examples=("crownest projects list",))
@page_options
@JSON
def list_projects(*, limit: int | None, cursor: str | None, as_json: bool) -> None:
    """List the projects that the key sees, newest first."""
    with session() as client:
        page = client.list_projects(limit=limit, cursor=cursor)
    show_list(page.items, _VIEW, as_json=as_json, next_cursor=page.next_cursor, cursor=cursor)


@projects.command(cls=ExampleCommand, examples=("crownest projects get prj_abc123",))
@PROJECT_ID
@JSON
def get(*, project_id: str, as_json: bool) -> None:
    """Show a project and its limits."""
    with session(remedies=REMEDIES) as client:
        project = client.get_project(project_id)
    show_one(project, as_json=as_json, first=("id", "name"))


@projects.command(cls=ExampleCommand, examples=("crownest projects create --name web",))
@click.option("--name", metavar="NAME", required=True, help="What the project is called.")
@idempotency_key_option("one project")
@JSON
def create(*, name: str, idempotency_key: str | None, as_json: bool) -> None:
    """Create a project."""
    with session() as client:
        project = client.create_project(name, idempotency_key=idempotency_key)
    show_one(project, as_json=as_json, first=("id", "name"))
    if not as_json:
        output.hint(f"next: crownest keys create --name ci --project {project['id']}")


@projects.command(
    cls=ExampleCommand,
    examples=(
        "crownest projects update prj_abc123 --name site",
        "crownest projects update prj_abc123 --limit concurrentSandboxes=3 --limit artifactBytes=none",
    ),
)
@PROJECT_ID
@click.option("--name", metavar="NAME", help="Another name.")
@click.option(
    "--limit",
    "limits",
    metavar="NAME=N",
    multiple=True,
    callback=_parse_limits,
    help="Set concurrentSandboxes, computeUnitSecondsPerMonth or artifactBytes; NAME=none lifts it. "
    "Repeatable; others stay.",
)
@JSON
def update(*, project_id: str, name: str | None, limits: dict[str, int | None], as_json: bool) -> None:
    """Rename a project, or set its limits.

    A limit of a project counts beside the one of the organisation's plan.
    """
    if name is None and not limits:
        raise usage("Say what to change: --name, --limit, or both.")
    with session(remedies=REMEDIES) as client:
        project = client.update_project(project_id, name=name, limits=limits)
    show_one(project, as_json=as_json, first=("id", "name"))


def _terminal_row(project: Item, now_s: float) -> dict[str, object]:
    return {
        "id": project["id"],
        "created": since(project.get("createdAt"), now_s),
        "limits": flat(project.get("limits") or {}),
        "name": project.get("name"),
    }


_VIEW = View(("id", "name", "limits", "createdAt"), _terminal_row, drop_first=("created", "limits"))
