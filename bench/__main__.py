"""The command `python -m bench`: asks the questions one by one, prints, and writes the results file."""

from __future__ import annotations

import argparse
import importlib
import os
import sys

QUESTIONS = ("append", "proof_cost", "replay", "tail", "verify")
"""One module for each, in this order; `main` of each asks it."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", default="", metavar="A,B", help=f"of {', '.join(QUESTIONS)}")
    parser.add_argument("--peers", default="", metavar="A,B", help="names of peers; all when not given")
    parser.add_argument("--rounds", metavar="N", help="interleaved rounds a question (5)")
    parser.add_argument("--short", action="store_true", help="less of everything, to see that it works")
    parser.add_argument("--json", action="store_true", help="one JSON object a table on standard output")
    parser.add_argument(
        "--keep", action="store_true", help="write the results file also when not all was asked"
    )
    given = parser.parse_args()
    if unknown := set(filter(None, given.only.split(","))) - set(QUESTIONS):
        parser.error(f"no such question: {', '.join(sorted(unknown))}; there are {', '.join(QUESTIONS)}")
    return given


def main() -> int:
    """Set what the modules read when they are imported, then ask."""
    given = _arguments()
    if given.peers:
        os.environ["BENCH_PEERS"] = given.peers
    if given.rounds:
        os.environ["BENCH_ROUNDS"] = given.rounds
    if given.short:
        os.environ["BENCH_SHORT"] = "1"
        os.environ.setdefault("BENCH_ROUNDS", "1")
    from bench import results, workload

    started = results.today()
    chosen = given.only.split(",") if given.only else list(QUESTIONS)
    results.progress(f"workload: sha256 {workload.sha256()}, {workload.mean_bytes():.0f} bytes an event")
    for name in chosen:
        importlib.import_module(f"bench.{name}").main()
    results.show_ratios()
    if given.keep or (not given.only and not given.peers and not given.short):
        results.progress(f"written: {results.write(started)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
