-- Spans of deployed servers. Days are dropped as a whole when their time is over. A row is written once and never changes.
--
-- What is asked decides the order of rows: roots lie apart from what is below them, by the minute, so that "the newest traces"
-- and "the last hour" read what they show and little more. A day is a partition.

CREATE TABLE IF NOT EXISTS spans (
    team_id        UUID,
    project_id     UUID,
    trace_id       FixedString(16),
    span_id        FixedString(8),
    -- Zeros where there is none.
    parent_id      FixedString(8),
    is_root        Bool,
    name           String CODEC(ZSTD(1)),
    kind           LowCardinality(String),
    status         LowCardinality(String),
    status_message Nullable(String) CODEC(ZSTD(1)),
    started_at     DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    duration_us    Int64 CODEC(T64, ZSTD(1)),
    service        LowCardinality(Nullable(String)),
    deployment_id  Nullable(UUID),
    user_id        Nullable(String) CODEC(ZSTD(1)),
    session_id     Nullable(String) CODEC(ZSTD(1)),
    tags           Array(LowCardinality(String)),
    model          LowCardinality(Nullable(String)),
    provider       LowCardinality(Nullable(String)),
    -- As reported: cached, written and sound are contained in the input, reasoning and sound in the output.
    input_tokens   Int64 CODEC(T64, ZSTD(1)),
    output_tokens  Int64 CODEC(T64, ZSTD(1)),
    cache_read     Int64 CODEC(T64, ZSTD(1)),
    cache_write    Int64 CODEC(T64, ZSTD(1)),
    audio_input    Int64 CODEC(T64, ZSTD(1)),
    reasoning      Int64 CODEC(T64, ZSTD(1)),
    audio_output   Int64 CODEC(T64, ZSTD(1)),
    -- 0: repeats what others say; 1: a call of a model; 2: a sum, which counts where no call is below it.
    counting       Int16,
    -- US dollars to the millionth of a millionth, and the price that they were reckoned with.
    cost           Nullable(Decimal(38, 12)) CODEC(ZSTD(1)),
    price          LowCardinality(Nullable(String)),
    attributes     String CODEC(ZSTD(1)),
    resource       String CODEC(ZSTD(1)),
    events         String CODEC(ZSTD(1)),
    links          String CODEC(ZSTD(1)),
    -- The last day that it is kept on: of the project's policy when it came.
    expires_on     Date,
    below          Bool MATERIALIZED NOT is_root,
    -- Of rows that are one span, the one that came first stays.
    precedence     UInt64 MATERIALIZED bitNot(toUInt64(toUnixTimestamp64Micro(now64(6)))) CODEC(DoubleDelta, ZSTD(1)),

    INDEX of_trace trace_id TYPE bloom_filter(0.0001) GRANULARITY 1,
    INDEX of_user user_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX of_session session_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX of_deployment deployment_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX of_tag tags TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(precedence)
PARTITION BY toDate(started_at)
PRIMARY KEY (team_id, project_id, below, toStartOfMinute(started_at), trace_id)
ORDER BY (team_id, project_id, below, toStartOfMinute(started_at), trace_id, span_id)
TTL expires_on + INTERVAL 1 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, index_granularity = 4096,
    -- Who is told that it is stored is told so when it is on disk.
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
