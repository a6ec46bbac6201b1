"""The command logs: replays and follows a run's events, with proof if that is asked for."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from cli import output
from cli.event_output import EventWriter
from cli.interruption import Interruption
from cli.lazy import ExampleCommand
from cli.options import JSON, RUN_ID, WholeNumber, session
from cli.problems import CliError, usage

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(
    cls=ExampleCommand,
    examples=(
        "crownest workspace-runs logs wsr_abc123",
        "crownest workspace-runs logs wsr_abc123 --after-seq 120 --json",
        "crownest workspace-runs logs wsr_abc123 --verify --policy trust.policy",
    ),
)
@RUN_ID
@click.option(
    "--after-seq", metavar="N", type=WholeNumber(0), default=0, help="Resume after this event number."
)
@click.option("--verify", is_flag=True, help="Show only what the server proves, and pin it. (addition)")
@click.option(
    "--policy",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --verify: whose signatures you trust; the file of crownest policy. (addition)",
)
@click.option(
    "--pin",
    metavar="FILE",
    type=FILE,
    help="With --verify: where to keep what was seen.  [default: the user's state folder] (addition)",
)
@JSON
def logs(
    *, run_id: str, after_seq: int, verify: bool, policy: Path | None, pin: Path | None, as_json: bool
) -> int:
    """Stream Workspace Run events.

    Without --json, stdout events are written to stdout and stderr events to stderr, byte for byte
    unless that is a terminal. Follows a run that is still going until it ends, and reconnects when
    the connection breaks. Exits 0 at the end of the stream, whatever became of the run.

    With --verify each event is checked before it is shown: its bytes, its place and the signed root.
    What was seen last is kept in a pin file, and the next reading fails when the server tells another
    story (E_FORK) or less of it (E_ROLLBACK).
    """
    if verify != (policy is not None) or (pin is not None and not verify):
        raise usage(
            "--verify goes with --policy FILE, and --pin with --verify.",
            "crownest policy > trust.policy writes the file; keep it apart from what it judges.",
        )
    writer = EventWriter(as_json=as_json)
    try:
        with session(run_id) as client:
            if policy is None:
                for event in client.stream_events(run_id, after_seq=after_seq):
                    writer.write(event)
            else:
                from cli.verified_logs import write_verified

                write_verified(client, writer, run_id, after_seq=after_seq, policy_file=policy, pin_file=pin)
    except KeyboardInterrupt:
        writer.finish()
        given = {"--verify --policy": policy, "--pin": pin}
        options = "".join(f" {name} {shlex.quote(str(path))}" for name, path in given.items() if path)
        return _stopped(run_id, max(after_seq, writer.last_seq), options).tell(as_json=as_json)
    except CliError:
        writer.finish()
        raise
    writer.finish()
    if writer.ended and not as_json:
        output.hint(f"the run {writer.ended['status']}: crownest workspace-runs status {run_id}")
    return 0


def _stopped(run_id: str, last_seq: int, options: str) -> Interruption:
    return Interruption(
        f"Stopped reading after event {last_seq}. The run is not affected.",
        {"follow": f"crownest workspace-runs logs {run_id} --after-seq {last_seq}{options}"},
        {"workspaceRunId": run_id, "lastSeq": last_seq},
    )
