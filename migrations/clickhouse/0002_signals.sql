-- Lines, measurements and scores of deployed servers. Days are dropped as a whole when their time is over. A row is written
-- once and never changes.
--
-- As with spans, what is asked decides the order of rows, a day is a partition, and of rows that are one the one that came
-- first stays: those with the same order.

CREATE TABLE IF NOT EXISTS log_records (
    team_id       UUID,
    project_id    UUID,
    -- Told by the sender, or made of all that the line says.
    id            FixedString(16),
    at            DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    -- Where it stood in its batch: lines of the same moment keep their order.
    place         Int32 CODEC(T64, ZSTD(1)),
    -- 1 to 24, as OpenTelemetry counts; 0 where there is none.
    severity      UInt8 CODEC(T64, ZSTD(1)),
    message       String CODEC(ZSTD(1)),
    -- Zeros where there is none.
    trace_id      FixedString(16) CODEC(ZSTD(1)),
    span_id       FixedString(8) CODEC(ZSTD(1)),
    service       LowCardinality(Nullable(String)),
    deployment_id Nullable(UUID) CODEC(ZSTD(1)),
    attributes    String CODEC(ZSTD(1)),
    resource      String CODEC(ZSTD(1)),
    -- The last day that it is kept on: of the project's policy when it came.
    expires_on    Date,
    precedence    UInt64 MATERIALIZED bitNot(toUInt64(toUnixTimestamp64Micro(now64(6)))) CODEC(DoubleDelta, ZSTD(1)),

    INDEX of_id id TYPE bloom_filter(0.00001) GRANULARITY 1,
    INDEX of_trace trace_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX of_deployment deployment_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX of_severity severity TYPE minmax GRANULARITY 1,
    -- Parts of words, of four letters each: what is looked for stands anywhere in a line, in any case of letters.
    INDEX of_text lowerUTF8(message) TYPE ngrambf_v1(4, 32768, 2, 0) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(precedence)
PARTITION BY toDate(at)
PRIMARY KEY (team_id, project_id, toStartOfMinute(at))
ORDER BY (team_id, project_id, toStartOfMinute(at), id)
TTL expires_on + INTERVAL 1 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, index_granularity = 4096,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS metric_points (
    team_id       UUID,
    project_id    UUID,
    -- Told by the sender, or made of what is measured and when.
    id            FixedString(16),
    name          LowCardinality(String),
    kind          LowCardinality(String),
    unit          LowCardinality(Nullable(String)),
    at            DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    started_at    Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    -- The same for all measurements of one thing by one sender.
    series        FixedString(16) CODEC(ZSTD(1)),
    -- One value, or as many as a histogram counts; their sum, the least and the largest of them.
    amount        Int64 CODEC(T64, ZSTD(1)),
    total         Float64 CODEC(ZSTD(1)),
    least         Nullable(Float64) CODEC(ZSTD(1)),
    largest       Nullable(Float64) CODEC(ZSTD(1)),
    -- Of histograms alone.
    bounds        Array(Float64) CODEC(ZSTD(1)),
    buckets       Array(Int64) CODEC(ZSTD(1)),
    -- What was said, and what groups are told apart by.
    labels        String CODEC(ZSTD(1)),
    label_texts   Map(LowCardinality(String), Nullable(String)) CODEC(ZSTD(1)),
    context       String CODEC(ZSTD(1)),
    service       LowCardinality(Nullable(String)),
    deployment_id Nullable(UUID) CODEC(ZSTD(1)),
    trace_id      FixedString(16) CODEC(ZSTD(1)),
    span_id       FixedString(8) CODEC(ZSTD(1)),
    expires_on    Date,
    precedence    UInt64 MATERIALIZED bitNot(toUInt64(toUnixTimestamp64Micro(now64(6)))) CODEC(DoubleDelta, ZSTD(1)),

    INDEX of_id id TYPE bloom_filter(0.00001) GRANULARITY 1,
    INDEX of_deployment deployment_id TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(precedence)
PARTITION BY toDate(at)
PRIMARY KEY (team_id, project_id, name, toStartOfHour(at))
ORDER BY (team_id, project_id, name, toStartOfHour(at), series, at, id)
TTL expires_on + INTERVAL 1 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, index_granularity = 4096,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS scores (
    team_id       UUID,
    project_id    UUID,
    -- Told by the sender, or made of all that the score says.
    id            FixedString(16),
    kind          LowCardinality(String),
    at            DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    name          LowCardinality(String),
    -- A number, or words.
    value         Nullable(Float64) CODEC(ZSTD(1)),
    text          Nullable(String) CODEC(ZSTD(1)),
    comment       Nullable(String) CODEC(ZSTD(1)),
    source        LowCardinality(Nullable(String)),
    user_id       Nullable(String) CODEC(ZSTD(1)),
    trace_id      FixedString(16) CODEC(ZSTD(1)),
    span_id       FixedString(8) CODEC(ZSTD(1)),
    deployment_id Nullable(UUID) CODEC(ZSTD(1)),
    details       String CODEC(ZSTD(1)),
    expires_on    Date,
    precedence    UInt64 MATERIALIZED bitNot(toUInt64(toUnixTimestamp64Micro(now64(6)))) CODEC(DoubleDelta, ZSTD(1)),

    INDEX of_id id TYPE bloom_filter(0.00001) GRANULARITY 1,
    INDEX of_trace trace_id TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(precedence)
PARTITION BY toDate(at)
PRIMARY KEY (team_id, project_id, toStartOfHour(at))
ORDER BY (team_id, project_id, toStartOfHour(at), id)
TTL expires_on + INTERVAL 1 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, index_granularity = 4096,
    fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
