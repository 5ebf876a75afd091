-- What went wrong, by what it is like: kept with the span or the line that tells it when that is written.

ALTER TABLE spans
    ADD COLUMN error_group   bytea CHECK (length(error_group) = 16),
    -- Type of the exception; empty where it is not told.
    ADD COLUMN error_type    text,
    ADD COLUMN error_message text;

ALTER TABLE log_records
    ADD COLUMN error_group   bytea CHECK (length(error_group) = 16),
    ADD COLUMN error_type    text,
    ADD COLUMN error_message text;

-- Most of what is told went well.
CREATE INDEX spans_errors ON spans (project_id, day, started_at) WHERE error_group IS NOT NULL;
CREATE INDEX log_records_errors ON log_records (project_id, day, at) WHERE error_group IS NOT NULL;
