-- Days of spans, rolled up when they are over, from rows that are folded: what a question about many days reads instead of
-- spans. A roll-up has an id of its own, and what is rolled up anew is written beside what was there.

-- When something of a project's day was last written, by the engine's clock; and the day after which the first of it goes.
CREATE TABLE IF NOT EXISTS span_days (
    team_id       UUID,
    project_id    UUID,
    day           Date,
    written_at    SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    expires_first SimpleAggregateFunction(min, Date)
)
ENGINE = AggregatingMergeTree
PARTITION BY day
ORDER BY (team_id, project_id, day)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS span_days_of_spans TO span_days AS
SELECT team_id, project_id, toDate(started_at) AS day, max(now64(6, 'UTC')) AS written_at, min(expires_on) AS expires_first
  FROM spans GROUP BY team_id, project_id, day;

-- Traces, by the day on which their first root began.
CREATE TABLE IF NOT EXISTS trace_days (
    team_id    UUID,
    project_id UUID,
    day        Date,
    roll       UUID,
    traces     SimpleAggregateFunction(sum, UInt64),
    errors     SimpleAggregateFunction(sum, UInt64),
    total      SimpleAggregateFunction(sum, Int128),
    -- Every single one, so that quantiles of many days are those of their traces.
    durations  SimpleAggregateFunction(groupArrayArray, Array(Int64)) CODEC(ZSTD(1)),
    expires_on Date
)
ENGINE = AggregatingMergeTree
PARTITION BY day
ORDER BY (team_id, project_id, day, roll, expires_on)
TTL expires_on + INTERVAL 1 DAY DELETE
SETTINGS ttl_only_drop_parts = 1,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- What calls used, by model, on the day on which they began.
CREATE TABLE IF NOT EXISTS model_days (
    team_id      UUID,
    project_id   UUID,
    day          Date,
    roll         UUID,
    has_model    Bool,
    model        String,
    has_provider Bool,
    provider     String,
    calls        SimpleAggregateFunction(sum, UInt64),
    no_cost      SimpleAggregateFunction(sum, UInt64),
    cost_all     SimpleAggregateFunction(sum, Decimal(38, 12)),
    input        SimpleAggregateFunction(sum, Int128),
    output       SimpleAggregateFunction(sum, Int128),
    cache_read   SimpleAggregateFunction(sum, Int128),
    cache_write  SimpleAggregateFunction(sum, Int128),
    audio_input  SimpleAggregateFunction(sum, Int128),
    reasoning    SimpleAggregateFunction(sum, Int128),
    audio_output SimpleAggregateFunction(sum, Int128),
    expires_on   Date
)
ENGINE = AggregatingMergeTree
PARTITION BY day
ORDER BY (team_id, project_id, day, roll, has_model, model, has_provider, provider, expires_on)
TTL expires_on + INTERVAL 1 DAY DELETE
SETTINGS ttl_only_drop_parts = 1,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- Which roll-ups are whole: written when all else of them is on disk. Of several of a day the last one counts.
CREATE TABLE IF NOT EXISTS rolled_days (
    team_id    UUID,
    project_id UUID,
    kind       LowCardinality(String),
    day        Date,
    roll       UUID,
    -- When what it was made of was looked up, by the engine's clock.
    rolled_at  DateTime64(6, 'UTC'),
    -- Other days that it would not be the same without.
    leans_on   Array(Date),
    expires_on Date
)
ENGINE = MergeTree
PARTITION BY day
ORDER BY (team_id, project_id, kind, day)
TTL expires_on + INTERVAL 1 DAY DELETE
SETTINGS ttl_only_drop_parts = 1,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
