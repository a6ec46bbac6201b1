"""Owns what a migration must compute and SQL cannot: the last leaf of each block written before 0003."""

from __future__ import annotations

import sqlite3

from eventstore.sqlite.queries import LOG
from eventstore.sqlite.stored import stored_event
from evidence.bundle import EntryChain
from evidence.record import genesis

BLOCK_EVENTS = 256


def fill_last_leaves(connection: sqlite3.Connection) -> None:
    """Set `subtrees.last_leaf` wherever it is missing, by walking each such stream's chain once.

    Runs inside the migration's transaction: killed in the middle, the next start begins it anew.
    """
    streams = connection.execute(
        "SELECT DISTINCT stream_no, stream, anchor_note FROM streams JOIN subtrees USING (stream_no) "
        "WHERE subtrees.last_leaf IS NULL"
    ).fetchall()
    for stream_no, stream, anchor_note in streams:
        chain = EntryChain(stream, genesis(stream, anchor_note))
        after_seq = 0
        while rows := connection.execute(
            LOG["read_rows"], {"stream": stream, "after_seq": after_seq, "limit": BLOCK_EVENTS}
        ).fetchall():
            for row in rows:
                chain.add(stored_event(row))
            after_seq += len(rows)
            if after_seq % BLOCK_EVENTS == 0:
                connection.execute(
                    "UPDATE subtrees SET last_leaf = ? WHERE stream_no = ? AND idx = ?",
                    (chain.prev, stream_no, after_seq // BLOCK_EVENTS - 1),
                )
