-- Spans of deployed servers, where no other telemetry store is set. Not part of the log of events: days are dropped as a
-- whole when their time is over. A row is written once and never changes.

CREATE TABLE spans (
    team_id        uuid        NOT NULL,
    project_id     uuid        NOT NULL,
    trace_id       bytea       NOT NULL CHECK (length(trace_id) = 16),
    span_id        bytea       NOT NULL CHECK (length(span_id) = 8),
    -- That of `started_at` in UTC: part of what a span is, so that a repeat is found in one partition.
    day            date        NOT NULL,
    parent_id      bytea       CHECK (length(parent_id) = 8),
    is_root        boolean     NOT NULL,
    name           text        NOT NULL,
    kind           text        NOT NULL,
    status         text        NOT NULL CHECK (status IN ('unset', 'ok', 'error')),
    status_message text,
    started_at     timestamptz NOT NULL,
    duration_us    bigint      NOT NULL CHECK (duration_us >= 0),
    service        text,
    deployment_id  uuid,
    user_id        text,
    session_id     text,
    tags           jsonb       NOT NULL,
    model          text,
    provider       text,
    -- As reported: cached, written and sound are contained in the input, reasoning and sound in the output.
    input_tokens   bigint      NOT NULL,
    output_tokens  bigint      NOT NULL,
    cache_read     bigint      NOT NULL,
    cache_write    bigint      NOT NULL,
    audio_input    bigint      NOT NULL,
    reasoning      bigint      NOT NULL,
    audio_output   bigint      NOT NULL,
    -- 0: repeats what others say; 1: a call of a model; 2: a sum, which counts where no call is below it.
    counting       smallint    NOT NULL CHECK (counting IN (0, 1, 2)),
    -- Millionths of a millionth of a US dollar, and the price that it was reckoned with.
    cost_picos     bigint,
    price          text,
    attributes     jsonb       NOT NULL,
    resource       jsonb       NOT NULL,
    events         jsonb       NOT NULL,
    links          jsonb       NOT NULL,
    PRIMARY KEY (project_id, trace_id, span_id, day)
) PARTITION BY RANGE (day);

-- "The newest traces of a project": days are ordered, so the newest partition is read first and mostly alone.
CREATE INDEX spans_roots ON spans (project_id, day, started_at, trace_id) WHERE is_root;
CREATE INDEX spans_counted ON spans (project_id, day) WHERE counting > 0;
CREATE INDEX spans_users ON spans (project_id, user_id, day) WHERE user_id IS NOT NULL;
CREATE INDEX spans_sessions ON spans (project_id, session_id, day) WHERE session_id IS NOT NULL;
-- Rows come in the order of time, nearly.
CREATE INDEX spans_time ON spans USING brin (started_at);

-- The days, one table each.
CREATE SCHEMA telemetry;

-- Makes room for a day; whether it had to. As the owner: the server's role makes no tables in `public`.
CREATE FUNCTION spans_make_day(wanted date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name CONSTANT text := 'spans_' || to_char(wanted, 'YYYYMMDD');
BEGIN
    IF to_regclass('telemetry.' || quote_ident(name)) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- One at a time. To attach a table hinders nobody who reads or writes other days.
    PERFORM pg_advisory_xact_lock(5570926163358164048);
    IF to_regclass('telemetry.' || quote_ident(name)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE telemetry.%I (LIKE spans INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
    EXECUTE format('ALTER TABLE spans ATTACH PARTITION telemetry.%I FOR VALUES FROM (%L) TO (%L)',
                   name, wanted, wanted + 1);
    RETURN true;
END $$;

-- Drops the days before this one; how many.
CREATE FUNCTION spans_drop_before(oldest date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text;
    dropped integer := 0;
BEGIN
    FOR name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent = 'public.spans'::regclass
                   AND c.relname < 'spans_' || to_char(oldest, 'YYYYMMDD') ORDER BY 1 LOOP
        EXECUTE format('DROP TABLE telemetry.%I', name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
