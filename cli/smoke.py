"""The command smoke: proves a server's nine promises by using it, one line each."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import output
from cli.lazy import ExampleCommand
from cli.options import JSON
from cli.problems import EXIT_ERROR, EXIT_OK, usage
from cli.target import CREDENTIAL_VARIABLES, connect, find
from client.errors import ClientError
from evidence.visible import one_line

if TYPE_CHECKING:
    from cli.smoke_checks import Smoke

SWITCH = "CROWNEST_WORKSPACE_RUN_E2E"


@dataclass(frozen=True, slots=True)
class Line:
    """One promise: proven, or why not."""

    name: str
    reason: str | None
    run_ids: list[str]

    def to_dict(self) -> dict[str, object]:
        """As JSON mode prints it."""
        return {
            "name": self.name,
            "proven": self.reason is None,
            "reason": self.reason,
            "runIds": self.run_ids,
        }


@click.command(cls=ExampleCommand, examples=(f"{SWITCH}=1 CROWNEST_API_KEY=cn_live_… crownest smoke",))
@JSON
def smoke(*, as_json: bool) -> int:
    """Prove a server's promises by using it.

    Makes about ten small runs on the server that CROWNEST_API_URL or the configuration names, and
    prints nine lines, each proven or not: staged upload, streaming, evidence, artifact collection,
    cleanup, kept-sandbox cleanup, user command failure, timeout cleanup, archive-limit rejection.
    Exits 1 if any is not proven. Cleans up after itself.

    Because it uses a real server, it wants to be asked twice: CROWNEST_WORKSPACE_RUN_E2E=1 and a key
    in CROWNEST_API_KEY must be set.
    """
    if os.environ.get(SWITCH) != "1" or not any(os.environ.get(name) for name in CREDENTIAL_VARIABLES):
        raise usage(
            f"smoke makes real runs: it needs {SWITCH}=1 and CROWNEST_API_KEY in the environment.",
            f"{SWITCH}=1 CROWNEST_API_KEY=cn_live_… crownest smoke",
        )
    from cli.smoke_checks import CHECKS, Smoke

    api_url = find().api_url
    with connect() as client, tempfile.TemporaryDirectory(prefix="crownest-smoke-") as folder:
        client.list_runs(limit=1)  # no server or no access is one error, not nine
        if not as_json:
            output.note(f"smoke against {api_url}")
        state = Smoke(client, Path(folder))
        try:
            lines = [_prove(state, name, check, quiet=as_json) for name, check in CHECKS.items()]
        finally:
            _tidy(state)
    failed = sum(line.reason is not None for line in lines)
    if as_json:
        output.json_data(
            {"apiUrl": api_url, "proven": not failed, "checks": [one.to_dict() for one in lines]}
        )
    else:
        output.note(f"{len(lines) - failed} of {len(lines)} proven")
    return EXIT_ERROR if failed else EXIT_OK


def _prove(state: Smoke, name: str, check: Callable[[Smoke], None], *, quiet: bool) -> Line:
    from cli.smoke_checks import NotProvenError

    before = len(state.run_ids)
    reason: str | None = None
    try:
        check(state)
    except NotProvenError as exc:
        reason = str(exc)
    except ClientError as exc:
        reason = f"{exc.message} ({exc.code})"
    line = Line(name, reason, state.run_ids[before:])
    if not quiet:
        _show(line)
    return line


def _show(line: Line) -> None:
    if line.reason is None:
        output.write_out(
            output.paint("proven      ", sys.stdout, colour="green", bold=True) + f"{line.name}\n"
        )
        return
    where = f" [{', '.join(line.run_ids)}]" if line.run_ids else ""
    word = output.paint("NOT PROVEN  ", sys.stdout, colour="red", bold=True)
    output.write_out(f"{word}{line.name}: {one_line(line.reason + where)}\n")


def _tidy(state: Smoke) -> None:
    try:
        left = state.tidy()
    except ClientError as exc:
        left = [exc.message]
    for what in left:
        output.warn(f"could not clean up {what}")
