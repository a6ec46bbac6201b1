"""What a row of the list of runs shows: status, reason, source, times, and what is said of its proof.

"Verified" in a list is this server's word over the size that it verified (decision 1141).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.dashboard.last_lines import last_line
from api.dashboard.words import Status, status_of
from api.services import Services
from eventstore.views import ViewRow
from evidence.canonical import decode
from evidence.fold import TERMINAL_STATUSES
from evidence.record import parse_time
from evidence.verdict import COMPLETE, REDACTED
from runs.verdicts import KeptVerdict

LINES_SHOWN_MAX = 10
"""Live runs of one page whose last line is looked up; the newest ones."""
COMMIT_CHARS = 8

REASONS = {
    "upload_missing": "no archive came",
    "archive_invalid": "archive invalid",
    "archive_too_large": "archive too large",
    "extraction_failed": "unpacking failed",
    "command_exit": "command exit",
    "timeout": "timeout",
    "sandbox_conflict": "sandbox in use",
    "sandbox_unavailable": "no sandbox",
    "internal_error": "server fault",
}
"""`failureReason` (CONTRACT §3.4) in a second line that is not wider than a word or two."""

_REPOSITORY = ("repository", "repo", "crabbox.repo")
_COMMIT = ("commit", "sha", "revision")
_WHICH = ("branch", "pr", "ref", "tag")


@dataclass(frozen=True, slots=True)
class ProofCell:
    """What the list says of the record: `state` is open, sealed, verified, redacted or failed."""

    state: str
    kind: str
    glyph: str
    word: str
    detail: str


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run. `running_since` is set while its duration grows; times are ISO 8601."""

    id: str
    command: str
    status: Status
    reason: str
    live: bool
    source: str
    source_detail: str
    template: str
    template_version: str
    created_at: str
    started_at: str
    running_since: str
    duration_ms: int | None
    exit_code: int | None
    line: str
    proof: ProofCell

    @property
    def settled(self) -> bool:
        """Whether nothing more is expected to change: it is asked after no longer."""
        return not self.live and self.proof.state != "sealed"


async def run_rows(services: Services, rows: Sequence[ViewRow]) -> list[RunRow]:
    """The rows with what else is known of each: its verdict, and of live ones the last line."""
    ended = [row.id for row in rows if row.status in TERMINAL_STATUSES]
    live = [row.id for row in rows if row.status not in TERMINAL_STATUSES][:LINES_SHOWN_MAX]
    verdicts = await services.verdicts.of(ended)
    sizes = await asyncio.gather(*(services.store.size(run_id) for run_id in ended))
    lines = await asyncio.gather(*(last_line(services.store, run_id) for run_id in live))
    size_of, line_of = dict(zip(ended, sizes, strict=True)), dict(zip(live, lines, strict=True))
    return [
        run_row(
            decode(row.doc), _current(verdicts.get(row.id), size_of.get(row.id, 0)), line_of.get(row.id, "")
        )
        for row in rows
    ]


def run_row(run: Mapping[str, Any], verdict: KeptVerdict | None, line: str) -> RunRow:
    """The row of a run (CONTRACT §3.2) with the verdict over its present size, if there is one."""
    live = run["status"] not in TERMINAL_STATUSES
    started_at = run.get("startedAt", "")
    source, source_detail = source_of(run)
    return RunRow(
        id=run["id"],
        command=run["command"],
        status=status_of(run),
        reason=_reason(run),
        live=live,
        source=source,
        source_detail=source_detail,
        template=run["templateSlug"],
        template_version=str(run["templateVersion"]),
        created_at=run["createdAt"],
        started_at=started_at,
        running_since=started_at if live and "durationMs" not in run else "",
        duration_ms=run.get("durationMs", _lasted(run)),
        exit_code=run.get("exitCode"),
        line=line,
        proof=proof_cell(verdict, live=live),
    )


def proof_cell(verdict: KeptVerdict | None, *, live: bool) -> ProofCell:
    """What this server can say of the record without verifying it now."""
    if live:
        return ProofCell("open", "open", "hex-open", "Open", "being recorded")
    if verdict is not None and verdict.failed:
        what = f"event {verdict.seq:,} is not as recorded" if verdict.seq else "not as it was signed"
        return ProofCell("failed", "bad", "hex-bad", "Proof failed", what)
    if verdict is not None and verdict.verdict == REDACTED:
        return ProofCell("redacted", "seal", "hex-red", "Verified, redacted", "removals are recorded")
    if verdict is not None and verdict.verdict == COMPLETE:
        return ProofCell("verified", "seal", "hex-ok", "Verified", "by this server")
    late = verdict is not None and verdict.code is not None
    return ProofCell(
        "sealed", "open", "hex-open", "Sealed", "witnesses are late" if late else "not checked yet"
    )


def source_of(run: Mapping[str, Any]) -> tuple[str, str]:
    """Where the archive came from: repository, then commit and branch; else its first metadata."""
    known: dict[str, str] = {**run["metadata"], **run["sourceMetadata"]}
    repository = _first(known, _REPOSITORY)
    if not repository:
        pairs = [f"{key} {value}" for key, value in list(known.items())[:2]]
        return (pairs[0] if pairs else ""), (pairs[1] if len(pairs) > 1 else "")
    which = next((f"pr {known[key]}" if key == "pr" else known[key] for key in _WHICH if known.get(key)), "")
    return repository, " ".join(filter(None, (_first(known, _COMMIT)[:COMMIT_CHARS], which)))


def searched_fields(run: Mapping[str, Any]) -> list[str]:
    """What a text filter looks at."""
    known: dict[str, str] = {**run["metadata"], **run["sourceMetadata"]}
    return [run["id"], run["command"], run["templateSlug"], run.get("failureReason", ""), *known.values()]


def _current(verdict: KeptVerdict | None, size: int) -> KeptVerdict | None:
    """The verdict, unless the run has grown since: a redaction has to be verified too."""
    return verdict if verdict is not None and (verdict.failed or verdict.size == size) else None


def _first(known: Mapping[str, str], names: Sequence[str]) -> str:
    return next((known[name] for name in names if known.get(name)), "")


def _reason(run: Mapping[str, Any]) -> str:
    failure: str = run.get("failureReason", "")
    return REASONS.get(failure, failure.replace("_", " "))


def _lasted(run: Mapping[str, Any]) -> int | None:
    """How long its command ran, of a run that ended without saying so."""
    if "startedAt" not in run or "finishedAt" not in run:
        return None
    return parse_time(run["finishedAt"]) - parse_time(run["startedAt"])
