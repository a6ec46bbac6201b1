"""The command usage: this month's numbers and what is left of each quota, with bars for a person."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from cli import output
from cli.lazy import ExampleCommand
from cli.options import JSON, session
from evidence.visible import one_line

if TYPE_CHECKING:
    from client.shapes import Quota, Usage

BAR_CHARS = 24
NEARLY_FULL = 0.8
METRIC_COLUMNS = ("metric", "amount")
QUOTA_COLUMNS = ("quota", "project", "limit", "current", "remaining", "resetAt")
UNITS = {"artifact_bytes": "bytes", "artifact_bytes_stored": "bytes", "file_bytes_written": "bytes",
         "compute_unit_seconds": "s", "preview_minutes": "min"}  # fmt: skip


@click.command(
    name="usage",
    cls=ExampleCommand,
    examples=("crownest usage", "crownest usage --json | jq .data.computeUnitSeconds.used"),
)
@JSON
def usage(*, as_json: bool) -> None:
    """Show what was used this month, and what is left.

    The numbers are sums over the projects that the key sees, counted from the events of the log. Quotas
    are those of the organisation's plan and those that an owner set for a project. Where the output is
    piped, columns are separated by tabs.
    """
    with session() as client:
        found = client.usage()
    if as_json:
        output.json_data(found)
    elif output.is_terminal(sys.stdout):
        _show(found)
    else:
        output.lines(METRIC_COLUMNS, [[name, amount] for name, amount in found.get("metrics", {}).items()])
        output.write_out("\n")
        output.lines(QUOTA_COLUMNS, [_row(*one) for one in _quotas(found)])


def _show(found: Usage) -> None:
    period = found["period"]
    output.note(one_line(f"{period['start'][:10]} to {period['end'][:10]} (UTC)"))
    metrics = found.get("metrics", {})
    width = max(map(len, (*metrics, *found.get("quotas", {}))), default=0)
    for name, amount in metrics.items():
        output.write_out(f"{one_line(name):<{width}}  {_amount(name, amount)}\n")
    output.write_out("\n")
    for name, project_id, quota in _quotas(found):
        output.write_out(f"{one_line(name):<{width}}  {_bar(quota)}  {_left(name, project_id, quota)}\n")


def _quotas(found: Usage) -> Iterator[tuple[str, str, Quota]]:
    """Name, project and quota: those of the plan, then each that an owner set."""
    for name, quota in found.get("quotas", {}).items():
        if "projectId" not in quota:
            yield name, "", quota
    for project in found.get("projects", []):
        for name, quota in project.get("quotas", {}).items():
            yield name, project["projectId"], quota


def _row(name: str, project_id: str, quota: Quota) -> list[object]:
    numbers = [quota.get("limit"), quota.get("current"), quota.get("remaining")]
    return [name, project_id, *numbers, quota.get("resetAt")]


def _left(name: str, project_id: str, quota: Quota) -> str:
    of = f"{_amount('', quota.get('current', 0))} of {_amount(name, quota['limit'])}"
    return one_line(of + (f"  ({project_id})" if project_id else ""))


def _bar(quota: Quota) -> str:
    """How full a quota is; one that is nearly so in yellow, a full one in red."""
    limit = quota["limit"]
    share = min(1.0, quota.get("current", 0) / limit) if limit > 0 else 1.0
    filled = math.ceil(share * BAR_CHARS)
    fancy = (sys.stdout.encoding or "").lower() in {"utf-8", "utf8"}
    full, empty = ("\N{FULL BLOCK}", "\N{LIGHT SHADE}") if fancy else ("#", ".")
    colour = "red" if share >= 1 else "yellow" if share >= NEARLY_FULL else "green"
    return output.paint(full * filled, sys.stdout, colour=colour) + empty * (BAR_CHARS - filled)


def _amount(name: str, amount: float) -> str:
    """A number for people: thousands apart, at most three decimals, its unit."""
    text = f"{amount:,.3f}".rstrip("0").rstrip(".")
    return f"{text} {UNITS[name]}" if name in UNITS else text
