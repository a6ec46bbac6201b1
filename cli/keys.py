"""The server's name and signing key: made once, mode 0600, outside the database (PROOF P4.3, P6)."""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from cli.problems import failure
from evidence.note import Ed25519Signer

ORIGIN_SHAPE = re.compile(r"[A-Za-z0-9._/-]{1,200}")


@dataclass(frozen=True, slots=True)
class Identity:
    """The origin that names this server's logs, and the key that signs its run checkpoints."""

    origin: str
    signer: Ed25519Signer


def load_or_make_identity(data_dir: Path, origin: str | None) -> Identity:
    """Read the identity of a data folder, or make it at first start.

    Crash window: the origin is written before the key and both before the database, so a first start
    that was interrupted is simply continued by the next one.
    """
    folder = data_dir / "keys"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = _load_or_make_origin(folder / "origin", origin)
    key_file = folder / "log.pem"
    if key_file.exists():
        return Identity(name, Ed25519Signer.from_pem(name, key_file.read_bytes()))
    if (data_dir / "log.sqlite").exists():
        raise failure(
            f"{key_file} is missing, but the log was signed with it. Restore the key from your backup: "
            "a new key would make every earlier proof unverifiable with the new policy."
        )
    signer = Ed25519Signer.generate(name)
    write_secret(key_file, signer.to_pem())
    return Identity(name, signer)


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
    write_secret(file, origin.encode() + b"\n")
    return origin


def write_secret(file: Path, content: bytes) -> None:
    """Write a file of mode 0600 whole: fsync, rename, fsync of the folder."""
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    temporary.rename(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
