-- Which master key wraps new data keys. Every data key names the one that wraps it (`data_keys.provider`), so that two
-- of them can be in use while the one is exchanged for the other.
CREATE TABLE master_key (
    one         boolean     PRIMARY KEY DEFAULT true CHECK (one),
    name        text        NOT NULL,
    -- Since when it wraps new data keys.
    since       timestamptz NOT NULL,
    -- When no data key was wrapped by another any more; absent while they are wrapped anew.
    complete_at timestamptz
);
