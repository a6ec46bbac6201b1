"""API keys as credentials: how a secret is made, stored as a hash, and turned into a principal."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Any

from eventstore.log import Record
from eventstore.recent import Recent
from eventstore.views import ViewRow
from evidence.canonical import decode, encode
from runs.access import Principal
from runs.dispatch import Store

KEY_HASH = "api_key_hash"
"""The record kind that leads from a secret's hash to its key; secrets themselves are never stored."""

KEY_PREFIX = "cn_live_"
SECRET_BYTES = 32
PRINCIPALS_REMEMBERED_MAX = 1000
"""Principals kept in memory; the one unused longest is looked up again."""


def new_secret() -> str:
    """A fresh API key: 256 random bits behind the published prefix."""
    return KEY_PREFIX + secrets.token_hex(SECRET_BYTES)


def secret_hash(secret: str) -> str:
    """What is stored of a secret. Plain SHA-256 is right: 256 random bits cannot be guessed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def hash_record(secret: str, key_id: str, org_id: str) -> Record:
    """The record that leads from the secret's hash to its key."""
    return Record(KEY_HASH, secret_hash(secret), encode({"apiKeyId": key_id, "orgId": org_id}))


def api_key_fields(
    key_id: str,
    name: str,
    secret: str,
    *,
    scopes: Iterable[str],
    project_ids: Iterable[str] | None,
    user_id: str,
) -> dict[str, Any]:
    """The `apiKey` object of the event `api_key_created` (CONTRACT §6.7, §8): neither secret nor hash."""
    fields: dict[str, Any] = {
        "id": key_id,
        "name": name,
        "prefix": KEY_PREFIX,
        "last4": secret[-4:],
        "scopes": sorted(scopes),
        "createdByUserId": user_id,
    }
    if project_ids is not None:
        fields["projectIds"] = sorted(project_ids)
    return fields


class Authenticator:
    """Turns bearer credentials into principals.

    What it found is remembered while the organisation's stream stands still: a key is made, restricted and
    revoked by events of that stream and by nothing else, so a revocation counts at once.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: Recent[str, tuple[Principal, int]] = Recent(PRINCIPALS_REMEMBERED_MAX)

    def __repr__(self) -> str:
        return f"Authenticator(known={len(self._known)})"

    async def __call__(self, secret: str) -> Principal | None:
        """The principal of a bearer credential, or None for an unknown or revoked one."""
        digest = secret_hash(secret)
        known = self._known.get(digest)
        if known is not None and known[1] == await self._store.size(known[0].org_id):
            return known[0]
        record = await self._store.get_record(KEY_HASH, digest)
        if record is None or not hmac.compare_digest(record.id, digest):
            return None
        pointer = decode(record.doc)
        # The size before the key: what changes in between makes this size an old one.
        size = await self._store.size(pointer["orgId"])
        row = await self._store.get_view("api_keys", pointer["apiKeyId"])
        if row is None or row.status == "revoked":
            return None
        principal = principal_of_key(row)
        self._known.put(digest, (principal, size))
        return principal


def principal_of_key(row: ViewRow, *, session_id: str = "") -> Principal:
    """What the key of this row may do; `session_id` for a browser that signed in with it."""
    key = decode(row.doc)
    projects = key.get("projectIds")
    return Principal(
        org_id=row.org_id,
        key_id=row.id,
        scopes=frozenset(key["scopes"]),
        project_ids=frozenset(projects) if projects is not None else None,
        user_id=key["createdByUserId"],
        session_id=session_id,
    )
