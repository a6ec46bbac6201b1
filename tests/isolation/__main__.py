"""Prints the tenant matrix, made from the OpenAPI document: `python -m tests.isolation [--only NAME]`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from api.operations import OPERATIONS
from tests.isolation.matrix import COLUMNS, Cell, row
from tests.isolation.server import own_world, served

WIDTH = 34


def main() -> int:
    """Try every cell, print the table, and answer 0 when all are right."""
    parser = argparse.ArgumentParser(prog="python -m tests.isolation", description=__doc__)
    parser.add_argument("--only", default="", help="operations whose id holds this")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    parser.add_argument(
        "--reasons", action="store_true", help="say why each cell that is not tried does not apply"
    )
    asked = parser.parse_args()
    began = time.monotonic()
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory(prefix="matrix-") as folder, own_world(Path(folder)) as world:
        built = served(world.running)
        if not asked.json:
            print(_heading())
        for operation in OPERATIONS:
            if asked.only not in operation.id or operation.id not in built:
                continue
            found = row(world, operation)
            cells += found
            if not asked.json:
                print(_line(operation.id, found), flush=True)
        sent = world.sent
    awaited = sorted(o.id for o in OPERATIONS if asked.only in o.id and o.id not in built)
    totals = totals_of(cells, sent, len(awaited))
    if asked.json:
        document = {"totals": totals, "awaited": awaited, "cells": [asdict(cell) for cell in cells]}
        print(json.dumps(document))
    else:
        print(_footing(cells, awaited, reasons=asked.reasons))
        print(f"\n{_told(totals)}, {time.monotonic() - began:.1f} s")
    return 1 if totals["wrong"] else 0


def totals_of(cells: list[Cell], sent: int, awaited: int) -> dict[str, int]:
    """The figures of the last line."""
    applicable = [cell for cell in cells if cell.applies]
    tested = sum(cell.probes > 0 for cell in applicable)
    return {
        "operations": len({cell.operation for cell in cells}),
        "cells": len(cells),
        "applicable": len(applicable),
        "tested": tested,
        "wrong": sum(bool(cell.wrong) or not cell.probes for cell in applicable),
        "do not apply": len(cells) - len(applicable),
        "requests": sent,
        "operations not built yet": awaited,
    }


def _heading() -> str:
    numbered = "\n".join(f"  {number:>2} {name}" for number, name in enumerate(COLUMNS, 1))
    numbers = " ".join(f"{number:>3}" for number in range(1, len(COLUMNS) + 1))
    return f"requests a cell; - does not apply, NO is wrong\n{numbered}\n\n{'operation':<{WIDTH}} {numbers}"


def _line(operation: str, cells: list[Cell]) -> str:
    marks = {cell.name: cell.mark for cell in cells}
    line = f"{operation:<{WIDTH}} " + " ".join(f"{marks.get(name, ''):>3}" for name in COLUMNS)
    wrong = [f"\n      {cell.name}: {one}" for cell in cells for one in cell.wrong]
    return line + "".join(wrong)


def _footing(cells: list[Cell], awaited: list[str], *, reasons: bool) -> str:
    counted = Counter((cell.name, cell.reason) for cell in cells if not cell.applies)
    lines = ["", "cells that do not apply:"]
    for (name, reason), count in sorted(counted.items()):
        lines.append(f"  {count:>3} {name:<22} {reason}")
        if reasons:
            lines += [
                f"        {cell.operation}" for cell in cells if (cell.name, cell.reason) == (name, reason)
            ]
    if awaited:
        lines.append(f"described and not built yet: {', '.join(awaited)}")
    return "\n".join(lines)


def _told(totals: dict[str, int]) -> str:
    share = 100 * totals["tested"] / max(1, totals["applicable"])
    told = ", ".join(f"{count} {name}" for name, count in totals.items())
    return f"{told}; {share:.1f} % of the applicable cells tested"


if __name__ == "__main__":
    sys.exit(main())
