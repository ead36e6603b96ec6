"""The tables of the log in PostgreSQL, and the two statements that every server runs on them.

The row `head` is what makes offsets dense, and visible in their order: whoever appends holds its
lock until the commit. A sequence would not do. It gives numbers out before the commit, so 2 can
become visible before 1, and a reader that has passed 2 never sees 1.
"""

VERSION = 1
"""The version of these tables, which is in the database too: a server refuses those of another."""

LOOK = """
SELECT to_regclass('chatlab_version') IS NOT NULL, to_regclass('messages') IS NOT NULL
"""
"""Whether these tables are there, and whether another program's are."""

UNSAFE = """
SELECT name FROM pg_settings WHERE setting = 'off'
AND name IN ('fsync', 'full_page_writes', 'synchronous_commit')
"""
"""The settings with which a power cut takes messages that were acknowledged."""

LOCK = "SELECT pg_advisory_xact_lock(hashtext('chatlab'))"
"""Two servers that start at once make the tables one after the other: the second finds them."""

TABLES = """
CREATE TABLE chatlab_version AS SELECT {version} AS version;
CREATE TABLE messages (id bigint PRIMARY KEY, client_offset text UNIQUE, content text NOT NULL);
CREATE TABLE head (last bigint NOT NULL, trimmed bigint NOT NULL);
INSERT INTO head VALUES (0, 0);
CREATE TABLE epochs (
    number int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, epoch text UNIQUE, after bigint NOT NULL
);

CREATE FUNCTION append(
    keys text[], texts text[], keep bigint, most bigint,
    OUT before bigint, OUT deleted bigint, OUT offsets bigint[]
) LANGUAGE plpgsql AS $$
-- Stores a batch. `before` is the head until now, and `deleted` the offset up to which messages are
-- deleted. A text whose key belongs to another text gets NULL.
DECLARE
    newest bigint;
    known messages;
BEGIN
    SELECT last, trimmed INTO before, deleted FROM head FOR UPDATE;
    newest := before;
    FOR i IN 1 .. cardinality(texts) LOOP
        SELECT * INTO known FROM messages WHERE client_offset = keys[i];
        IF NOT FOUND THEN
            newest := newest + 1;
            known := (newest, keys[i], texts[i]);
            INSERT INTO messages VALUES (known.*);
        END IF;
        offsets[i] := CASE WHEN known.content = texts[i] THEN known.id END;
    END LOOP;
    IF newest > before AND keep IS NOT NULL THEN
        deleted := greatest(deleted, least(newest - keep, deleted + newest - before + most));
        DELETE FROM messages WHERE id <= deleted;
    END IF;
    UPDATE head SET last = newest, trimmed = deleted WHERE newest > before;
END $$;
""".replace("{version}", str(VERSION))
APPEND = "SELECT * FROM append($1, $2, $3, $4)"

AFTER = """
SELECT last, trimmed, id, content FROM head LEFT JOIN (
    SELECT id, content FROM messages WHERE id > $1 ORDER BY id LIMIT $2
) AS later ON true ORDER BY id
"""
"""The messages after an offset, and what is true of the log at the same moment: a reader that does
not get a message knows whether it is deleted."""

HEAD = "SELECT last, trimmed FROM head"
FIND_VERSION = "SELECT version FROM chatlab_version"
FIND = "SELECT id, content FROM messages WHERE client_offset = $1"

EPOCH = """
SELECT concat_ws('-', system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8),
    'messages'::regclass::oid) FROM pg_control_system()
"""
"""The database's own name for its history: its cluster, the timeline (a standby that takes over
begins a new one), and the table (one that is restored from a dump is another table)."""

BEGIN_EPOCH = """
INSERT INTO epochs (epoch, after) SELECT $1, last FROM head ON CONFLICT DO NOTHING
"""
EPOCHS = "SELECT epoch, after FROM epochs ORDER BY number"
