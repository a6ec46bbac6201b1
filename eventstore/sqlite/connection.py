"""Owns how the database is opened: one connection writes, all others can only read (DESIGN §3)."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import quote

from eventstore.durable import fsync_directory, make_directory, make_file
from eventstore.sqlite.queries import LOG

SQLITE_VERSION_MIN = (3, 27, 0)
"""UPSERT and VACUUM INTO."""

PAGE_BYTES = 4096
"""Measured: larger pages cost a fifth more at one event a commit and gain nothing at a hundred."""
WRITER_CACHE_KIB = 16 * 1024
READER_CACHE_KIB = 8 * 1024
WAL_CHECKPOINT_PAGES = 4000
"""Pages in the WAL before the writer carries them into the database: 16 MiB."""
WAL_BYTES_KEPT = 64 * 1024 * 1024
"""A WAL that a slow reader let grow beyond this is cut back once it has been carried over."""
BUSY_MS = 5000
ERASURE = ("erasure", "unfinished")
"""Kind and id of the record that stands while erased bytes may still be in the file."""
STATEMENTS_CACHED = 512

_PROGRAM_ERRORS = (
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    sqlite3.NotSupportedError,
)

READER_PRAGMAS = ("query_only = ON", f"cache_size = -{READER_CACHE_KIB}", f"busy_timeout = {BUSY_MS}")

_WRITER_PRAGMAS = (
    f"page_size = {PAGE_BYTES}",
    f"busy_timeout = {BUSY_MS}",
    "journal_mode = WAL",
    "synchronous = FULL",  # acknowledged means fsynced: NORMAL lost most of it in simulated power cuts
    "secure_delete = ON",  # what is redacted is overwritten, not only unlinked (P7)
    "temp_store = MEMORY",  # savepoints of a group spill nowhere
    f"cache_size = -{WRITER_CACHE_KIB}",
    f"wal_autocheckpoint = {WAL_CHECKPOINT_PAGES}",
    f"journal_size_limit = {WAL_BYTES_KEPT}",
)


def read_only_uri(path: Path) -> str:
    """The URI by which readers open the database: it must exist, and they cannot change it."""
    return f"file:{quote(str(path.absolute()))}?mode=ro"


def open_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes and checkpoints; a new file's name is durable when this returns.

    It may be handed to another thread, but used by one at a time.
    """
    if sqlite3.sqlite_version_info < SQLITE_VERSION_MIN:
        raise RuntimeError(
            f"this Python comes with SQLite {sqlite3.sqlite_version}; CrowNest needs "
            f"{'.'.join(map(str, SQLITE_VERSION_MIN))} or newer: use a newer Python"
        )
    make_directory(path.parent)
    _make_database(path)
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS_CACHED
    )
    try:
        for pragma in _WRITER_PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
        empty_wal(connection)  # a crash may have left one that still holds erased bytes (P7)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_database(path: Path) -> None:
    """Make the file if it is new: SQLite gives its WAL that mode, and its name durability of its own.

    One that is there is not opened, not even to be closed again: closing any descriptor of a file drops all
    locks that this process has on it, those of another connection's SQLite too. Then whoever opened the
    database from outside would think itself the last one as it leaves, and take the write-ahead log away
    from under the running server, acknowledged events and all.
    """
    if path.exists():
        fsync_directory(path.parent)  # a crash may have come between the file and its name's fsync
    else:
        make_file(path)


def empty_wal(writer: sqlite3.Connection) -> str:
    """Carry the write-ahead log over and cut it to nothing; answers what stood in the way, "" if nothing."""
    busy, *_ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return "a reader held on to it" if busy else ""


def purge(writer: sqlite3.Connection) -> str:
    """Make erased bytes leave the database and its log (P7); answers what stood in the way, or "".

    `secure_delete` overwrites a row where it lies. But when SQLite splits a page to make room between two
    streams, rows move, and what they were stays in the free space of the page until something else is
    written there. So the whole file is written anew, which takes time in proportion to it. A mark made in
    the transaction of the erasure says that this is still to be done; it goes last.
    """
    kind, name = ERASURE
    if writer.execute(LOG["record"], {"kind": kind, "id": name}).fetchone() is None:
        return ""
    rewrite(writer)
    if busy := empty_wal(writer):
        return busy
    writer.execute(LOG["delete_record"], ERASURE)
    return ""


def rewrite(writer: sqlite3.Connection) -> None:
    """Write the whole file anew, without free pages and what they held."""
    writer.execute("PRAGMA temp_store = FILE")  # the new copy may be larger than the memory
    try:
        writer.execute("VACUUM")
    finally:
        writer.execute("PRAGMA temp_store = MEMORY")


def open_reader(path: Path) -> sqlite3.Connection:
    """A synchronous read-only connection, for maintenance; the log's readers use aiosqlite."""
    connection = sqlite3.connect(read_only_uri(path), uri=True, isolation_level=None)
    for pragma in READER_PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return connection


def is_storage_error(error: BaseException) -> bool:
    """Whether the disk or the file is to blame, not the statement or its parameters."""
    return isinstance(error, sqlite3.Error) and not isinstance(error, _PROGRAM_ERRORS)
