-- Lines, measurements and scores of deployed servers, where no other telemetry store is set. Not part of the log of
-- events: days are dropped as a whole when their time is over. A row is written once and never changes.

CREATE TABLE log_records (
    team_id       uuid        NOT NULL,
    project_id    uuid        NOT NULL,
    -- Told by the sender, or made of all that the line says.
    id            bytea       NOT NULL CHECK (length(id) = 16),
    -- That of `at` in UTC: part of what a line is, so that a repeat is found in one partition.
    day           date        NOT NULL,
    at            timestamptz NOT NULL,
    -- Where it stood in its batch: lines of the same moment keep their order.
    place         integer     NOT NULL,
    -- 1 to 24, as OpenTelemetry counts.
    severity      smallint    CHECK (severity BETWEEN 1 AND 24),
    message       text        NOT NULL,
    trace_id      bytea       CHECK (length(trace_id) = 16),
    span_id       bytea       CHECK (length(span_id) = 8),
    service       text,
    deployment_id uuid,
    attributes    jsonb       NOT NULL,
    resource      jsonb       NOT NULL,
    PRIMARY KEY (project_id, id, day)
) PARTITION BY RANGE (day);

-- "The newest lines of a project": days are ordered, so the newest partition is read first and mostly alone.
CREATE INDEX log_records_order ON log_records (project_id, day, at, place, id);
CREATE INDEX log_records_traces ON log_records (project_id, trace_id, day) WHERE trace_id IS NOT NULL;

CREATE TABLE metric_points (
    team_id       uuid             NOT NULL,
    project_id    uuid             NOT NULL,
    -- Told by the sender, or made of what is measured and when.
    id            bytea            NOT NULL CHECK (length(id) = 16),
    day           date             NOT NULL,
    name          text             NOT NULL,
    kind          text             NOT NULL
                  CHECK (kind IN ('gauge', 'delta', 'cumulative', 'histogram', 'cumulative_histogram')),
    unit          text,
    at            timestamptz      NOT NULL,
    started_at    timestamptz,
    -- The same for all measurements of one thing by one sender.
    series        bytea            NOT NULL CHECK (length(series) = 16),
    -- One value, or as many as a histogram counts.
    count         bigint           NOT NULL CHECK (count >= 0),
    sum           double precision NOT NULL,
    min           double precision,
    max           double precision,
    -- Lists of numbers, of histograms alone.
    bounds        jsonb,
    buckets       jsonb,
    labels        jsonb            NOT NULL,
    context       jsonb            NOT NULL,
    service       text,
    deployment_id uuid,
    trace_id      bytea            CHECK (length(trace_id) = 16),
    span_id       bytea            CHECK (length(span_id) = 8),
    PRIMARY KEY (project_id, id, day)
) PARTITION BY RANGE (day);

CREATE INDEX metric_points_names ON metric_points (project_id, name, day, at);

CREATE TABLE scores (
    team_id       uuid             NOT NULL,
    project_id    uuid             NOT NULL,
    -- Told by the sender, or made of all that the score says.
    id            bytea            NOT NULL CHECK (length(id) = 16),
    day           date             NOT NULL,
    kind          text             NOT NULL CHECK (kind IN ('score', 'feedback')),
    at            timestamptz      NOT NULL,
    name          text             NOT NULL,
    -- A number, or words.
    value         double precision,
    text          text,
    comment       text,
    source        text,
    user_id       text,
    trace_id      bytea            CHECK (length(trace_id) = 16),
    span_id       bytea            CHECK (length(span_id) = 8),
    deployment_id uuid,
    details       jsonb            NOT NULL,
    PRIMARY KEY (project_id, id, day)
) PARTITION BY RANGE (day);

CREATE INDEX scores_order ON scores (project_id, day, at, id);
CREATE INDEX scores_traces ON scores (project_id, trace_id, day) WHERE trace_id IS NOT NULL;

-- Makes room for a day of a signal; whether it had to. As the owner: the server's role makes no tables in `public`.
CREATE FUNCTION signals_make_day(signal text, wanted date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name CONSTANT text := signal || to_char(wanted, '_YYYYMMDD');
BEGIN
    IF signal NOT IN ('log_records', 'metric_points', 'scores') THEN
        RAISE EXCEPTION 'there is no signal %', signal;
    END IF;
    IF to_regclass('telemetry.' || quote_ident(name)) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- One at a time, with spans. To attach a table hinders nobody who reads or writes other days.
    PERFORM pg_advisory_xact_lock(5570926163358164048);
    IF to_regclass('telemetry.' || quote_ident(name)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE telemetry.%I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name, signal);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION telemetry.%I FOR VALUES FROM (%L) TO (%L)',
                   signal, name, wanted, wanted + 1);
    RETURN true;
END $$;

-- Drops the days of a signal before this one; how many.
CREATE FUNCTION signals_drop_before(signal text, oldest date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text;
    dropped integer := 0;
BEGIN
    IF signal NOT IN ('log_records', 'metric_points', 'scores') THEN
        RAISE EXCEPTION 'there is no signal %', signal;
    END IF;
    FOR name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent = ('public.' || quote_ident(signal))::regclass
                   AND c.relname < signal || to_char(oldest, '_YYYYMMDD') ORDER BY 1 LOOP
        EXECUTE format('DROP TABLE telemetry.%I', name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
