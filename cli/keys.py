"""The server's name and its keys: made once, mode 0600, outside the database (PROOF P4.3, P6).

The folder `keys` of a data folder holds `origin`, `log.pem` (signs checkpoints), `attestation.pem`,
`secrets.key` (encrypts the values of project secrets), `retired` (verifier keys of earlier log keys, with the
log size until which they count), `handovers` (for each of them the checkpoint of that size, which it signed
together with the next one), `high-water`, and while a key is handed over `next.pem`.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from cli.problems import failure
from eventstore.durable import fsync_directory, make_directory, replace_file
from evidence.note import Ed25519Signer, Signer
from evidence.record import parse_decimal
from runs.secretbox import KEY_BYTES

ORIGIN_SHAPE = re.compile(r"[A-Za-z0-9._/-]{1,200}")
_UNTIL = " until "


class Keyring:
    """The keys of one data folder, and the handover from one log key to the next (P6).

    `current` signs; while `handing_over` is set both sign the global log, so that whoever trusts the old
    key sees it vouch for the new one.
    """

    def __init__(self, folder: Path, origin: str, current: Ed25519Signer, attestation: Ed25519Signer) -> None:
        self._folder = folder
        self.origin, self.current, self.attestation = origin, current, attestation
        self.handing_over: Ed25519Signer | None = None
        self.retired: dict[str, int] = _read_retired(folder / "retired")

    def __repr__(self) -> str:
        return f"Keyring({self.current!r}, retired={len(self.retired)})"

    @property
    def high_water_path(self) -> Path:
        """Where the signer's high-water mark lies (P5.4)."""
        return self._folder / "high-water"

    def signer(self) -> Signer:
        """The key that signs now."""
        return self.current

    def log_signers(self) -> list[Signer]:
        """The keys that sign the global log now."""
        return [self.current, *([self.handing_over] if self.handing_over else [])]

    def pending(self) -> Ed25519Signer | None:
        """A new key that was made and not yet put in force: a rotation was interrupted."""
        file = self._folder / "next.pem"
        return Ed25519Signer.from_pem(self.origin, file.read_bytes()) if file.exists() else None

    def prepare(self) -> Ed25519Signer:
        """Make a new key, durably, before anything names it."""
        signer = Ed25519Signer.generate(self.origin)
        replace_file(self._folder / "next.pem", signer.to_pem())
        return signer

    def discard(self) -> None:
        """Forget a new key that nothing names."""
        (self._folder / "next.pem").unlink(missing_ok=True)
        fsync_directory(self._folder)

    def hand_over(self, new: Ed25519Signer) -> None:
        """From now on `new` signs, and the old key beside it in the global log; once more changes nothing."""
        if self.handing_over is None:
            self.current, self.handing_over = new, self.current

    def handover(self, until_size: int) -> bytes | None:
        """The checkpoint of this size that an old key and the next one signed together."""
        if until_size not in self.retired.values():
            return None
        return (self._folder / "handovers" / str(until_size)).read_bytes()

    def finish(self, until_size: int, note: bytes) -> None:
        """The old key counts until this size of the global log; its private half is destroyed.

        `note`, the checkpoint of that size signed by both, is kept for good: it is how whoever trusts the
        old key comes to the new one. Crash window: kept or listed as retired, still `log.pem`. The next
        start finds `next.pem` and finishes.
        """
        old = self.handing_over
        assert old is not None, "only a handover can be finished"
        make_directory(self._folder / "handovers")
        replace_file(self._folder / "handovers" / str(until_size), note)
        self.retired = {**self.retired, old.verifier_key: until_size}
        lines = [f"{key}{_UNTIL}{size}\n" for key, size in self.retired.items()]
        replace_file(self._folder / "retired", "".join(lines).encode())
        (self._folder / "next.pem").rename(self._folder / "log.pem")
        fsync_directory(self._folder)
        self.handing_over = None


def load_or_make_keyring(data_dir: Path, origin: str | None) -> Keyring:
    """Read the keys of a data folder, or make them at first start.

    Crash window: the origin is written before the keys and all before the database, so a first start that
    was interrupted is simply continued by the next one.
    """
    folder = data_dir / "keys"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = _load_or_make_origin(folder / "origin", origin)
    log_key = folder / "log.pem"
    if not log_key.exists() and (data_dir / "log.sqlite").exists():
        raise failure(
            f"{log_key} is missing, but the log was signed with it. Restore the key from your backup: "
            "a new key would make every earlier proof unverifiable with the new policy."
        )
    current = _load_or_make(log_key, name)
    return Keyring(folder, name, current, _load_or_make(folder / "attestation.pem", f"{name}/attestation"))


def load_or_make_secrets_key(data_dir: Path, *, needed: bool) -> bytes:
    """The 32 bytes that encrypt project secrets, made at first start; `needed` once there are some.

    Crash window: made and not yet used, which the next start does.
    """
    file = data_dir / "keys" / "secrets.key"
    if not file.exists():
        if needed:
            raise failure(
                f"{file} is missing, and project secrets are encrypted with it. Restore it from your backup. "
                "If it is lost, so are their values: put a new key there and set every secret again.",
                f"head -c {KEY_BYTES} /dev/urandom > {file} && chmod 600 {file}",
            )
        replace_file(file, secrets.token_bytes(KEY_BYTES))
    key = file.read_bytes()
    if len(key) != KEY_BYTES:
        raise failure(
            f"{file} has {len(key)} bytes, but the key of project secrets has {KEY_BYTES}. "
            "Restore it from your backup."
        )
    return key


def _load_or_make(file: Path, name: str) -> Ed25519Signer:
    if file.exists():
        return Ed25519Signer.from_pem(name, file.read_bytes())
    signer = Ed25519Signer.generate(name)
    replace_file(file, signer.to_pem())
    return signer


def _load_or_make_origin(file: Path, configured: str | None) -> str:
    if file.exists():
        stored = file.read_text(encoding="utf-8").strip()
        if configured is not None and configured != stored:
            raise failure(
                f"This data folder belongs to the origin {stored}, not {configured}. "
                "Unset CROWNEST_ORIGIN, or use another data folder."
            )
        return stored
    origin = configured or f"crownest.local/{secrets.token_hex(8)}"
    if not ORIGIN_SHAPE.fullmatch(origin):
        raise failure(
            f"CROWNEST_ORIGIN {origin!r} must be 1 to 200 letters, digits, dots, dashes or slashes."
        )
    replace_file(file, origin.encode() + b"\n")
    return origin


def _read_retired(file: Path) -> dict[str, int]:
    if not file.exists():
        return {}
    pairs = [line.split(_UNTIL) for line in file.read_text(encoding="utf-8").splitlines()]
    return {key: parse_decimal(size) for key, size in pairs}
