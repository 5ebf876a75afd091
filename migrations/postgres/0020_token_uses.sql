-- When API tokens were last used. Mutable, outside the log and outside what is built anew from it: servers note uses in
-- memory and write them here every few seconds. Neither address nor program: nothing of it is personal.
CREATE TABLE token_uses (
    token_id     uuid        PRIMARY KEY,
    last_used_at timestamptz NOT NULL
);
