"""The witnesses that a server asks to cosign its log, and the policy that it publishes (PROOF P5.5, P6)."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cli.keys import Keyring
from cli.problems import failure
from client.errors import ClientError
from eventstore.sequencer import Consistency, Cosigned
from evidence.canonical import FormatError
from evidence.note import Verifier
from evidence.policy import POLICY_BYTES_MAX, format_policy, parse_policy

if TYPE_CHECKING:
    from client.witness import WitnessClient

_logger = logging.getLogger(__name__)

CONNECT_S, WHOLE_S = 1.0, 1.5
"""A checkpoint does not wait longer for a witness: bundles wait for the checkpoint (P5.3)."""


@dataclass(frozen=True, slots=True)
class Witnesses:
    """What the operator's witness file says: its lines as they are, and where each witness is asked."""

    text: str = "quorum none\n"
    keys: list[tuple[Verifier, str]] = field(default_factory=list[tuple[Verifier, str]])
    """Verifier key and URL of each."""


def load_witnesses(path: Path | None, keyring: Keyring) -> Witnesses:
    """Read the file that `CROWNEST_WITNESSES` names: lines `witness <name> <key> <url>`, `group`, `quorum`.

    It is the lower half of a policy file (C2SP tlog-policy), so that an auditor can read it too.
    """
    if path is None:
        return Witnesses()
    advice = "CROWNEST_WITNESSES names a file of lines 'witness <name> <key> <url>' and one 'quorum <name>'."
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > POLICY_BYTES_MAX:
            raise failure(f"{path} is larger than a witness file can be.", advice)
        policy = parse_policy(server_policy(keyring, Witnesses(text)))
    except (OSError, UnicodeDecodeError) as error:
        raise failure(f"{path} cannot be read: {error}.", advice) from error
    except FormatError as error:
        raise failure(f"{path} is no witness file: {error}.", advice) from error
    urls = {words[1]: words[3] for line in text.splitlines() if len(words := line.split()) == 4}
    missing = policy.witnesses.keys() - urls.keys()
    if missing:
        raise failure(f"{path}: no address stands behind the key of {', '.join(sorted(missing))}.", advice)
    return Witnesses(text, [(key, urls[name]) for name, key in policy.witnesses.items()])


class Panel:
    """All witnesses of a server, asked at once for each checkpoint; one that fails holds up nobody long.

    What a checkpoint lacks, the next one brings, for a cosignature covers everything before it; where none
    follows, they are asked again.
    """

    def __init__(self, witnesses: Witnesses) -> None:
        self._clients = [_client(url, key) for key, url in witnesses.keys]
        self._complaints: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Panel(witnesses={len(self._clients)}, failing={len(self._complaints)})"

    async def cosign(self, note: bytes, consistency: Consistency) -> Cosigned:
        """The signature lines of those that answered in time, in the order that bundles need (P9.3)."""
        lines = await asyncio.gather(*(self._ask(one, note, consistency) for one in self._clients))
        return Cosigned("".join(sorted(lines)), by_all=all(lines), refusals=dict(self._complaints))

    async def aclose(self) -> None:
        """Close every connection."""
        for client in self._clients:
            await client.close()

    async def _ask(self, client: WitnessClient, note: bytes, consistency: Consistency) -> str:
        name = client.key.name
        try:
            line = await client.cosign(note, consistency)
        except ClientError as error:
            if self._complaints.get(name) != error.message:  # said once, not every second
                _logger.warning("The witness %s did not cosign: %s", name, error.message)
            self._complaints[name] = error.message
            return ""
        self._complaints.pop(name, None)
        return line


def _client(url: str, key: Verifier) -> WitnessClient:
    from client.witness import WitnessClient, WitnessLimits  # the HTTP library, which few servers need

    limits = WitnessLimits(connect_s=CONNECT_S, read_s=WHOLE_S, whole_s=WHOLE_S)
    return WitnessClient(url, key, limits=limits)


def server_policy(keyring: Keyring, witnesses: Witnesses) -> bytes:
    """The policy file of this server as it stands: its keys, the retired ones, its witnesses (P6)."""
    own = format_policy(
        keyring.current.verifier_key,
        attestation_vkeys=[keyring.attestation.verifier_key],
        retired=keyring.retired,
    )
    return own.removesuffix(b"quorum none\n") + witnesses.text.encode()
