"""Files of a warm or kept sandbox's workspace, on behalf of a principal (CONTRACT §2, second ring)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from eventstore.log import NewEvent
from eventstore.views import ViewRow
from runs.access import Principal
from runs.dispatch import Store
from runs.host import FileStat, SandboxHost
from runs.limits import RunLimits
from runs.organization import append_to_organization
from runs.refusal import Refusal
from runs.sandboxes import SandboxService

READ, WRITE = "file:read", "file:write"


class FileService:
    """`/v1/sandboxes/{id}/files`."""

    def __init__(self, store: Store, host: SandboxHost, sandboxes: SandboxService, limits: RunLimits) -> None:
        self._store = store
        self._sandboxes = sandboxes
        self._host = host
        self._limits = limits

    def __repr__(self) -> str:
        return "FileService()"

    async def list_files(self, who: Principal, sandbox_id: str, path: str) -> Sequence[FileStat]:
        """The entries of a folder."""
        await self._admit(who, sandbox_id, READ, path)
        return await self._host.list_files(sandbox_id, path)

    async def stat(self, who: Principal, sandbox_id: str, path: str) -> FileStat:
        """What is at the path."""
        await self._admit(who, sandbox_id, READ, path)
        return await self._host.stat_file(sandbox_id, path)

    async def read(self, who: Principal, sandbox_id: str, path: str) -> bytes:
        """A small file; a larger one is `file_too_large`: download it."""
        await self._admit(who, sandbox_id, READ, path)
        return await self._host.read_file(sandbox_id, path, self._limits.file_direct_bytes_max)

    async def download(self, who: Principal, sandbox_id: str, path: str) -> tuple[int, AsyncIterator[bytes]]:
        """A file's size and its content in pieces."""
        await self._admit(who, sandbox_id, READ, path)
        return await self._host.open_file(sandbox_id, path)

    async def require_file(self, who: Principal, sandbox_id: str, path: str) -> None:
        """Refuse unless there is a file that could be downloaded."""
        await self._admit(who, sandbox_id, READ, path)
        if (await self._host.stat_file(sandbox_id, path)).type != "file":
            raise Refusal("invalid_request", f"{path[:200]} is a folder.", {"field": "path"})

    async def write(
        self,
        who: Principal,
        sandbox_id: str,
        path: str,
        content: bytes,
        *,
        create_parents: bool,
        overwrite: bool,
    ) -> FileStat:
        """Write a small file, whole or not at all."""
        sandbox = await self._admit(who, sandbox_id, WRITE, path)
        if len(content) > self._limits.file_direct_bytes_max:
            raise Refusal(
                "file_too_large",
                f"A file written directly has at most {self._limits.file_direct_bytes_max} bytes. "
                "Bring a larger one in the archive of a run.",
                {"field": "content"},
            )
        stat = await self._host.write_file(
            sandbox_id, path, content, create_parents=create_parents, overwrite=overwrite
        )
        # Counted behind the write: a crash in between forgets the use, never the other way round.
        fields = {
            "actor": who.key_id,
            "sandboxId": sandbox_id,
            "projectId": sandbox.project_id,
            "sizeBytes": len(content),
        }
        await append_to_organization(self._store, sandbox.org_id, NewEvent("file_written", fields))
        return stat

    async def delete(self, who: Principal, sandbox_id: str, path: str) -> None:
        """Remove a file or an empty folder."""
        await self._admit(who, sandbox_id, WRITE, path)
        await self._host.delete_file(sandbox_id, path)

    async def mkdir(self, who: Principal, sandbox_id: str, path: str, *, parents: bool) -> FileStat:
        """Make a folder."""
        await self._admit(who, sandbox_id, WRITE, path)
        return await self._host.make_directory(sandbox_id, path, parents=parents)

    async def move(
        self, who: Principal, sandbox_id: str, source: str, target: str, *, overwrite: bool
    ) -> FileStat:
        """Move or rename."""
        await self._admit(who, sandbox_id, WRITE, source)
        _check_path("to", target, self._limits)
        return await self._host.move_file(sandbox_id, source, target, overwrite=overwrite)

    async def _admit(self, who: Principal, sandbox_id: str, scope: str, path: str) -> ViewRow:
        row = await self._sandboxes.live(who, sandbox_id, scope, to_look=scope == READ)
        _check_path("path", path, self._limits)
        return row


def _check_path(field: str, path: str, limits: RunLimits) -> None:
    if not path or "\0" in path or len(path.encode()) > limits.artifact_path_bytes_max:
        raise Refusal(
            "invalid_request",
            f"{field} must be 1 to {limits.artifact_path_bytes_max} bytes without NUL.",
            {"field": field},
        )
