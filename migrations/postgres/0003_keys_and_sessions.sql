-- What must be mutable or erasable and therefore stands outside the log.

-- Data keys, wrapped by the master key. Destroying one erases all that it seals, everywhere.
CREATE TABLE data_keys (
    owner        text        PRIMARY KEY,
    provider     text        NOT NULL,
    wrapped      bytea,
    created_at   timestamptz NOT NULL,
    destroyed_at timestamptz
);

-- Password hashes (argon2id, PHC strings): never in the log, where they would stay for ever.
CREATE TABLE credentials (
    user_id       uuid        PRIMARY KEY,
    password_hash text        NOT NULL,
    changed_at    timestamptz NOT NULL
);

-- Sign-ins that have not ended. The token itself is only with its owner.
CREATE TABLE sessions (
    id           uuid        PRIMARY KEY,
    token_hash   bytea       NOT NULL UNIQUE,
    csrf_token   text        NOT NULL,
    user_id      uuid        NOT NULL,
    provider     text        NOT NULL,
    source_ip    text,
    user_agent   text,
    created_at   timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);

-- The one-time secret that makes the first user of an empty installation.
CREATE TABLE setup_tokens (
    token_hash bytea       PRIMARY KEY,
    created_at timestamptz NOT NULL
);

-- First answers to commands that carried an idempotency key, sealed, so that a repeat gets the same bytes.
CREATE TABLE answers (
    scope        text        NOT NULL,
    key          text        NOT NULL,
    request_hash text        NOT NULL,
    status       smallint    NOT NULL,
    headers      jsonb       NOT NULL,
    body         text        NOT NULL,
    recorded_at  timestamptz NOT NULL,
    PRIMARY KEY (scope, key)
);
