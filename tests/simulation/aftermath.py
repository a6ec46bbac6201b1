"""After a crash: is all that was acknowledged or delivered still there, equal, once, and provable?"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable

import orjson

from evidence.record import parse_time
from evidence.verify import verify_bundle
from tests.simulation import logcheck
from tests.simulation.client import Client, Gone
from tests.simulation.ledger import Call, Finding, Ledger, Run, digest_of
from tests.simulation.logcheck import Event, parse_events, status_of
from tests.simulation.plans import artifact
from tests.simulation.steps import RUNS, packed

AT_ONCE = 8
"""Runs that are looked at together."""
FOREVER_EQUAL = (
    "id", "orgId", "projectId", "command", "keepSandbox", "metadata", "sourceMetadata", "createdAt",
    "templateId", "templateSlug", "templateVersion", "templateVersionId", "timeoutMs",
)  # fmt: skip
"""Fields of a run's first answer that nothing may change later."""


class FolderLost(Exception):
    """The data folder does not even know the key any more that its first start showed."""


class Aftermath:
    """The checks of one server life."""

    def __init__(self, client: Client, ledger: Ledger, policy: bytes) -> None:
        self._client = client
        self._ledger = ledger
        self._policy = policy
        self._room = asyncio.Semaphore(AT_ONCE)

    async def recheck(self) -> None:
        """Right after a restart: every run that is not settled yet, and the sandboxes that were kept."""
        await self._require_key()
        async with asyncio.TaskGroup() as group:
            for run in self._ledger.open_runs.values():
                group.create_task(self._limited(self._recheck, run))
            while self._ledger.with_kept_sandbox:
                group.create_task(self._limited(self._check_destroyed, self._ledger.with_kept_sandbox.pop()))

    async def settle(self, run: Run) -> bool:
        """Judge and verify a run that has ended; False while it has not."""
        async with self._room:
            return await self._settle(run)

    async def once_more(self) -> None:
        """The last pass: every settled run again, and no run on the server that nobody asked for."""
        async with asyncio.TaskGroup() as group:
            for run in self._ledger.runs:
                if run.settled:
                    group.create_task(self._limited(self._compare_again, run))
        listed = await self._client.list_runs()
        asked = {run.plan.op: run.run_id for run in self._ledger.runs}
        seen: set[str] = set()
        for one in listed:
            op = one["metadata"].get("op", "")
            if op in seen or asked.get(op) != one["id"]:
                self._found("duplicated", f"{one['id']} (op {op!r}) is a run that no answer ever named")
            seen.add(op)
        for op in asked.keys() - seen:
            if asked[op]:
                self._found("lost", f"{asked[op]} (op {op}) is in no listing")

    async def _limited(self, work: Callable[[Run], Awaitable[None]], run: Run) -> None:
        async with self._room:
            await work(run)

    def _found(self, kind: str, text: str) -> None:
        self._ledger.findings.add(kind, text)

    def _all_found(self, findings: list[Finding]) -> None:
        for finding in findings:
            self._found(finding.kind, finding.text)

    async def _require_key(self) -> None:
        answer = await self._client.get(f"{RUNS}?limit=1")
        if answer.status == 401:
            count = max(1, self._ledger.counts["acknowledged effects"])
            text = f"the key that the first start showed is unknown, and {count} acknowledged effects with it"
            self._ledger.findings.add("lost", text, count)
            raise FolderLost(text)

    # ------------------------------------------------------------------ one run after a restart

    async def _recheck(self, run: Run) -> None:
        if not run.run_id:
            return  # its creation was never acknowledged: the load asks again with the same key
        lines = await self._client.log_of(run.run_id)
        if not lines:
            self._found("lost", f"{run.run_id}: the run is gone, its creation was acknowledged")
            return
        events = parse_events(lines)
        self._check_log(run, lines, events)
        self._check_acknowledged(run, events)
        self._check_recovered(run, events)
        await self._check_first_answer(run)
        await self._repeat_all(run, events)
        run.known = lines
        self._ledger.counts["delivered events compared after a crash"] += len(run.delivered)
        self._ledger.counts["logs compared after a restart"] += 1

    def _check_log(self, run: Run, lines: list[bytes], events: list[Event]) -> None:
        self._all_found(logcheck.check_prefix(run.run_id, lines, run.known))
        self._all_found(logcheck.check_delivered(run.run_id, lines, run.delivered))
        self._all_found(logcheck.check_numbers(run.run_id, events))
        self._all_found(logcheck.check_lifecycle(run.run_id, events))
        self._all_found(logcheck.check_output(run.run_id, run.plan, events))

    def _check_acknowledged(self, run: Run, events: list[Event]) -> None:
        """What an answer promised stands in the log."""
        for promised in logcheck.promises(run, packed(run.plan)[1]):
            if not promised.kept_by(events):
                self._found(
                    "lost", f"{run.run_id}: {promised.call} was acknowledged, {promised.what} is gone"
                )

    def _check_recovered(self, run: Run, events: list[Event]) -> None:
        """Whatever was executing when the server died has ended before the next one served."""
        met = logcheck.crash_that_met(events, self._ledger.crashes)
        if met is not None and status_of(events) in logcheck.EXECUTING:
            text = f"{run.run_id} was executing at a {met.kind} and is still {status_of(events)}"
            self._found("unfinished", text)

    async def _check_first_answer(self, run: Run) -> None:
        first = run.acknowledged("create")
        assert first is not None, "a run with an id was answered"
        before = orjson.loads(first.body)["workspaceRun"]
        now = (await self._client.json(f"{RUNS}/{run.run_id}"))["workspaceRun"]
        for name in FOREVER_EQUAL:
            if before.get(name) != now.get(name):
                self._found("changed", f"{run.run_id}: {name} was {before.get(name)!r}, is {now.get(name)!r}")

    async def _repeat_all(self, run: Run, events: list[Event]) -> None:
        """A retry with the same idempotency key gets the stored answer, to the byte."""
        for call in run.calls.values():
            # Of a cancel that came too late nothing is stored; an upload URL knows no keys.
            stored = call.name != "put" and (call.name != "cancel" or logcheck.canceled(events))
            if call.answer is None or not stored:
                continue
            again = await self._client.repeat(run, call)
            self._ledger.counts["answers asked for again"] += 1
            if again != call.answer:
                kind = "lost" if again.status >= 500 else "duplicated"
                self._found(kind, f"{run.run_id}: {call.name} was answered {call.answer}, a retry {again}")

    # ------------------------------------------------------------------ the end of one run

    async def _settle(self, run: Run) -> bool:
        lines = await self._client.log_of(run.run_id)
        events = parse_events(lines)
        if not events or events[-1]["type"] != "terminal":
            return False
        self._check_log(run, lines, events)
        self._check_acknowledged(run, events)
        self._all_found(logcheck.check_ending(run.run_id, run.plan, events, self._ledger.crashes))
        await self._check_view(run, events)
        await self._check_artifact(run, events)
        if run.calls["create"].crossed:
            await self._check_created_once(run)
        root = await self._verify(run, events)
        await self._check_kept(run, events)
        self._ledger.settle(run, lines, root)
        self._ledger.counts["bundles verified"] += bool(root)
        self._ledger.counts["runs ended"] += 1
        self._ledger.counts[f"runs {status_of(events)}"] += 1
        self._ledger.counts["events in the logs"] += len(lines)
        if any(event["type"] == "cleanup" and event["reason"] == "recovered" for event in events):
            self._ledger.counts["runs recovered"] += 1
        return True

    async def _check_view(self, run: Run, events: list[Event]) -> None:
        now = (await self._client.json(f"{RUNS}/{run.run_id}"))["workspaceRun"]
        if now != events[-1]["workspaceRun"]:
            self._found(
                "changed", f"{run.run_id}: the view says {now}, terminal {events[-1]['workspaceRun']}"
            )

    async def _check_artifact(self, run: Run, events: list[Event]) -> None:
        collected = [event for event in events if event["type"] == "artifact_collected"]
        status = status_of(events)
        own_end = logcheck.crash_that_met(events, self._ledger.crashes) is None and status != "canceled"
        if run.plan.artifact and run.plan.start and own_end and not collected:
            self._found("lost", f"{run.run_id} ended {status} without its artifact")
        for event in collected:
            answer = await self._client.get(f"/v1/artifacts/{event['artifactId']}/download")
            if answer.status != 200 or answer.body != artifact(run.plan):
                text = f"{run.run_id}: artifact {event['artifactId']} was collected and downloads as "
                self._found("lost", text + f"{answer.status} {answer.body[:200]!r}")
            else:
                self._ledger.counts["artifacts downloaded"] += 1

    async def _check_kept(self, run: Run, events: list[Event]) -> None:
        cleanup = next(event for event in events if event["type"] == "cleanup")
        if cleanup["reason"] == "kept":
            run.kept_sandbox = events[-1]["workspaceRun"]["sandboxId"]
            self._ledger.counts["sandboxes kept"] += 1
            crashes = self._ledger.crashes
            if crashes and crashes[-1].at_ms > parse_time(cleanup["createdAt"]):
                await self._check_destroyed(run)
            else:
                self._ledger.with_kept_sandbox.append(run)

    async def _check_destroyed(self, run: Run) -> None:
        sandbox = (await self._client.json(f"/v1/sandboxes/{run.kept_sandbox}"))["sandbox"]
        if sandbox["status"] != "destroyed":
            text = f"{run.kept_sandbox} of {run.run_id} was kept, the server died, and it is {sandbox}"
            self._found("unfinished", text)

    async def _check_created_once(self, run: Run) -> None:
        found = [one["id"] for one in await self._client.list_runs(f"&metadata.op={run.plan.op}")]
        if found != [run.run_id]:
            self._found("duplicated", f"op {run.plan.op} was created as {found}")

    async def _verify(self, run: Run, events: list[Event]) -> str:
        """Offline: nothing but the bundle's bytes and the policy file of the very first start.

        Answers the root that was proven, empty when it was not.
        """
        bundle = await self._client.body_of(f"{RUNS}/{run.run_id}/proof/bundle")
        verdict = await asyncio.to_thread(
            verify_bundle, io.BytesIO(bundle), self._policy, expected_run=run.run_id, allow_unlogged=False
        )
        if verdict.verdict != "COMPLETE" or verdict.exit_code != 0 or verdict.size != len(events) + 1:
            self._found("unproven", f"{run.run_id}: {verdict.to_dict()}")
            return ""
        assert verdict.root is not None, "a complete proof has a root"
        return verdict.root

    async def _compare_again(self, run: Run) -> None:
        assert run.settled is not None, "only settled runs are compared"
        try:
            lines = await self._client.log_of(run.run_id)
            note = (await self._client.body_of(f"{RUNS}/{run.run_id}/proof/checkpoint")).decode()
            created = await self._client.repeat(run, Call("create"))
        except Gone as gone:
            self._found("lost", f"{run.run_id}: {gone}")
            return
        if digest_of(lines) != run.settled.log:
            self._found("changed", f"{run.run_id}: the log differs from what it was when the run ended")
        if digest_of([created.body]) != run.settled.created:
            self._found("duplicated", f"{run.run_id}: its creation, asked for again, answers {created}")
        root = run.settled.root
        if root and note.split("\n")[1:3] != [str(len(lines) + 1), root]:
            self._found("changed", f"{run.run_id}: the checkpoint is {note!r}, its root was {root}")
        self._ledger.counts["logs compared at the end"] += 1
