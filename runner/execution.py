"""One job from its sandbox to its cleanup, step by step, with a report of each step.

Whatever happens (a bad archive, a cancel, a log that refuses reports, a server that stops), the last step
ends the sandbox or keeps it on purpose; no process is left behind.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import file_digest
from pathlib import Path

from runner import reports
from runner.archive_path import ArchiveRefused
from runner.collect import artifact_error, collect_from
from runner.command import Ending, RunningCommand
from runner.extract import Extracted
from runner.job import CancelSignal, Emit, Job, Report, RequestedArtifact, Result, StoreArtifact
from runner.limits import RunnerLimits
from runner.link import SandboxGone, SandboxUnavailable
from runner.masking import Masking
from runner.provider import Provider
from runner.registry import Registry, SandboxConflict
from runner.sandbox import Sandbox, extracted
from runner.templates import Template, Templates
from runner.uninterrupted import uninterrupted


@dataclass(frozen=True, slots=True)
class Tools:
    """What every execution of a runner uses."""

    provider: Provider
    registry: Registry
    templates: Templates
    limits: RunnerLimits


class _Failed(Exception):
    """The run is over: a failure reason of CONTRACT §3.4, and what to tell its owner."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message


class SandboxDestroyed(Exception):
    """Somebody ended the sandbox while the run used it."""


class _Canceled(Exception):
    """The cancel came before the command was started."""


class _EmitFailed(Exception):
    """The log does not take reports any more; the cause is what it raised."""


class Execution:
    """One job. `run` is awaited once."""

    def __init__(
        self,
        job: Job,
        tools: Tools,
        *,
        emit: Emit,
        store_artifact: StoreArtifact,
        new_id: Callable[[str], str],
        cancel: CancelSignal,
    ) -> None:
        self._job = job
        self._tools = tools
        self._raw_emit = emit
        self._store_artifact = store_artifact
        self._new_id = new_id
        self._cancel = cancel
        self._command_started = False

    async def run(self) -> Result:
        """Execute to the end, cleanup included; raises what `emit` raised, after everything is ended."""
        try:
            sandbox, template = await self._sandbox()
        except (SandboxConflict, SandboxUnavailable) as refusal:
            reason = "sandbox_conflict" if isinstance(refusal, SandboxConflict) else "sandbox_unavailable"
            await self._raw_emit([reports.never_started()])
            return Result(reason, str(refusal), cleanup_status="not_requested")
        try:
            result = await self._in_sandbox(sandbox, template)
            return await self._clean_up(sandbox, result)
        except _EmitFailed as failure:
            await uninterrupted(self._tools.registry.destroy(sandbox.id))
            raise failure.__cause__ or failure from None
        except BaseException:
            await uninterrupted(self._tools.registry.destroy(sandbox.id))
            raise

    async def _sandbox(self) -> tuple[Sandbox, Template]:
        """The sandbox to use, ours until the cleanup."""
        if self._job.reuse:
            return self._tools.registry.take(self._job.sandbox_id)
        template = self._tools.templates.get(self._job.template)
        return await self._tools.registry.boot(self._job.sandbox_id, template), template

    async def _in_sandbox(self, sandbox: Sandbox, template: Template) -> Result:
        """All steps between start and cleanup; every failure that is not the log's becomes a result."""
        try:
            return await self._steps(sandbox, template)
        except _EmitFailed:
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, the run must be cleaned up and end
            failed = self._failed(error)
            message = self._masked(failed.failure_message) if failed.failure_message else None
            return replace(failed, failure_message=message)

    def _failed(self, error: Exception) -> Result:
        """The result of a run that did not come to its end."""
        match error:
            case _Canceled():
                return Result(None, canceled=True)
            case _Failed():
                return Result(error.reason, error.message)
            case SandboxDestroyed() if not self._tools.registry.closed:
                return Result("sandbox_conflict", str(error))
            case SandboxDestroyed():
                return Result("internal_error", "The server was stopped while the command ran.")
            case SandboxUnavailable():
                return Result("sandbox_unavailable", str(error))
            case _:
                return Result("internal_error", f"The runner failed: {type(error).__name__}: {error}.")

    async def _steps(self, sandbox: Sandbox, template: Template) -> Result:
        provider = self._tools.provider
        await self._emit(
            reports.extracting(provider.name, provider.isolation, provider.limits(), template.record())
        )
        unpacked = await self._extract(sandbox)
        await self._emit(reports.running(self._job.command_id, unpacked))
        self._command_started = True
        ending = await self._run_command(sandbox)
        await self._emit(reports.collecting(ending.fields(), ending.duration_ms, ending.dropped_bytes))
        if ending.canceled:
            return Result(None, canceled=True)
        await self._collect(sandbox)
        if ending.timed_out:
            return Result("timeout")
        if ending.exit_code:
            return Result("command_exit")
        return Result(None)

    async def _extract(self, sandbox: Sandbox) -> Extracted:
        """Unpack the archive if the job has one; a cancel meanwhile ends the unpacking."""
        if self._cancel.is_set():
            raise _Canceled
        if self._job.archive is None:
            return Extracted(0, 0)
        archive_fd = await asyncio.to_thread(_open_verified, self._job.archive, self._job.archive_sha256)
        try:
            return await self._unpack(sandbox, archive_fd)
        except ArchiveRefused as refusal:
            raise _Failed(refusal.reason, refusal.message) from refusal
        except SandboxGone as gone:
            raise _Failed("extraction_failed", "The sandbox ended while the archive was unpacked.") from gone
        finally:
            os.close(archive_fd)

    async def _unpack(self, sandbox: Sandbox, archive_fd: int) -> Extracted:
        limits = self._tools.limits
        task = sandbox.unpack(archive_fd, limits.archive(), checked=self._job.reuse)
        unpacking = asyncio.ensure_future(extracted(task))
        canceled = asyncio.ensure_future(self._cancel.wait())
        try:
            await asyncio.wait(
                (unpacking, canceled),
                timeout=limits.extract_timeout_ms / 1000,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if unpacking.done():
                return unpacking.result()
            task.kill()
            await asyncio.wait((unpacking,), timeout=limits.stop_timeout_ms / 1000)
            if canceled.done():
                raise _Canceled
            raise _Failed("extraction_failed", f"Unpacking took longer than {limits.extract_timeout_ms} ms.")
        finally:
            unpacking.cancel()
            canceled.cancel()
            await asyncio.gather(unpacking, canceled, return_exceptions=True)

    async def _run_command(self, sandbox: Sandbox) -> Ending:
        secrets = self._job.secrets
        command = RunningCommand(sandbox, self._emit_all, self._tools.limits, secrets=secrets)
        try:
            ending = await command.run(self._job.command, self._job.env, self._job.timeout_ms, self._cancel)
        finally:
            await command.close()
        if ending.killed:
            raise SandboxDestroyed("The sandbox was destroyed while the command ran.")
        return ending

    async def _collect(self, sandbox: Sandbox) -> None:
        limits = self._tools.limits
        for index, requested in enumerate(self._job.artifacts):
            if index < limits.artifacts_max:
                report = await self._collect_one(sandbox, requested)
            else:
                what = f"more than {limits.artifacts_max} artifacts were asked for."
                report = artifact_error(requested.path, "artifact_collect_failed", what)
            await self._emit(report)

    async def _collect_one(self, sandbox: Sandbox, requested: RequestedArtifact) -> Report:
        bytes_max = self._tools.limits.artifact_bytes_max
        try:
            return await collect_from(
                sandbox, requested, self._store_artifact, bytes_max, self._new_id, masked=self._masked
            )
        except SandboxGone as gone:
            raise SandboxDestroyed("The sandbox was destroyed while artifacts were collected.") from gone

    def _masked(self, text: str) -> str:
        return Masking(self._job.secrets).text(text) if self._job.secrets else text

    async def _clean_up(self, sandbox: Sandbox, result: Result) -> Result:
        """Keep the sandbox if that was asked for and makes sense, else end it; and say which.

        One that never ran its command holds nothing worth keeping, unless it was kept before.
        """
        registry = self._tools.registry
        if self._job.keep_sandbox and not sandbox.gone and (self._command_started or self._job.reuse):
            # A crash from here on ends the sandbox as well: the report may promise one that recovery ends.
            await self._emit(reports.kept(registry.keep(sandbox.id)))
            return _with_cleanup(result, "not_requested")
        removed = await uninterrupted(registry.destroy(sandbox.id))
        await self._emit(reports.cleaned_up(removed=removed is not False))
        return _with_cleanup(result, "failed" if removed is False else "succeeded")

    async def _emit(self, report: Report) -> None:
        await self._emit_all([report])

    async def _emit_all(self, batch: Sequence[Report]) -> None:
        try:
            await self._raw_emit(batch)
        except Exception as failure:
            raise _EmitFailed from failure


def _with_cleanup(result: Result, status: str) -> Result:
    return Result(result.failure_reason, result.failure_message, result.canceled, status)


def _open_verified(archive: Path, sha256: str) -> int:
    """The archive, checked to be the bytes that were uploaded; the caller closes it. Blocking."""
    try:
        with archive.open("rb") as file:
            if file_digest(file, "sha256").hexdigest() != sha256:
                raise _Failed(
                    "archive_invalid",
                    "The stored archive is not what was uploaded (its sha256 differs). Upload it again.",
                )
            file.seek(0)
            return os.dup(file.fileno())
    except OSError as error:
        raise _Failed("extraction_failed", f"The stored archive cannot be read: {error.strerror}.") from error
