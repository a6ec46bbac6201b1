"""What the page of the log says of each monitor: its newest report, held against this server's own log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from api.monitors import MonitorFile, ReportUnreadable
from api.services import Services
from eventstore.proving import LogLeaves, prove
from evidence.merkle import CompactRange, cover
from evidence.monitor_report import MonitorReport
from evidence.record import encode_base64, format_time
from evidence.verdict import CODES
from evidence.visible import one_line
from evidence.wording import counted
from runs.access import Principal

ROOT_CHARS = 12
CLOCK_SKEW_MS_MAX = 5 * 60 * 1000
"""A report from further in the future than this has a time that nobody can believe."""
TIME_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999, beyond which no time is written."""


@dataclass(frozen=True, slots=True)
class FindingRow:
    """A finding: what its code means in our words, and what the monitor says, for those who may read it."""

    code: str
    meaning: str
    detail: str
    entry: int | None


@dataclass(frozen=True, slots=True)
class MonitorRow:
    """A monitor. `facts` are true of its report, `warnings` are what is wrong, each a sentence."""

    name: str
    key: str
    state: str
    """`ok`, `warn` or `bad`."""
    looked_at: str
    facts: Sequence[str]
    warnings: Sequence[str]
    findings: Sequence[FindingRow]
    findings_more: int


async def monitor_rows(services: Services, who: Principal, log_name: str) -> list[MonitorRow]:
    """All monitors that the operator named, in that order; `log_name` is the origin line of our own log."""
    return [await _row(services, who, log_name, one) for one in services.monitors]


async def _row(services: Services, who: Principal, log_name: str, one: MonitorFile) -> MonitorRow:
    key = one.key.key_id.hex()
    try:
        report = await asyncio.to_thread(one.read)
    except ReportUnreadable as error:
        return MonitorRow(one.name, key, "warn", "", [], [f"It {one_line(str(error))}."], [], 0)
    if report.origin and report.origin != log_name:
        warning = f"Its report is of another log: {one_line(report.origin)}."
        return MonitorRow(one.name, key, "warn", _time(report), [], [warning], [], 0)
    facts, faults = await _compared(services, report)
    warnings = [*faults, *_doubts(services, report)]
    # What a monitor writes may name runs of others: its words are for auditors, ours for everybody.
    is_auditor = "audit:read" in who.scopes
    if is_auditor:
        warnings += [f"Could not be read: {text}" for text in report.unreadable]
        facts += report.notices
    elif report.unreadable:
        warnings.append("It could not read everything.")
    findings = [
        FindingRow(
            found.code if found.code in CODES else "",
            CODES[found.code].meaning if found.code in CODES else "A fault that this page does not know.",
            found.detail if is_auditor else "",
            found.entry,
        )
        for found in report.findings
    ]
    count = max(report.findings_count, len(findings))
    state = "bad" if faults or count else "warn" if warnings else "ok"
    return MonitorRow(one.name, key, state, _time(report), facts, warnings, findings, count - len(findings))


async def _compared(services: Services, report: MonitorReport) -> tuple[list[str], list[str]]:
    """Where the monitor was, and what of that is not so in our own log: facts, and faults."""
    if not report.size:
        return [], []
    here = services.sequencer.published.size
    root = encode_base64(report.root)
    size = counted(report.size, "entry", "entries")
    seen = f"{size}, root {root[:ROOT_CHARS]}…"
    if report.size > here:
        fault = f"It saw {size}, and this log has {here:,}: an honest log never gets shorter."
        return [f"At {seen}"], [fault]
    if await _root_at(services, report.size) != report.root:
        return [f"At {seen}"], [f"This log has another root at {size}: two histories."]
    behind = here - report.size
    since = f", {behind:,} fewer than now" if behind else ""
    return [f"Agrees with this log at {seen}{since}"], []


async def _root_at(services: Services, size: int) -> bytes:
    """The root over the first `size` entries, from our own log."""
    tops = await prove(
        LogLeaves(services.global_log), lambda subtree: [subtree(*top) for top in cover(0, size)]
    )
    return CompactRange(size, tops).root()


def _doubts(services: Services, report: MonitorReport) -> list[str]:
    """What keeps a report without findings from being good news."""
    doubts: list[str] = []
    age_ms = services.runs.now_ms() - report.looked_s * 1000
    limit_s = services.limits.monitor_stale_s
    if age_ms > limit_s * 1000:
        doubts.append(f"Stale: no look for more than {_span(limit_s)}.")
    elif age_ms < -CLOCK_SKEW_MS_MAX:
        doubts.append("Its clock is ahead of this server's.")
    if not report.size:
        doubts.append("It has not read any of this log.")
    elif not report.quorum_met:
        names = ", ".join(one_line(name) for name in report.cosigned) or "none"
        doubts.append(f"Fewer witnesses cosigned than its policy demands: {names}.")
    return doubts


def _span(seconds: float) -> str:
    for unit, size in (("hour", 3600), ("minute", 60)):
        if seconds >= size:
            return counted(round(seconds / size), unit)
    return f"{seconds:g} seconds"


def _time(report: MonitorReport) -> str:
    return format_time(min(report.looked_s * 1000, TIME_MS_MAX))
