-- What git hosts tell by webhooks. A delivery is stored, with its row of work, before its sender is answered; what it
-- leads to are events, and what it led to stands beside it. Mutable and outside the log: most deliveries change nothing,
-- and their bodies name people.
CREATE TABLE deliveries (
    id              uuid        PRIMARY KEY,
    -- The host that sent it, and the id that it has there: the same twice is one delivery.
    source          text        NOT NULL,
    delivery_id     text        NOT NULL,
    kind            text        NOT NULL,
    action          text,
    -- By the sender's word.
    installation    bigint,
    repository      bigint,
    repository_name text,
    reference       text,
    commit          text,
    sender          text,
    -- As it came; gone once it was worked on.
    body            bytea,
    received_at     timestamptz NOT NULL,
    settled_at      timestamptz,
    UNIQUE (source, delivery_id)
);
CREATE INDEX deliveries_installation ON deliveries (source, installation, id);
CREATE INDEX deliveries_reference ON deliveries (source, repository, reference, id);

-- What came of a delivery, for each team, project and environment that it concerned; or why nothing did.
CREATE TABLE delivery_outcomes (
    delivery       uuid    NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    number         integer NOT NULL,
    team_id        uuid,
    project_id     uuid,
    environment_id uuid,
    build_id       uuid,
    acted          boolean NOT NULL,
    reason         text    NOT NULL,
    detail         text    NOT NULL,
    PRIMARY KEY (delivery, number)
);
CREATE INDEX delivery_outcomes_team ON delivery_outcomes (team_id, delivery);
