-- Output of builds and servers, line by line. Not part of the log of events: it may be pruned.

CREATE TABLE log_lines (
    source_kind text        NOT NULL CHECK (source_kind IN ('build', 'deployment')),
    source_id   uuid        NOT NULL,
    -- Number in its source: from 1, without holes, in the order the platform read them.
    seq         bigint      NOT NULL CHECK (seq > 0),
    at          timestamptz NOT NULL,
    stream      text        NOT NULL CHECK (stream IN ('stdout', 'stderr', 'platform')),
    text        text        NOT NULL,
    project_id  uuid        NOT NULL,
    team_id     uuid        NOT NULL,
    PRIMARY KEY (source_kind, source_id, seq)
);
CREATE INDEX log_lines_project ON log_lines (team_id, project_id, at);
