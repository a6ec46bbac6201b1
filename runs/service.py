"""What an API key may do to runs: create, read, start, cancel; each a decision and one append."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from eventstore.log import Answer, Append, ExpectedHeadMismatch, NewEvent, Record
from eventstore.views import ViewQuery, ViewRow
from evidence.canonical import decode
from runs import decide
from runs.access import Principal
from runs.dispatch import Dispatcher, Store
from runs.idempotency import IdempotentRequest, InFlight
from runs.ids import is_id, new_id
from runs.limits import RunLimits
from runs.quotas import QuotaService
from runs.refusal import Refusal, not_found
from runs.requests import RunRequest, check_request
from runs.secret_names import secret_names
from runs.session import load_session


class ResolveTemplate(Protocol):
    """Names a template (wired to the runner's templates in `cli`)."""

    def __call__(self, slug: str, version_id: str | None) -> Mapping[str, str] | None:
        """`{id, slug, version, versionId}`, or None when no such template exists."""
        ...


@dataclass(frozen=True, slots=True)
class Page:
    """One page of view rows; `next_before` is set while there are more."""

    rows: list[ViewRow]
    next_before: tuple[str, str] | None


def run_answer(status: int, row: ViewRow | None) -> Answer:
    """`{"workspaceRun": …}` around the stored bytes of the run's view."""
    assert row is not None, "a run's append always answers its row"
    return Answer(status, b'{"workspaceRun":' + row.doc + b"}")


def changed_run(row: ViewRow | None) -> Answer:
    """200 `{workspaceRun}`."""
    return run_answer(200, row)


class RunService:
    """Commands and reads of runs on behalf of a `Principal`."""

    def __init__(
        self, store: Store, dispatcher: Dispatcher, templates: ResolveTemplate, limits: RunLimits,
        now_ms: Callable[[], int], *, quotas: QuotaService,
    ) -> None:  # fmt: skip
        self.store = store
        self.limits = limits
        self.now_ms = now_ms
        self.in_flight = InFlight()
        self._dispatcher = dispatcher
        self._templates = templates
        self._quotas = quotas
        self.on_cancel: Callable[[str], None] = lambda _: None
        """Told of each canceled run; `runs.recordings` tells the producers."""

    def __repr__(self) -> str:
        return f"RunService({self._dispatcher!r})"

    async def stored_answer(self, idempotent: IdempotentRequest | None) -> Answer | None:
        """What an earlier request with this key was answered, if there was one."""
        if idempotent is None:
            return None
        return await self.store.stored_answer(idempotent.key, idempotent.fingerprint)

    async def create(
        self, who: Principal, request: RunRequest, idempotent: IdempotentRequest | None
    ) -> Answer:
        """Begin a run: 201 `{workspaceRun}`."""
        who.require("workspace_run:create")
        if request.artifacts:
            who.require("artifact:create")
            who.require("file:read")
        async with self.in_flight.one_at_a_time(idempotent):
            if answer := await self.stored_answer(idempotent):
                return answer
            check_request(request, self.limits)
            await require_project(self.store, who, request.project_id)
            template = self._templates(request.template, request.template_version_id)
            if template is None:
                asked = request.template_version_id or request.template
                raise Refusal(
                    "invalid_request",
                    f"There is no template {asked[:80]!r}. Use python-node, python, node or base; external "
                    "is for runs that are recorded elsewhere.",
                    {"field": "templateVersionId" if request.template_version_id else "template"},
                )
            run_id = new_id("wsr")
            recorded = template["slug"] == decide.EXTERNAL  # secrets are given in sandboxes alone
            event = decide.created(
                run_id=run_id,
                org_id=who.org_id,
                actor=who.key_id,
                request=request.fields(),
                template=template,
                env_keys=[] if recorded else await secret_names(self.store, who.org_id, request.project_id),
            )
            claim = idempotent.claim(lambda row: run_answer(201, row)) if idempotent else None
            done = await self.store.append(Append(run_id, 0, [event], claim=claim))
            return done.answer or run_answer(201, await self.store.get_view("runs", run_id))

    async def get(self, who: Principal, run_id: str, scope: str = "workspace_run:read") -> ViewRow:
        """The run's row; 404 alike for unknown, malformed and other tenants' ids."""
        if not (scope == "workspace_run:read" and "audit:read" in who.scopes):
            who.require(scope)
        row = await self.store.get_view("runs", run_id) if is_id(run_id, "wsr") else None
        if row is None or not who.sees(row.org_id, row.project_id):
            raise not_found("Workspace run", run_id)
        return row

    async def list_runs(self, who: Principal, query: ViewQuery) -> Page:
        """Newest first; a named project that the key cannot see is 403 (CONTRACT §11)."""
        who.require("workspace_run:read")
        for project_id in query.project_ids or ():
            await require_project(self.store, who, project_id)
        return await list_page(self.store, "runs", restrict(who, query))

    async def start(self, who: Principal, run_id: str, idempotent: IdempotentRequest | None) -> Answer:
        """Queue the run; 200 `{workspaceRun}` with its `sandboxId` (CONTRACT rule 9).

        Raises `quota_exceeded` (429) for a sandbox or a month's compute beyond what is allowed.
        """
        async with self.in_flight.one_at_a_time(idempotent):
            if answer := await self.stored_answer(idempotent):
                # Crash window: appended, answered, and not submitted. Submitting twice is harmless.
                self._dispatcher.submit(run_id)
                return answer
            await self.get(who, run_id, "workspace_run:create")
            self._dispatcher.require_room()
            reused = await self._requested_sandbox(run_id)
            sandbox_id = reused or new_id("sbx")

            def decision(run: dict[str, Any]) -> list[NewEvent]:
                return decide.start(run, actor=who.key_id, sandbox_id=sandbox_id)

            async with self._quotas.one_at_a_time(who.org_id):
                # Looked at behind the lock: a run that a racing request started must not be refused.
                row = await self.get(who, run_id, "workspace_run:create")
                if row.status == "archive_uploaded":
                    await self._quotas.require_compute(row.org_id, row.project_id)
                    if reused is None:
                        await self._quotas.require_sandbox(row.org_id, row.project_id)
                answer = await self.change(
                    who, run_id, "workspace_run:create", decision, idempotent=idempotent
                )
        self._dispatcher.submit(run_id)
        return answer

    async def cancel(self, who: Principal, run_id: str, idempotent: IdempotentRequest | None) -> Answer:
        """Ask an active run to end; a terminal one answers its current state."""
        async with self.in_flight.one_at_a_time(idempotent):
            if answer := await self.stored_answer(idempotent):
                return answer
            await self.get(who, run_id, "workspace_run:cancel")
            answer = await self._cancel(who, run_id, idempotent)
        self._dispatcher.cancel(run_id)
        self.on_cancel(run_id)
        return answer

    async def _cancel(self, who: Principal, run_id: str, idempotent: IdempotentRequest | None) -> Answer:
        """Decide on the whole fold, since a run that never started ends here with its seal."""
        claim = idempotent.claim(changed_run) if idempotent else None
        session = await load_session(self.store, run_id, self.limits, self.now_ms)

        def decision(created_at_ms: int) -> list[NewEvent]:
            return decide.cancel(session, actor=who.key_id, created_at_ms=created_at_ms)

        try:
            done = await session.conclude(decision, claim)
        except ExpectedHeadMismatch:
            raise Refusal("conflict", "This run is changing too quickly. Try again.") from None
        if done is not None and done.answer is not None:
            return done.answer
        return run_answer(200, await self.store.get_view("runs", run_id))

    async def change(
        self, who: Principal, run_id: str, scope: str, decision: Callable[[dict[str, Any]], list[NewEvent]],
        *,
        idempotent: IdempotentRequest | None,
        render: Callable[[ViewRow | None], Answer] = changed_run,
        records: Sequence[Record] = (),
    ) -> Answer:  # fmt: skip
        """Decide on the run as it stands and append the events, again and again until nobody was first.

        The head is read before the view: a view that is newer than its head makes the append fail and
        the decision be taken again, never be taken on half a picture.
        """
        for _ in range(self.limits.append_attempts_max):
            head = await self.store.head(run_id) if is_id(run_id, "wsr") else None
            row = await self.get(who, run_id, scope)
            run = decode(row.doc)
            events = decision(run)
            if not events or head is None:
                return render(row)
            claim = idempotent.claim(render) if idempotent else None
            try:
                request = Append(run_id, head.size, events, claim=claim, records=records)
                done = await self.store.append(request)
            except ExpectedHeadMismatch:
                continue
            return done.answer or render(await self.store.get_view("runs", run_id))
        raise Refusal("conflict", "This run is changing too quickly. Try again.")

    async def _requested_sandbox(self, run_id: str) -> str | None:
        """The warm sandbox that the creation request named; it stands in seq 1 only."""
        first = await self.store.read(run_id, 0, 1)
        payload = decode(first[0].payload) if first and first[0].payload else {}
        sandbox_id: str | None = payload.get("request", {}).get("sandboxId")
        return sandbox_id

    async def default_project(self, who: Principal) -> str:
        """The key's oldest visible project, used when a request names none."""
        query = restrict(who, ViewQuery(org_id=who.org_id, limit=500))
        rows = await self.store.list_view("projects", query)
        if not rows:
            raise Refusal("forbidden", "This API key sees no project. Ask an owner to give it one.")
        return rows[-1].id


async def require_project(store: Store, who: Principal, project_id: str) -> None:
    """Refuse one in a body or query that the caller does not see: 403, as for one that never was (§11)."""
    row = await store.get_view("projects", project_id) if is_id(project_id, "prj") else None
    if row is None or not who.sees(row.org_id, project_id):
        raise Refusal(
            "forbidden",
            f"This API key cannot use project {project_id[:80]}. GET /v1/projects lists those that it can.",
            {"projectId": project_id[:80]},
        )


def restrict(who: Principal, query: ViewQuery) -> ViewQuery:
    """The same query, limited to what the key may see: of projects that it names, those among its own."""
    projects, named = who.project_ids, query.project_ids
    if named is not None:
        projects = frozenset(named) if projects is None else projects.intersection(named)
    visible = sorted(projects) if projects is not None else None
    return replace(query, org_id=who.org_id, project_ids=visible)


async def list_page(store: Store, view: str, query: ViewQuery) -> Page:
    """One page, by asking for one row more than wanted."""
    wanted = query.limit
    rows = await store.list_view(view, replace(query, limit=wanted + 1))
    more = len(rows) > wanted
    rows = rows[:wanted]
    return Page(rows, rows[-1].place if more else None)
