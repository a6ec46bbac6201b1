"""Who signs in as whom: invitations by address, identities of a provider, and the sessions of browsers.

All of it lies in records beside the log and is no event: it is personal data that must be erasable
(decision 0872). Nothing that a browser or a provider says is stored as it is, only its SHA-256.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import unicodedata
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from eventstore.log import Append, Record
from eventstore.views import ViewRow
from evidence.canonical import decode, encode
from evidence.record import format_time
from runs.access import ROLE_SCOPES, Principal
from runs.dispatch import Store
from runs.refusal import Refusal

INVITATION, IDENTITY, SESSION = "invitation", "identity", "session"
"""The record kinds; none is a view (CONTRACT §6.7)."""

TOKEN_BYTES = 32
EMAIL_CHARS_MAX = 254


@dataclass(frozen=True, slots=True)
class SignInLimits:
    """Bounds on sign-ins and what they leave."""

    session_ms: int = 12 * 60 * 60 * 1000
    """A session ends this long after its sign-in, used or not."""
    sessions_per_identity_max: int = 20
    """A further sign-in ends the oldest one."""
    invitation_ms: int = 30 * 24 * 60 * 60 * 1000
    invitations_per_address_max: int = 16
    memberships_max: int = 16
    """Organisations that one identity belongs to."""
    transaction_ms: int = 10 * 60 * 1000
    """From the begin of a sign-in to its return from the provider."""
    transactions_used_max: int = 100_000
    """Returned sign-ins that are remembered until they could no longer be replayed."""
    next_chars_max: int = 1024
    expired_at_once_max: int = 20
    """Expired sessions and invitations that each sign-in clears away; more than a sign-in can make."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the provider says it is. `email` only where the provider has verified it."""

    issuer: str
    subject: str
    email: str | None

    @property
    def id(self) -> str:
        """What the identity is stored under: neither issuer nor subject can be read from it."""
        return _digest(f"{self.issuer}\0{self.subject}")


class NotIdentified(Exception):
    """The provider did not say who signed in; the message is for the person in front of the browser."""


class IdentityProvider(Protocol):
    """An OpenID Connect provider (`cli.oidc` makes one). Both raise `NotIdentified`."""

    async def authorization_url(
        self, *, redirect_url: str, state: str, nonce: str, code_challenge: str
    ) -> str:
        """Where the browser goes to sign in."""
        ...

    async def identify(self, *, code: str, redirect_url: str, nonce: str, code_verifier: str) -> Identity:
        """Who came back with this code."""
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is signed in: its stored id, and the rows as they stand now."""

    id: str
    user: ViewRow
    expires_at_ms: int

    @property
    def role(self) -> str:
        """The person's role at this moment."""
        return str(decode(self.user.doc)["role"])

    @property
    def principal(self) -> Principal:
        """Who asks: the person, with what the role may do."""
        return Principal(
            self.user.org_id,
            self.user.id,
            ROLE_SCOPES[self.role],
            user_id=self.user.id,
            role=self.role,
            session_id=self.id,
        )


class SignInService:
    """Invites, binds and lets in. One lock orders what reads a record before it writes it."""

    def __init__(self, store: Store, limits: SignInLimits, now_ms: Callable[[], int]) -> None:
        self.limits = limits
        self.now_ms = now_ms
        self._store = store
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return "SignInService()"

    # ---- invitations

    @asynccontextmanager
    async def inviting(self, email: str, org_id: str, user_id: str) -> AsyncGenerator[Sequence[Record]]:
        """The records to append together with `user_added`; other invitations wait until that is done."""
        record_id = _address_id(email)
        async with self._lock:
            open_ones = [one for one in await self._invitations(record_id) if one["orgId"] != org_id]
            if len(open_ones) >= self.limits.invitations_per_address_max:
                raise Refusal("conflict", "This address has too many open invitations. Let it accept one.")
            until_ms = self.now_ms() + self.limits.invitation_ms
            mine = {"orgId": org_id, "userId": user_id, "expiresAtMs": until_ms}
            yield [Record(INVITATION, record_id, encode({"invitations": [*open_ones, mine]}), until_ms)]

    async def _invitations(self, record_id: str) -> list[dict[str, Any]]:
        record = await self._store.get_record(INVITATION, record_id)
        listed: list[dict[str, Any]] = decode(record.doc)["invitations"] if record else []
        return [one for one in listed if one["expiresAtMs"] > self.now_ms()]

    # ---- signing in

    async def sign_in(self, identity: Identity, org_id: str | None) -> str | None:
        """A new session's token, which is stored nowhere; None for whom nobody invited.

        Open invitations of the verified address are accepted first. Of several organisations it is the
        one that was asked for, else the one that was joined first. Records of one sign-in become durable
        together, so a crash leaves no invitation that two identities could accept.
        """
        async with self._lock:
            await self._clear_expired()
            members, sessions = await self._known(identity)
            accepted = await self._accept(identity, members)
            user = await self._member(members, org_id)
            if user is None:
                return None
            token = secrets.token_urlsafe(TOKEN_BYTES)
            now_ms = self.now_ms()
            until_ms = now_ms + self.limits.session_ms
            session_id = _digest(token)
            fresh = {"id": session_id, "expiresAtMs": until_ms}
            sessions = [one for one in sessions if one["expiresAtMs"] > now_ms]
            keep = self.limits.sessions_per_identity_max - 1
            dropped, kept = sessions[: max(0, len(sessions) - keep)], sessions[max(0, len(sessions) - keep) :]
            known = encode({"members": members, "sessions": [*kept, fresh]})
            session = encode({"userId": user.id, "orgId": user.org_id})
            records = [
                Record(IDENTITY, identity.id, known),
                Record(SESSION, session_id, session, until_ms),
                *accepted,
            ]
            await self._store.append(Append(user.org_id, None, (), records=records))
            # Crash window: what is deleted from here on is void already and goes with a later sign-in.
            for over in (*accepted, *(Record(SESSION, old["id"], b"") for old in dropped)):
                await self._store.delete_record(over.kind, over.id)
        return token

    async def _known(self, identity: Identity) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
        record = await self._store.get_record(IDENTITY, identity.id)
        doc: dict[str, Any] = decode(record.doc) if record else {}
        return doc.get("members", []), doc.get("sessions", [])

    async def _accept(self, identity: Identity, members: list[dict[str, str]]) -> list[Record]:
        """Add what the address is invited to to `members`; the records that mark it as accepted."""
        if identity.email is None:
            return []
        record_id = _address_id(identity.email)
        invitations = await self._invitations(record_id)
        for one in invitations:
            joined = [member for member in members if member["orgId"] == one["orgId"]]
            if joined and await self._active(joined[0]["userId"]):
                continue
            if await self._active(one["userId"]) is None or len(members) >= self.limits.memberships_max:
                continue
            members[:] = [member for member in members if member["orgId"] != one["orgId"]]
            members.append({"orgId": one["orgId"], "userId": one["userId"]})
        # Accepted or void, they are over: an empty list, past its time.
        return (
            [Record(INVITATION, record_id, encode({"invitations": []}), self.now_ms())] if invitations else []
        )

    async def _member(self, members: list[dict[str, str]], org_id: str | None) -> ViewRow | None:
        for member in members:
            if org_id in {None, member["orgId"]} and (user := await self._active(member["userId"])):
                return user
        return None

    async def _active(self, user_id: str) -> ViewRow | None:
        row = await self._store.get_view("users", user_id)
        return row if row is not None and row.status != "removed" else None

    async def _clear_expired(self) -> None:
        for kind in (SESSION, INVITATION):
            over = await self._store.expired_records(kind, self.now_ms(), self.limits.expired_at_once_max)
            for record in over:
                await self._store.delete_record(kind, record.id)

    # ---- sessions

    async def session(self, token: str) -> Session | None:
        """The session of a cookie; the person's role is read at each request, and removed ones have none."""
        session_id = _digest(token)
        record = await self._store.get_record(SESSION, session_id)
        if record is None or record.expires_at_ms is None or record.expires_at_ms <= self.now_ms():
            return None
        user = await self._active(decode(record.doc)["userId"])
        return Session(session_id, user, record.expires_at_ms) if user else None

    async def is_open(self, session_id: str) -> bool:
        """Whether the session has neither been signed out nor run out."""
        record = await self._store.get_record(SESSION, session_id)
        return record is not None and (record.expires_at_ms or 0) > self.now_ms()

    async def end(self, token: str) -> None:
        """Sign out: the cookie is worth nothing from now on."""
        await self._store.delete_record(SESSION, _digest(token))

    async def described(self, session: Session) -> dict[str, Any]:
        """`{user, organization, role, expiresAt}`."""
        organization = await self._store.get_view("organizations", session.user.org_id)
        assert organization is not None, "a user belongs to an organisation"
        return {
            "user": decode(session.user.doc),
            "organization": decode(organization.doc),
            "role": session.role,
            "expiresAt": format_time(session.expires_at_ms),
        }


def check_address(email: str) -> None:
    """Refuse what cannot be an address; whether it is one, the first sign-in shows."""
    local, _, domain = email.strip().rpartition("@")
    if not local or not domain or len(email) > EMAIL_CHARS_MAX or not email.isprintable() or " " in email:
        raise Refusal(
            "invalid_request", "email must be one address, like ada@example.org.", {"field": "email"}
        )


def _address_id(email: str) -> str:
    """Addresses that differ in case alone are one, as with every large provider of mail."""
    return _digest(unicodedata.normalize("NFC", email.strip()).casefold())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
