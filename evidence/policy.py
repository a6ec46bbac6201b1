"""Owns the auditor's policy file: which keys are trusted, and which witnesses are enough (PROOF P6).

The file is C2SP tlog-policy, so that other tools read it too; what only CrowNest needs stands in
comment lines that start with `#crownest`. Keys found anywhere else are never trusted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from evidence.canonical import FormatError
from evidence.note import COSIGNATURE, ED25519, Verifier
from evidence.record import parse_decimal

POLICY_BYTES_MAX = 256 * 1024
KEYS_MAX = 256
"""Keys of all kinds together, and groups beside them."""

_NONE = "none"
_DIRECTIVE = "#crownest"
_BLANKS = re.compile(r"[ \t]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Group:
    """A named set of witnesses or groups, of which `threshold` must have cosigned."""

    threshold: int
    members: tuple[str, ...]


@dataclass(slots=True)
class Policy:
    """What the auditor trusts. `quorum` is the name of a witness or group, None without witnesses."""

    logs: list[Verifier] = field(default_factory=list[Verifier])
    witnesses: dict[str, Verifier] = field(default_factory=dict[str, Verifier])
    groups: dict[str, Group] = field(default_factory=dict[str, Group])
    quorum: str | None = None
    attestation_keys: list[Verifier] = field(default_factory=list[Verifier])
    until: dict[bytes, int] = field(default_factory=dict[bytes, int])
    """Key id of a retired key -> the global log's size up to which its signatures count."""

    def is_quorum(self, cosigned: Collection[str]) -> bool:
        """Whether the witnesses of these policy names are enough."""
        return self.quorum is None or self._is_met(self.quorum, cosigned)

    def _is_met(self, name: str, cosigned: Collection[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in cosigned
        return sum(self._is_met(member, cosigned) for member in group.members) >= group.threshold

    def to_bytes(self) -> bytes:
        """The pair of `parse_policy`."""
        lines = [f"log {key}" for key in self.logs]
        lines += [f"{_DIRECTIVE} attestation {key}" for key in self.attestation_keys]
        lines += [f"{_DIRECTIVE} until {key_id.hex()} {size}" for key_id, size in self.until.items()]
        lines += [f"witness {name} {key}" for name, key in self.witnesses.items()]
        lines += [
            f"group {name} {group.threshold} {' '.join(group.members)}" for name, group in self.groups.items()
        ]
        lines.append(f"quorum {self.quorum or _NONE}")
        return "".join(f"{line}\n" for line in lines).encode()


def format_policy(
    log_vkey: str,
    *,
    attestation_vkeys: Sequence[str] = (),
    retired: Mapping[str, int] | None = None,
    witnesses: Mapping[str, str] | None = None,
    quorum: str | None = None,
) -> bytes:
    """The policy file of one server (P6).

    `retired` maps verifier keys of earlier logs to the global log's size until which they count;
    `witnesses` maps names to verifier keys, and `quorum` names the one that must have cosigned.
    Raises `FormatError` when `parse_policy` would.
    """
    earlier = {Verifier.parse(vkey): until for vkey, until in (retired or {}).items()}
    policy = Policy(
        logs=[Verifier.parse(log_vkey), *earlier],
        witnesses={name: Verifier.parse(vkey) for name, vkey in (witnesses or {}).items()},
        quorum=quorum,
        attestation_keys=[Verifier.parse(vkey) for vkey in attestation_vkeys],
        until={key.key_id: until for key, until in earlier.items()},
    )
    title = f"# Trust policy of {policy.logs[0].name}. Keep it apart from the bundles that it judges.\n"
    data = title.encode() + policy.to_bytes()
    parse_policy(data)
    return data


def parse_policy(data: bytes) -> Policy:
    """Read a policy file. Raises `FormatError`, naming the line.

    Refused are weak keys, keys listed twice, names that are not defined above their use, directives of
    ours that we do not know, a file without a log key and one without exactly one quorum line.
    """
    if len(data) > POLICY_BYTES_MAX:
        raise FormatError(f"a policy has at most {POLICY_BYTES_MAX} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"a policy is UTF-8; byte {error.start} is not") from error
    if text and not text.endswith("\n"):
        raise FormatError("the last line of a policy ends with LF: the file was cut")
    reader = _Reader()
    for number, line in enumerate(text.split("\n"), 1):
        try:
            reader.read(line)
        except FormatError as error:
            raise FormatError(f"policy line {number}: {error}") from error
    return reader.finish()


class _Reader:
    """Reads line after line into a policy."""

    def __init__(self) -> None:
        self._policy = Policy()
        self._has_quorum = False

    def read(self, line: str) -> None:
        if _CONTROL.search(line):
            raise FormatError("a control character")
        words = _BLANKS.split(line.strip(" \t"))
        match words:
            case [""]:
                pass
            case ["log", vkey] | ["log", vkey, _]:
                self._policy.logs.append(self._new_key(vkey, ED25519))
            case ["witness", name, vkey] | ["witness", name, vkey, _]:
                self._define(name)
                self._policy.witnesses[name] = self._new_key(vkey, COSIGNATURE)
            case ["group", name, threshold, *members]:
                self._add_group(name, threshold, members)
            case ["quorum", name]:
                self._set_quorum(name)
            case [first, *rest] if first == _DIRECTIVE:
                self._read_directive(rest)
            case ["#", "crownest", "attestation" | "until", *_]:
                raise FormatError(f"a directive is spelled {_DIRECTIVE}, without a space behind the #")
            case [first, *_] if first.startswith("#"):
                pass
            case _:
                raise FormatError(
                    f"{words[0][:40]!r} is no line of a policy, or has other words than it needs"
                )

    def finish(self) -> Policy:
        policy = self._policy
        if not policy.logs:
            raise FormatError("the policy names no log key: nothing could be trusted")
        if not self._has_quorum:
            raise FormatError("a policy has exactly one quorum line; without witnesses it is 'quorum none'")
        known = {key.key_id for key in (*policy.logs, *policy.attestation_keys)}
        for key_id in policy.until:
            if key_id not in known:
                raise FormatError(
                    f"until {key_id.hex()}: the policy has no log or attestation key with this id"
                )
        return policy

    def _read_directive(self, words: list[str]) -> None:
        match words:
            case ["attestation", vkey]:
                self._policy.attestation_keys.append(self._new_key(vkey, ED25519))
            case ["until", key_id, size] if re.fullmatch("[0-9a-f]{8}", key_id):
                if bytes.fromhex(key_id) in self._policy.until:
                    raise FormatError(f"until {key_id} stands here twice")
                self._policy.until[bytes.fromhex(key_id)] = parse_decimal(size)
            case _:
                raise FormatError("a #crownest line is 'attestation <key>' or 'until <key id> <log size>'")

    def _new_key(self, vkey: str, type_: int) -> Verifier:
        """Parse a key; log, attestations and each witness have keys of their own (P6)."""
        key = Verifier.parse(vkey)
        if key.type != type_:
            raise FormatError(f"key {key.name}: this line needs a key of type {type_:02x}")
        policy = self._policy
        others = (*policy.logs, *policy.witnesses.values(), *policy.attestation_keys)
        if any(key.public_key == other.public_key for other in others):
            raise FormatError(f"key {key.name} stands here twice")
        if len(others) >= KEYS_MAX:
            raise FormatError(f"a policy has at most {KEYS_MAX} keys")
        return key

    def _define(self, name: str) -> None:
        if name == _NONE or name in self._policy.witnesses or name in self._policy.groups:
            raise FormatError(f"the name {name[:40]!r} is taken")

    def _add_group(self, name: str, threshold: str, members: list[str]) -> None:
        self._define(name)
        for member in members:
            if member not in self._policy.witnesses and member not in self._policy.groups:
                raise FormatError(f"{member[:40]!r} is not defined above")
        if len(set(members)) != len(members) or not members:
            raise FormatError("a group names each of its members once, and at least one")
        used = {member for group in self._policy.groups.values() for member in group.members}
        if used & set(members):
            raise FormatError("a witness or group counts in one group only")
        if len(self._policy.groups) >= KEYS_MAX:
            raise FormatError(f"a policy has at most {KEYS_MAX} groups")
        words = {"any": 1, "all": len(members)}
        needed = words[threshold] if threshold in words else parse_decimal(threshold)
        if not 1 <= needed <= len(members):
            raise FormatError("the threshold of a group is 1 to the number of its members")
        self._policy.groups[name] = Group(needed, tuple(members))

    def _set_quorum(self, name: str) -> None:
        if self._has_quorum:
            raise FormatError("a second quorum line")
        if name != _NONE and name not in self._policy.witnesses and name not in self._policy.groups:
            raise FormatError(f"{name[:40]!r} is not defined above")
        self._policy.quorum = None if name == _NONE else name
        self._has_quorum = True
