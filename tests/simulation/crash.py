"""`make crash`: the command line of the crash programme, its progress and its table of numbers."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.simulation.ledger import KINDS
from tests.simulation.programme import Order, Programme, Report

FINDINGS_SHOWN = 20
NUMBERS = (
    "kills",
    "kills during a start",
    "power cuts",
    "runs",
    "runs succeeded",
    "runs failed",
    "runs canceled",
    "runs recovered",
    "sandboxes kept",
    "runs streaming at the crash",
    "readers attached at the crash",
    "processes of runs at the crash",
    "half-made sandboxes that the next start ended",
    "requests in flight at the crash",
    "create in flight",
    "upload in flight",
    "put in flight",
    "retries of requests that a crash cut off",
    "requests raced by their own retry",
    "answers asked for again",
    "acknowledged effects",
    "deliveries",
    "delivered events",
    "events in the logs",
    "packs in the end",
    "events in packs in the end",
    "delivered events compared after a crash",
    "artifacts downloaded",
    "logs compared after a restart",
    "logs compared at the end",
    "bundles verified",
    "answers read after the cut",
    "events read after the cut",
    "events out of order after the cut",
    "refusals after the cut",
)


def main() -> int:
    """Run the programme; 0 when nothing is off."""
    options = _options()
    console = Console(stderr=True, highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="crownest-crash-"))
    seed = options.seed if options.seed is not None else secrets.randbelow(2**32)
    order = Order(options.kills, options.cuts, options.cuts > 0, seed, folder, options.provider)
    console.print(f"crash: {options.kills} kills, {options.cuts} power cuts, seed {seed}, in {folder}")
    try:
        report = _run(order, console)
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        console.print("interrupted; nothing is left behind")
        return 130
    except Exception:
        console.print(f"a mistake of the programme itself; seed {seed}, the folder is kept: {folder}")
        raise
    if report.no_cuts_because and "loop" in os.environ.get("CROWNEST_REQUIRE", "").split(","):
        report.broken = report.no_cuts_because
    if options.json:
        print(json.dumps(as_json(report), indent=2))
    else:
        _print(report, Console(highlight=False))
    if report.ok:
        shutil.rmtree(folder)
    else:
        (folder / "report.json").write_text(json.dumps(as_json(report), indent=2))
    return 0 if report.ok else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="kill -9 of the server under load")
    parser.add_argument("--cuts", type=int, default=50, help="power cuts; 0 leaves the controls out too")
    parser.add_argument("--seed", type=int, help="decides plans and moments; printed when not given")
    parser.add_argument("--provider", choices=("auto", "bubblewrap", "process"), default="auto")
    parser.add_argument("--json", action="store_true", help="the numbers as one JSON object on stdout")
    return parser.parse_args()


def _run(order: Order, console: Console) -> Report:
    """The programme, ended in order by Ctrl-C and by SIGTERM."""
    with console.status("starting") as status:

        def tell(text: str, keep: bool) -> None:  # noqa: FBT001 # a callback with two arguments
            status.update(text)
            if keep:
                console.print(text, soft_wrap=True)

        async def interruptible() -> Report:
            task = asyncio.current_task()
            assert task is not None, "a coroutine runs in a task"
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
            return await Programme(order, tell).run()

        try:
            return asyncio.run(interruptible())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


def as_json(report: Report) -> dict[str, object]:
    """Everything that the table shows, for programs."""
    return {
        "ok": report.ok,
        "seed": report.order.seed,
        "seconds": round(report.seconds, 1),
        "numbers": {name: report.counts[name] for name in NUMBERS},
        "off": {kind: report.off[kind] for kind in KINDS},
        "controls": report.control_lost,
        "noCutsBecause": report.no_cuts_because,
        "broken": report.broken,
        "streaming": _spread(report.streaming),
        "phasesSeconds": {name: _spread(seconds) for name, seconds in report.phases_s.items()},
        "findings": [{"kind": one.kind, "text": one.text} for one in report.findings],
        "folder": None if report.ok else str(report.order.folder),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    spread = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: round(value, 2) for name, value in spread.items()}


def _print(report: Report, console: Console) -> None:
    table = Table(title=f"crash, seed {report.order.seed}, {report.seconds:.0f} s", title_justify="left")
    table.add_column("what")
    table.add_column("number", justify="right")
    for name in NUMBERS:
        table.add_row(name, f"{report.counts[name]:,}")
    table.add_section()
    for kind in KINDS:
        count = report.off[kind]
        table.add_row(kind.replace("_", " "), f"{count:,}", style="bold red" if count else "green")
    table.add_section()
    for mode, lost in report.control_lost.items():
        style = "green" if lost else "bold red"
        table.add_row(f"control without durable {mode}: losses seen", f"{lost:,}", style=style)
    table.add_section()
    spreads: dict[str, Sequence[float]] = {"runs streaming at a hit": report.streaming}
    spreads |= {f"{name}, s": seconds for name, seconds in report.phases_s.items()}
    for name, values in spreads.items():
        table.add_row(f"{name} (min, median, max)", ", ".join(f"{one:g}" for one in _spread(values).values()))
    console.print(table)
    if report.no_cuts_because:
        console.print(f"no power cuts: {report.no_cuts_because}")
    for finding in report.findings[:FINDINGS_SHOWN]:
        console.print(f"{finding.kind}: {finding.text}", style="red", markup=False)
    if len(report.findings) > FINDINGS_SHOWN:
        console.print(f"… and {len(report.findings) - FINDINGS_SHOWN} more (--json has them)")
    if report.broken:
        console.print(f"could not go on: {report.broken}", style="bold red", markup=False)
    if not report.ok:
        again = f"python -m tests.simulation.crash --seed {report.order.seed}"
        console.print(f"The folder is kept: {report.order.folder}\nAgain with the same plans: {again}")


if __name__ == "__main__":
    sys.exit(main())
