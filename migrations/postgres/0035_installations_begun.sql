-- Installations of an App that somebody has begun for a team. Whoever comes back from the git host brings the state,
-- once, and must be the one who began; the state itself is only with him.
CREATE TABLE installations_begun (
    state_hash bytea       PRIMARY KEY,
    source     text        NOT NULL,
    user_id    uuid        NOT NULL,
    team_id    uuid        NOT NULL,
    expires_at timestamptz NOT NULL
);
