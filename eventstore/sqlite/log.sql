-- The statements on log, claims, records and checkpoints. Each starts with a line `-- name --`.
-- Hot writes take positional parameters, reads named ones. A stream's events lie at positions
-- stream_no << 32 | seq.

-- head --
SELECT stream_no, size, payload_bytes, created_at_ms, fence, last_leaf, compact_range, anchor_note
  FROM streams
 WHERE stream = ?;

-- size --
SELECT size FROM streams WHERE stream = :stream;

-- insert_stream --
INSERT INTO streams (size, payload_bytes, created_at_ms, fence, last_leaf, compact_range, anchor_note, stream)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- put_heads --
-- One row; the writer repeats the parentheses for more. The streams exist: only their ends move.
INSERT INTO streams (stream_no, stream, anchor_note,
                     size, payload_bytes, created_at_ms, fence, last_leaf, compact_range)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (stream_no) DO UPDATE
   SET size = excluded.size, payload_bytes = excluded.payload_bytes, created_at_ms = excluded.created_at_ms,
       fence = excluded.fence, last_leaf = excluded.last_leaf, compact_range = excluded.compact_range;

-- insert_events --
-- One row; the writer repeats the parentheses for more.
INSERT INTO events (position, type, created_at_ms, running_bytes, salt, payload)
VALUES (?, ?, ?, ?, ?, ?);

-- insert_subtree --
INSERT INTO subtrees (stream_no, idx, root, last_leaf) VALUES (?, ?, ?, ?);

-- blocks --
SELECT root, last_leaf
  FROM subtrees
 WHERE stream_no = (SELECT stream_no FROM streams WHERE stream = :stream)
 ORDER BY idx;

-- event_at --
SELECT position & 0xffffffff, type, created_at_ms, payload, salt, payload_size, commitment
  FROM events
 WHERE position = ?;

-- erase_event --
UPDATE events SET payload = NULL, salt = NULL, commitment = ?, payload_size = ? WHERE position = ?;

-- payloads --
SELECT payload
  FROM events
 WHERE position >  (SELECT stream_no << 32 FROM streams WHERE stream = :stream)
   AND position <= (SELECT stream_no << 32 FROM streams WHERE stream = :stream) + 0xffffffff
 ORDER BY position;

-- read --
SELECT position & 0xffffffff, type, created_at_ms, payload, salt, payload_size, commitment
  FROM events
 WHERE position >  (SELECT stream_no << 32 FROM streams WHERE stream = :stream) + :after_seq
   AND position <= (SELECT stream_no << 32 FROM streams WHERE stream = :stream) + 0xffffffff
 ORDER BY position
 LIMIT :limit;

-- read_public --
SELECT position & 0xffffffff, type, created_at_ms, payload, salt, payload_size, commitment
  FROM events
 WHERE position >  (SELECT stream_no << 32 FROM streams WHERE stream = :stream) + :after_seq
   AND position <= (SELECT stream_no << 32 FROM streams WHERE stream = :stream) + 0xffffffff
   AND type NOT IN ('seal', 'redaction')
 ORDER BY position
 LIMIT :limit;

-- page --
-- The beginning of the three statements below: the page after :after_seq, up to :last_seq, whose
-- payloads together stay within :bytes_max, at least one event. The running total finds its end.
WITH
before(position) AS (
    SELECT (stream_no << 32) + :after_seq FROM streams WHERE stream = :stream
),
budget(running_bytes) AS (
    SELECT :bytes_max + coalesce(
        (SELECT running_bytes FROM events WHERE position = (SELECT position FROM before)), 0)
),
beyond(position) AS (
    SELECT coalesce(
        (SELECT position
           FROM events
          WHERE position > (SELECT position FROM before) + 1
            AND position <= (SELECT position FROM before) - :after_seq + :last_seq
            AND running_bytes > (SELECT running_bytes FROM budget)
          ORDER BY position
          LIMIT 1),
        (SELECT position FROM before) - :after_seq + :last_seq + 1)
)

-- read_page --
SELECT position & 0xffffffff, type, created_at_ms, payload, salt, payload_size, commitment
  FROM events
 WHERE position > (SELECT position FROM before)
   AND position < (SELECT position FROM beyond)
 ORDER BY position;

-- frame_ndjson --
-- The frames are joined in here: no Python object a row, and the interpreter lock stays free meanwhile.
-- group_concat takes the rows as the range of rowids is walked, upwards; max() brings its row's type.
-- Beyond an uncut page lies the next stream's seq 0: subtract before masking, else the end is seq -1.
SELECT CAST(group_concat(CAST(payload AS TEXT), '
') || '
' AS BLOB),
       count(*), count(payload), max(position) & 0xffffffff, type,
       (SELECT (position - 1) & 0xffffffff FROM beyond), (SELECT size FROM streams WHERE stream = :stream)
  FROM events
 WHERE position > (SELECT position FROM before)
   AND position < (SELECT position FROM beyond)
   AND type <> 'seal' AND type <> 'redaction';

-- frame_sse --
SELECT CAST(group_concat(
           'id: ' || (position & 0xffffffff) || '
event: ' || type || '
data: ' || CAST(payload AS TEXT) || '

', '') AS BLOB),
       count(*), count(payload), max(position) & 0xffffffff, type,
       (SELECT (position - 1) & 0xffffffff FROM beyond), (SELECT size FROM streams WHERE stream = :stream)
  FROM events
 WHERE position > (SELECT position FROM before)
   AND position < (SELECT position FROM beyond)
   AND type <> 'seal' AND type <> 'redaction';

-- streams --
SELECT stream
  FROM streams
 WHERE stream > :after AND stream >= :prefix AND stream < :beyond
 ORDER BY stream
 LIMIT :limit;

-- all_streams --
SELECT stream FROM streams ORDER BY stream_no;

-- claim --
SELECT fingerprint, expires_at_ms, stream, first_seq, last_seq, created_at_ms, status, body
  FROM idempotency
 WHERE key = ?;

-- put_claim --
INSERT OR REPLACE INTO idempotency
       (key, fingerprint, expires_at_ms, stream, first_seq, last_seq, created_at_ms, status, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- sweep_claims --
DELETE FROM idempotency
 WHERE key IN (SELECT key FROM idempotency WHERE expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?);

-- checkpoint --
SELECT note
  FROM checkpoints
 WHERE stream_no = (SELECT stream_no FROM streams WHERE stream = ?) AND size = ?;

-- checkpoint_now --
SELECT note FROM streams JOIN checkpoints USING (stream_no, size) WHERE stream = :stream;

-- put_checkpoint --
INSERT OR REPLACE INTO checkpoints (stream_no, size, note)
VALUES ((SELECT stream_no FROM streams WHERE stream = ?), ?, ?);

-- put_record --
INSERT OR REPLACE INTO records (kind, id, expires_at_ms, doc) VALUES (?, ?, ?, ?);

-- delete_record --
DELETE FROM records WHERE kind = ? AND id = ?;

-- record --
SELECT kind, id, doc, expires_at_ms FROM records WHERE kind = :kind AND id = :id;

-- expired_records --
SELECT kind, id, doc, expires_at_ms
  FROM records
 WHERE kind = :kind AND expires_at_ms <= :now_ms
 ORDER BY expires_at_ms, id
 LIMIT :limit;

-- refold_due --
SELECT 1 FROM records WHERE kind = 'refold' AND id = 'views';

-- refolded --
DELETE FROM records WHERE kind = 'refold' AND id = 'views';
