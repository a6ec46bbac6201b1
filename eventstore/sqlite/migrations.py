"""Owns the schema's versions: numbered SQL files, applied in order, each in one transaction.

`PRAGMA user_version` holds the number of the last one applied; the table `migrations` tells people when.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from eventstore.log import NewerSchema, StorageUnavailable
from eventstore.sqlite.backfill import fill_last_leaves
from eventstore.sqlite.connection import open_reader, open_writer

_FILE = re.compile(r"(\d{4})_(\w+)\.sql", re.ASCII)


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: `0002_views.sql` has version 2 and name `views`."""

    version: int
    name: str
    sql: str


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """A migration this version knows, and when it was applied (None: pending)."""

    version: int
    name: str
    applied_at_ms: int | None


def known_migrations() -> list[Migration]:
    """The migrations that come with this version, in order: 1, 2, 3 … without gaps."""
    matches = [
        (file, _FILE.fullmatch(file.name)) for file in files("eventstore").joinpath("schema").iterdir()
    ]
    found = sorted(
        (
            Migration(int(match[1]), match[2], file.read_text(encoding="utf-8"))
            for file, match in matches
            if match
        ),
        key=lambda migration: migration.version,
    )
    assert [one.version for one in found] == list(range(1, len(found) + 1)), "migrations have a gap"
    return found


def status(path: Path) -> list[MigrationStatus]:
    """Every known migration with the time it was applied. Raises `NewerSchema`. Changes nothing."""
    applied: dict[int, int] = {}
    if path.exists():
        connection = open_reader(path)
        try:
            if schema_version(connection, path):
                applied = dict(connection.execute("SELECT version, applied_at_ms FROM migrations"))
        finally:
            connection.close()
    return [MigrationStatus(one.version, one.name, applied.get(one.version)) for one in known_migrations()]


def migrate(path: Path, now_ms: int) -> list[Migration]:
    """Create the database if need be and apply what is pending; answer what was applied.

    The caller holds the data folder's lock. Raises `NewerSchema` and `StorageUnavailable`.
    """
    connection = open_writer(path)
    try:
        return apply(connection, path, now_ms)
    finally:
        connection.close()


def apply(
    connection: sqlite3.Connection, path: Path, now_ms: int, known: Sequence[Migration] | None = None
) -> list[Migration]:
    """Apply the pending ones of `known` (default: all that come with this version).

    Killed between two of them, the next start goes on with the second: each is one transaction.
    """
    known = known_migrations() if known is None else known
    present = schema_version(connection, path, known)
    pending = known[present:]
    for migration in pending:
        _apply_one(connection, migration, now_ms)
    return list(pending)


def schema_version(
    connection: sqlite3.Connection, path: Path, known: Sequence[Migration] | None = None
) -> int:
    """The version found in the file, 0 for a new one. Raises `NewerSchema` when it is beyond ours."""
    newest = len(known_migrations() if known is None else known)
    present: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if present > newest:
        raise NewerSchema(
            f"{path} has schema {present}, written by a newer CrowNest; this one knows up to {newest}. "
            "Upgrade CrowNest, or start it with another data folder. Nothing was changed"
        )
    return present


def _apply_one(connection: sqlite3.Connection, migration: Migration, now_ms: int) -> None:
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{migration.sql}")
        if migration.name == "global_log":
            fill_last_leaves(connection)
        connection.execute(
            "INSERT INTO migrations (version, name, applied_at_ms) VALUES (?, ?, ?)",
            (migration.version, migration.name, now_ms),
        )
        connection.execute(f"PRAGMA user_version = {migration.version}")
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise StorageUnavailable(
            f"migration {migration.version} ({migration.name}) did not go through: {error}; "
            "nothing of it was kept, make room and start again"
        ) from error
