"""How often something happened, counted in the log of the server and not in what it answers."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path

TRANSFERS = "transfers"
EFFECTS: Mapping[str, tuple[str, str]] = {
    "createWorkspaceRun": ("status", '"awaiting_archive"'),
    "uploadWorkspaceRunArchive": ("status", '"archive_uploaded"'),
    "createWorkspaceRunArchiveTransfer": (TRANSFERS, ""),
    "finalizeWorkspaceRunArchive": ("status", '"archive_uploaded"'),
    "startWorkspaceRun": ("status", '"starting"'),
    "cancelWorkspaceRun": ("cancel_requested", ""),
    "finishWorkspaceRun": ("outcome", ""),
    "redactWorkspaceRun": ("redaction", ""),
    "createSandbox": ("sandbox_created", ""),
    "killSandbox": ("sandbox_destroyed", ""),
    "setSandboxTtl": ("sandbox_extended", ""),
    "extendSandbox": ("sandbox_extended", ""),
    "createCommand": ("command_started", ""),
    "runCommand": ("command_started", ""),
    "startCommand": ("command_started", ""),
    "cancelCommand": ("command_finished", '"canceled"'),
    "createArtifact": ("artifact_collected", ""),
    "createProject": ("project_created", ""),
    "createUser": ("user_added", ""),
    "setSecret": ("secret_set", ""),
    "deleteSecret": ("secret_deleted", ""),
}
"""By operation: the type of the event that one effect is, and what stands in it."""


def count(data_dir: Path, operation: str) -> int:
    """How many effects of the operation the server's log holds by now."""
    kind, holds = EFFECTS[operation]
    with contextlib.closing(sqlite3.connect(f"file:{data_dir}/log.sqlite?mode=ro", uri=True)) as database:
        if kind == TRANSFERS:
            query, values = "SELECT count(*) FROM records WHERE kind = 'transfer'", ()
        else:
            query = "SELECT count(*) FROM events WHERE type = ? AND instr(CAST(payload AS TEXT), ?) > 0"
            values = (kind, holds)
            if not holds:
                query, values = "SELECT count(*) FROM events WHERE type = ?", (kind,)
        (found,) = database.execute(query, values).fetchone()
    return int(found)
