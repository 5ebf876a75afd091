-- What git hosts show of environments, by the ids that it has there, so that it is changed in its place and made once.
-- Mutable and outside the log: it says nothing that the log does not, and can be found again at the host.
CREATE TABLE shown_deployments (
    environment_id uuid    NOT NULL,
    build_id       uuid    NOT NULL,
    project_id     uuid    NOT NULL,
    -- Name of the environment there.
    name           text    NOT NULL,
    host_id        bigint  NOT NULL,
    -- Whether it is said to serve, or to come to that.
    is_live        boolean NOT NULL,
    -- What was said of it last: the same is not said again.
    said           text    NOT NULL,
    PRIMARY KEY (environment_id, build_id)
);
CREATE INDEX shown_deployments_live ON shown_deployments (project_id) WHERE is_live;

-- The comment below each pull request that has had a preview.
CREATE TABLE shown_comments (
    project_id     uuid    NOT NULL,
    number         integer NOT NULL,
    -- Its preview now, or last.
    environment_id uuid    NOT NULL,
    -- Unknown until there is one.
    host_id        bigint,
    -- What it says.
    said           text,
    PRIMARY KEY (project_id, number)
);
