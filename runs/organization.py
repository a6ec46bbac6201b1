"""What happens outside a run: the organisation's own stream, its first start, its API keys."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from eventstore.log import Append, NewEvent, Record
from eventstore.views import ViewRow
from evidence.canonical import decode, encode
from runs.access import OWN_SCOPES, SCOPES, Principal
from runs.dispatch import Store
from runs.ids import new_id
from runs.refusal import not_found

KEY_HASH = "api_key_hash"
"""The record kind that leads from a secret's hash to its key; secrets themselves are never stored."""

KEY_PREFIX = "cn_live_"
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class FirstStart:
    """What the first start made: the ids, and the secret that is shown once."""

    org_id: str
    project_id: str
    key_id: str
    secret: str


async def append_to_organization(store: Store, org_id: str, event: NewEvent) -> None:
    """Append one fact to the organisation's stream; its views take facts in any order."""
    await store.append(Append(org_id, None, [event]))


async def first_start(store: Store, *, plan: str) -> FirstStart | None:
    """Make one organisation, owner, project and key in one append; None when there is one already."""
    if await store.streams("org_", limit=1):
        return None
    made = FirstStart(new_id("org"), new_id("prj"), new_id("key"), new_secret())
    user_id = new_id("usr")
    api_key = {
        "id": made.key_id,
        "name": "first key",
        "prefix": KEY_PREFIX,
        "last4": made.secret[-4:],
        "scopes": sorted((*SCOPES, *OWN_SCOPES)),
        "createdByUserId": user_id,
    }
    events = [
        NewEvent(
            "organization_created",
            {"actor": "system", "orgId": made.org_id, "name": "Local", "plan": plan, "schema": "events/v1"},
        ),
        NewEvent("user_added", {"actor": "system", "userId": user_id, "name": "Owner", "role": "owner"}),
        NewEvent(
            "project_created",
            {"actor": "system", "projectId": made.project_id, "name": "default", "limits": {}},
        ),
        NewEvent("api_key_created", {"actor": "system", "apiKey": api_key}),
    ]
    record = Record(
        KEY_HASH, secret_hash(made.secret), encode({"apiKeyId": made.key_id, "orgId": made.org_id})
    )
    await store.append(Append(made.org_id, 0, events, records=[record]))
    return made


async def audited_organization(store: Store, who: Principal, org_id: str) -> ViewRow:
    """The row of the caller's own organisation; another one's, like an unknown one, is 404."""
    who.require("audit:read")
    row = await store.get_view("organizations", org_id) if org_id == who.org_id else None
    if row is None:
        raise not_found("Organisation", org_id)
    return row


def new_secret() -> str:
    """A fresh API key: 256 random bits behind the published prefix."""
    return KEY_PREFIX + secrets.token_hex(SECRET_BYTES)


def secret_hash(secret: str) -> str:
    """What is stored of a secret. Plain SHA-256 is right: 256 random bits cannot be guessed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


async def authenticate(store: Store, secret: str) -> Principal | None:
    """The principal of a bearer credential, or None for an unknown or revoked one."""
    digest = secret_hash(secret)
    record = await store.get_record(KEY_HASH, digest)
    if record is None or not hmac.compare_digest(record.id, digest):
        return None
    pointer = decode(record.doc)
    row = await store.get_view("api_keys", pointer["apiKeyId"])
    if row is None or row.status == "revoked":
        return None
    key = decode(row.doc)
    projects = key.get("projectIds")
    return Principal(
        org_id=row.org_id,
        key_id=row.id,
        scopes=frozenset(key["scopes"]),
        project_ids=frozenset(projects) if projects else None,
    )
