-- The proof of the log: signed checkpoints of the Merkle tree over all events. Evidence, not derived data: no
-- rebuild touches it, and like the events themselves nobody updates or deletes a row.

CREATE TABLE ledger_checkpoints (
    number bigint PRIMARY KEY,
    -- How many events it covers: the position of the last one.
    size   bigint NOT NULL CHECK (size >= 0),
    -- The signed note, as it is published.
    note   text   NOT NULL,
    -- Hashes of the leaves that it adds, 32 bytes each: they say which event was changed.
    leaves bytea  NOT NULL CHECK (octet_length(leaves) % 32 = 0)
);
CREATE INDEX ledger_checkpoints_size ON ledger_checkpoints (size, number);

-- Hashes of complete subtrees of 256, 65,536 and 16,777,216 events (levels 1, 2, 3), from which proofs are made.
CREATE TABLE ledger_nodes (
    level smallint NOT NULL CHECK (level BETWEEN 1 AND 7),
    index bigint   NOT NULL CHECK (index >= 0),
    hash  bytea    NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (level, index)
);

-- The only way to write evidence: a checkpoint, the leaves that it adds, the subtrees that they complete.
CREATE FUNCTION append_checkpoint(
    number  bigint,
    size    bigint,
    note    text,
    leaves  bytea,
    levels  smallint[],
    indexes bigint[],
    hashes  bytea[]
) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO ledger_nodes (level, index, hash) SELECT n.level, n.index, n.hash FROM unnest($5, $6, $7) AS n (level, index, hash);
    INSERT INTO ledger_checkpoints (number, size, note, leaves) VALUES ($1, $2, $3, $4);
$$;

CREATE TRIGGER ledger_checkpoints_are_never_changed BEFORE UPDATE OR DELETE ON ledger_checkpoints
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_checkpoints_are_never_truncated BEFORE TRUNCATE ON ledger_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_nodes_are_never_changed BEFORE UPDATE OR DELETE ON ledger_nodes
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_nodes_are_never_truncated BEFORE TRUNCATE ON ledger_nodes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- How far each anchor outside the database was told. State, not evidence.
CREATE TABLE ledger_anchors (
    name        text        PRIMARY KEY,
    number      bigint      NOT NULL,
    size        bigint      NOT NULL,
    anchored_at timestamptz NOT NULL
);

-- Those by which a key has named its successor.
CREATE INDEX ledger_checkpoints_rotations ON ledger_checkpoints (number) WHERE note LIKE E'%\nnext-key %';
