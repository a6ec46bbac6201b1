"""What the run page shows: head, phases, evidence, artifacts, source, commands; now or as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.dashboard.run_commands import CommandLine, command_lines, repeat
from api.dashboard.run_evidence import Row, evidence_rows
from api.dashboard.run_facts import RunFacts
from api.dashboard.run_phases import Phase, phase_sentence, phases_of
from api.dashboard.words import Status, clock_text, duration_text, short_digest, size_text, status_of
from evidence.canonical import decode
from evidence.record import parse_time
from evidence.verdict import FAILED, REDACTED
from evidence.wording import counted
from runs.decide import EXTERNAL
from runs.dispatch import Store
from runs.verdicts import KeptVerdict

TITLE_COMMAND_CHARS_MAX = 80
HEAD_LABELS = ("repo", "repository", "branch", "commit")
"""Metadata that says where the code came from, shown beside the command when it is there."""


@dataclass(frozen=True, slots=True)
class ArtifactRow:
    """An artifact that was asked for: kept (`id`, `size`, `digest`), not kept (`problem`), or still to come.

    `gone` says why a kept one cannot be downloaded any more.
    """

    path: str
    name: str
    id: str = ""
    size: str = ""
    digest: str = ""
    sha256: str = ""
    problem: str = ""
    gone: str = ""


@dataclass(frozen=True, slots=True)
class Clock:
    """The head's clock: it shows `text`, and while it runs goes on from `since` (ISO 8601) to `limit`."""

    name: str
    text: str = ""
    since: str = ""
    limit: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """What this server says of the record; what the reader's browser finds takes its place."""

    word: str
    tone: str
    glyph: str
    said: str


@dataclass(frozen=True, slots=True)
class RunContent:
    """Everything that the template shows of one run at one event."""

    id: str
    title: str
    command: str
    status: Status
    ending: str
    proof: Proof
    trouble: Sequence[str]
    template: str
    source: Sequence[str]
    started_at: str
    clock: Clock
    phases: Sequence[Phase]
    phase_sentence: str
    phase_since: str
    phase_text: str
    rows: Sequence[Row]
    artifacts: Sequence[ArtifactRow]
    artifacts_word: str
    source_rows: Sequence[Row]
    commands: Sequence[CommandLine]
    again: CommandLine
    cancel_text: str
    is_over: bool
    is_recorded: bool
    is_past: bool
    is_sealed: bool
    is_checked: bool
    """Whether this server has verified it: that happens soon after the seal."""
    now_ms: int
    seq: int
    head: int
    at: str
    later: str


async def run_content(store: Store, facts: RunFacts, now_ms: int, verdict: KeptVerdict | None) -> RunContent:
    """The page of a run; reads who asked for it, and which artifacts are still there.

    `verdict` is what this server found when it verified the run last, None if it did not.
    Clocks that run stand at `now_ms`, in the past at the event that is shown.
    """
    run, fold = facts.run, facts.fold
    moment_ms = parse_time(facts.at) if facts.is_past else now_ms
    phases = phases_of(facts, moment_ms)
    present = next((phase for phase in phases if phase.since), None)
    artifacts = await _artifacts(store, facts)
    status = status_of(run)
    return RunContent(
        id=fold.run_id,
        title=f"{status.word}: {' '.join(fold.command.split())[:TITLE_COMMAND_CHARS_MAX]}",
        command=fold.command,
        status=status,
        ending=_ending(run),
        proof=_proof(facts, verdict),
        trouble=_trouble(facts),
        template=run["templateSlug"],
        source=_head_source(run),
        started_at=run.get("startedAt", ""),
        clock=_clock(facts, moment_ms),
        phases=phases,
        phase_sentence=phase_sentence(facts, phases),
        phase_since=present.since if present else "",
        phase_text=present.duration if present else "",
        rows=evidence_rows(facts, await _name_of(store, fold.org_id, fold.actor)),
        artifacts=artifacts,
        artifacts_word=_artifacts_word(artifacts),
        source_rows=_source_rows(run),
        commands=command_lines(facts),
        again=repeat(fold),
        cancel_text=_cancel_text(facts),
        is_over=facts.is_over,
        is_recorded=fold.template["slug"] == EXTERNAL,
        is_past=facts.is_past,
        is_sealed=facts.seal is not None,
        is_checked=verdict is not None,
        now_ms=now_ms,
        seq=facts.seq,
        head=facts.head,
        at=facts.at,
        later=_later(facts.now) if facts.is_past else "",
    )


def _ending(run: Mapping[str, Any]) -> str:
    if run.get("failureReason") == "timeout":
        return "time limit"
    return f"exit {run['exitCode']}" if "exitCode" in run else ""


def _proof(facts: RunFacts, verdict: KeptVerdict | None) -> Proof:
    if facts.seal is None:
        return Proof("Open", "open", "hex-open", "Not sealed yet")
    if verdict is None or (verdict.verdict == FAILED and not verdict.failed):
        return Proof("Sealed", "open", "hex-open", "Not checked yet")
    if verdict.failed:
        at = f" at event {verdict.seq}" if verdict.seq else ""
        return Proof(f"Proof failed{at}", "bad", "hex-bad", f"Found by this server: {verdict.code}")
    is_redacted = verdict.verdict == REDACTED
    word = "Verified by server" + (", redacted" if is_redacted else "")
    said = "Checked by this server; the panel checks it in your browser"
    return Proof(word, "seal", "hex-red" if is_redacted else "hex-ok", said)


def _later(now: Mapping[str, Any]) -> str:
    """What became of the run after the event that is shown."""
    ending = _ending(now)
    code = f" with {ending}" if ending.startswith("exit") else ""
    return {
        "succeeded": f"It later succeeded{code}.",
        "failed": "It later ran into its time limit."
        if ending == "time limit"
        else f"It later failed{code}.",
        "canceled": "It was later canceled.",
    }.get(now["status"], "It went on after that.")


def _trouble(facts: RunFacts) -> Sequence[str]:
    """What must not be overlooked beside the status: why it ended but for its command, and what was lost."""
    run = facts.run
    said: list[str] = []
    if message := run.get("failureMessage"):
        said.append(message)
    if run.get("cleanupStatus") == "failed":
        said.append("The sandbox could not be removed. Its operator finds it under its id, see Evidence.")
    if errors := len(run["artifactErrors"]):
        said.append(
            f"{errors} of {len(facts.fold.artifacts_requested)} artifacts could not be kept, see Artifacts."
        )
    if facts.redactions:
        targets = sum(len(redaction["targets"]) for redaction in facts.redactions)
        events = counted(targets, "event")
        said.append(f"The text of {events} was erased after the end. The removal is part of the record.")
    return said


def _head_source(run: Mapping[str, Any]) -> Sequence[str]:
    found = [run["metadata"].get(name) or run["sourceMetadata"].get(name) for name in HEAD_LABELS]
    return [value for value in found if value]


def _source_rows(run: Mapping[str, Any]) -> Sequence[Row]:
    """Both kinds of labels; the source's own ones say that they are."""
    own = [Row(name, value, copied=value) for name, value in sorted(run["metadata"].items())]
    given = [
        Row(name, value, note="source", copied=value) for name, value in sorted(run["sourceMetadata"].items())
    ]
    return [*own, *given]


def _cancel_text(facts: RunFacts) -> str:
    """What a cancel at this moment would do: what stops, what stays, what is lost."""
    rest = "Everything recorded so far stays, and the record is sealed."
    if facts.fold.template["slug"] == EXTERNAL:
        return f"The recording ends now, and its producer is told to stop the command. {rest}"
    if facts.first("status", "extracting") is None:
        return f"It has not started, and will not. {rest}"
    return (
        "The command is told to stop, and killed if it does not. Everything recorded so far stays, the end "
        "is recorded as canceled by you, and the record is sealed. Artifacts are not collected."
    )


def _clock(facts: RunFacts, moment_ms: int) -> Clock:
    run = facts.run
    limit = clock_text(run["timeoutMs"])
    if "durationMs" in run:
        return Clock("Took", duration_text(run["durationMs"]))
    if facts.is_over:
        took = parse_time(run["finishedAt"]) - parse_time(run["createdAt"])
        return Clock("Ended after", duration_text(took))
    started_at = run.get("startedAt")
    since = started_at or run["createdAt"]
    name = ("Elapsed" if started_at else "Waiting") + (" then" if facts.is_past else "")
    text = clock_text(max(moment_ms - parse_time(since), 0))
    return Clock(name, text, since, limit if started_at else "")


async def _artifacts(store: Store, facts: RunFacts) -> Sequence[ArtifactRow]:
    """In the order of the request; what was kept beside it follows (it never happens today)."""
    problems = {error["path"]: error["message"] for error in facts.fold.artifact_errors}
    kept = {artifact["path"]: artifact for artifact in facts.fold.artifacts}
    rows: list[ArtifactRow] = []
    for wanted in facts.fold.artifacts_requested:
        path = wanted["path"]
        name = wanted.get("name", path)
        if path in kept:
            rows.append(await _kept(store, kept[path]))
        else:
            missing = "not collected: the run ended before" if facts.is_over else ""
            rows.append(ArtifactRow(path, name, problem=problems.get(path, missing)))
    return rows


async def _kept(store: Store, artifact: Mapping[str, Any]) -> ArtifactRow:
    row = await store.get_view("artifacts", artifact["id"])
    return ArtifactRow(
        path=artifact["path"],
        name=artifact["name"],
        id=artifact["id"],
        size=size_text(artifact["sizeBytes"]),
        digest=short_digest(artifact["sha256"]),
        sha256=artifact["sha256"],
        gone="deleted or expired since; its record stays"
        if row is not None and row.status == "deleted"
        else "",
    )


def _artifacts_word(artifacts: Sequence[ArtifactRow]) -> str:
    kept = sum(1 for artifact in artifacts if artifact.id)
    if not artifacts:
        return "none asked for"
    if kept or all(artifact.problem for artifact in artifacts):
        return f"{kept} kept" if kept == len(artifacts) else f"{kept} of {len(artifacts)} kept"
    return f"{len(artifacts)} asked for"


async def _name_of(store: Store, org_id: str, actor: str) -> str:
    """`key ci` or `person Ada`; empty for a name that is not on record, or another organisation's."""
    view, kind = ("users", "person") if actor.startswith("usr_") else ("api_keys", "key")
    row = await store.get_view(view, actor)
    if row is None or row.org_id != org_id:
        return ""
    return f"{kind} {decode(row.doc).get('name', '')}".strip()
