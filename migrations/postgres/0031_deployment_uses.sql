-- When a deployment that may sleep was last asked for something. Each server process writes what its own router knows.
-- Mutable and outside the log: a request is no event.
CREATE TABLE deployment_uses (
    deployment_id uuid        PRIMARY KEY,
    used_at       timestamptz NOT NULL
);

-- Codes that let a browser into a protected app, and were used. Each is good for one use within a minute.
CREATE TABLE access_codes (
    id      uuid        PRIMARY KEY,
    used_at timestamptz NOT NULL
);
