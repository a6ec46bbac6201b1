-- A table of messages and functions that write them, as in message databases for PostgreSQL.
-- The lock is one of the stream, not of its category: writers of different runs share a commit's fsync.
-- No NOTIFY: it would make commits wait for each other.
CREATE TABLE messages (
    global_position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream_name text NOT NULL,
    "position" bigint NOT NULL,
    "time" timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc'),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    type text NOT NULL,
    data jsonb NOT NULL,
    metadata jsonb
);
CREATE UNIQUE INDEX messages_id ON messages (id);
CREATE UNIQUE INDEX messages_stream ON messages (stream_name, "position");

CREATE FUNCTION write_message(stream text, kind text, document jsonb, expected_version bigint DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    version bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(stream, 0));
    SELECT coalesce(max(m."position"), -1) INTO version FROM messages m WHERE m.stream_name = stream;
    IF expected_version IS NOT NULL AND expected_version <> version THEN
        RAISE EXCEPTION 'Wrong expected version: % (stream: %, version: %)', expected_version, stream, version;
    END IF;
    INSERT INTO messages (stream_name, "position", type, data) VALUES (stream, version + 1, kind, document);
    RETURN version + 1;
END;
$$;

-- All rows of a batch in one call: more than message-db offers.
CREATE FUNCTION write_messages(stream text, types text[], documents jsonb[], expected_version bigint DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    version bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(stream, 0));
    SELECT coalesce(max(m."position"), -1) INTO version FROM messages m WHERE m.stream_name = stream;
    IF expected_version IS NOT NULL AND expected_version <> version THEN
        RAISE EXCEPTION 'Wrong expected version: % (stream: %, version: %)', expected_version, stream, version;
    END IF;
    INSERT INTO messages (stream_name, "position", type, data)
    SELECT stream, version + n, t, d
    FROM unnest(types, documents) WITH ORDINALITY AS given(t, d, n);
    RETURN version + array_length(types, 1);
END;
$$;
