"""Owns the folder of a witness: its key, the logs that it trusts, and the newest checkpoint it saw of each.

| file | what |
|---|---|
| `name`, `key.pem` | who the witness is; whoever has the key can cosign in its name |
| `logs.policy` | the trusted logs, in the format of a policy; edit it by hand to trust one no more |
| `checkpoints/<H(origin)>` | the newest checkpoint of a log, cosigned: lose it and the log can go back |
| `lock` | held while one of them changes |
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from evidence.canonical import FormatError
from evidence.note import Ed25519Signer, Verifier, is_key_name, split_note
from evidence.policy import Policy, parse_policy
from evidence.witnessing import parse_extended, witness_key
from witness.durable import PUBLIC_FILE, locked, make_folder, replace_file

_NAME = "name"
_KEY = "key.pem"
_LOGS = "logs.policy"
_CHECKPOINTS = "checkpoints"
_LOCK = "lock"


class StateError(Exception):
    """The folder is not what a witness needs; the message says what to do."""


class State:
    """The folder of one witness. Several processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        """Open a folder that `make` made. Raises `StateError`."""
        self.folder = folder
        try:
            name = (folder / _NAME).read_text(encoding="utf-8").removesuffix("\n")
            self.signer = Ed25519Signer.from_pem(name, (folder / _KEY).read_bytes())
        except FileNotFoundError as error:
            raise StateError(
                f"{folder} holds no witness: make one with crownest-witness init --name NAME --state {folder}"
            ) from error
        except ValueError as error:
            raise StateError(f"{folder}: {error}; bring the folder back from a backup") from error
        self.key = witness_key(self.signer)

    def __repr__(self) -> str:
        return f"State({str(self.folder)!r}, {self.key})"

    @classmethod
    def make(cls, folder: Path, name: str) -> State:
        """Make a key and the folder that holds it. Raises `StateError` when there is a witness already."""
        if not is_key_name(name) or name == "none":
            raise StateError(
                f"{name!a} cannot name a witness: no spaces, no '+', and not 'none'. A name like "
                "witness.example.org/alice, that nobody else uses, is best."
            )
        make_folder(folder)
        make_folder(folder / _CHECKPOINTS)
        with locked(folder / _LOCK):
            if (folder / _KEY).exists():
                raise StateError(f"{folder} holds a witness already; its key is never replaced")
            replace_file(folder / _NAME, f"{name}\n".encode())
            # Crash window: a name without a key is no witness yet; init can be repeated.
            replace_file(folder / _KEY, Ed25519Signer.generate(name).to_pem())
        return cls(folder)

    def trusted(self) -> Policy:
        """The logs whose checkpoints are cosigned, read anew each time. Raises `StateError`."""
        try:
            return parse_policy((self.folder / _LOGS).read_bytes())
        except FileNotFoundError:
            return Policy()
        except FormatError as error:
            raise StateError(f"{self.folder / _LOGS}: {error}; mend that line") from error

    def trust(self, policy: Policy) -> list[Verifier]:
        """Trust the log keys of this policy too; answers those that are new.

        Until when a retired key counts is taken over as well. Raises `StateError`.
        """
        with locked(self.folder / _LOCK):
            trusted = self.trusted()
            new = [key for key in policy.logs if key not in trusted.logs]
            trusted.logs += new
            known = {key.key_id for key in trusted.logs}
            trusted.until |= {key_id: size for key_id, size in policy.until.items() if key_id in known}
            try:
                parse_policy(trusted.to_bytes())
            except FormatError as error:
                raise StateError(f"these keys do not go with those already trusted: {error}") from error
            replace_file(self.folder / _LOGS, trusted.to_bytes(), mode=PUBLIC_FILE)
        return new

    @contextmanager
    def alone(self) -> Generator[None]:
        """Nobody else changes this folder while the block runs. Raises `witness.durable.Locked`."""
        with locked(self.folder / _LOCK):
            yield

    def latest(self, origin: str) -> bytes | None:
        """The newest cosigned checkpoint of the log, None before the first. Raises `StateError`."""
        return self.latest_of(origin_id(origin))

    def latest_of(self, log_id: str) -> bytes | None:
        """The same, by `origin_id`."""
        path = self.folder / _CHECKPOINTS / log_id
        try:
            note = path.read_bytes()
            parse_extended(split_note(note)[0])
        except FileNotFoundError:
            return None
        except FormatError as error:
            raise StateError(
                f"{path} is damaged ({error}). An older one from a backup would let the log go back: end "
                "this witness, and make a new one with another name"
            ) from error
        return note

    def keep(self, origin: str, note: bytes) -> None:
        """Make this the newest checkpoint of the log; durable when it returns. Call it within `alone`."""
        replace_file(self.folder / _CHECKPOINTS / origin_id(origin), note, mode=PUBLIC_FILE)


def origin_id(origin: str) -> str:
    """A name for the log that fits in a path: the hex SHA-256 of its origin line."""
    return sha256(origin.encode()).hexdigest()
