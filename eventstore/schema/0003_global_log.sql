-- The global log (PROOF P5): one entry for each checkpoint of a stream that must be seen, and for each
-- change of the signing key. Entries are numbered 0, 1, 2 ... An entry lies in its event's transaction.
CREATE TABLE log_entries (
    idx           INTEGER PRIMARY KEY,
    stream        TEXT,                      -- NULL: a change of the signing key
    size          INTEGER NOT NULL,          -- of the stream; 0 for a change of key
    created_at_ms INTEGER NOT NULL,
    entry         BLOB    NOT NULL
);
CREATE INDEX log_entries_by_stream ON log_entries (stream, size);

-- Roots of full 256-entry subtrees: with the entries all that tiles and proofs are made of.
CREATE TABLE log_subtrees (
    idx  INTEGER PRIMARY KEY,
    root BLOB    NOT NULL CHECK (length(root) = 32)
);

-- One row: where the tree over the entries ends.
CREATE TABLE log_tree (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    size          INTEGER NOT NULL,
    compact_range BLOB    NOT NULL
);
INSERT INTO log_tree (id, size, compact_range) VALUES (1, 0, x'');

-- Heads of the log, each written before it is signed; `note` follows when it is published.
CREATE TABLE log_heads (
    size INTEGER PRIMARY KEY,
    root BLOB    NOT NULL CHECK (length(root) = 32),
    note BLOB
);

-- The last leaf of each full 256-leaf subtree of a stream: a record names the leaf before it, so that a
-- part of the chain can be recomputed only from such a place on. NULL in rows written before this version.
ALTER TABLE subtrees ADD COLUMN last_leaf BLOB;
