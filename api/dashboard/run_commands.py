"""The command lines that repeat, follow, check and cancel a run: exact, and safe to paste into a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from api.dashboard.run_facts import RunFacts
from evidence.fold import TERMINAL_STATUSES, RunFold
from runs.decide import EXTERNAL

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Lines for a shell, under a few words on what they do. `notes` say what they cannot repeat.

    Where the one line ends in the number of the event that is shown, that is `seq`: a script keeps it true.
    """

    title: str
    lines: Sequence[str]
    notes: Sequence[str] = field(default=())
    seq: int | None = None

    @property
    def text(self) -> str:
        """What is copied."""
        return "\n".join(self.lines)


def command_lines(facts: RunFacts) -> Sequence[CommandLine]:
    """What can be done with the run now, and from the event that is shown."""
    fold, run_id = facts.fold, facts.fold.run_id
    logs = f"crownest workspace-runs logs {run_id}"
    resume = [f"{logs} --after-seq {facts.seq}"]
    if facts.now["status"] not in TERMINAL_STATUSES:
        return (
            CommandLine("Follow from here", resume, seq=facts.seq),
            repeat(fold),
            CommandLine("Cancel", [f"crownest workspace-runs cancel {run_id}"]),
        )
    evidence = [f"crownest workspace-runs evidence {run_id} --output evidence.json"]
    return (
        CommandLine("Read the log again", [logs]),
        CommandLine("Resume after this event", resume, seq=facts.seq)
        if facts.is_past
        else CommandLine("Resume after an event, here the first", [f"{logs} --after-seq 1"]),
        repeat(fold),
        CommandLine("Read the evidence", evidence),
        verify(run_id),
    )


def verify(run_id: str) -> CommandLine:
    """Check the run elsewhere. The policy is fetched once and kept apart from bundles."""
    return CommandLine(
        "Verify elsewhere",
        [
            "crownest policy > trust.policy",
            f"crownest workspace-runs proof {run_id} --output proof.zip",
            f"crownest verify proof.zip --policy trust.policy --run {run_id}",
        ],
        ["Fetch the policy once and keep it apart from bundles: it says whom you trust."],
    )


def repeat(fold: RunFold) -> CommandLine:
    """The same run again: `record` where the first one was recorded, else `run-archive`."""
    request = fold.request
    is_recorded = request["template"] == EXTERNAL
    program = ["crownest record"] if is_recorded else ["crownest workspace-runs run-archive repo.tgz"]
    words = [*program, *_options(request, is_recorded=is_recorded), "--", _argv(request["command"])]
    return CommandLine("Repeat", [" ".join(words)], list(_notes(fold, is_recorded=is_recorded)))


def quote(text: str) -> str:
    """One word for a shell. What a terminal would obey, but for new lines, is written as escapes (`$'…'`)."""
    if not _CONTROL.search(text):
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + _CONTROL.sub(_escape, escaped) + "'"


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"


def _argv(command: str) -> str:
    """The words after `--` that make this command line again; a line with shell syntax goes through `sh`."""
    try:
        words = shlex.split(command)
    except ValueError:  # an open quote: only a shell can say what it means
        words = []
    if words and shlex.join(words) == command and not _CONTROL.search(command):
        return command
    return f"sh -c {quote(command)}"


def _options(request: Mapping[str, Any], *, is_recorded: bool) -> Iterator[str]:
    yield f"--project {quote(request['projectId'])}"
    if not is_recorded:
        yield f"--template {quote(request['template'])}"
    if sandbox_id := request.get("sandboxId"):
        yield f"--sandbox {quote(sandbox_id)}"
    if request["keepSandbox"] and not is_recorded:
        yield "--keep-sandbox"
    yield f"--timeout-ms {request['timeoutMs']}"
    for key, value in sorted(request["metadata"].items()):
        if "=" not in key:
            yield f"--metadata {quote(f'{key}={value}')}"
    for artifact in request["artifacts"] if not is_recorded else ():
        yield f"--artifact {quote(_artifact(artifact))}"


def _artifact(artifact: Mapping[str, str]) -> str:
    """`PATH[=NAME]`: a path that holds `=` ends in one where it has no name of its own."""
    path, name = artifact["path"], artifact.get("name")
    if name is not None:
        return f"{path}={name}"
    return f"{path}=" if "=" in path else path


def _notes(fold: RunFold, *, is_recorded: bool) -> Iterator[str]:
    request = fold.request
    if fold.archive and not is_recorded:
        yield f"repo.tgz stands for the archive with SHA-256 {fold.archive['sha256']}."
    if is_recorded:
        yield "Run it where the first one ran: CrowNest recorded that run and did not execute it."
    if any("=" in key for key in request["metadata"]):
        yield "Labels whose name holds = can be set through the API only."
    if request["sourceMetadata"]:
        yield "Source metadata can be set through the API only."
    if "templateVersionId" in request:
        yield f"It asked for the template version {request['templateVersionId']}, which the API alone can."
