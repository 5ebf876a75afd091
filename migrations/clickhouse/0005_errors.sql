-- What went wrong, by what it is like: kept with the span or the line that tells it when that is written. Zeros where
-- nothing went wrong: the index leaves out what has nothing else.

ALTER TABLE spans
    ADD COLUMN IF NOT EXISTS error_group FixedString(16) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS error_type LowCardinality(String),
    ADD COLUMN IF NOT EXISTS error_message String CODEC(ZSTD(1)),
    ADD INDEX IF NOT EXISTS of_error error_group TYPE minmax GRANULARITY 1;

ALTER TABLE log_records
    ADD COLUMN IF NOT EXISTS error_group FixedString(16) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS error_type LowCardinality(String),
    ADD COLUMN IF NOT EXISTS error_message String CODEC(ZSTD(1)),
    ADD INDEX IF NOT EXISTS of_error error_group TYPE minmax GRANULARITY 1;
