"""The nine promises that `crownest smoke` proves by using a server as any client would.

Each check stands alone: it uses the direct upload unless the staged one is its subject, asks for the
status unless the stream is its subject, and so on, so that one broken promise fails one line.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from client.api import CrownestClient
from client.archive import Archive, measure
from client.errors import ApiError
from client.shapes import TERMINAL_STATUSES, Event, RunRequest, WorkspaceRun

RUN_S_MAX = 120
"""A check gives up on a run that has not ended after this."""
POLL_S_MIN, POLL_S_MAX = 0.1, 1.0
STREAM_TIMEOUT_MS = 20_000
"""When the streamed command ends if its output is not seen before."""
TIMEOUT_MS = 1500
ENDLESS_S = 600
"""What commands that are to be stopped would sleep if nobody stopped them."""
LIMIT_BYTES = 8 * 1024 * 1024
"""The archive limit that the product page names."""
DIRECT_TRY_BYTES_MAX = 64 * 1024 * 1024
"""Above this limit the refusal is tried at the transfer only."""
GONE = frozenset({"destroyed", "failed"})

GREETING = "hello from the smoke archive\n"
EVIDENCE_FIELDS = (
    "workspaceRunId", "orgId", "projectId", "status", "command", "createdAt", "metadata", "envKeys",
    "artifactIds", "artifactErrors", "cleanupStatus", "orchestrationSucceeded",
)  # fmt: skip
"""What every Evidence Bundle has (CONTRACT §3.5)."""


class NotProvenError(Exception):
    """The server did not do what it promises; the text says what it did instead."""


def expect(condition: object, otherwise: str) -> None:
    """Fail the check unless the condition holds."""
    if not condition:
        raise NotProvenError(otherwise)


@dataclass
class Smoke:
    """A server under test, and what was made on it so far."""

    client: CrownestClient
    folder: Path
    """For archives; empty at the start, and the caller's to remove."""
    run_ids: list[str] = field(default_factory=list[str])
    open_run_ids: list[str] = field(default_factory=list[str])
    kept_sandbox_ids: list[str] = field(default_factory=list[str])

    def archive(self) -> Archive:
        """A small archive with one file."""
        path = self.folder / "smoke.tgz"
        if not path.exists():
            with tarfile.open(path, "w:gz") as tar:
                member = tarfile.TarInfo("hello.txt")
                member.size = len(GREETING)
                tar.addfile(member, io.BytesIO(GREETING.encode()))
        return measure(path)

    def create(self, command: str, **options: Any) -> str:
        """Create a run, labelled so that operators recognise it; answers its id."""
        metadata = {"crownest.smoke": "1"}
        run = self.client.create_run(RunRequest(command, metadata=metadata, **options))
        self.run_ids.append(run["id"])
        self.open_run_ids.append(run["id"])
        return run["id"]

    def started(self, command: str, **options: Any) -> str:
        """Create, upload directly, start; answers the run's id."""
        run_id = self.create(command, **options)
        self.client.upload_direct(run_id, self.archive())
        self.client.start_run(run_id)
        return run_id

    def ended(self, run_id: str) -> WorkspaceRun:
        """Ask for the status until the run has ended."""
        deadline_s, pause_s = time.monotonic() + RUN_S_MAX, POLL_S_MIN
        while True:
            run = self.client.get_run(run_id)
            if run["status"] in TERMINAL_STATUSES:
                self.open_run_ids.remove(run_id)
                return run
            expect(time.monotonic() < deadline_s, f"{run_id} still {run['status']} after {RUN_S_MAX} s")
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, POLL_S_MAX)

    def sandbox_is_gone(self, sandbox_id: str) -> None:
        """Destroyed or unknown, and not among the live ones."""
        try:
            status = self.client.get_sandbox(sandbox_id)["status"]
        except ApiError as exc:
            expect(exc.status == 404, f"asking for {sandbox_id} answers {exc.status} {exc.code}")
            status = "destroyed"
        expect(status in GONE, f"{sandbox_id} is still {status}")
        expect(sandbox_id not in self.live_sandboxes(), f"{sandbox_id} is still listed as live")

    def live_sandboxes(self) -> set[str]:
        """The ids on the first page, which holds the newest (CONTRACT rule 13)."""
        return {sandbox["id"] for sandbox in self.client.list_sandboxes().items}

    def tidy(self) -> list[str]:
        """Cancel and delete what is left over; answers what could not be, in words."""
        left: list[str] = []
        for act, item_ids in (
            (self.client.delete_sandbox, self.kept_sandbox_ids),
            (self.client.cancel_run, self.open_run_ids),
        ):
            for item_id in item_ids:
                try:
                    act(item_id)
                except ApiError as exc:
                    if exc.status not in {404, 410}:
                        left.append(f"{item_id}: {exc.message}")
        return left


def staged_upload(smoke: Smoke) -> None:
    """Transfer, PUT, finalize; the command then finds the file that was packed."""
    archive = smoke.archive()
    run_id = smoke.create('test "$(cat hello.txt)" = "hello from the smoke archive"')
    answer = smoke.client.upload_staged(run_id, archive)
    facts = _object(answer.get("archive"))
    same = (facts.get("sha256"), facts.get("sizeBytes")) == (archive.sha256, archive.size_bytes)
    expect(same, f"finalize answers another archive than was sent: {facts}")
    smoke.client.start_run(run_id)
    run = smoke.ended(run_id)
    expect(run["status"] == "succeeded", f"the archive's file was not found: {_ending(run)}")


def streaming(smoke: Smoke) -> None:
    """Output arrives while the command runs, on its own stream, in order, and can be resumed.

    The command ends only because it is canceled once its output was seen, or by its time limit: so what
    arrives before the end arrived live, however slow the machine is.
    """
    run_id = smoke.started(f"echo one; echo two >&2; sleep {ENDLESS_S}", timeout_ms=STREAM_TIMEOUT_MS)
    events: list[Event] = []
    waiting_for = {"stdout", "stderr"}
    for event in smoke.client.stream_events(run_id, reconnect=False):
        events.append(event)
        if event["type"] in waiting_for:
            waiting_for.remove(event["type"])
            if not waiting_for:
                status = smoke.client.cancel_run(run_id)["status"]
                expect(status != "failed", "output came only after the run had ended")
    for name, expected in (("stdout", "one\n"), ("stderr", "two\n")):
        text = "".join(event.get("data", "") for event in events if event["type"] == name)
        expect(text == expected, f"{name} was {text!r} instead of {expected!r}")
    seqs = [event["seq"] for event in events]
    expect(seqs == sorted(set(seqs)), f"the events came in the order {seqs}")
    middle = seqs[len(seqs) // 2]
    resumed = list(smoke.client.stream_events(run_id, after_seq=middle, reconnect=False))
    expect(resumed == [e for e in events if e["seq"] > middle], f"resuming after {middle} gave other events")
    smoke.ended(run_id)


def evidence(smoke: Smoke) -> None:
    """The Evidence Bundle is there when the run has ended, complete, and says what the run says."""
    archive = smoke.archive()
    run = smoke.ended(smoke.started("echo evidence"))
    bundle = smoke.client.evidence(run["id"])
    missing = [name for name in EVIDENCE_FIELDS if name not in bundle]
    expect(not missing, f"the bundle lacks {', '.join(missing)}")
    fields: dict[str, Any] = dict(run)
    for name in ("status", "exitCode", "command", "metadata", "createdAt"):
        expect(
            bundle.get(name) == fields.get(name), f"{name} is {bundle.get(name)!r}, not {fields.get(name)!r}"
        )
    expect(bundle["workspaceRunId"] == run["id"], f"the bundle is of {bundle['workspaceRunId']}")
    packed = _object(bundle.get("archive"))
    expect(packed.get("sha256") == archive.sha256, "the bundle names another archive than was uploaded")


def artifact_collection(smoke: Smoke) -> None:
    """A named file is kept after the sandbox is gone, byte for byte; a missing one is reported."""
    content = "kept\n"
    wanted = [{"path": "out/report.txt", "name": "report"}, {"path": "out/absent.txt"}]
    run = smoke.ended(smoke.started(f"mkdir out && printf '{content}' > out/report.txt", artifacts=wanted))
    ids = run.get("artifactIds", [])
    expect(len(ids) == 1, f"one file was there to keep, the run names {len(ids)}")
    lost = [str(error.get("path")) for error in run.get("artifactErrors", [])]
    expect(lost == ["out/absent.txt"], f"the missing file is reported as {lost}")
    listed = [artifact["id"] for artifact in smoke.client.list_artifacts(run.get("sandboxId", "")).items]
    expect(ids[0] in listed, "the sandbox's list does not hold the artifact")
    artifact = smoke.client.get_artifact(ids[0])
    out = io.BytesIO()
    smoke.client.download_artifact(ids[0], out)
    expect(out.getvalue() == content.encode(), f"the download holds {out.getvalue()[:40]!r}")
    digest = hashlib.sha256(content.encode()).hexdigest()
    expect(artifact.get("sha256", digest) == digest, "the artifact's sha256 is not that of its content")
    smoke.client.delete_artifact(ids[0])


def cleanup(smoke: Smoke) -> None:
    """After an ordinary run its sandbox is gone, and the run says so."""
    run = smoke.ended(smoke.started("true"))
    status = run.get("cleanupStatus")
    expect(status == "succeeded", f"cleanupStatus is {status}")
    smoke.sandbox_is_gone(run.get("sandboxId", ""))


def kept_sandbox_cleanup(smoke: Smoke) -> None:
    """A sandbox that was asked to stay stays, and goes when it is deleted."""
    run = smoke.ended(smoke.started("true", keep_sandbox=True))
    sandbox_id = run.get("sandboxId", "")
    smoke.kept_sandbox_ids.append(sandbox_id)
    status = smoke.client.get_sandbox(sandbox_id)["status"]
    expect(status not in GONE, f"the kept sandbox is {status} right after the run")
    expect(sandbox_id in smoke.live_sandboxes(), "the kept sandbox is not listed as live")
    smoke.client.delete_sandbox(sandbox_id)
    smoke.sandbox_is_gone(sandbox_id)
    smoke.kept_sandbox_ids.remove(sandbox_id)


def user_command_failure(smoke: Smoke) -> None:
    """A command that fails is told from a platform that fails, with its own exit code."""
    run = smoke.ended(smoke.started("exit 7"))
    told = (run["status"], run.get("exitCode"), run.get("failureReason"), run.get("failureClass"))
    expect(told == ("failed", 7, "command_exit", "user_command"), f"exit 7 is told as {_ending(run)}")


def timeout_cleanup(smoke: Smoke) -> None:
    """A command over its time is stopped, told as a timeout, and its sandbox is gone."""
    run = smoke.ended(smoke.started(f"sleep {ENDLESS_S}", timeout_ms=TIMEOUT_MS))
    told = (run["status"], run.get("failureReason"), run.get("exitCode"))
    expect(told == ("failed", "timeout", None), f"the run over its time is told as {_ending(run)}")
    status = run.get("cleanupStatus")
    expect(status == "succeeded", f"cleanupStatus is {status}")
    smoke.sandbox_is_gone(run.get("sandboxId", ""))


def archive_limit_rejection(smoke: Smoke) -> None:
    """One byte over the limit is refused on both upload routes, and the run goes on waiting."""
    run_id = smoke.create("true")
    limit_bytes = _transfer_limit(smoke, run_id)
    if limit_bytes <= DIRECT_TRY_BYTES_MAX:
        path = smoke.folder / "over.tgz"
        with path.open("wb") as file:
            file.truncate(limit_bytes + 1)
        archive = measure(path)
        _expect_too_large(lambda: smoke.client.upload_direct(run_id, archive), "the direct upload")
    status = smoke.client.get_run(run_id)["status"]
    expect(status == "awaiting_archive", f"after the refusals the run is {status}")
    smoke.client.cancel_run(run_id)


def _transfer_limit(smoke: Smoke, run_id: str) -> int:
    """The server's limit: the product's, unless a transfer that it accepts names a larger one."""
    digest = "0" * 64
    try:
        transfer = smoke.client.create_transfer(run_id, digest, LIMIT_BYTES + 1)
    except ApiError as exc:
        expect((exc.status, exc.code) == (413, "file_too_large"), f"refused as {exc.status} {exc.code}")
        return LIMIT_BYTES
    limit_bytes = transfer.get("maxSizeBytes") or 0
    expect(limit_bytes > LIMIT_BYTES, f"a transfer of {LIMIT_BYTES + 1} bytes is accepted")
    again = smoke.create("true")
    _expect_too_large(lambda: smoke.client.create_transfer(again, digest, limit_bytes + 1), "the transfer")
    return limit_bytes


def _expect_too_large(attempt: Callable[[], object], what: str) -> None:
    try:
        attempt()
    except ApiError as exc:
        told = f"{what} was refused as {exc.status} {exc.code}, not 413 file_too_large"
        expect((exc.status, exc.code) == (413, "file_too_large"), told)
    else:
        raise NotProvenError(f"{what} took one byte over the limit")


def _object(value: object) -> dict[str, Any]:
    """What should be an object; anything else counts as one without fields."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _ending(run: WorkspaceRun) -> str:
    facts: dict[str, Any] = dict(run)
    names = ("status", "exitCode", "failureReason", "failureClass", "failureMessage")
    return ", ".join(f"{name} {facts[name]}" for name in names if name in facts)


CHECKS: dict[str, Callable[[Smoke], None]] = {
    "staged upload": staged_upload,
    "streaming": streaming,
    "evidence": evidence,
    "artifact collection": artifact_collection,
    "cleanup": cleanup,
    "kept-sandbox cleanup": kept_sandbox_cleanup,
    "user command failure": user_command_failure,
    "timeout cleanup": timeout_cleanup,
    "archive-limit rejection": archive_limit_rejection,
}
"""In the order in which the product page names them."""
