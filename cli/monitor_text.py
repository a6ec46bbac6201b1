"""Tells a monitor's report to a person: the word, what was found, what to do, and what was looked at."""

from __future__ import annotations

from itertools import groupby
from typing import TextIO

from cli import output
from evidence.verdict import CODES
from evidence.verdict_text import REMEDIES, wrapped
from evidence.visible import one_line
from evidence.wording import counted
from witness.history import Finding
from witness.monitor import Report

SHOWN_PER_CODE_MAX = 20
"""Findings of one code that are shown; --json has them all."""

ASK = "Keep the monitor's folder and ask the server's operator: an honest log shows nothing of the kind."
"""What to do for a code that `REMEDIES` does not know."""


def show(report: Report, stream: TextIO) -> None:
    """Print the report, to be read from top to bottom."""
    lines = [_head(report, stream)]
    for code, group in groupby(sorted(report.findings, key=lambda finding: finding.code), key=_code):
        lines += _findings(code, list(group), stream)
    for title, colour, sentences in (
        ("Could not be read", "red", report.unreadable),
        ("Worth knowing", "yellow", report.notices),
    ):
        if sentences:
            lines += ["", output.paint(title, stream, colour=colour, bold=True)]
            for sentence in sentences:
                lines += wrapped(sentence, "  ", output.width_chars(stream))
    lines += ["", *_facts(report, stream)]
    stream.write("\n".join(lines) + "\n")
    stream.flush()


def _head(report: Report, stream: TextIO) -> str:
    if report.findings:
        word, colour = f"FOUND {len(report.findings)}", "red"
    elif report.unreadable:
        word, colour = "UNREADABLE", "yellow"
    elif not report.quorum_met:
        word, colour = "WELL, BUT TOO FEW WITNESSES", "yellow"
    else:
        word, colour = "WELL", "green"
    return f"{output.paint(word, stream, colour=colour, bold=True)}  {one_line(report.origin)}".rstrip()


def _code(finding: Finding) -> str:
    return finding.code


def _findings(code: str, findings: list[Finding], stream: TextIO) -> list[str]:
    head = output.paint(code, stream, colour="red", bold=True)
    lines = ["", f"{head}  {CODES[code].meaning} (PROOF {CODES[code].clause})"]
    for finding in findings[:SHOWN_PER_CODE_MAX]:
        place = [finding.stream] if finding.stream else []
        place += [f"entry {finding.entry}"] if finding.entry is not None else []
        lines += wrapped(f"{', '.join(place)}: {finding.detail}" if place else finding.detail, "  ")
    if len(findings) > SHOWN_PER_CODE_MAX:
        lines.append(f"  and {len(findings) - SHOWN_PER_CODE_MAX} more; --json prints them all")
    lines += [f"  {output.paint('What to do', stream, bold=True)}"]
    return [*lines, *wrapped(REMEDIES.get(code, ASK), "    ")]


def _facts(report: Report, stream: TextIO) -> list[str]:
    facts = {
        "log": f"{counted(report.size, 'entry', 'entries')}, {report.new_entries:,} of them new",
        "root": report.root or "none",
        "runs": f"{report.runs:,}, {report.open_runs:,} of them open; "
        f"{counted(report.other_streams, 'organisation')}",
        "cosigned": ", ".join(report.cosigned) or "by no witness of the policy",
    }
    return [
        f"  {output.paint(f'{name:<9}', stream, dim=True)} {one_line(text)}" for name, text in facts.items()
    ]
