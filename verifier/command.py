"""Owns the command line of `crownest-verify`: arguments in, a verdict on stdout, an exit status out."""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, TextIO

from evidence.verdict import Verdict
from evidence.verdict_text import TEXT_CHARS_MAX, verdict_text
from evidence.visible import one_line
from verifier import options
from verifier.check import CannotCheckError, Request, check
from verifier.progress import progress

EXIT_USAGE, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 2, 130, 141
"""As those of crownest: the command line, Ctrl-C, a reader that went away."""

STYLES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33}
"""Styles of a verdict as numbers of SGR."""


def main(argv: Sequence[str] | None = None) -> int:
    """Check what the arguments name; answers the exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a locale cannot show becomes a number, not a failure
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(args)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush at the end
        return EXIT_BROKEN_PIPE


def _run(args: Sequence[str]) -> int:
    parser = _parser(as_json="--json" in args)
    given = parser.parse_args(args)
    flags = frozenset(name for name in options.FLAGS if getattr(given, name))
    request = Request(
        given.file, given.policy, given.run, given.bundle, given.pin, given.timestamp, given.tsa_roots,
        given.jobs, flags,
    )  # fmt: skip
    try:
        with progress(sys.stderr, quiet=given.json) as on_progress:
            verdict = check(request, on_progress=on_progress)
    except CannotCheckError as error:
        parser.error(" ".join(filter(None, (error.message, error.remedy))))
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")
    sys.stdout.write(_shown(verdict, as_json=given.json))
    sys.stdout.flush()
    return verdict.exit_code


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line in the form that the mode wants."""

    as_json = False

    def error(self, message: str) -> NoReturn:
        if self.as_json:
            problem: dict[str, object] = {"code": "usage_error", "details": None, "message": message}
            problem |= {"remediation": None, "retryable": False, "status": None}
            self.exit(EXIT_USAGE, _json({"error": problem}))
        self.exit(EXIT_USAGE, f"error: {one_line(message)}\n{self.format_usage()}")


def _parser(*, as_json: bool) -> argparse.ArgumentParser:
    parser = _Parser("crownest-verify", description=options.SUMMARY, epilog=options.EXITS, allow_abbrev=False)
    parser.as_json = as_json
    parser.add_argument("file", metavar=options.FILE, type=Path)
    parser.add_argument("--policy", metavar="FILE", type=Path, required=True, help=options.POLICY)
    parser.add_argument("--run", metavar="ID", help=options.RUN)
    parser.add_argument("--bundle", metavar="PROOF.ZIP", type=Path, help=options.BUNDLE)
    parser.add_argument("--pin", metavar="FILE", type=Path, help=options.PIN)
    parser.add_argument("--timestamp", metavar="FILE", type=Path, help=options.TIMESTAMP)
    parser.add_argument("--tsa-roots", metavar="FILE", type=Path, help=options.TSA_ROOTS)
    for name, meaning in options.FLAGS.items():
        parser.add_argument(options.flag(name), action="store_true", help=meaning)
    parser.add_argument("--jobs", metavar="N", type=_jobs, default=1, help=options.JOBS)
    parser.add_argument("--json", action="store_true", help=options.JSON)
    return parser


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= options.JOBS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {options.JOBS_MAX}")
    return int(text)


def _shown(verdict: Verdict, *, as_json: bool) -> str:
    if as_json:
        return _json({"data": verdict.to_dict()})
    fancy = sys.stdout.isatty() and (sys.stdout.encoding or "").lower() in {"utf-8", "utf8"}
    marks = ("\N{CHECK MARK}", "\N{BULLET}") if fancy else ("+", "-")
    width_chars = shutil.get_terminal_size((TEXT_CHARS_MAX, 0)).columns
    return verdict_text(
        verdict,
        lambda text, style: _paint(text, style, sys.stdout),
        marks=marks,
        width_chars=width_chars if sys.stdout.isatty() else TEXT_CHARS_MAX,
    )


def _json(value: object) -> str:
    """One line, ASCII only, as crownest prints it."""
    return json.dumps(value, ensure_ascii=True) + "\n"


def _paint(text: str, style: str, stream: TextIO) -> str:
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m"
