"""A sign-in under way: bound to the browser that began it, good for one return and for a few minutes.

It lies in a cookie that is sealed with a key of this process, so that whoever begins a thousand sign-ins
stores nothing here. A restart forgets key and cookies alike: who was just signing in begins again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from evidence.canonical import FormatError, decode, encode
from runs.limits import SignInLimits

STATE_BYTES = 32
COOKIE_CHARS_MAX = 4096


class TransactionRefused(Exception):
    """This return does not belong to a sign-in of this browser; the message is for people."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One sign-in: `state` goes to the provider and back, `cookie` stays with the browser.

    Nonce and code verifier are derived from the state and never leave the server before they must.
    """

    state: str
    nonce: str
    code_verifier: str
    next_path: str
    org_id: str | None
    cookie: str

    @property
    def code_challenge(self) -> str:
        """The S256 challenge of the verifier (RFC 7636, 4.2)."""
        return _text(hashlib.sha256(self.code_verifier.encode()).digest())


class Transactions:
    """Begins sign-ins and takes each back once."""

    def __init__(self, limits: SignInLimits, now_ms: Callable[[], int]) -> None:
        self._limits = limits
        self._now_ms = now_ms
        self._key = secrets.token_bytes(32)
        self._used_until_ms: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"Transactions(used={len(self._used_until_ms)})"

    def begin(self, next_path: str, org_id: str | None) -> Transaction:
        """A new sign-in that ends at `next_path`, in this organisation if one is given."""
        state = secrets.token_urlsafe(STATE_BYTES)
        return self._transaction(state, self._now_ms() + self._limits.transaction_ms, next_path, org_id)

    def finish(self, cookie: str, state: str) -> Transaction:
        """The sign-in that the browser began.

        Raises `TransactionRefused` for another state, an altered or old cookie, and the second time.
        """
        body, _, seal = cookie[:COOKIE_CHARS_MAX].partition(".")
        if not hmac.compare_digest(self._derive("seal", body).encode(), seal.encode("utf-8", "replace")):
            raise TransactionRefused(
                "This sign-in was not begun in this browser, or not since the last restart."
            )
        try:
            doc = decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        except (FormatError, binascii.Error) as error:
            raise AssertionError("what is sealed was made here") from error
        if not hmac.compare_digest(doc["state"].encode(), state.encode("utf-8", "replace")):
            raise TransactionRefused(
                "This answer belongs to another sign-in than the one that was begun last."
            )
        if doc["untilMs"] <= self._now_ms():
            raise TransactionRefused("This sign-in took too long.")
        self._use_once(doc["state"], doc["untilMs"])
        return self._transaction(doc["state"], doc["untilMs"], doc["next"], doc["orgId"])

    def _use_once(self, state: str, until_ms: int) -> None:
        used = self._used_until_ms
        while used and next(iter(used.values())) <= self._now_ms():
            del used[next(iter(used))]
        if state in used:
            raise TransactionRefused("This sign-in has been completed already.")
        if len(used) >= self._limits.transactions_used_max:
            raise TransactionRefused("Too many people sign in at this moment.")
        used[state] = until_ms

    def _transaction(self, state: str, until_ms: int, next_path: str, org_id: str | None) -> Transaction:
        body = _text(encode({"state": state, "untilMs": until_ms, "next": next_path, "orgId": org_id}))
        return Transaction(
            state=state,
            nonce=self._derive("nonce", state),
            code_verifier=self._derive("verifier", state),
            next_path=next_path,
            org_id=org_id,
            cookie=f"{body}.{self._derive('seal', body)}",
        )

    def _derive(self, purpose: str, text: str) -> str:
        message = f"{purpose}\0{text}".encode("utf-8", "replace")
        return _text(hmac.digest(self._key, message, "sha256"))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
