"""Which unprivileged user a sandbox runs as: the server's own, or a fresh one when the server is root."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

EXCLUSIVE_UIDS = range(1_879_048_192, 2_147_483_648)
"""Ids that systemd's allocation leaves unused: drawn at random, no two sandboxes of a machine share one."""
SMALL_UIDS = range(61_184, 65_520)
"""Inside a container with few ids: unprivileged as well, but two servers could draw the same."""


@dataclass(frozen=True, slots=True)
class Identity:
    """`uid` (used as gid too) to drop to, None to stay; `exclusive` when nothing else runs as this user."""

    uid: int | None
    exclusive: bool


def fresh_identity(*, euid: int | None = None, proc: Path = Path("/proc/self")) -> Identity:
    """A user for one new sandbox; PermissionError when we are root and have no other user to drop to."""
    if (os.geteuid() if euid is None else euid) != 0:
        return Identity(None, exclusive=False)
    for uids in (EXCLUSIVE_UIDS, SMALL_UIDS):
        if _mapped(uids, proc / "uid_map") and _mapped(uids, proc / "gid_map"):
            return Identity(_drawn(uids), exclusive=uids is EXCLUSIVE_UIDS)
    raise PermissionError("Root has no unprivileged user to run commands as here; start as a normal user.")


def _drawn(uids: range) -> int:
    return uids[int.from_bytes(os.urandom(8), "big") % len(uids)]


def _mapped(uids: range, id_map: Path) -> bool:
    """True when this user namespace knows every id of the range."""
    for line in id_map.read_text().splitlines():
        inside, _, count = map(int, line.split())
        if inside <= uids.start and uids.stop <= inside + count:
            return True
    return False
