-- What operators see and do of the consumers: pauses, events that wait, generations of tables.

ALTER TABLE consumers
    -- Nobody takes the lease of a paused consumer.
    ADD COLUMN paused_at   timestamptz,
    ADD COLUMN paused_by   text,
    -- Number of the live tables; 0 for the first there ever were.
    ADD COLUMN generation  bigint NOT NULL DEFAULT 0,
    -- Names of the live tables, where another version of the code may have others; null before this was noted.
    ADD COLUMN table_names text[];

CREATE SEQUENCE generation_numbers;

-- Tables of read models beside the live ones: on their way, or kept until they are collected.
CREATE TABLE generations (
    schema_name text        PRIMARY KEY,
    consumer    text        NOT NULL,
    number      bigint      NOT NULL,
    -- Version of the code that they are of.
    version     integer     NOT NULL,
    state       text        NOT NULL CHECK (state IN ('building', 'proving', 'kept')),
    -- The last event taken in, and how many there were.
    position    bigint      NOT NULL DEFAULT 0,
    events      bigint      NOT NULL DEFAULT 0,
    table_names text[]      NOT NULL,
    -- When they were begun, or put aside.
    since       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX generations_consumer ON generations (consumer, number);

-- Events that a consumer could not take in, and what waits behind them, a partition each. `schema_name` says of
-- which tables: `read` for the live ones and for processes, otherwise one of `generations`.
CREATE TABLE parked (
    consumer    text        NOT NULL,
    schema_name text        NOT NULL,
    position    bigint      NOT NULL,
    partition   text        NOT NULL,
    event_id    uuid        NOT NULL,
    event_type  text        NOT NULL,
    -- Why it is refused; null for what waits behind.
    error       text,
    attempts    integer     NOT NULL,
    since       timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The operator who asks for another try, where only a server can try.
    asked_by    text,
    PRIMARY KEY (consumer, schema_name, position)
);
CREATE INDEX parked_partition ON parked (consumer, schema_name, partition, position);

-- Events that a consumer never takes in, because an operator said so.
CREATE TABLE skipped (
    consumer   text        NOT NULL,
    position   bigint      NOT NULL,
    event_id   uuid        NOT NULL,
    partition  text        NOT NULL,
    reason     text        NOT NULL,
    skipped_by text        NOT NULL,
    skipped_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer, position)
);
