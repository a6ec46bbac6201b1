"""The command logs: replays and follows a run's events."""

from __future__ import annotations

import click

from cli import output
from cli.event_output import EventWriter
from cli.interruption import Interruption
from cli.lazy import ExampleCommand
from cli.options import JSON, RUN_ID, WholeNumber, session
from cli.problems import CliError


@click.command(
    cls=ExampleCommand,
    examples=(
        "crownest workspace-runs logs wsr_abc123",
        "crownest workspace-runs logs wsr_abc123 --after-seq 120 --json",
    ),
)
@RUN_ID
@click.option(
    "--after-seq", metavar="N", type=WholeNumber(0), default=0, help="Resume after this event number."
)
@JSON
def logs(*, run_id: str, after_seq: int, as_json: bool) -> int:
    """Stream Workspace Run events.

    Without --json, stdout events are written to stdout and stderr events to stderr, byte for byte
    unless that is a terminal. Follows a run that is still going until it ends, and reconnects when
    the connection breaks. Exits 0 at the end of the stream, whatever became of the run.
    """
    writer = EventWriter(as_json=as_json)
    try:
        with session(run_id) as client:
            for event in client.stream_events(run_id, after_seq=after_seq):
                writer.write(event)
    except KeyboardInterrupt:
        writer.finish()
        return _stopped(run_id, max(after_seq, writer.last_seq)).tell(as_json=as_json)
    except CliError:
        writer.finish()
        raise
    writer.finish()
    if writer.ended and not as_json:
        output.hint(f"the run {writer.ended['status']}: crownest workspace-runs status {run_id}")
    return 0


def _stopped(run_id: str, last_seq: int) -> Interruption:
    return Interruption(
        f"Stopped reading after event {last_seq}. The run is not affected.",
        {"follow": f"crownest workspace-runs logs {run_id} --after-seq {last_seq}"},
        {"workspaceRunId": run_id, "lastSeq": last_seq},
    )
