-- The statements on log, claims, records and checkpoints. Each starts with a line `-- name --`.
-- Hot writes take positional parameters, reads named ones. A stream's events lie at positions
-- stream_no << 32 | seq: the first ones in packs, the rest in rows. A read takes both from one snapshot: where
-- there are packs behind its place it answers up to :packs_max of them, and no row.

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

-- pack_with --
-- The pack that may hold the event there: the first one that ends there or later in its stream.
SELECT position, events, pack FROM packs WHERE position >= ? AND position <= ? | 0xffffffff LIMIT 1;

-- repack --
UPDATE packs SET pack = ? WHERE position = ?;

-- put_unpacked --
INSERT OR REPLACE INTO unpacked (stream_no, since_ms) VALUES (?, ?);

-- delete_unpacked --
-- Once its last event is packed.
DELETE FROM unpacked
 WHERE stream_no = ? AND (SELECT size FROM streams WHERE streams.stream_no = unpacked.stream_no) = ?;

-- next_unpacked --
-- The run that has been quiet longest, and where its last pack ends, else where it begins.
SELECT u.stream_no, s.stream, s.size,
       coalesce((SELECT max(position) FROM packs
                  WHERE position > u.stream_no << 32 AND position <= u.stream_no << 32 | 0xffffffff),
                u.stream_no << 32)
  FROM unpacked AS u JOIN streams AS s USING (stream_no)
 WHERE u.since_ms <= :quiet_since_ms
 ORDER BY u.since_ms
 LIMIT 1;

-- running_at --
SELECT running_bytes FROM packs WHERE position = ?;

-- stream_of --
SELECT stream FROM streams WHERE stream_no = ?;

-- unpack_again --
INSERT OR REPLACE INTO unpacked (stream_no, since_ms)
SELECT stream_no, created_at_ms FROM streams WHERE stream_no = ?;

-- whole_rows --
-- Everything that the rows of a range hold.
SELECT position, type, created_at_ms, running_bytes, salt, commitment, payload_size, payload
  FROM events
 WHERE position > :after AND position <= :last
 ORDER BY position;

-- whole_page --
-- The same, as many as stay within this running total, at least one.
SELECT position, type, created_at_ms, running_bytes, salt, commitment, payload_size, payload
  FROM events
 WHERE position > :after
   AND position < coalesce(
       (SELECT position
          FROM events
         WHERE position > :after + 1 AND position <= :last AND running_bytes > :running_bytes
         ORDER BY position
         LIMIT 1),
       :last + 1)
 ORDER BY position;

-- delete_rows --
DELETE FROM events WHERE position > ? AND position <= ?;

-- insert_pack --
INSERT INTO packs (position, events, running_bytes, pack) VALUES (?, ?, ?, ?);

-- insert_whole_row --
INSERT INTO events (position, type, created_at_ms, running_bytes, salt, commitment, payload_size, payload)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- last_pack --
SELECT position, events, running_bytes, pack FROM packs ORDER BY position DESC LIMIT 1;

-- delete_pack --
DELETE FROM packs WHERE position = ?;

-- packed --
SELECT count(*), coalesce(sum(events), 0) FROM packs;

-- left_alone --
SELECT count(*) FROM unpacked WHERE since_ms = ?;

-- erase_event --
UPDATE events SET payload = NULL, salt = NULL, commitment = ?, payload_size = ? WHERE position = ?;

-- read_rows --
-- Those in rows alone, for schemas before there were packs.
SELECT position & 0xffffffff, type, created_at_ms, payload, salt, payload_size, commitment
  FROM events
 WHERE position >  (SELECT stream_no << 32 FROM streams WHERE stream = :stream) + :after_seq
   AND position <= (SELECT stream_no << 32 FROM streams WHERE stream = :stream) + 0xffffffff
 ORDER BY position
 LIMIT :limit;

-- place --
-- The beginning of the statements that read. A pack is answered as a row without type, its bytes in the place
-- of the payload.
WITH RECURSIVE
before(position) AS (
    SELECT (stream_no << 32) + :after_seq FROM streams WHERE stream = :stream
),
packed(position, events, pack) AS (
    SELECT position, events, pack
      FROM packs
     WHERE position > (SELECT position FROM before)
       AND position <= (SELECT position FROM before) - :after_seq + 0xffffffff
       AND position <= coalesce(
           (SELECT min(position) FROM packs
             WHERE position >= (SELECT position FROM before) - :after_seq + :last_seq), 1 << 62)
     ORDER BY position
     LIMIT :packs_max
)

-- read --
-- `public`, where internal events are left out, and `up_to_limit` follow it. :last_seq bounds the packs alone.
SELECT position & 0xffffffff, NULL, NULL, pack, NULL, events, NULL FROM packed
UNION ALL
SELECT * FROM (
    SELECT position & 0xffffffff, type, created_at_ms, payload, salt, payload_size, commitment
      FROM events
     WHERE position > (SELECT position FROM before)
       AND position <= (SELECT position FROM before) - :after_seq + 0xffffffff
       AND NOT EXISTS (SELECT 1 FROM packed)

-- public --
       AND type NOT IN ('seal', 'redaction')

-- up_to_limit --
     ORDER BY position
     LIMIT :limit);

-- page --
-- What follows it in the statements below: the page after :after_seq, up to :last_seq, whose payloads
-- together stay within :bytes_max, at least one event. The running total finds its end in a few steps, the
-- first one of :step events: each goes on as far while the total allows it, and half as far is tried next.
, bounds(running_bytes, last) AS (
    SELECT :bytes_max + coalesce(
               (SELECT running_bytes FROM events WHERE position = (SELECT position FROM before)),
               (SELECT running_bytes FROM packs WHERE position = (SELECT position FROM before)), 0),
           (SELECT min(size, :last_seq) + (stream_no << 32) FROM streams WHERE stream = :stream)
),
search(position, step) AS (
    SELECT position, :step FROM before
    UNION ALL
    SELECT CASE WHEN position + step <= (SELECT last FROM bounds)
                 AND (SELECT running_bytes FROM events WHERE events.position = search.position + step)
                     <= (SELECT running_bytes FROM bounds)
                THEN position + step
                ELSE position
           END,
           step >> 1
      FROM search
     WHERE step > 0
),
beyond(position) AS (
    SELECT max(max(position), min((SELECT position FROM before) + 1, (SELECT last FROM bounds))) + 1 FROM search
)

-- read_page --
SELECT position & 0xffffffff, NULL, NULL, pack, NULL, events, NULL FROM packed
UNION ALL
SELECT * FROM (
    SELECT position & 0xffffffff, type, created_at_ms, payload, salt, payload_size, commitment
      FROM events
     WHERE position > (SELECT position FROM before)
       AND position < (SELECT position FROM beyond)
       AND NOT EXISTS (SELECT 1 FROM packed)
     ORDER BY position);

-- shown --
-- Behind `page` in the statements that join frames: where the last public event of the page is.
, shown(position, type) AS (
    SELECT position, type
      FROM events
     WHERE position > (SELECT position FROM before)
       AND position < (SELECT position FROM beyond)
       AND type NOT IN ('seal', 'redaction')
     ORDER BY position DESC
     LIMIT 1
)

-- frame_ndjson --
-- The frames are joined in here: no Python object a row, and the interpreter lock stays free meanwhile.
-- group_concat takes the rows as the range of rowids is walked, upwards, and bytes as the text that they are.
-- Nearly all are `stdout`, so that one comparison of types is enough for most.
-- Beyond an uncut page lies the next stream's seq 0: subtract before masking, else the end is seq -1.
SELECT CAST(group_concat(payload, '
') || '
' AS BLOB),
       count(*), count(payload),
       (SELECT position & 0xffffffff FROM shown), (SELECT type FROM shown),
       (SELECT (position - 1) & 0xffffffff FROM beyond), (SELECT size FROM streams WHERE stream = :stream)
  FROM events
 WHERE position > (SELECT position FROM before)
   AND position <= (SELECT position FROM shown)
   AND (type = 'stdout' OR type NOT IN ('seal', 'redaction'))
   AND NOT EXISTS (SELECT 1 FROM packed)
UNION ALL
SELECT pack, events, NULL, position & 0xffffffff, NULL, NULL, NULL FROM packed;

-- frame_sse --
SELECT CAST(group_concat(
           'id: ' || (position & 0xffffffff) || '
event: ' || type || '
data: ' || payload || '

', '') AS BLOB),
       count(*), count(payload),
       (SELECT position & 0xffffffff FROM shown), (SELECT type FROM shown),
       (SELECT (position - 1) & 0xffffffff FROM beyond), (SELECT size FROM streams WHERE stream = :stream)
  FROM events
 WHERE position > (SELECT position FROM before)
   AND position <= (SELECT position FROM shown)
   AND (type = 'stdout' OR type NOT IN ('seal', 'redaction'))
   AND NOT EXISTS (SELECT 1 FROM packed)
UNION ALL
SELECT pack, events, NULL, position & 0xffffffff, NULL, NULL, NULL FROM packed;

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
