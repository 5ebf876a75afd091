-- What sign-in providers have told of the objects that they keep, by their clocks: what comes late or again is known
-- by it. Nothing is derived from it; without it a late delivery could undo a newer one.
CREATE TABLE told (
    provider text        NOT NULL,
    object   text        NOT NULL,
    at       timestamptz NOT NULL,
    -- Gone for good: nothing that comes later counts.
    gone     boolean     NOT NULL,
    PRIMARY KEY (provider, object)
);
