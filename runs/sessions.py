"""Sessions of browsers, each of a person or of an API key, and the one-time links that begin one.

They lie in records beside the log. Of a token only its SHA-256 is stored; what the holder may do is read
anew at each request, so a session never outlives its key or its person.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eventstore.log import Append, Record
from eventstore.views import ViewRow
from evidence.canonical import decode, encode
from evidence.record import format_time
from runs.access import ROLE_SCOPES, Principal
from runs.credentials import principal_of_key
from runs.dispatch import Store
from runs.limits import SignInLimits

SESSION, LINK, KEY_SESSIONS = "session", "session_link", "api_key_sessions"
"""The record kinds; none is a view (CONTRACT §6.7)."""
TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is signed in: its stored id, and whose it is, as the rows stand now."""

    id: str
    holder: ViewRow
    """The row of the person (`users`) or of the key (`api_keys`)."""
    role: str | None
    """The person's role at this moment, None for a key."""
    expires_at_ms: int

    @property
    def principal(self) -> Principal:
        """Who asks, with what the person or the key may do now."""
        if self.role is None:
            return principal_of_key(self.holder, session_id=self.id)
        return Principal(
            self.holder.org_id,
            self.holder.id,
            ROLE_SCOPES[self.role],
            user_id=self.holder.id,
            role=self.role,
            session_id=self.id,
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that is about to be stored: its token, the holder's sessions with it, and those over."""

    token: str
    record: Record
    listed: Sequence[Mapping[str, Any]]
    over: Sequence[Record]


class SessionService:
    """Begins, finds and ends sessions. One lock orders what reads a record before it writes it."""

    def __init__(self, store: Store, limits: SignInLimits, now_ms: Callable[[], int]) -> None:
        self.limits = limits
        self.now_ms = now_ms
        self._store = store
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return "SessionService()"

    # ---- beginning one

    def opened(self, holder: Mapping[str, str], listed: Sequence[Mapping[str, Any]]) -> Opened:
        """A fresh session of this holder, who has those that are `listed`."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        now_ms = self.now_ms()
        until_ms = now_ms + self.limits.session_ms
        open_ones = [one for one in listed if one["expiresAtMs"] > now_ms]
        keep = max(0, len(open_ones) - self.limits.sessions_per_holder_max + 1)
        fresh = {"id": token_id(token), "expiresAtMs": until_ms}
        return Opened(
            token,
            Record(SESSION, token_id(token), encode(dict(holder)), until_ms),
            [*open_ones[keep:], fresh],
            [Record(SESSION, one["id"], b"") for one in open_ones[:keep]],
        )

    async def sign_in_key(self, who: Principal) -> str:
        """A new session's token for who showed an API key; it is stored nowhere."""
        async with self._lock:
            return await self._sign_in_key(who.key_id, who.org_id, ())

    async def _sign_in_key(self, key_id: str, org_id: str, used: Sequence[Record]) -> str:
        await self.clear_expired(SESSION, LINK, KEY_SESSIONS)
        record = await self._store.get_record(KEY_SESSIONS, key_id)
        listed: list[dict[str, Any]] = decode(record.doc)["sessions"] if record else []
        opened = self.opened({"apiKeyId": key_id, "orgId": org_id}, listed)
        until_ms = self.now_ms() + self.limits.session_ms
        known = Record(KEY_SESSIONS, key_id, encode({"sessions": opened.listed}), until_ms)
        await self._store.append(Append(org_id, None, (), records=[opened.record, known, *used]))
        # Crash window: what is deleted from here on is void already and goes with a later sign-in.
        for over in (*used, *opened.over):
            await self._store.delete_record(over.kind, over.id)
        return opened.token

    async def clear_expired(self, *kinds: str) -> None:
        """Remove some of what has run out."""
        for kind in kinds:
            over = await self._store.expired_records(kind, self.now_ms(), self.limits.expired_at_once_max)
            for record in over:
                await self._store.delete_record(kind, record.id)

    # ---- one-time links

    async def make_link(self, who: Principal) -> str:
        """The token of a link that signs in once, as this key, within `link_ms`."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        doc = encode({"apiKeyId": who.key_id, "orgId": who.org_id})
        until_ms = self.now_ms() + self.limits.link_ms
        await self._store.put_record(Record(LINK, token_id(token), doc, until_ms))
        return token

    async def follow_link(self, token: str) -> str | None:
        """A new session's token for who has the link; None for one that is unknown, used, or too old.

        The session and the end of the link become durable together: a crash leaves no link that works
        twice.
        """
        async with self._lock:
            record = await self._store.get_record(LINK, token_id(token))
            if record is None or (record.expires_at_ms or 0) <= self.now_ms():
                return None
            doc = decode(record.doc)
            if await self._key(doc["apiKeyId"]) is None:
                return None
            used = Record(LINK, record.id, record.doc, self.now_ms())
            return await self._sign_in_key(doc["apiKeyId"], doc["orgId"], [used])

    # ---- while it lasts

    async def session(self, token: str) -> Session | None:
        """The session of a cookie; None once it is over, or its key revoked, or its person removed."""
        record = await self._store.get_record(SESSION, token_id(token))
        if record is None or record.expires_at_ms is None or record.expires_at_ms <= self.now_ms():
            return None
        doc = decode(record.doc)
        if "apiKeyId" in doc:
            key = await self._key(doc["apiKeyId"])
            return Session(record.id, key, None, record.expires_at_ms) if key else None
        user = await self._store.get_view("users", doc["userId"])
        if user is None or user.status == "removed":
            return None
        return Session(record.id, user, str(decode(user.doc)["role"]), record.expires_at_ms)

    async def _key(self, key_id: str) -> ViewRow | None:
        row = await self._store.get_view("api_keys", key_id)
        return row if row is not None and row.status != "revoked" else None

    async def is_open(self, session_id: str) -> bool:
        """Whether the session has neither been signed out nor run out."""
        record = await self._store.get_record(SESSION, session_id)
        return record is not None and (record.expires_at_ms or 0) > self.now_ms()

    async def end(self, session_id: str) -> None:
        """Sign out: the cookie is worth nothing from now on."""
        await self._store.delete_record(SESSION, session_id)

    async def described(self, session: Session) -> dict[str, Any]:
        """`{user, role}` or `{apiKey}`, with `organization` and `expiresAt`."""
        organization = await self._store.get_view("organizations", session.holder.org_id)
        assert organization is not None, "a key and a person belong to an organisation"
        holder = decode(session.holder.doc)
        return {
            **({"apiKey": holder} if session.role is None else {"user": holder, "role": session.role}),
            "organization": decode(organization.doc),
            "expiresAt": format_time(session.expires_at_ms),
        }


def token_id(token: str) -> str:
    """What a token is stored under."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
