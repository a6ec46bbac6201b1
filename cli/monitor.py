"""The command monitor: follows a server's log of all runs, and reports what an honest log does not show."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import output, target
from cli.lazy import ExampleCommand
from cli.loopback import is_loopback
from cli.options import WholeNumber
from cli.problems import EXIT_OK, EXIT_USAGE, failure

if TYPE_CHECKING:
    from evidence.policy import Policy
    from witness.fetching import Web
    from witness.following import Following
    from witness.monitor import Monitor, Progress, Report
    from witness.reporting import Reporting

INTERVAL_S = 60
INTERVAL_S_MAX = 7 * 24 * 3600
SEAL_HOURS = 48
PROGRESS_SHOWN_MIN = 1024
"""Less is done before an eye could follow."""
FOLDER = click.Path(file_okay=False, path_type=Path)
REPORT = click.Path(dir_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    cls=ExampleCommand,
    examples=(
        "crownest policy > trust.policy",
        "crownest monitor --policy trust.policy --state followed",
        "crownest monitor --policy trust.policy --state followed --once --json | jq .data.findings",
        "crownest monitor --policy trust.policy --state followed --mirror public/log",
        "crownest monitor --policy trust.policy --state followed --report r --name monitor.example.org/al",
        "crownest monitor --policy trust.policy --state other --log https://mirror.example.org/log --no-runs",
    ),
)
@click.option(
    "--policy",
    "policy_file",
    metavar="FILE",
    type=FILE,
    required=True,
    help="Whose signatures you trust: the file of crownest policy.",
)
@click.option(
    "--state",
    "folder",
    metavar="DIR",
    type=FOLDER,
    required=True,
    help="Where the monitor keeps what it verified. Made at the first start; never lose it.",
)
@click.option("--once", is_flag=True, help="Look once and exit, for example from cron.")
@click.option(
    "--interval",
    "interval_s",
    metavar="SECONDS",
    type=WholeNumber(1, INTERVAL_S_MAX),
    default=INTERVAL_S,
    show_default=True,
    help="How long to wait between two looks.",
)
@click.option("--mirror", metavar="DIR", type=FOLDER, help="Keep the log there as files to be served.")
@click.option(
    "--report", metavar="FILE", type=REPORT, help="Write each look there, signed, for a server to show."
)
@click.option(
    "--name", metavar="NAME", help="In whose name reports are signed; needed the first time, then kept."
)
@click.option("--log", "log_url", metavar="URL", help="Follow this copy of the log instead of the server's.")
@click.option("--no-runs", is_flag=True, help="Follow the log only, and ask the server for no run.")
@click.option(
    "--seal-within",
    "seal_hours",
    metavar="HOURS",
    type=WholeNumber(1, 24 * 365),
    default=SEAL_HOURS,
    show_default=True,
    help="After how long a run without a seal counts as missing.",
)
@click.option("--json", "as_json", is_flag=True, help='Print { "data": report } for each look.')
def monitor(
    *,
    policy_file: Path,
    folder: Path,
    once: bool,
    interval_s: int,
    mirror: Path | None,
    report: Path | None,
    name: str | None,
    log_url: str | None,
    no_runs: bool,
    seal_hours: int,
    as_json: bool,
) -> int:
    """Follow a server's log, and report what an honest one does not show.

    Each run that a server creates, seals or redacts stands in its public log. The monitor reads every
    entry, checks that the log only ever grew (E_LOG_FORK), that no run was sealed twice
    (E_DOUBLE_SEAL), and that every run is still there and ended (E_RUN_MISSING). For the last it asks
    the server, with an API key that has the scope audit:read.

    With --report it also keeps its newest look as a signed file. The line that it prints then, with
    the path of the file behind it, goes into the file that CROWNEST_MONITORS of a server names.

    Exits 0 when all is well, 1 when something was found, 2 when something could not be read. Without
    --once it looks again and again, tells what changed, and ends by Ctrl-C.
    """
    from witness.durable import Locked
    from witness.following import open_following
    from witness.state import StateError

    policy = _policy(policy_file)
    wanted = _Wanted(log_url, asks=not no_runs, mirror=mirror, seal_hours=seal_hours)
    try:
        with open_following(folder) as following, _progress(quiet=as_json) as on_progress:
            reporting = _reporting(folder, report, name)
            looks = _Looks(wanted.monitor(following, policy, on_progress), reporting, as_json=as_json)
            return looks.once() if once else looks.watch(interval_s)
    except (StateError, Locked) as error:
        raise failure(str(error), reason="monitor_state", exit_code=EXIT_USAGE) from error


def _reporting(folder: Path, file: Path | None, name: str | None) -> Reporting | None:
    from witness.reporting import Reporting

    if file is None:
        if name is not None:
            raise failure(
                "--name is the one that reports are signed in: say with --report where they go.",
                reason="invalid_request",
                exit_code=EXIT_USAGE,
            )
        return None
    reporting = Reporting(folder, file, name)
    output.note(f"{reporting.line} {file.absolute()}")
    return reporting


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What was asked for on the command line."""

    log_url: str | None
    asks: bool
    mirror: Path | None
    seal_hours: int

    def monitor(self, following: Following, policy: Policy, on_progress: Progress | None) -> Monitor:
        """Wire the monitor; the API address and key are those of the other commands."""
        from witness.asking import Asker
        from witness.mirror import Mirror
        from witness.monitor import Monitor
        from witness.tilelog import TileLog

        server = target.find()
        asker = None
        if self.asks:
            if server.credential is None:
                raise failure(
                    f"There is no API key for {server.api_url}, and without one no run can be asked for.",
                    "Set CROWNEST_API_KEY to one with the scope audit:read, or leave them out: --no-runs.",
                    reason="missing_credential",
                    exit_code=EXIT_USAGE,
                )
            asker = Asker(_web(server.api_url), server.api_url, server.credential)
        url = self.log_url or f"{server.api_url.rstrip('/')}/log"
        return Monitor(
            TileLog(_web(url), url),
            following,
            policy,
            asker=asker,
            mirror=Mirror(self.mirror) if self.mirror else None,
            on_progress=on_progress,
            seal_s_max=self.seal_hours * 3600,
        )


def _web(url: str) -> Web:
    from witness.fetching import Web

    return Web(trust_env=not is_loopback(url))


def _policy(file: Path) -> Policy:
    from evidence.canonical import FormatError
    from evidence.policy import POLICY_BYTES_MAX, parse_policy

    with file.open("rb") as source:
        data = source.read(POLICY_BYTES_MAX + 1)
    try:
        return parse_policy(data)
    except FormatError as error:
        from evidence.verdict_text import ANOTHER_POLICY

        raise failure(f"{file}: {error}", ANOTHER_POLICY, reason="policy", exit_code=EXIT_USAGE) from error


@dataclass(frozen=True, slots=True)
class _Looks:
    """Looks at the log, and tells of it."""

    monitor: Monitor
    reporting: Reporting | None
    as_json: bool

    def once(self) -> int:
        report = self._look()
        _tell(report, as_json=self.as_json)
        return report.exit_code

    def watch(self, interval_s: int) -> int:
        """Look until Ctrl-C, and answer as the last look did; a person is told only what changed."""
        told, exit_code = None, EXIT_OK
        try:
            while True:
                report = self._look()
                said, exit_code = {**report.to_dict(), "newEntries": 0}, report.exit_code
                if self.as_json or said != told:
                    _tell(report, as_json=self.as_json)
                told = said
                time.sleep(interval_s)
        except KeyboardInterrupt:
            output.note("stopped; what was verified is kept, and the next look goes on from there")
            return exit_code

    def _look(self) -> Report:
        now_s = int(time.time())
        report = self.monitor.round(now_s)
        if self.reporting is not None:
            self.reporting.write(report, now_s)
        return report


def _tell(report: Report, *, as_json: bool) -> None:
    if as_json:
        output.json_data(report.to_dict())
        return
    from cli.monitor_text import show

    show(report, sys.stdout)


@contextmanager
def _progress(*, quiet: bool) -> Generator[Progress | None]:
    """A counter on stderr for long work, wiped when it is done; None where nobody watches."""
    if quiet or not output.is_terminal(sys.stderr):
        yield None
        return

    def on_progress(what: str, done: int, total: int) -> None:
        if total >= PROGRESS_SHOWN_MIN:
            end = f"\r{what}: {done:,} of {total:,}" if done < total else "\r\x1b[K"
            sys.stderr.write(end)
            sys.stderr.flush()

    try:
        yield on_progress
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
