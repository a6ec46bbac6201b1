"""Joins the rules and the runner for sandboxes that are used directly: `SandboxHost` over a runner."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Literal, cast

from cli.execution import ArtifactStorage, Blobs, OpenSecrets
from eventstore.log import NewEvent
from runner.command import Ending
from runner.files import FileRefused
from runner.files import FileStat as RunnerFileStat
from runner.interactive import SandboxCommand
from runner.job import Limit, Report, RequestedArtifact
from runner.link import SandboxUnavailable
from runner.local import LocalRunner
from runner.registry import SandboxConflict
from runner.sandboxes import TooManyCommands
from runs.host import CancelRequest, CommandEnd, CommandJob, EmitOutput, FileStat, Owner
from runs.ids import new_id
from runs.quotas import QuotaService
from runs.refusal import Refusal
from runs.sandboxes import destroyed
from runs.secrets import SecretUnavailable

PIECE_BYTES = 256 * 1024
"""A download is sent in pieces of this."""


class Hosting:
    """`runs.host.SandboxHost`."""

    def __init__(
        self,
        runner: LocalRunner,
        blobs: Blobs,
        *,
        quotas: QuotaService,
        secrets: OpenSecrets,
        output_bytes_max: int,
    ) -> None:
        self._secrets = secrets
        self._runner = runner
        self._blobs = blobs
        self._quotas = quotas
        self._output_bytes_max = output_bytes_max

    def __repr__(self) -> str:
        return f"Hosting({self._runner!r})"

    def facts(self) -> Mapping[str, object]:
        """`provider`, `isolation` and `limits` as events carry them."""
        return {
            "provider": self._runner.provider,
            "isolation": self._runner.isolation,
            "limits": limits_fields(self._runner.limits),
        }

    async def create(self, sandbox_id: str, template: str, ttl_ms: int) -> int:
        """Start a warm sandbox."""
        with _refusing(sandbox_id):
            return await self._runner.create_sandbox(sandbox_id, template, ttl_ms)

    def extend(self, sandbox_id: str, ttl_ms: int) -> int:
        """Let it end so long from now."""
        with _refusing(sandbox_id):
            return self._runner.extend_sandbox(sandbox_id, ttl_ms)

    async def destroy(self, sandbox_id: str) -> bool:
        """End it for real."""
        return await self._runner.destroy_sandbox(sandbox_id)

    async def admit(self, job: CommandJob) -> None:
        """Refuse a command that could not start now."""
        with _refusing(job.sandbox_id, path_field="cwd"):
            self._runner.require_free(job.sandbox_id)
            folder = await self._runner.stat_file(job.sandbox_id, job.cwd)
        if folder.type != "directory":
            raise Refusal("invalid_request", f"{job.cwd[:200]} is no folder.", {"field": "cwd"})

    async def run(self, job: CommandJob, emit: EmitOutput, cancel: CancelRequest) -> CommandEnd:
        """Run a command to its end."""

        async def report(reports: Sequence[Report]) -> None:
            await emit([NewEvent(one.type, one.fields) for one in reports])

        secrets = await self._opened(job.project_id, job.secret_names)
        command = SandboxCommand(
            command_id=job.command_id,
            command=job.command,
            timeout_ms=job.timeout_ms,
            cwd=job.cwd,
            env={**secrets, **job.env},
            secrets=[value.encode() for value in secrets.values()],
            output_bytes_max=self._output_bytes_max,
        )
        with _refusing(job.sandbox_id, path_field="cwd"):
            return _end(await self._runner.run_command(job.sandbox_id, command, report, cancel))

    async def _opened(self, project_id: str, names: Sequence[str]) -> dict[str, str]:
        try:
            opened = await self._secrets(project_id, names)
        except SecretUnavailable as missing:
            raise Refusal("conflict", str(missing)) from missing
        return {name: value.reveal() for name, value in opened.items()}

    @asynccontextmanager
    async def collected(
        self, owner: Owner, sandbox_id: str, path: str, name: str | None
    ) -> AsyncGenerator[NewEvent]:
        """Keep a file; until the block ends its bytes count as arriving."""
        secrets = (await self._opened(owner.project_id, owner.secret_names)).values()
        async with ArtifactStorage(self._blobs, self._quotas, owner.org_id, owner.project_id) as storage:
            with _refusing(sandbox_id):
                wanted = RequestedArtifact(path, name)
                report = await self._runner.collect_artifact(
                    sandbox_id, wanted, storage.store, new_id, [value.encode() for value in secrets]
                )
            if storage.refusal is not None:
                raise storage.refusal
            yield NewEvent(report.type, report.fields)

    async def list_files(self, sandbox_id: str, path: str) -> Sequence[FileStat]:
        """A folder's entries."""
        with _refusing(sandbox_id):
            return [_stat(one) for one in await self._runner.list_files(sandbox_id, path)]

    async def stat_file(self, sandbox_id: str, path: str) -> FileStat:
        """What is there."""
        with _refusing(sandbox_id):
            return _stat(await self._runner.stat_file(sandbox_id, path))

    async def read_file(self, sandbox_id: str, path: str, bytes_max: int) -> bytes:
        """A small file."""
        with _refusing(sandbox_id):
            return (await self._runner.read_file(sandbox_id, path, bytes_max)).content

    async def open_file(self, sandbox_id: str, path: str) -> tuple[int, AsyncIterator[bytes]]:
        """A file's size and its content in pieces."""
        with _refusing(sandbox_id):
            content = (await self._runner.read_file(sandbox_id, path)).content
        return len(content), _pieces(content)

    async def write_file(
        self, sandbox_id: str, path: str, content: bytes, *, create_parents: bool, overwrite: bool
    ) -> FileStat:
        """Write it whole or not at all."""
        with _refusing(sandbox_id):
            return _stat(
                await self._runner.write_file(
                    sandbox_id, path, content, create_parents=create_parents, overwrite=overwrite
                )
            )

    async def delete_file(self, sandbox_id: str, path: str) -> None:
        """Remove a file or an empty folder."""
        with _refusing(sandbox_id):
            await self._runner.delete_file(sandbox_id, path)

    async def make_directory(self, sandbox_id: str, path: str, *, parents: bool) -> FileStat:
        """Make a folder."""
        with _refusing(sandbox_id):
            return _stat(await self._runner.make_directory(sandbox_id, path, parents=parents))

    async def move_file(self, sandbox_id: str, source: str, target: str, *, overwrite: bool) -> FileStat:
        """Move or rename."""
        with _refusing(sandbox_id):
            return _stat(await self._runner.move_file(sandbox_id, source, target, overwrite=overwrite))


@contextmanager
def _refusing(sandbox_id: str, *, path_field: str = "path") -> Generator[None]:
    """What the runner raises, in the contract's words; `path_field` is where the caller named the path."""
    try:
        yield
    except FileRefused as error:
        raise Refusal(error.code, error.message, {"field": path_field}) from error
    except TooManyCommands as error:
        raise Refusal("slow_down", str(error)) from error
    except SandboxConflict as error:
        raise (
            Refusal("conflict", str(error)) if "in use" in str(error) else destroyed(sandbox_id)
        ) from error
    except SandboxUnavailable as error:
        raise Refusal("resource_allocation_failed", str(error)) from error
    except ValueError as error:
        raise Refusal("invalid_request", str(error)) from error


def limits_fields(limits: Mapping[str, Limit]) -> dict[str, object]:
    """The limits as events carry them: `{name: {value, enforced}}` (CONTRACT §6.6)."""
    return {name: {"value": limit.value, "enforced": limit.enforced} for name, limit in limits.items()}


def _stat(stat: RunnerFileStat) -> FileStat:
    kind = cast("Literal['file', 'directory']", stat.type)
    return FileStat(stat.path, stat.name, stat.size_bytes, kind, stat.modified_at_ms)


def _end(ending: Ending) -> CommandEnd:
    status: Literal["exited", "canceled", "timed_out", "killed"] = "exited"
    if ending.killed:
        status = "killed"
    elif ending.canceled:
        status = "canceled"
    elif ending.timed_out:
        status = "timed_out"
    return CommandEnd(
        status,
        ending.exit_code,
        ending.duration_ms,
        ending.signal,
        truncated=any(ending.dropped_bytes.values()),
    )


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), PIECE_BYTES):
        yield content[start : start + PIECE_BYTES]
