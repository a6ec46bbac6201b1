"""What goes on while the server is hit: runs streaming, uploads and retries in flight, readers attached."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Awaitable, Callable

from tests.simulation.aftermath import Aftermath
from tests.simulation.client import Client, Gone
from tests.simulation.ledger import Ledger, Plan, Run
from tests.simulation.plans import never_started, quick, slow
from tests.simulation.steps import steps

STREAMING_MIN = 8
"""Runs whose output is being read when the server is hit."""
SLOW_AT_ONCE = 12
QUICK_AT_ONCE = 2
NEVER_STARTED_AT_ONCE = 4
NEW_RUNS_MAX = 60
"""Runs that one server life begins."""
LOAD_S_MAX = 60.0
"""How long a server may take until enough runs stream."""
MOMENT_S_MAX = 0.8
"""The server is hit at a random moment within this after enough runs stream."""
END_S_MAX = 120.0
"""How long the last server life may take to end every run."""
GIVE_UP_S = 45.0
LOOK_S = 0.02
SETTLE_ATTEMPTS_MAX = 200


class TooSlow(Exception):
    """The load did not come to what the programme needs: this machine, or the server, is too slow."""


class Load:
    """The load of one server life."""

    def __init__(
        self, client: Client, ledger: Ledger, aftermath: Aftermath, names: itertools.count[int]
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._aftermath = aftermath
        self._names = names
        self._rng: random.Random = client.rng
        self._tasks: set[asyncio.Task[None]] = set()
        self._driven: dict[int, Run] = {}
        self._new = 0
        self.broken: list[BaseException] = []

    def resume(self) -> None:
        """Go on with every run that is not settled: retry what was cut off, read on, verify the ended."""
        for run in self._ledger.open_runs.values():
            if id(run) not in self._driven:
                self._drive(run)

    async def until_streaming(self, token: str) -> None:
        """Keep starting work until enough runs stream; then stay at it until a random moment."""
        deadline = time.monotonic() + LOAD_S_MAX
        while self._ledger.streaming < STREAMING_MIN:
            self._look(deadline)
            self._refill(token)
            await asyncio.sleep(LOOK_S)
        moment = time.monotonic() + self._rng.uniform(0, MOMENT_S_MAX)
        while time.monotonic() < moment or self._ledger.streaming < STREAMING_MIN:
            self._look(deadline)
            self._refill(token)
            await asyncio.sleep(LOOK_S / 4)

    async def until_settled(self) -> None:
        """The last life: nothing new, everything to its end."""
        deadline = time.monotonic() + END_S_MAX
        while self._ledger.open_runs and time.monotonic() < deadline:
            self._raise_broken()
            self.resume()
            await asyncio.sleep(LOOK_S)
        for run in self._ledger.open_runs.values():
            text = f"{run.run_id or run.plan.op} was not brought to its end within {END_S_MAX:.0f} s"
            self._ledger.findings.add("unfinished", text)

    async def end(self) -> None:
        """After the hit: wait until every task has noticed."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=GIVE_UP_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._raise_broken()

    def _look(self, deadline: float) -> None:
        self._raise_broken()
        if time.monotonic() > deadline:
            raise TooSlow(
                f"{self._ledger.streaming} runs stream after {LOAD_S_MAX:.0f} s where {STREAMING_MIN} must. "
                "Give it a faster machine, or look at the server's log."
            )

    def _raise_broken(self) -> None:
        if self.broken:
            raise self.broken[0]

    def _refill(self, token: str) -> None:
        makers: tuple[tuple[Callable[[random.Random, str], Plan], int], ...] = (
            (slow, SLOW_AT_ONCE),
            (quick, QUICK_AT_ONCE),
            (never_started, NEVER_STARTED_AT_ONCE),
        )
        driven = list(self._driven.values())
        for make, at_once in makers:
            kind = make.__name__
            busy = sum(run.plan.op.endswith(kind) for run in driven)
            if busy < at_once and (self._new < NEW_RUNS_MAX or make is slow):
                self._new += 1
                run = Run(make(self._rng, f"{token}-{next(self._names)}-{kind}"))
                self._ledger.begin(run)
                self._drive(run)

    def _drive(self, run: Run) -> None:
        self._driven[id(run)] = run
        task = asyncio.create_task(self._guarded(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, run: Run) -> None:
        """Drive the run; a server that is gone is what we wait for, anything else is a mistake of ours."""
        try:
            await self._driving(run)
        except Gone:
            pass
        except Exception as error:  # noqa: BLE001 # raised to the programme by `_raise_broken`
            self.broken.append(error)
        finally:
            del self._driven[id(run)]

    async def _driving(self, run: Run) -> None:
        rng, plan = self._rng, run.plan
        beside: list[asyncio.Task[None]] = []
        try:
            for name in steps(plan):
                await self._client.effect(run, name)
                if name == "create" and rng.random() < 0.3:
                    beside.append(self._beside(self._follow, run))
            if plan.cancel_after_s is not None:
                beside.append(self._beside(self._cancel, run))
            if plan.start and rng.random() < 0.3:
                beside.append(self._beside(self._follow, run))
            await self._follow(run)
            for task in beside:
                await task
            for _ in range(SETTLE_ATTEMPTS_MAX):
                if await self._aftermath.settle(run):
                    return
                await asyncio.sleep(LOOK_S)
        except asyncio.CancelledError:
            for task in beside:
                task.cancel()
            raise
        finally:
            # Not canceled when the server is gone: they notice by themselves, and close what they opened.
            await asyncio.gather(*beside, return_exceptions=True)

    def _beside(self, work: Callable[[Run], Awaitable[None]], run: Run) -> asyncio.Task[None]:
        async def quietly() -> None:
            with contextlib.suppress(Gone):
                await work(run)

        return asyncio.create_task(quietly())

    async def _cancel(self, run: Run) -> None:
        assert run.plan.cancel_after_s is not None, "only such runs are canceled"
        await asyncio.sleep(run.plan.cancel_after_s)
        await self._client.effect(run, "cancel")

    async def _follow(self, run: Run) -> None:
        """Attach a reader somewhere before what was read already, as clients do that come back."""
        after = self._rng.randrange(max(run.delivered)) if run.delivered else 0
        framing = self._rng.choice(("sse", "sse", "sse", "ndjson", "ndjson", "ndjson", "pages"))
        await self._client.follow(run, framing, after)
