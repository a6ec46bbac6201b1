"""Organisations, their people and their projects: made, changed and listed, each change an event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from eventstore.log import Answer, NewEvent, Record
from eventstore.views import ViewQuery, ViewRow
from evidence.canonical import decode
from runs.access import ALL_SCOPES, OPERATOR_SCOPES, ROLE_SCOPES, Principal
from runs.dispatch import Store
from runs.idempotency import IdempotentRequest
from runs.ids import is_id, new_id
from runs.locks import NamedLocks
from runs.naming import check_name
from runs.organization import Founded, OrganizationStream, found, rendered
from runs.plans import PLANS
from runs.quotas import parse_project_limits
from runs.refusal import Refusal, not_found
from runs.service import Page, list_page, restrict

ORGANIZATIONS_LISTED_MAX = 500

Inviting = Callable[[str], AbstractAsyncContextManager[Sequence[Record]]]
"""From a new person's id to the records of the invitation, held until they are durable."""


class AccountService:
    """`/v1/orgs`, their users, and `/v1/projects` (CONTRACT §2, §2.1, decision 0901)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stream = OrganizationStream(store)
        self._people = NamedLocks()
        """Held while somebody's role is looked at and changed: no two owners remove each other at once."""

    def __repr__(self) -> str:
        return f"AccountService({self._stream!r})"

    # ---- organisations

    async def create_organization(self, who: Principal, name: str, plan: str) -> Founded:
        """A new organisation with its first key; only the server's operator may (`org:create`)."""
        who.require("org:create")
        who.require_every_project()
        check_name("name", name)
        _check_plan(plan)
        return await found(
            self._store, name=name, plan=plan, scopes=ALL_SCOPES - OPERATOR_SCOPES, actor=who.key_id
        )

    async def list_organizations(self, who: Principal) -> list[ViewRow]:
        """The caller's own organisation, or for the operator all of them, oldest first."""
        if "org:create" not in who.scopes:
            return [await self._organization(who, who.org_id)]
        ids = await self._store.streams("org_", limit=ORGANIZATIONS_LISTED_MAX)
        rows = [await self._organization(who, org_id) for org_id in ids]
        return sorted(rows, key=lambda row: (row.sort_key, row.id))

    async def organization(self, who: Principal, org_id: str) -> ViewRow:
        """The caller's own organisation; the operator sees each."""
        if "org:create" not in who.scopes:
            who.require("audit:read")
        return await self._organization(who, org_id)

    async def update_organization(
        self, who: Principal, org_id: str, name: str | None, plan: str | None
    ) -> Answer:
        """Rename (`org:update`), or put on another plan, which is the operator's (`org:create`)."""
        if name is not None or plan is None:
            who.require("org:update")
        if plan is not None:
            who.require("org:create")
            _check_plan(plan)
        who.require_every_project()
        row = await self._organization(who, org_id)
        if name is not None:
            _require_own(who, org_id)  # the operator sees to plans; what tenants call themselves is theirs
            check_name("name", name)
        changed = _changes(row, name=name, plan=plan)
        if not changed:
            return rendered("organization")(row)
        event = NewEvent("organization_updated", {"actor": who.key_id, **changed})
        return await self._stream.append(
            org_id, event, about=("organizations", org_id), render=rendered("organization")
        )

    async def _organization(self, who: Principal, org_id: str) -> ViewRow:
        mine = org_id == who.org_id or "org:create" in who.scopes
        row = await self._store.get_view("organizations", org_id) if mine and is_id(org_id, "org") else None
        if row is None:
            raise not_found("Organisation", org_id)
        return row

    # ---- people

    async def list_users(self, who: Principal, org_id: str, query: ViewQuery) -> Page:
        """The people of the caller's organisation, newest first, removed ones too."""
        who.require("user:read")
        who.require_every_project()
        _require_own(who, org_id)
        return await list_page(
            self._store, "users", ViewQuery(org_id, before=query.before, limit=query.limit)
        )

    async def add_user(
        self,
        who: Principal,
        org_id: str,
        name: str,
        role: str,
        idempotent: IdempotentRequest | None,
        *,
        inviting: Inviting | None = None,
    ) -> Answer:
        """201 `{user}`; nobody gives a role that is above their own. An invitation is stored with it."""
        who.require("user:write")
        who.require_every_project()
        _require_own(who, org_id)
        async with self._stream.once(idempotent) as answer:
            if answer:
                return answer
            check_name("name", name)
            _check_role(role)
            _require_to_give(who, role)
            user_id = new_id("usr")
            event = NewEvent(
                "user_added", {"actor": who.key_id, "userId": user_id, "name": name, "role": role}
            )
            render = rendered("user", 201)
            async with inviting(user_id) if inviting else nullcontext(()) as records:
                return await self._stream.append(
                    org_id,
                    event,
                    about=("users", user_id),
                    render=render,
                    idempotent=idempotent,
                    records=records,
                )

    async def update_user(
        self, who: Principal, org_id: str, user_id: str, name: str | None, role: str | None
    ) -> Answer:
        """`{user}`; the last owner stays one."""
        async with self._people(org_id):
            return await self._update_user(who, org_id, user_id, name, role)

    async def _update_user(
        self, who: Principal, org_id: str, user_id: str, name: str | None, role: str | None
    ) -> Answer:
        row = await self._user(who, org_id, user_id)
        if name is not None:
            check_name("name", name)
        known = decode(row.doc)
        if role is not None and role != known["role"]:
            _check_role(role)
            _require_to_give(who, role)
            _require_to_take(who, known["role"])
            await self._require_another_owner(org_id, row)
        changed = _changes(row, name=name, role=role)
        if not changed:
            return rendered("user")(row)
        fields = {"name": known["name"], "role": known["role"], **changed}
        event = NewEvent("user_updated", {"actor": who.key_id, "userId": user_id, **fields})
        return await self._stream.append(org_id, event, about=("users", user_id), render=rendered("user"))

    async def remove_user(self, who: Principal, org_id: str, user_id: str) -> Answer:
        """`{user}` with `removedAt`; keys that the person made stay, for others may depend on them."""
        async with self._people(org_id):
            row = await self._user(who, org_id, user_id, removed_too=True)
            if row.status == "removed":
                return rendered("user")(row)
            _require_to_take(who, decode(row.doc)["role"])
            await self._require_another_owner(org_id, row)
            event = NewEvent("user_removed", {"actor": who.key_id, "userId": user_id})
            return await self._stream.append(org_id, event, about=("users", user_id), render=rendered("user"))

    async def _user(self, who: Principal, org_id: str, user_id: str, *, removed_too: bool = False) -> ViewRow:
        who.require("user:write")
        who.require_every_project()
        _require_own(who, org_id)
        row = await self._store.get_view("users", user_id) if is_id(user_id, "usr") else None
        if row is None or row.org_id != org_id or (row.status == "removed" and not removed_too):
            raise not_found("User", user_id)
        return row

    async def _require_another_owner(self, org_id: str, row: ViewRow) -> None:
        if decode(row.doc)["role"] != "owner":
            return
        rows = await self._store.list_view("users", ViewQuery(org_id, statuses=["active"], limit=500))
        if not any(other.id != row.id and decode(other.doc)["role"] == "owner" for other in rows):
            raise Refusal("conflict", "This is the last owner. Make somebody else an owner first.")

    # ---- projects

    async def list_projects(self, who: Principal, query: ViewQuery) -> Page:
        """The projects that the caller sees; needs no scope (CONTRACT §1.1)."""
        return await list_page(self._store, "projects", restrict(who, query))

    async def project(self, who: Principal, project_id: str) -> ViewRow:
        """One of them; 404 alike for unknown and other tenants'."""
        row = await self._store.get_view("projects", project_id) if is_id(project_id, "prj") else None
        if row is None or not who.sees(row.org_id, project_id):
            raise not_found("Project", project_id)
        return row

    async def create_project(self, who: Principal, name: str, idempotent: IdempotentRequest | None) -> Answer:
        """201 `{project}`. A key that is restricted to projects would not see it, and is refused."""
        who.require("project:create")
        who.require_every_project()
        async with self._stream.once(idempotent) as answer:
            if answer:
                return answer
            check_name("name", name)
            project_id = new_id("prj")
            fields: dict[str, object] = {"actor": who.key_id, "projectId": project_id, "name": name}
            return await self._stream.append(
                who.org_id,
                NewEvent("project_created", {**fields, "limits": {}}),
                about=("projects", project_id),
                render=rendered("project", 201),
                idempotent=idempotent,
            )

    async def update_project(
        self, who: Principal, project_id: str, name: str | None, limits: Mapping[str, int | None] | None
    ) -> Answer:
        """`{project}` with another name, or other limits, which an owner sets."""
        who.require("project:create")
        row = await self.project(who, project_id)
        if name is not None:
            check_name("name", name)
        if limits is not None and "org:update" not in who.scopes:
            raise Refusal(
                "forbidden",
                "Only an owner, or a key with the scope org:update, sets the limits of a project.",
                {"requiredScope": "org:update"},
            )
        merged = None if limits is None else {**_limits(row), **parse_project_limits(limits)}
        kept = merged and {name: limit for name, limit in merged.items() if limit is not None}
        changed = _changes(row, name=name, limits=kept)
        if not changed:
            return rendered("project")(row)
        event = NewEvent("project_updated", {"actor": who.key_id, "projectId": project_id, **changed})
        return await self._stream.append(
            row.org_id, event, about=("projects", project_id), render=rendered("project")
        )


def _require_own(who: Principal, org_id: str) -> None:
    if org_id != who.org_id:
        raise not_found("Organisation", org_id)


def _changes(row: ViewRow, **wanted: object) -> dict[str, Any]:
    """What of `wanted` is given and not so already."""
    known = decode(row.doc)
    return {
        key: value
        for key, value in wanted.items()
        if value is not None and (known.get(key) or None) != (value or None)
    }


def _limits(row: ViewRow) -> Mapping[str, int]:
    limits: Mapping[str, int] = decode(row.doc).get("limits", {})
    return limits


def _check_plan(plan: str) -> None:
    if plan not in PLANS:
        raise Refusal("invalid_request", f"plan must be one of {', '.join(PLANS)}.", {"field": "plan"})


def _check_role(role: str) -> None:
    if role not in ROLE_SCOPES:
        raise Refusal("invalid_request", f"role must be one of {', '.join(ROLE_SCOPES)}.", {"field": "role"})


def _require_to_give(who: Principal, role: str) -> None:
    """Who gives a role holds everything that it allows, else a key would lead to more than it has itself."""
    missing = sorted(ROLE_SCOPES[role] - who.scopes)
    if missing:
        raise Refusal(
            "forbidden",
            f"Nobody gives a role that may do more than they themselves: {role} also has {missing[0]}. "
            "Ask an owner.",
            {"requiredScope": missing[0]},
        )


def _require_to_take(who: Principal, role: str) -> None:
    """An owner is removed or demoted by whoever may do as much; others by anybody with `user:write`."""
    if role == "owner":
        _require_to_give(who, role)
