-- What is sent to the endpoints of teams: to whom, because of which event, and how it went. Mutable and outside the log:
-- what is sent is made of the event when it is sent, so no body is kept, and nothing that was erased is sent again.
CREATE TABLE endpoint_deliveries (
    id              uuid        PRIMARY KEY,
    -- The order in which they were made.
    number          bigint      GENERATED ALWAYS AS IDENTITY,
    endpoint_id     uuid        NOT NULL,
    team_id         uuid        NOT NULL,
    -- What it is: the same twice is one delivery.
    key             text        NOT NULL,
    -- The event that is told.
    event_id        uuid        NOT NULL,
    position        bigint      NOT NULL,
    event_type      text        NOT NULL,
    -- Why it is sent: event, ping, redelivery, replay.
    cause           text        NOT NULL,
    status          text        NOT NULL DEFAULT 'pending'
                                CHECK (status IN ('pending', 'delivered', 'failed', 'dropped')),
    attempts        integer     NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL DEFAULT now(),
    last_attempt_at timestamptz,
    settled_at      timestamptz,
    -- Of the last try.
    http_status     integer,
    error           text,
    -- The beginning of the answer.
    answer          text,
    UNIQUE (endpoint_id, key)
);
CREATE INDEX endpoint_deliveries_number ON endpoint_deliveries (endpoint_id, number);
CREATE INDEX endpoint_deliveries_open ON endpoint_deliveries (endpoint_id) WHERE status = 'pending';
CREATE INDEX endpoint_deliveries_settled ON endpoint_deliveries (settled_at);

-- The work of sending, lane by lane: who has much to be sent is no reason to look at all of it.
CREATE INDEX work_to_send ON work (lane, run_at, cause_position) WHERE process = 'send_delivery' AND state = 'ready';

-- What endpoints a team had at a moment, by the log.
CREATE INDEX events_endpoints ON events (team_id, position) WHERE aggregate_type = 'endpoint';

-- Destroys the keys of endpoints: their addresses and secrets are nobody's any more. Answers whose.
CREATE FUNCTION erase_endpoints(endpoints uuid[]) RETURNS SETOF text
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE data_keys SET wrapped = NULL, destroyed_at = now()
     WHERE destroyed_at IS NULL AND owner IN (SELECT 'endpoint:' || id FROM unnest(endpoints) AS it (id))
    RETURNING owner;
$$;
