"""The command redact: erases output of a run for good, and leaves a record that it was there."""

from __future__ import annotations

import re
from typing import Any

import click

from cli import output
from cli.lazy import ExampleCommand
from cli.options import JSON, RUN_ID, YES, agreed, session
from cli.problems import EXIT_ERROR, EXIT_OK
from evidence.visible import one_line
from evidence.wording import counted

TARGETS_MAX = 4000
"""Events of one request: what the server takes."""
_RANGE = re.compile(r"(\d{1,15})(?:-(\d{1,15}))?", re.ASCII)


class Seqs(click.ParamType[list[int]]):
    """Event numbers and ranges, with commas between: 7,12-15."""

    name = "seqs"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """Expand the ranges, within the limit of one request."""
        found: list[int] = []
        for part in str(value).split(","):
            match = _RANGE.fullmatch(part.strip())
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
            if not 1 <= first <= last:
                self.fail(f"{part!r} is no event number or range such as 12-15.", param, ctx)
            if len(found) + last - first >= TARGETS_MAX:
                self.fail(f"at most {TARGETS_MAX} events go together: split them.", param, ctx)
            found += range(first, last + 1)
        return found


@click.command(
    cls=ExampleCommand,
    examples=('crownest redact wsr_abc123 --seq 7,12-15 --reason "printed a customer\'s address" --yes',),
)
@RUN_ID
@click.option("--seq", "targets", metavar="N[-M][,…]", type=Seqs(), required=True, help="Events to erase.")
@click.option(
    "--reason",
    metavar="TEXT",
    required=True,
    help="Why; kept for ever, so do not repeat what is to be erased.",
)
@YES
@JSON
def redact(*, run_id: str, targets: list[int], reason: str, yes: bool, as_json: bool) -> int:
    """Erase output of a run for good, and record it.

    Only stdout and stderr events of a run that has ended can be erased. Their payload and salt go,
    everywhere on this server; number, time, size and commitment stay, and an event says who erased what
    and why, so that the run still verifies, as REDACTED. Copies that were handed out before cannot be
    recalled. Command and metadata stand in several events and cannot be erased.

    `crownest workspace-runs logs WORKSPACE-RUN-ID --json` shows the events with their numbers.
    """
    if not agreed(f"Erase {counted(len(targets), 'event')} of {run_id} for good?", yes=yes, as_json=as_json):
        output.note("Nothing was erased.")
        return EXIT_ERROR
    with session(run_id) as client:
        redaction = client.redact(run_id, targets, reason)
    if as_json:
        output.json_data(redaction)
        return EXIT_OK
    output.note(one_line(f"erased, and recorded as event {redaction['seq']} of {run_id}"))
    output.hint(f"next: crownest workspace-runs proof {run_id} --output proof.zip")
    return EXIT_OK
