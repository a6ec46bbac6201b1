"""The organisation's own stream: what happens outside of runs is appended here, each request once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from eventstore.log import Answer, Append, NewEvent, Record
from eventstore.views import ViewQuery, ViewRow
from runs.access import ALL_SCOPES, Principal
from runs.credentials import api_key_fields, hash_record, new_secret
from runs.dispatch import Store
from runs.idempotency import IdempotentRequest, InFlight
from runs.ids import new_id
from runs.refusal import not_found

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Founded:
    """What a new organisation begins with: the ids, and the secret that is shown once."""

    org_id: str
    project_id: str
    key_id: str
    secret: str


async def append_to_organization(store: Store, org_id: str, event: NewEvent) -> None:
    """Append one fact to the organisation's stream; its views take facts in any order."""
    await store.append(Append(org_id, None, [event]))


async def first_start(store: Store, *, plan: str) -> Founded | None:
    """Make one organisation, owner, project and key in one append; None when there is one already."""
    if await store.streams("org_", limit=1):
        return None
    return await found(store, name="Local", plan=plan, scopes=ALL_SCOPES, actor="system")


async def first_key(store: Store) -> ViewRow | None:
    """The key that the first start made; None once it is revoked."""
    ids = await store.streams("org_")
    rows = [row for org_id in ids if (row := await store.get_view("organizations", org_id)) is not None]
    oldest = min(rows, key=lambda row: (row.sort_key, row.id), default=None)
    if oldest is None:
        return None
    before: tuple[str, str] | None = None
    while True:
        keys = await store.list_view("api_keys", ViewQuery(oldest.org_id, before=before, limit=_PAGE))
        if len(keys) < _PAGE:
            return keys[-1] if keys and keys[-1].status != "revoked" else None
        before = (keys[-1].sort_key, keys[-1].id)


async def found(store: Store, *, name: str, plan: str, scopes: frozenset[str], actor: str) -> Founded:
    """A new organisation with an owner, a project and a key that holds these scopes, in one append."""
    made = Founded(new_id("org"), new_id("prj"), new_id("key"), new_secret())
    user_id = new_id("usr")
    api_key = api_key_fields(
        made.key_id, "first key", made.secret, scopes=scopes, project_ids=None, user_id=user_id
    )
    events = [
        NewEvent(
            "organization_created",
            {"actor": actor, "orgId": made.org_id, "name": name, "plan": plan, "schema": "events/v1"},
        ),
        NewEvent("user_added", {"actor": actor, "userId": user_id, "name": "Owner", "role": "owner"}),
        NewEvent(
            "project_created",
            {"actor": actor, "projectId": made.project_id, "name": "default", "limits": {}},
        ),
        NewEvent("api_key_created", {"actor": actor, "apiKey": api_key}),
    ]
    record = hash_record(made.secret, made.key_id, made.org_id)
    await store.append(Append(made.org_id, 0, events, records=[record]))
    return made


async def audited_organization(store: Store, who: Principal, org_id: str) -> ViewRow:
    """The row of the caller's own organisation; another one's, like an unknown one, is 404.

    Its stream tells of every project, so a key that is restricted to some may not read it.
    """
    who.require("audit:read")
    who.require_every_project()
    row = await store.get_view("organizations", org_id) if org_id == who.org_id else None
    if row is None:
        raise not_found("Organisation", org_id)
    return row


class OrganizationStream:
    """Requests that change an organisation: each identical one has one effect and one answer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._in_flight = InFlight()

    def __repr__(self) -> str:
        return f"OrganizationStream({self._in_flight!r})"

    @asynccontextmanager
    async def once(self, idempotent: IdempotentRequest | None) -> AsyncGenerator[Answer | None]:
        """Hold the request's key while the block runs; gives the answer that it already had, if any."""
        async with self._in_flight.one_at_a_time(idempotent):
            if idempotent is None:
                yield None
            else:
                yield await self._store.stored_answer(idempotent.key, idempotent.fingerprint)

    async def append(
        self,
        org_id: str,
        event: NewEvent,
        *,
        about: tuple[str, str],
        render: Callable[[ViewRow | None], Answer],
        idempotent: IdempotentRequest | None = None,
        records: Sequence[Record] = (),
    ) -> Answer:
        """Append one event and answer with the row that it is `about` (view and id)."""
        claim = idempotent.claim(render) if idempotent else None
        done = await self._store.append(Append(org_id, None, [event], claim=claim, records=records))
        return done.answer or render(await self._store.get_view(*about))


def rendered(name: str, status: int = 200) -> Callable[[ViewRow | None], Answer]:
    """Renders `{name: row}` around the row's stored bytes."""

    def render(row: ViewRow | None) -> Answer:
        assert row is not None, "the event that was just appended made this row"
        return Answer(status, b'{"%s":%s}' % (name.encode(), row.doc))

    return render
