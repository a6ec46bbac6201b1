"""Rotation of the log's signing key: one key hands over to the next in full view (PROOF P6).

The new key is made and kept, then named in the global log and in the organisation's stream by one append,
then both keys sign a checkpoint that covers it, then the old one is retired at that size. Crash windows:

- made, not named: nobody knows it; the next start discards it;
- named, not retired: the next start, or the next rotation, goes on from the checkpoint that both sign.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from eventstore.log import Append, EventLog, LogError, NewEvent
from eventstore.sequencer import Sequencer
from evidence.logentry import KeyChange
from evidence.note import Ed25519Signer, Verifier
from evidence.policy import KEYS_MAX, parse_policy
from runs.access import Principal
from runs.refusal import Refusal


class Keys(Protocol):
    """The keys as `cli.keys` holds them on disk."""

    @property
    def current(self) -> Ed25519Signer:
        """The key that signs now."""
        ...

    @property
    def retired(self) -> Mapping[str, int]:
        """Verifier keys of earlier ones, and the log size until which each counts."""
        ...

    def pending(self) -> Ed25519Signer | None:
        """A new key that was made and not yet put in force."""
        ...

    def prepare(self) -> Ed25519Signer:
        """Make a new key, durably."""
        ...

    def discard(self) -> None:
        """Forget a new key that nothing names."""
        ...

    def hand_over(self, new: Ed25519Signer) -> None:
        """Let the new key sign, and the old one beside it in the global log; once more changes nothing."""
        ...

    def handover(self, until_size: int) -> bytes | None:
        """The checkpoint of this size that an old key and the next one signed together."""
        ...

    def finish(self, until_size: int, note: bytes) -> None:
        """Retire the old key at this size of the log, keep what both signed, destroy its private half."""
        ...


class OlderKey(LogError):
    """The signing key is not the one that the log names last: the message says what to restore."""


class SigningKeyService:
    """Lists and rotates the keys of this server's log."""

    def __init__(
        self,
        log: EventLog,
        keys: Keys,
        sequencer: Sequencer,
        changes: Sequence[KeyChange],
        policy: Callable[[], bytes],
    ) -> None:
        """`changes` are those that the log holds; `policy` answers the policy file as it stands."""
        self._log, self._keys, self._sequencer, self._policy = log, keys, sequencer, policy
        self._from = {str(change.key): change.from_size for change in changes}
        self._one_at_a_time = asyncio.Lock()

    def __repr__(self) -> str:
        return f"SigningKeyService({self._keys!r})"

    async def recover(self) -> None:
        """Finish, or forget, a rotation that a crash or a full disk interrupted; before the next one."""
        pending = self._keys.pending()
        if pending is not None and pending.verifier_key in self._from:
            await self._hand_over(pending)
        elif pending is not None:
            self._keys.discard()

    def refuse_older_key(self) -> None:
        """Raise `OlderKey` unless the key that signs is the one that the log names last."""
        if len(self._keys.retired) < len(self._from):
            raise OlderKey(
                f"the log names {len(self._from)} changes of key, and only {len(self._keys.retired)} earlier "
                "keys are listed in keys/retired: restore the newest copy of the folder keys/"
            )
        named, current = list(self._from), self._keys.current.verifier_key
        if named and named[-1] != current:
            raise OlderKey(
                f"the key that would sign, {_key_id(current)}, is older than the log, which names "
                f"{_key_id(named[-1])}: restore the newest copy of the folder keys/"
            )

    def listed(self, who: Principal) -> list[dict[str, Any]]:
        """Every key, newest first; sizes are those of the global log at which a key begins and ends."""
        who.require("audit:read")
        shown = [self._shown(self._keys.current.verifier_key)]
        return shown + [self._shown(key) for key in reversed(list(self._keys.retired))]

    def handover_sizes(self) -> list[int]:
        """The sizes of the log at which one key handed over to the next."""
        return sorted(self._keys.retired.values())

    async def handover(self, size: int) -> bytes | None:
        """The checkpoint of such a size, signed by both keys; None for every other one."""
        return await asyncio.to_thread(self._keys.handover, size)

    async def rotate(self, who: Principal) -> dict[str, Any]:
        """Put a new key in force; answers it as `listed` shows it."""
        who.require("signing_key:rotate")
        who.require_every_project()
        async with self._one_at_a_time:
            await self.recover()  # a rotation that failed half-way: its old key has not been retired yet
            self._refuse_one_too_many()
            old = self._keys.current.verifier_key
            new = await asyncio.to_thread(self._keys.prepare)
            fields = {
                "actor": who.key_id,
                "keyId": _key_id(old),
                "newKeyId": _key_id(new.verifier_key),
            }
            event = NewEvent("signing_key_rotated", fields)
            done = await self._log.append(Append(who.org_id, None, [event], key_change=new.verifier_key))
            assert done.log_size is not None, "a change of key is an entry of the log"
            self._from[new.verifier_key] = done.log_size
            await self._hand_over(new)
            return self._shown(new.verifier_key)

    def _refuse_one_too_many(self) -> None:
        """Each key that ever signed stays in the policy, which holds `KEYS_MAX`."""
        policy = parse_policy(self._policy())
        if len(policy.logs) + len(policy.attestation_keys) + len(policy.witnesses) >= KEYS_MAX:
            raise Refusal(
                "conflict",
                f"A policy holds at most {KEYS_MAX} keys, and this server's is full of them: no key can be "
                "added. Go on with the present one, or begin a new data folder with an origin of its own.",
            )

    async def _hand_over(self, new: Ed25519Signer) -> None:
        self._keys.hand_over(new)
        await self._sequencer.publish(again=True)
        published = self._sequencer.published
        await asyncio.to_thread(self._keys.finish, published.size, published.note)

    def _shown(self, verifier_key: str) -> dict[str, Any]:
        until = self._keys.retired.get(verifier_key)
        shown = {
            "keyId": _key_id(verifier_key),
            "verifierKey": verifier_key,
            "status": "active" if until is None else "retired",
            "from": self._from.get(verifier_key, 0),
        }
        return shown if until is None else {**shown, "until": until}


def _key_id(verifier_key: str) -> str:
    return Verifier.parse(verifier_key).key_id.hex()
