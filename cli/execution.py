"""Joins the rules and the runner, which do not know each other: a run's session becomes a job."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import BinaryIO, Protocol, Self

from eventstore.log import NewEvent
from runner.job import ArtifactRefused, Job, Limit, Report, RequestedArtifact, Runner, StoredBlob
from runner.templates import EXTERNAL_TEMPLATE, Templates, UnknownTemplate
from runs.dispatch import Emit, Ended, Store
from runs.ids import new_id
from runs.quotas import QuotaService
from runs.refusal import Refusal
from runs.secretbox import SecretValue
from runs.secrets import SecretUnavailable
from runs.session import RunSession


class Blobs(Protocol):
    """What execution needs of the blob store."""

    def path(self, sha256: str) -> Path:
        """Where the blob lies."""
        ...

    def put_file(self, source: BinaryIO, size_bytes_max: int) -> tuple[str, int]:
        """Store an open file; answer digest and size."""
        ...


OpenSecrets = Callable[[str, Sequence[str]], Awaitable[Mapping[str, SecretValue]]]
"""Opens secrets of a project by name (`runs.secrets.SecretService.values`)."""

ADMIT_S_MAX = 30.0
"""How long a worker thread waits for the word on an artifact's quota."""


class ArtifactStorage:
    """`runner.job.StoreArtifact` within a project's quota, for the collections of one run or request.

    What it stored counts as arriving until `settle`, which is called once the log holds the event. Use it
    as an asynchronous context manager, in the event loop; `store` is called in worker threads.
    """

    def __init__(self, blobs: Blobs, quotas: QuotaService, org_id: str, project_id: str) -> None:
        self._blobs = blobs
        self._quotas = quotas
        self._owner = org_id, project_id
        self._loop = asyncio.get_running_loop()
        self._arriving = AsyncExitStack()
        self.refusal: Refusal | None = None
        """The last `quota_exceeded`, for a caller that answers it."""

    def __repr__(self) -> str:
        return f"ArtifactStorage({'/'.join(self._owner)})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.settle()

    def store(self, source: BinaryIO, size_bytes_max: int) -> StoredBlob:
        """Store the file, if its project still has room for it. Blocking."""
        size_bytes = os.fstat(source.fileno()).st_size
        if size_bytes <= size_bytes_max:  # a larger one is refused for that, and by the blob store
            admitted = asyncio.run_coroutine_threadsafe(self._admit(size_bytes), self._loop)
            if refusal := admitted.result(ADMIT_S_MAX):
                raise ArtifactRefused(refusal.message)
        return StoredBlob(*self._blobs.put_file(source, size_bytes_max))

    async def settle(self) -> None:
        """What was stored so far is in the log, or never will be."""
        await self._arriving.aclose()

    async def _admit(self, size_bytes: int) -> Refusal | None:
        try:
            await self._arriving.enter_async_context(self._quotas.admit_artifact(*self._owner, size_bytes))
        except Refusal as refusal:
            self.refusal = refusal
        else:
            return None
        return self.refusal


class Execution:
    """`runs.dispatch.Execute` over a `runner.job.Runner`."""

    def __init__(
        self, store: Store, blobs: Blobs, runner: Runner, quotas: QuotaService, secrets: OpenSecrets
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._runner = runner
        self._quotas = quotas
        self._secrets = secrets

    def __repr__(self) -> str:
        return f"Execution({self._runner!r})"

    async def __call__(self, session: RunSession, emit: Emit) -> Ended:
        """Run the session's job; the runner's reports become events as they are."""
        try:
            secrets = await self._secrets(session.fold.project_id, session.fold.env_keys)
        except SecretUnavailable as missing:
            # The log names what the command finds: without one of them the proof would say what was not so.
            return Ended("sandbox_conflict" if missing.deleted else "internal_error", str(missing))
        job = self._job(session, secrets)
        if job.reuse and not await self._may_reuse(session, job.sandbox_id):
            return Ended("sandbox_conflict", f"{job.sandbox_id} is not a live sandbox of this project.")

        fold = session.fold
        async with ArtifactStorage(self._blobs, self._quotas, fold.org_id, fold.project_id) as storage:

            async def report(reports: Sequence[Report]) -> None:
                await emit([NewEvent(one.type, one.fields) for one in reports])
                if reports[-1].type == "artifact_collected":
                    await storage.settle()

            result = await self._runner.execute(job, report, storage.store, new_id, session.cancel_requested)
        return Ended(result.failure_reason, result.failure_message, result.canceled)

    def _job(self, session: RunSession, secrets: Mapping[str, SecretValue]) -> Job:
        fold = session.fold
        assert fold.sandbox_id is not None, "a starting run has a sandbox id"
        assert fold.archive is not None, "a starting run has its archive"
        request = fold.request
        return Job(
            run_id=session.run_id,
            command_id=new_id("cmd"),
            sandbox_id=fold.sandbox_id,
            archive=self._blobs.path(fold.archive["sha256"]),
            archive_sha256=fold.archive["sha256"],
            command=request["command"],
            template=fold.template["slug"],
            timeout_ms=request["timeoutMs"],
            keep_sandbox=request["keepSandbox"],
            reuse="sandboxId" in request,
            artifacts=[RequestedArtifact(one["path"], one.get("name")) for one in request["artifacts"]],
            env={name: value.reveal() for name, value in secrets.items()},
            secrets=[value.reveal().encode() for value in secrets.values()],
        )

    async def _may_reuse(self, session: RunSession, sandbox_id: str) -> bool:
        """A warm sandbox belongs to one project: another tenant's is refused like one that never was."""
        row = await self._store.get_view("sandboxes", sandbox_id)
        mine = (session.fold.org_id, session.fold.project_id, "ready")
        return row is not None and (row.org_id, row.project_id, row.status) == mine


class TemplateNames:
    """`runs.service.ResolveTemplate` over the runner's templates."""

    def __init__(self, templates: Templates, *, recorded: bool) -> None:
        """`recorded`: whether `external` is one, the template of runs that are executed elsewhere."""
        self._templates = templates
        self._recorded = recorded

    def __repr__(self) -> str:
        return f"TemplateNames(recorded={self._recorded})"

    def __call__(self, slug: str, version_id: str | None) -> dict[str, str] | None:
        """The template's record; None for an unknown name. `external` has no versions to ask for."""
        try:
            template = self._templates.get(version_id or slug)
        except UnknownTemplate:
            return None
        if version_id is not None and template.slug == version_id:
            return None
        external = EXTERNAL_TEMPLATE in {slug, template.slug}
        if external and (version_id is not None or not self._recorded):
            return None
        return template.record()


def describe_limits(limits: Mapping[str, Limit]) -> str:
    """The named limits in one line, each with whether this machine enforces it."""
    return ", ".join(
        f"{name} {limit.value:,} {'enforced' if limit.enforced else 'NOT enforced'}"
        for name, limit in sorted(limits.items())
    )
