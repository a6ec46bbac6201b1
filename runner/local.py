"""The runner inside the server process: takes jobs, gives each a sandbox, and ends everything it started."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from runner import remains, reports
from runner.cgroups import detect_cgroups
from runner.execution import Execution, Tools
from runner.ground import Ground
from runner.holder_program import holder_program
from runner.job import CancelSignal, Emit, Job, Limit, Result, StoreArtifact
from runner.limits import RunnerLimits
from runner.probe import Found, probe
from runner.registry import OnExpired, Registry
from runner.remains import Notes
from runner.sandboxes import Sandboxes
from runner.spawner import Spawner
from runner.templates import Templates

BUBBLEWRAP_PLACES = (Path("/usr/bin/bwrap"), Path("/usr/local/bin/bwrap"))


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the runner does right now, and what it did since its start."""

    waiting: int
    """Jobs that wait for one of the places."""
    executing: int
    sandboxes_busy: int
    sandboxes_kept: int
    executed_total: int
    commands_running: int
    """In kept and warm sandboxes, beside runs."""


class LocalRunner(Sandboxes):
    """Executes jobs on this machine (job.Runner), and more. Made by `start`, ended by `close`."""

    def __init__(
        self,
        found: Found,
        *,
        spawner: Spawner,
        notes: Notes,
        limits: RunnerLimits,
        now_ms: Callable[[], int],
        on_expired: OnExpired | None,
        recovered: Sequence[str],
    ) -> None:
        registry = Registry(found.provider, ttl_ms=limits.kept_ttl_ms, now_ms=now_ms, on_expired=on_expired)
        super().__init__(registry, Templates(found.tools), limits)
        self.warning = found.warning
        """A plain sentence for the operator when commands are not isolated, else None."""
        self.recovered = tuple(recovered)
        """Ids of the sandboxes that a crashed predecessor left, and that are ended now."""
        self._provider = found.provider
        self._spawner = spawner
        self._notes = notes
        self._tools = Tools(found.provider, registry, self.templates, limits)
        self._places = asyncio.Semaphore(limits.concurrent_runs_max)
        self._waiting = self._executing = self._executed = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def __repr__(self) -> str:
        return f"LocalRunner({self.provider}, {self.statistics()})"

    @classmethod
    async def start(
        cls,
        work_dir: Path,
        *,
        now_ms: Callable[[], int],
        limits: RunnerLimits | None = None,
        provider: str = "auto",
        bubblewrap: Path | None = None,
        search_path: Sequence[Path] = (),
        on_expired: OnExpired | None = None,
    ) -> LocalRunner:
        """End what a crashed predecessor left in `work_dir`, try out the machine, and be ready.

        One process owns `work_dir`. `provider` is `auto`, `bubblewrap` or `process`; `search_path` is where
        private interpreters are looked for (the server's PATH). Raises `SandboxUnavailable`.
        """
        limits = limits or RunnerLimits()
        notes = Notes(work_dir / "sandboxes")
        recovered = await asyncio.to_thread(sweep, notes)
        spawner = Spawner()
        try:
            cgroups = await asyncio.to_thread(detect_cgroups)
            program = await asyncio.to_thread(holder_program)
            found = await probe(
                partial(Ground, spawner, notes, cgroups, limits, program),
                work_dir,
                wanted=provider,
                bubblewrap=bubblewrap or _installed_bubblewrap(),
                search_path=search_path,
            )
        except BaseException:
            spawner.close()
            raise
        return cls(
            found,
            spawner=spawner,
            notes=notes,
            limits=limits,
            now_ms=now_ms,
            on_expired=on_expired,
            recovered=recovered,
        )

    @property
    def provider(self) -> str:
        """`bubblewrap` or `process`."""
        return self._provider.name

    @property
    def isolation(self) -> str:
        """`namespaces` or `none`."""
        return self._provider.isolation

    @property
    def limits(self) -> Mapping[str, Limit]:
        """memoryBytes, processes, workspaceBytes, outputBytes, and which are enforced here."""
        return self._provider.limits()

    async def execute(
        self,
        job: Job,
        emit: Emit,
        store_artifact: StoreArtifact,
        new_id: Callable[[str], str],
        cancel: CancelSignal,
    ) -> Result:
        """Run the job to its end, cleanup included; waits for a place first, and reports nothing meanwhile.

        Raises what `emit` raises, after everything of the job was ended.
        """
        execution = Execution(
            job, self._tools, emit=emit, store_artifact=store_artifact, new_id=new_id, cancel=cancel
        )
        if not await self._place(cancel):
            await emit([reports.never_started()])
            return Result(None, canceled=True, cleanup_status="not_requested")
        self._executing += 1
        self._idle.clear()
        try:
            return await execution.run()
        finally:
            self._places.release()
            self._executing -= 1
            self._executed += 1
            if self._executing == 0:
                self._idle.set()

    async def destroy_sandbox(self, sandbox_id: str) -> bool:
        """End a kept or warm sandbox and remove its workspace; False when it is not (or no longer) here."""
        return await self._registry.destroy(sandbox_id) is not None

    def kept_sandboxes(self) -> dict[str, int]:
        """Ids of kept and warm sandboxes that no run uses, with the time (unix ms) at which each is ended."""
        return self._registry.kept()

    def statistics(self) -> Statistics:
        """For metrics and tests."""
        return Statistics(
            waiting=self._waiting,
            executing=self._executing,
            sandboxes_busy=len(self._registry.busy()),
            sandboxes_kept=len(self._registry.kept()),
            executed_total=self._executed,
            commands_running=self._commands.total(),
        )

    async def close(self) -> None:
        """End every sandbox, wait for executions and commands to notice, and end the spawner's thread."""
        await self._registry.close()
        await self._idle.wait()
        await self._no_commands.wait()
        await asyncio.to_thread(self._spawner.close)

    async def _place(self, cancel: CancelSignal) -> bool:
        """Wait for a place among the concurrent runs; False when the cancel came first."""
        self._waiting += 1
        place = asyncio.ensure_future(self._places.acquire())
        canceled = asyncio.ensure_future(cancel.wait())
        try:
            await asyncio.wait((place, canceled), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if place.done():
                self._places.release()
            raise
        finally:
            self._waiting -= 1
            canceled.cancel()
            got = place.done()
            place.cancel()
        return got


def sweep(notes: Notes) -> list[str]:
    """End and remove every sandbox that has a note: at start, all of them are leftovers of a crash."""
    recovered: list[str] = []
    for note in notes.all():
        if remains.remove(note):
            notes.forget(note.sandbox_id)
            recovered.append(note.sandbox_id)
    return recovered


def _installed_bubblewrap() -> Path | None:
    return next((place for place in BUBBLEWRAP_PLACES if place.exists()), None)
