"""How long until a command begins, and until a server answers? Against a bare Python in the same run.

Every `--help` is measured, for it is what all commands have in common: their imports.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count, islice
from pathlib import Path

from bench import results
from bench.common import ROUNDS, SHORT, interleaved, machine, scratch, table
from bench.stores import create_run, fill
from cli.docs import every_help
from cli.settings import Settings
from cli.wiring import open_server
from client.version import VERSION

CROWNEST = Path(sys.executable).with_name("crownest")
BARE = (sys.executable, "-c", "pass")
RUNS = int(os.environ.get("BENCH_START_RUNS", "5" if SHORT else "50"))
EVENTS_A_RUN = 1000
ANSWER_S_MAX = 30.0
SLOWEST_SHOWN = 8
HELPS = 4 if SHORT else None
"""Commands whose `--help` is asked for; all when None."""
SERVE_GOAL_S = 3.0
HELP_GOAL = 10.0


def environment(home: Path) -> dict[str, str]:
    """As in a shell of somebody who installed it: with bytecode, and the modules of this checkout."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(Path.cwd()),
        "CROWNEST_PROVIDER": "process",
    }


def started(command: Sequence[object], env: Mapping[str, str], *, cpu: bool) -> float:
    """Milliseconds until the process has ended, or with `cpu` those that it computed, which waver less."""
    began = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], env=env, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    took_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return 1000 * (used.ru_utime + used.ru_stime if cpu else took_s)


def answered(data: Path, env: Mapping[str, str]) -> float:
    """Seconds from starting `crownest serve` to its first answer; it is stopped again."""
    command = [str(CROWNEST), "serve", "--port", "0", "--data", str(data)]
    began = time.perf_counter()
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, cwd=data.parent) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().split()[-1]
            _ask(f"{url}/healthz")
            return time.perf_counter() - began
        finally:
            process.terminate()
            process.stdout.read()
            process.wait(ANSWER_S_MAX)


def _ask(url: str) -> None:
    from urllib.request import ProxyHandler, build_opener  # not through a proxy: it is on loopback

    with build_opener(ProxyHandler({})).open(url, timeout=ANSWER_S_MAX) as answer:
        assert answer.status == 200


async def filled(data: Path) -> None:
    """A data folder with some runs; the first start, which is not counted, ends them as recovered."""
    settings = Settings(data_dir=data, provider="process", preview_port=0)
    async with open_server(settings) as server:
        assert server.first is not None
        store = server.services.store
        for _ in range(RUNS):
            run_id = await create_run(store, server.first.org_id, server.first.project_id)
            await fill(store, run_id, EVENTS_A_RUN)


def commands(env: Mapping[str, str]) -> list[list[object]]:
    """Rows: a command line, its milliseconds, those of a bare Python beside it, and the ratios."""
    lines = ["crownest --version", *(f"{path} --help" for path, _ in islice(every_help(), HELPS))]
    results.progress(f"start: {len(lines)} commands")
    return [_row(text, [CROWNEST, *text.split()[1:]], env) for text in lines]


def _row(text: str, command: Sequence[object], env: Mapping[str, str]) -> list[object]:
    sides: dict[str, Callable[[], float]] = {
        "bare": lambda: started(BARE, env, cpu=False),
        "ours": lambda: started(command, env, cpu=False),
        "bare cpu": lambda: started(BARE, env, cpu=True),
        "ours cpu": lambda: started(command, env, cpu=True),
    }
    ms = interleaved(sides)
    return [text, ms["ours"], ms["bare"], ms["ours"] / ms["bare"], ms["ours cpu"] / ms["bare cpu"]]


def main() -> None:
    """Print the tables."""
    with scratch() as folder:
        env = environment(folder.resolve())
        rows = commands(env)
        whole, cpu = ([float(str(row[column])) for row in rows] for column in (3, 4))
        slowest = sorted(rows[2:], key=lambda row: -float(str(row[4])))[:SLOWEST_SHOWN]
        title = f"crownest {VERSION}: a command against a bare Python, goal {HELP_GOAL:.0f} ({machine()})"
        ends: list[list[object]] = [
            [f"{len(rows)} commands, {name}", "", "", of(whole), of(cpu)]
            for name, of in (("median", statistics.median), ("worst", max))
        ]
        table(title, ["command", "ms", "bare ms", "ratio", "ratio of CPU"], [*rows[:2], *slowest, *ends])
        used, numbers = folder.resolve() / "used", count()
        asyncio.run(filled(used))
        sides = {
            "a new data folder": lambda: answered(folder.resolve() / f"new{next(numbers)}", env),
            f"{RUNS} runs of {EVENTS_A_RUN:,} events": lambda: answered(used, env),
        }
        served = interleaved(sides)
    table(
        f"crownest serve: seconds to the first answer, goal {SERVE_GOAL_S:.0f} ({machine(ROUNDS)})",
        ["serve", "s"],
        [[name, seconds] for name, seconds in served.items()],
    )


if __name__ == "__main__":
    main()
