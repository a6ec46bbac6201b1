"""Races identical requests against a real server and prints what came of it: `python -m tests.races`."""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import sys
import tempfile
from pathlib import Path

from api.operations import OPERATIONS
from tests.races.race import CRASHED, Raced, crash_round, opened, operations, race, server_in

WIDTH = 38
COLUMNS = ("keys", "racers", "requests", "effects", "answers", "kills", "broken")
HEADING = f"{'operation':<{WIDTH}}{''.join(f' {name:>8}' for name in COLUMNS)} {'seconds':>8}"


def line(raced: Raced) -> str:
    """One line of the table, and what was wrong below it."""
    figures = "".join(f" {getattr(raced, name):>8}" for name in COLUMNS)
    wrong = "".join(f"\n      {one}" for one in raced.wrong[:5])
    return f"{raced.operation:<{WIDTH}}{figures} {raced.seconds:>8.1f}{wrong}"


def total(rows: list[Raced]) -> Raced:
    """The last line: sums."""
    found = Raced("total", racers=max((row.racers for row in rows), default=0))
    for row in rows:
        found.keys += row.keys
        found.requests += row.requests
        found.effects += row.effects
        found.answers += row.answers
        found.kills += row.kills
        found.broken += row.broken
        found.seconds += row.seconds
    return found


def main() -> int:
    """Race, print, and answer 0 when each key had one effect and one answer."""
    parser = argparse.ArgumentParser(prog="python -m tests.races", description=__doc__)
    parser.add_argument("--keys", type=int, default=50, help="keys of each operation")
    parser.add_argument("--racers", type=int, default=64, help="identical requests at once for each key")
    parser.add_argument("--kills", type=int, default=10, help="rounds in which the server is killed -9")
    parser.add_argument("--only", default="", help="operations whose id holds this")
    parser.add_argument("--seed", type=int, default=None, help="when the kills come")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="races-") as folder:
        rows = asyncio.run(_raced(asked, Path(folder)))
    print(f"{line(total(rows))}\n")
    missing = [o.id for o in OPERATIONS if o.is_idempotent and o.id not in operations()]
    if missing:
        print(f"not raced: {', '.join(missing)}; say in tests/races/effects.py what their effect is")
    return 1 if missing or any(row.wrong for row in rows) else 0


async def _raced(asked: argparse.Namespace, folder: Path) -> list[Raced]:
    seed = secrets.randbelow(2**32) if asked.seed is None else asked.seed
    rng = random.Random(seed)
    rows: list[Raced] = []
    server = server_in(folder)
    server.start()
    try:
        course = await opened(server)
        print(f"seed {seed}\n{HEADING}")
        for operation in operations():
            if asked.only in operation:
                rows.append(await race(course, operation, asked.keys, asked.racers))
                print(line(rows[-1]), flush=True)
        for number in range(asked.kills):
            operation = CRASHED[number % len(CRASHED)]
            course, row = await crash_round(course, operation, asked.racers, rng)
            rows.append(row)
            print(line(row), flush=True)
        course.connections.close()
        course.http.close()
    finally:
        server.kill()
    return rows


if __name__ == "__main__":
    sys.exit(main())
