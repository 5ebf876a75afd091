-- Rows of telemetry that were taken in on a day (UTC), of projects that may bring so many. Not part of the log of events.

CREATE TABLE telemetry_usage (
    project_id uuid   NOT NULL,
    day        date   NOT NULL,
    rows       bigint NOT NULL CHECK (rows >= 0),
    PRIMARY KEY (project_id, day)
);
