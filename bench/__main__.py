"""The command `python -m bench`: asks the questions one by one, prints, and writes the results file."""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import signal
import sys
from pathlib import Path

FIRST = ("floors", "append", "fsyncs", "replay", "tail", "proof_cost", "verify")
"""The order; questions that are named nowhere come behind these."""
INTERRUPTED = 130
"""The exit code that shells give to a program ended by Ctrl-C."""
LAST = ("growth",)
"""And then what takes longest, so that a run that is interrupted has the rest."""


def questions() -> list[str]:
    """The modules here that open with a question: each answers it when its `main` is called."""
    found: list[str] = []
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if "?" in text.partition("\n")[0]:
            found.append(path.stem)
    return sorted(found, key=_place)


def _place(name: str) -> int:
    if name in FIRST:
        return FIRST.index(name)
    return len(FIRST) + (1 + LAST.index(name) if name in LAST else 0)


def _arguments() -> argparse.Namespace:
    known = questions()
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", default="", metavar="A,B", help=f"of {', '.join(known)}")
    parser.add_argument("--peers", default="", metavar="A,B", help="names of peers; all when not given")
    parser.add_argument("--rounds", metavar="N", help="interleaved rounds a question (5)")
    parser.add_argument("--short", action="store_true", help="less of everything, to see that it works")
    parser.add_argument("--json", action="store_true", help="one JSON object a table on standard output")
    parser.add_argument("--keep", action="store_true", help="write the results file also of a part")
    given = parser.parse_args()
    if unknown := set(filter(None, given.only.split(","))) - set(known):
        parser.error(f"no such question: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return given


def main() -> int:
    """Set what the modules read when they are imported, then ask."""
    given = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: servers end, folders go
    if given.peers:
        os.environ["BENCH_PEERS"] = given.peers
    if given.rounds:
        os.environ["BENCH_ROUNDS"] = given.rounds
    if given.short:
        os.environ["BENCH_SHORT"] = "1"
        os.environ.setdefault("BENCH_ROUNDS", "1")
    from bench import results, workload

    started = results.today()
    chosen = given.only.split(",") if given.only else questions()
    results.progress(f"workload: sha256 {workload.sha256()}, {workload.mean_bytes():.0f} bytes an event")
    keep = given.keep or not (given.only or given.peers or given.short)
    for number, name in enumerate(chosen, 1):
        results.progress(f"question {number} of {len(chosen)}: {name}")
        with results.answering(name):
            importlib.import_module(f"bench.{name}").main()
        if keep:  # after each, so that a run that is interrupted leaves what it has
            results.write(started)
    results.show_ratios()
    if keep:
        results.progress(f"written: {results.write(started)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        told = "interrupted: servers are ended, and a results file holds only the questions answered before"
        print(told, file=sys.stderr, flush=True)
        # A database that was cut off while it closed has a thread that an ordinary exit would wait for.
        os._exit(INTERRUPTED)
