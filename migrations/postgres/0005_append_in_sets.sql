-- Appending in sets, the head of the log from its index, and snapshots of long streams.

DROP FUNCTION append_events(json);
DROP TABLE log_head;

-- The last position is that of the last event: one look at the end of an index that only grows. A row that every
-- append updates would leave a dead version behind each time, and while a transaction anywhere in the database is
-- held open nobody may clear them away: every append would walk past all of them.
CREATE VIEW log_head AS SELECT coalesce(max(position), 0) AS position FROM events;

-- Puts writers in order. Taken before the head is read and held until the transaction ends, so that positions are
-- given out in the order of commit.
CREATE FUNCTION lock_log() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_xact_lock(7812738666512280684)';

CREATE OR REPLACE FUNCTION take_position() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    PERFORM lock_log();
    SELECT position + 1 INTO NEW.position FROM log_head;
    RETURN NEW;
END $$;

-- Appends a batch in a handful of statements, however many appends it has. Every array below is a column of a
-- small table; `append` is the number of the append that a row belongs to.
--   s_…  the streams it goes on with, and the version (number of the last event) that each must have
--   k_…  its idempotency key, and the receipt to keep for it: stream and version of its last event
--   c_…  the names it takes or frees; a name that is taken must be free, or freed by the same append
--   e_…  its events
-- Two appends of a batch have no stream, key or name in common: the caller sees to it. Each is judged by itself.
-- The first row of the answer has outcome `head` and the position before the batch: the good appends' events follow
-- it in the order they were given. A row for each append that was not carried out comes after it:
--   repeated    position, version, subject (aggregate id): what the first command of this key made
--   key_reused                                             the key was used for another request
--   conflict    version (asked for), actual
--   name_taken  subject (scope), name
CREATE FUNCTION append_events(
    s_append integer[], s_type text[], s_id text[], s_version bigint[],
    k_append integer[], k_scope text[], k_key text[], k_hash text[],
    k_type text[], k_id text[], k_version bigint[], k_at timestamptz[],
    c_append integer[], c_take boolean[], c_scope text[], c_key text[], c_owner text[],
    e_append integer[], e_type text[], e_id text[], e_sequence bigint[], e_event_type text[], e_event_version text[],
    e_payload text[], e_metadata text[], e_event_id uuid[], e_recorded_at timestamptz[], e_team_id uuid[]
) RETURNS TABLE (append integer, outcome text, "position" bigint, version bigint, actual bigint, subject text, name text)
LANGUAGE plpgsql
SET search_path = public
-- The arrays are short and the tables long, whatever their statistics say: plan once, by index.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    head    bigint;
    refused integer[];
BEGIN
    PERFORM lock_log();
    SELECT coalesce(max(e.position), 0) INTO head FROM events e;
    append := 0;
    outcome := 'head';
    "position" := head;
    RETURN NEXT;

    SELECT array_agg(DISTINCT bad.n) INTO refused FROM (
        SELECT s.n FROM unnest(s_append, s_type, s_id, s_version) AS s (n, type, id, version)
         WHERE s.version <> coalesce((SELECT max(o.sequence) FROM events o
                                       WHERE o.aggregate_type = s.type AND o.aggregate_id = s.id), 0)
        UNION ALL
        SELECT k.n FROM unnest(k_append, k_scope, k_key) AS k (n, scope, key)
         WHERE EXISTS (SELECT FROM idempotency_keys o WHERE o.scope = k.scope AND o.key = k.key)
        UNION ALL
        SELECT c.n FROM unnest(c_append, c_take, c_scope, c_key) AS c (n, take, scope, key)
         WHERE c.take AND EXISTS (
               SELECT FROM claims o WHERE o.scope = c.scope AND o.key = c.key AND NOT EXISTS (
                      SELECT FROM unnest(c_append, c_take, c_scope, c_key, c_owner) AS f (n, take, scope, key, owner)
                       WHERE f.n = c.n AND NOT f.take AND f.scope = o.scope AND f.key = o.key AND f.owner = o.owner))
    ) bad;

    IF refused IS NOT NULL THEN
        RETURN QUERY
        SELECT DISTINCT ON (why.n) why.n, why.outcome, why.position, why.version, why.actual, why.subject, why.name
          FROM (
            SELECT k.n, 1 AS rank, CASE WHEN o.request_hash = k.hash THEN 'repeated' ELSE 'key_reused' END AS outcome,
                   o.position, o.version, NULL::bigint AS actual, o.aggregate_id AS subject, NULL::text AS name
              FROM unnest(k_append, k_scope, k_key, k_hash) AS k (n, scope, key, hash)
              JOIN idempotency_keys o ON o.scope = k.scope AND o.key = k.key
            UNION ALL
            SELECT s.n, 2, 'conflict', NULL, s.version, last.sequence, NULL, NULL
              FROM unnest(s_append, s_type, s_id, s_version) AS s (n, type, id, version)
             CROSS JOIN LATERAL (SELECT coalesce(max(o.sequence), 0) AS sequence FROM events o
                                  WHERE o.aggregate_type = s.type AND o.aggregate_id = s.id) last
             WHERE last.sequence <> s.version
            UNION ALL
            SELECT c.n, 3, 'name_taken', NULL, NULL, NULL, c.scope, c.key
              FROM unnest(c_append, c_take, c_scope, c_key) AS c (n, take, scope, key)
              JOIN claims o ON o.scope = c.scope AND o.key = c.key
             WHERE c.take AND NOT EXISTS (
                   SELECT FROM unnest(c_append, c_take, c_scope, c_key, c_owner) AS f (n, take, scope, key, owner)
                    WHERE f.n = c.n AND NOT f.take AND f.scope = o.scope AND f.key = o.key AND f.owner = o.owner)
          ) why
         ORDER BY why.n, why.rank;
    END IF;

    INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                        position, event_id, recorded_at, team_id)
    SELECT e.type, e.id, e.sequence, e.event_type, e.event_version, e.payload::json, e.metadata::json,
           head + row_number() OVER (ORDER BY e.place), e.event_id, e.recorded_at, e.team_id
      FROM unnest(e_append, e_type, e_id, e_sequence, e_event_type, e_event_version, e_payload, e_metadata, e_event_id,
                  e_recorded_at, e_team_id) WITH ORDINALITY
           AS e (n, type, id, sequence, event_type, event_version, payload, metadata, event_id, recorded_at, team_id,
                 place)
     WHERE refused IS NULL OR e.n <> ALL (refused);

    IF cardinality(c_append) > 0 THEN
        DELETE FROM claims o USING unnest(c_append, c_take, c_scope, c_key, c_owner) AS f (n, take, scope, key, owner)
         WHERE (refused IS NULL OR f.n <> ALL (refused))
           AND NOT f.take AND o.scope = f.scope AND o.key = f.key AND o.owner = f.owner;
        INSERT INTO claims (scope, key, owner)
        SELECT t.scope, t.key, t.owner
          FROM unnest(c_append, c_take, c_scope, c_key, c_owner) AS t (n, take, scope, key, owner)
         WHERE (refused IS NULL OR t.n <> ALL (refused)) AND t.take;
    END IF;

    IF cardinality(k_append) > 0 THEN
        INSERT INTO idempotency_keys (scope, key, request_hash, aggregate_type, aggregate_id, version, position,
                                      recorded_at)
        SELECT k.scope, k.key, k.hash, k.type, k.id, k.version, e.position, k.at
          FROM unnest(k_append, k_scope, k_key, k_hash, k_type, k_id, k_version, k_at)
               AS k (n, scope, key, hash, type, id, version, at)
          JOIN events e ON e.aggregate_type = k.type AND e.aggregate_id = k.id AND e.sequence = k.version
         WHERE refused IS NULL OR k.n <> ALL (refused);
    END IF;
END $$;

-- State of an aggregate after one of its events, so that a long stream need not be folded from its beginning.
-- Written after the fact, thrown away at will; of use to the code that wrote it alone (`state_version`), and while
-- the event it was taken after is still that of the stream.
CREATE TABLE snapshots (
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    state_version  integer     NOT NULL,
    sequence       bigint      NOT NULL,
    event_id       uuid        NOT NULL,
    state          json        NOT NULL,
    taken_at       timestamptz NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id)
);
