-- The log and what stands beside it. A stream is a run or an organisation; its events are numbered
-- 1, 2, 3 ... without gaps. Hashes are raw bytes, times are unix milliseconds.

CREATE TABLE migrations (
    version       INTEGER PRIMARY KEY,
    name          TEXT    NOT NULL,
    applied_at_ms INTEGER NOT NULL
);

-- One row a stream: where its chain and its tree end (PROOF P2, P3.1).
CREATE TABLE streams (
    stream_no     INTEGER PRIMARY KEY,
    stream        TEXT    NOT NULL UNIQUE,
    size          INTEGER NOT NULL CHECK (size > 0),
    payload_bytes INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,          -- of the last event
    fence         INTEGER NOT NULL,
    last_leaf     BLOB    NOT NULL CHECK (length(last_leaf) = 32),
    compact_range BLOB    NOT NULL,          -- 32 bytes for each bit set in size
    anchor_note   BLOB    NOT NULL           -- may be empty (P2.3)
);

-- position = stream_no << 32 | seq, so that a stream lies together and in order.
-- Redaction (P7) empties payload and salt and fills commitment and payload_size.
CREATE TABLE events (
    position      INTEGER PRIMARY KEY,
    type          TEXT    NOT NULL,
    created_at_ms INTEGER NOT NULL,
    running_bytes INTEGER NOT NULL,          -- payload bytes of the stream up to and with this event
    salt          BLOB,
    commitment    BLOB,
    payload_size  INTEGER,
    payload       BLOB,                      -- last: it may spill to overflow pages
    CHECK ((payload IS NULL) = (salt IS NULL)),
    CHECK ((payload IS NULL) = (commitment IS NOT NULL)),
    CHECK ((payload IS NULL) = (payload_size IS NOT NULL))
);

-- Roots of full 256-leaf subtrees, so that a proof reads little (P2.2).
CREATE TABLE subtrees (
    stream_no INTEGER NOT NULL,
    idx       INTEGER NOT NULL,
    root      BLOB    NOT NULL CHECK (length(root) = 32),
    PRIMARY KEY (stream_no, idx)
) WITHOUT ROWID;

-- Signed run checkpoints (P4.3), one a size at most.
CREATE TABLE checkpoints (
    stream_no INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    note      BLOB    NOT NULL,
    PRIMARY KEY (stream_no, size)
) WITHOUT ROWID;

-- Stored answers of idempotent requests (CONTRACT §5), with the append that they belong to.
CREATE TABLE idempotency (
    key           TEXT    PRIMARY KEY,
    fingerprint   TEXT    NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    stream        TEXT    NOT NULL,
    first_seq     INTEGER NOT NULL,
    last_seq      INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    status        INTEGER NOT NULL,
    body          BLOB    NOT NULL
);
CREATE INDEX idempotency_expiry ON idempotency (expires_at_ms);

-- Small documents that are not views: transfers, key hashes, leases (DESIGN §2).
CREATE TABLE records (
    kind          TEXT NOT NULL,
    id            TEXT NOT NULL,
    expires_at_ms INTEGER,
    doc           BLOB NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE INDEX records_expiry ON records (kind, expires_at_ms) WHERE expires_at_ms IS NOT NULL;
