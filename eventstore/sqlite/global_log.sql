-- The statements on the global log. Each starts with a line `-- name --`.

-- tree --
SELECT size, compact_range FROM log_tree;

-- update_tree --
UPDATE log_tree SET size = ?, compact_range = ?;

-- insert_entry --
INSERT INTO log_entries (idx, stream, size, created_at_ms, entry) VALUES (?, ?, ?, ?, ?);

-- insert_subtree --
INSERT INTO log_subtrees (idx, root) VALUES (?, ?);

-- entries --
SELECT entry FROM log_entries WHERE idx >= ? AND idx < ? ORDER BY idx;

-- logged --
SELECT stream, size, created_at_ms, entry FROM log_entries WHERE idx >= ? AND idx < ? ORDER BY idx;

-- growth --
SELECT created_at_ms / :bucket_ms * :bucket_ms, count(*)
  FROM log_entries
 WHERE idx >= :start
 GROUP BY created_at_ms / :bucket_ms
 ORDER BY created_at_ms / :bucket_ms;

-- subtrees --
SELECT root FROM log_subtrees WHERE idx >= ? AND idx < ? ORDER BY idx;

-- index_of --
SELECT idx FROM log_entries WHERE stream = ? AND size = ?;

-- grown_organizations --
-- Those whose last entry is old enough and shows less than they hold (a run's growth waits for its seal).
SELECT s.stream
  FROM streams AS s
  JOIN (SELECT stream, max(size) AS size, max(created_at_ms) AS created_at_ms
          FROM log_entries
         WHERE stream >= 'org_' AND stream < 'org`'
         GROUP BY stream) AS e USING (stream)
 WHERE s.size > e.size AND e.created_at_ms <= ?
 LIMIT ?;

-- unlogged --
-- What was recorded before there was a log.
SELECT stream
  FROM streams AS s
 WHERE NOT EXISTS (SELECT 1 FROM log_entries AS e WHERE e.stream = s.stream)
 ORDER BY stream_no
 LIMIT ?;

-- put_head --
INSERT INTO log_heads (size, root) VALUES (?, ?) ON CONFLICT (size) DO NOTHING;

-- head_at --
SELECT size, root, note FROM log_heads WHERE size = ?;

-- last_head --
SELECT size, root, note FROM log_heads ORDER BY size DESC LIMIT 1;

-- published --
SELECT size, root, note FROM log_heads WHERE note IS NOT NULL ORDER BY size DESC LIMIT ?;

-- publish_head --
UPDATE log_heads SET note = ? WHERE size = ?;
