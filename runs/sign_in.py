"""Which person signs in: invitations by address, and the identities of a provider.

All of it lies in records beside the log and is no event: it is personal data that must be erasable
(decision 0872). Nothing that a browser or a provider says is stored as it is, only its SHA-256.
"""

from __future__ import annotations

import asyncio
import hashlib
import unicodedata
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from eventstore.log import Append, Record
from eventstore.views import ViewRow
from evidence.canonical import decode, encode
from runs.dispatch import Store
from runs.limits import SignInLimits
from runs.refusal import Refusal
from runs.sessions import SESSION, SessionService

INVITATION, IDENTITY = "invitation", "identity"
"""The record kinds; none is a view (CONTRACT §6.7)."""

EMAIL_CHARS_MAX = 254


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


class SignInService:
    """Invites, binds and lets persons in. One lock orders what reads a record before it writes it."""

    def __init__(
        self, store: Store, sessions: SessionService, limits: SignInLimits, now_ms: Callable[[], int]
    ) -> None:
        self.limits = limits
        self.now_ms = now_ms
        self._store = store
        self._sessions = sessions
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
            await self._sessions.clear_expired(SESSION, INVITATION)
            members, sessions = await self._known(identity)
            accepted = await self._accept(identity, members)
            user = await self._member(members, org_id)
            if user is None:
                return None
            opened = self._sessions.opened({"userId": user.id, "orgId": user.org_id}, sessions)
            known = encode({"members": members, "sessions": list(opened.listed)})
            records = [Record(IDENTITY, identity.id, known), opened.record, *accepted]
            await self._store.append(Append(user.org_id, None, (), records=records))
            # Crash window: what is deleted from here on is void already and goes with a later sign-in.
            for over in (*accepted, *opened.over):
                await self._store.delete_record(over.kind, over.id)
        return opened.token

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
