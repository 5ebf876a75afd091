-- The log: every event of the product in one total order. Everything else is derived from it.
--
-- The first seven columns of `events` are those of postgres-es, with their names, types and meaning, so that
-- stock tools read the streams. Nobody updates or deletes a row; only `append_events` writes many at once.

CREATE TABLE events (
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    sequence       bigint      NOT NULL CHECK (sequence >= 0),
    event_type     text        NOT NULL,
    event_version  text        NOT NULL,
    payload        json        NOT NULL CHECK (octet_length(payload::text) <= 65536),
    metadata       json        NOT NULL,
    -- Place in the total order: from 1, without holes, in the order of commit.
    position       bigint      NOT NULL,
    event_id       uuid        NOT NULL DEFAULT gen_random_uuid(),
    recorded_at    timestamptz NOT NULL DEFAULT now(),
    team_id        uuid,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)
);
CREATE UNIQUE INDEX events_position ON events (position);
CREATE UNIQUE INDEX events_event_id ON events (event_id);

-- The last position given out. Its row lock is what puts writers in order.
CREATE TABLE log_head (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    position bigint NOT NULL
);
INSERT INTO log_head (position) VALUES (0);

-- Names that only one aggregate has: e-mail addresses (hashed), slugs, open invites.
CREATE TABLE claims (
    scope text NOT NULL,
    key   text NOT NULL,
    owner text NOT NULL,
    PRIMARY KEY (scope, key)
);

-- Commands that were carried out, by the caller's key for them, with what they made.
CREATE TABLE idempotency_keys (
    scope          text        NOT NULL,
    key            text        NOT NULL,
    request_hash   text        NOT NULL,
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    version        bigint      NOT NULL,
    position       bigint      NOT NULL,
    recorded_at    timestamptz NOT NULL,
    PRIMARY KEY (scope, key)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only: % on % refused', TG_OP, TG_TABLE_NAME;
END $$;
CREATE TRIGGER events_are_never_changed BEFORE UPDATE OR DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER events_are_never_truncated BEFORE TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A writer that knows nothing of positions (stock postgres-es) gets the next one.
CREATE FUNCTION take_position() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    UPDATE log_head SET position = log_head.position + 1 RETURNING log_head.position INTO NEW.position;
    RETURN NEW;
END $$;
CREATE TRIGGER events_take_a_position BEFORE INSERT ON events
    FOR EACH ROW WHEN (NEW.position IS NULL) EXECUTE FUNCTION take_position();

-- Appends a batch. Each element of `batch` is one append, judged by itself:
--   {"key": {"scope", "key", "hash"} | null,
--    "claims": [{"act": "take" | "free", "scope", "key"}],
--    "events": [{"type", "id", "sequence", "event_type", "event_version", "payload", "metadata", "event_id",
--                "recorded_at", "team_id"}]}
-- and gets one row of answer: its number from 0, an outcome, and what belongs to it:
--   appended    {"position"}                                  position of its last event
--   repeated    {"aggregate_id", "version", "position"}       what the first command of this key made
--   key_reused  {}                                            the key was used for another request
--   conflict    {"expected", "actual"}                        numbers of the stream's last event
--   name_taken  {"scope", "key"}
-- One bad append never fails its neighbours.
CREATE FUNCTION append_events(batch json) RETURNS TABLE (number integer, outcome text, detail json)
LANGUAGE plpgsql SET search_path = public AS $$
DECLARE
    head    bigint;
    append  json;
    receipt idempotency_keys;
    stream  record;
    claimed record;
    added   bigint;
BEGIN
    SELECT log_head.position INTO head FROM log_head FOR UPDATE;
    number := -1;
    <<next_append>>
    FOR append IN SELECT value FROM json_array_elements(batch) LOOP
        number := number + 1;

        IF append -> 'key' ->> 'key' IS NOT NULL THEN
            SELECT * INTO receipt FROM idempotency_keys k
             WHERE k.scope = append -> 'key' ->> 'scope' AND k.key = append -> 'key' ->> 'key';
            IF FOUND THEN
                IF receipt.request_hash = append -> 'key' ->> 'hash' THEN
                    outcome := 'repeated';
                    detail := json_build_object('aggregate_id', receipt.aggregate_id,
                                                'version', receipt.version, 'position', receipt.position);
                ELSE
                    outcome := 'key_reused';
                    detail := '{}';
                END IF;
                RETURN NEXT;
                CONTINUE next_append;
            END IF;
        END IF;

        -- Every stream must go on where it ended.
        FOR stream IN
            SELECT e ->> 'type' AS type, e ->> 'id' AS id, min((e ->> 'sequence')::bigint) AS first
              FROM json_array_elements(append -> 'events') e GROUP BY 1, 2
        LOOP
            SELECT coalesce(max(o.sequence), 0) INTO added FROM events o
             WHERE o.aggregate_type = stream.type AND o.aggregate_id = stream.id;
            IF added <> stream.first - 1 THEN
                outcome := 'conflict';
                detail := json_build_object('expected', stream.first - 1, 'actual', added);
                RETURN NEXT;
                CONTINUE next_append;
            END IF;
        END LOOP;

        -- A name that is taken must be free, or be freed by this very append; and be taken once.
        SELECT c.scope, c.key INTO claimed FROM (
            SELECT t ->> 'scope' AS scope, t ->> 'key' AS key, count(*) AS times
              FROM json_array_elements(append -> 'claims') t WHERE t ->> 'act' = 'take' GROUP BY 1, 2
        ) c
         WHERE c.times > 1 OR (
               EXISTS (SELECT FROM claims o WHERE o.scope = c.scope AND o.key = c.key)
           AND NOT EXISTS (SELECT FROM json_array_elements(append -> 'claims') f
                            WHERE f ->> 'act' = 'free' AND f ->> 'scope' = c.scope AND f ->> 'key' = c.key))
         LIMIT 1;
        IF FOUND THEN
            outcome := 'name_taken';
            detail := json_build_object('scope', claimed.scope, 'key', claimed.key);
            RETURN NEXT;
            CONTINUE next_append;
        END IF;

        INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                            position, event_id, recorded_at, team_id)
        SELECT e ->> 'type', e ->> 'id', (e ->> 'sequence')::bigint, e ->> 'event_type', e ->> 'event_version',
               e -> 'payload', e -> 'metadata', head + n, (e ->> 'event_id')::uuid,
               (e ->> 'recorded_at')::timestamptz, (e ->> 'team_id')::uuid
          FROM json_array_elements(append -> 'events') WITH ORDINALITY AS row (e, n);
        GET DIAGNOSTICS added = ROW_COUNT;
        head := head + added;

        IF json_array_length(append -> 'claims') > 0 THEN
            DELETE FROM claims o USING json_array_elements(append -> 'claims') f
             WHERE f ->> 'act' = 'free' AND o.scope = f ->> 'scope' AND o.key = f ->> 'key'
               AND o.owner = append -> 'events' -> 0 ->> 'id';
            INSERT INTO claims (scope, key, owner)
            SELECT t ->> 'scope', t ->> 'key', append -> 'events' -> 0 ->> 'id'
              FROM json_array_elements(append -> 'claims') t WHERE t ->> 'act' = 'take';
        END IF;

        IF append -> 'key' ->> 'key' IS NOT NULL THEN
            INSERT INTO idempotency_keys (scope, key, request_hash, aggregate_type, aggregate_id, version, position,
                                          recorded_at)
            SELECT append -> 'key' ->> 'scope', append -> 'key' ->> 'key', append -> 'key' ->> 'hash',
                   e ->> 'type', e ->> 'id', (e ->> 'sequence')::bigint, head, (e ->> 'recorded_at')::timestamptz
              FROM (SELECT append -> 'events' -> (json_array_length(append -> 'events') - 1)) last (e);
        END IF;

        outcome := 'appended';
        detail := json_build_object('position', head);
        RETURN NEXT;
    END LOOP;
    UPDATE log_head SET position = head;
END $$;
