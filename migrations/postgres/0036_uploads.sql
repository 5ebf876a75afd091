-- What is uploaded to be built. Mutable and outside the log: an upload is no fact until a build is made of it, and that
-- is an event which names the archive by its hash. The bytes are in the store of uploads.
CREATE TABLE uploads (
    -- The build that it is to be the code of.
    build_id       uuid        PRIMARY KEY,
    team_id        uuid        NOT NULL,
    project_id     uuid        NOT NULL,
    environment_id uuid        NOT NULL,
    -- What who sends it says of its branch.
    branch         text,
    -- SHA-256 of the secret in its address.
    secret_hash    bytea       NOT NULL,
    created_at     timestamptz NOT NULL,
    -- Until when it may be sent and asked for.
    expires_at     timestamptz NOT NULL,
    -- Since when the address is used up.
    taken_at       timestamptz,
    -- What was sent.
    sha256         text,
    bytes          bigint,
    -- Since when it is the code of a build.
    asked_at       timestamptz,
    -- Since when nobody needs it: its build has ended, or was never asked for.
    over_at        timestamptz
);
CREATE INDEX ON uploads (team_id);
CREATE INDEX ON uploads (sha256);
