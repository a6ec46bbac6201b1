"""The evidence of a run as rows of a panel: every field of the Evidence Bundle, in words, as known so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.dashboard.run_facts import RunFacts
from api.dashboard.words import (
    CLASSES,
    DIGEST_START_CHARS,
    REASONS,
    duration_text,
    short_digest,
    short_id,
    size_text,
)
from evidence.wording import counted
from runs.decide import EXTERNAL

ISOLATION: Mapping[str, str] = {
    "namespaces": "private namespaces, no network",
    "none": "none: it ran beside other programs of the machine",
}
LIMITS: Mapping[str, str] = {
    "memoryBytes": "memory",
    "processes": "processes",
    "workspaceBytes": "workspace",
    "outputBytes": "output",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One fact. Shown are in this order: `time` (ISO 8601), `text`, `codes` (monospaced), `after`, `note`.

    `copied` is the whole value where a shortened one is shown. A row without any of them is not known yet.
    """

    name: str
    text: str = ""
    codes: Sequence[str] = ()
    after: str = ""
    note: str = ""
    time: str = ""
    copied: str = ""
    is_warning: bool = False
    is_output: bool = False
    """Whether it counts the output: a script keeps it up to date between two facts."""

    @property
    def is_known(self) -> bool:
        """Whether there is a value."""
        return bool(self.text or self.codes or self.time or self.note)


def evidence_rows(facts: RunFacts, requested_by: str) -> Sequence[Row]:
    """All rows; `requested_by` is the name of the key or person behind `actor`, or empty."""
    return [
        *_ending(facts),
        *_times(facts),
        *_archive(facts),
        *_place(facts),
        *_output(facts),
        *_request(facts, requested_by),
        *_record(facts),
    ]


def _ending(facts: RunFacts) -> Iterator[Row]:
    run = facts.run
    none = "none" if facts.is_over else ""
    code, reason, fault = run.get("exitCode"), run.get("failureReason", ""), run.get("failureClass", "")
    yield Row("Exit code", codes=[] if code is None else [str(code)], note=none if code is None else "")
    yield Row("Reason", REASONS.get(reason, reason), note=reason or none)
    if message := run.get("failureMessage"):
        yield Row("Message", message)
    yield Row("Fault", CLASSES.get(fault, fault), note="" if fault else none)
    worked = run.get("orchestrationSucceeded")
    words = {None: "", True: "worked as it should", False: "failed on the server's side"}
    yield Row("Orchestration", words[worked], is_warning=worked is False)


def _times(facts: RunFacts) -> Iterator[Row]:
    run = facts.run
    yield Row("Created", time=run["createdAt"])
    if facts.fold.template["slug"] != EXTERNAL:
        yield Row("Uploaded", time=run.get("uploadedAt", ""))
    yield Row("Started", time=run.get("startedAt", ""))
    yield Row("Finished", time=run.get("finishedAt", ""))
    limit = duration_text(run["timeoutMs"])
    if "durationMs" in run:
        yield Row("Duration", f"{duration_text(run['durationMs'])} of {limit}")
    else:
        yield Row("Time limit", limit)


def _archive(facts: RunFacts) -> Iterator[Row]:
    archive = facts.run.get("archive")
    if facts.fold.template["slug"] == EXTERNAL:
        yield Row("Archive", note="none: the run was recorded where it ran")
        return
    if archive is None:
        yield from (Row("Archive"), Row("Archive size"))
        return
    yield Row("Archive", codes=[short_digest(archive["sha256"])], copied=archive["sha256"])
    running = facts.first("status", "running") or {}
    unpacked = ""
    if "entries" in running:
        unpacked = (
            f", {counted(running['entries'], 'entry', 'entries')}, {size_text(running['bytes'])} unpacked"
        )
    yield Row("Archive size", size_text(archive["sizeBytes"]) + unpacked)


def _place(facts: RunFacts) -> Iterator[Row]:
    run = facts.run
    yield Row(
        "Template",
        run["templateSlug"],
        codes=[f"{run['templateVersion'].removeprefix('sha256-')[:DIGEST_START_CHARS]}…"],
        copied=run["templateVersion"],
    )
    if "sandboxId" in run:
        yield Row(
            "Sandbox",
            codes=[short_id(run["sandboxId"])],
            after=_sandbox_state(facts),
            copied=run["sandboxId"],
            is_warning=run.get("cleanupStatus") == "failed",
        )
    elif facts.fold.template["slug"] != EXTERNAL:
        yield Row("Sandbox", note="none" if facts.is_over else "")
    if kept := (facts.first("cleanup") or {}).get("expiresAt"):
        yield Row("Sandbox until", time=kept)
    command_id = run.get("commandId", "")
    yield Row(
        "Command id",
        codes=[short_id(command_id)] if command_id else [],
        note="" if command_id or not facts.is_over else "none",
        copied=command_id,
    )
    sandbox = run.get("sandbox")
    if sandbox is None:
        none = "none: nothing was executed" if facts.is_over else ""
        yield from (Row("Isolation", note=none), Row("Limits in force", note=none))
        return
    if sandbox["provider"] == EXTERNAL:
        yield Row("Isolation", "not known: it ran outside CrowNest")
        return
    how = ISOLATION.get(sandbox["isolation"], sandbox["isolation"])
    yield Row("Isolation", f"{sandbox['provider']}, {how}", is_warning=sandbox["isolation"] == "none")
    yield from _limits(sandbox["limits"])


def _limits(limits: Mapping[str, Any]) -> Iterator[Row]:
    for name, enforced in (("Limits in force", True), ("Not enforced", False)):
        shown = [_limit(key, one["value"]) for key, one in limits.items() if one["enforced"] is enforced]
        if shown:
            yield Row(name, ", ".join(shown), is_warning=not enforced)


def _limit(key: str, value: int) -> str:
    word = LIMITS.get(key, key)
    return f"{word} {size_text(value)}" if key.endswith("Bytes") else counted(value, "process", "processes")


def _sandbox_state(facts: RunFacts) -> str:
    cleanup = facts.first("cleanup")
    if cleanup is None:
        return "in use" if facts.first("status", "extracting") else "not started yet"
    return {
        ("succeeded", "finished"): "removed",
        ("succeeded", "recovered"): "removed after the server came back",
        ("not_requested", "kept"): "kept",
        ("not_requested", "never_started"): "never started",
    }.get((cleanup["cleanupStatus"], cleanup["reason"]), _cleanup_words(cleanup["cleanupStatus"]))


def _cleanup_words(status: str) -> str:
    return "could not be removed" if status == "failed" else "not there any more"


def _output(facts: RunFacts) -> Iterator[Row]:
    output = facts.run["output"]
    if facts.is_past and not facts.is_over:
        yield Row("Output", note="counted by the log's script", is_output=True)
    else:
        text = f"stdout {size_text(output['stdoutBytes'])}, stderr {size_text(output['stderrBytes'])}"
        yield Row("Output", text, is_output=True)
    if not output["truncated"]:
        return
    truncated = facts.first("output_truncated")
    kept = f" of {size_text(truncated['keptBytes'])}" if truncated else ""
    dropped = (facts.first("status", "collecting") or {}).get("droppedBytes", {})
    lost = sum(dropped.values())
    rest = f"{size_text(lost)} after it were" if lost else "what came after it was"
    yield Row("Output limit", f"reached{kept}: {rest} not recorded", is_warning=True)


def _request(facts: RunFacts, requested_by: str) -> Iterator[Row]:
    run, actor = facts.run, facts.fold.actor
    yield Row("Command", codes=[run["command"]], copied=run["command"])
    yield Row("Requested by", requested_by, codes=[short_id(actor)], copied=actor)
    if cancel := facts.first("cancel_requested"):
        yield Row("Canceled by", codes=[short_id(cancel["actor"])], copied=cancel["actor"])
    yield Row("Keep sandbox", "yes" if run["keepSandbox"] else "no")
    yield Row(
        "Env names",
        codes=run["envKeys"],
        note="values are never kept" if run["envKeys"] else "none",
    )
    yield Row("Project", codes=[short_id(run["projectId"])], copied=run["projectId"])
    yield Row("Organisation", codes=[short_id(run["orgId"])], copied=run["orgId"])


def _record(facts: RunFacts) -> Iterator[Row]:
    digest = facts.seal["evidenceSha256"] if facts.seal else ""
    yield Row(
        "Evidence digest",
        codes=[short_digest(digest)] if digest else [],
        note=facts.seal["projection"] if facts.seal else "",
        copied=digest,
    )
    for redaction in facts.redactions:
        events = counted(len(redaction["targets"]), "event")
        yield Row(
            "Redacted",
            f"text of {events} erased, reason “{redaction['reason']}”, by",
            codes=[short_id(redaction["actor"])],
            time=redaction["createdAt"],
            is_warning=True,
        )
