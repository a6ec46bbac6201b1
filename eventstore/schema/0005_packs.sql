-- Compaction (docs/storage.md): the beginning of a stream may lie in packs, its rest in `events`. An event
-- is in one of them, never in both. position is that of the pack's last event.
CREATE TABLE packs (
    position      INTEGER PRIMARY KEY,
    events        INTEGER NOT NULL CHECK (events > 0),
    running_bytes INTEGER NOT NULL,          -- payload bytes of the stream up to and with its last event
    pack          BLOB    NOT NULL
);

-- Runs that have ended and of which rows are left, since when nothing was added to them.
CREATE TABLE unpacked (
    stream_no INTEGER PRIMARY KEY,
    since_ms  INTEGER NOT NULL
);
CREATE INDEX unpacked_by_time ON unpacked (since_ms);
INSERT INTO unpacked (stream_no, since_ms)
SELECT s.stream_no, s.created_at_ms
  FROM streams AS s
  JOIN events AS e ON e.position = s.stream_no << 32 | s.size
 WHERE e.type IN ('seal', 'redaction');
