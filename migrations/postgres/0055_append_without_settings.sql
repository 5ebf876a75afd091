-- Appends at less cost. A setting of a function (`SET search_path = …`) is put on and taken back at every call, which
-- is a tenth of what PostgreSQL does for one event. The two functions below have none. They act as their owner and the
-- search path is the caller's, so every name in them has its schema, operators as well: whatever the caller puts into
-- his path is never looked at. What else was set there (one plan for all, by index) the appender sets on its connection.

CREATE OR REPLACE FUNCTION lock_log() RETURNS void
LANGUAGE sql AS 'SELECT pg_catalog.pg_advisory_xact_lock(7812738666512280684)';

-- As before: one event to one stream, without a name or a key. Answers its position, or nothing when the stream is not
-- where it should be: then `append` says how it is.
CREATE OR REPLACE FUNCTION append_one(
    a_type text, a_id text, a_sequence bigint, a_event_type text, a_event_version text,
    a_payload text, a_metadata text, a_event_id uuid, a_recorded_at timestamptz, a_team_id uuid
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    appended bigint;
BEGIN
    -- A condition costs less than a statement. Its own statement has the log as it is under the lock.
    IF public.lock_log() IS NULL THEN
        RAISE EXCEPTION 'the log cannot be locked';
    END IF;
    -- Of the stream no more than its end is looked at: an index hands out all that fits, a page at a time.
    INSERT INTO public.events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                               position, event_id, recorded_at, team_id)
    SELECT a_type, a_id, a_sequence, a_event_type, a_event_version, a_payload::pg_catalog.json,
           a_metadata::pg_catalog.json,
           coalesce((SELECT e.position FROM public.events e ORDER BY e.position DESC LIMIT 1), 0)
               OPERATOR(pg_catalog.+) 1,
           a_event_id, a_recorded_at, a_team_id
     WHERE a_sequence OPERATOR(pg_catalog.-) 1 OPERATOR(pg_catalog.=) coalesce(
               (SELECT o.sequence FROM public.events o
                 WHERE o.aggregate_type OPERATOR(pg_catalog.=) a_type AND o.aggregate_id OPERATOR(pg_catalog.=) a_id
                   AND o.sequence OPERATOR(pg_catalog.>=) (a_sequence OPERATOR(pg_catalog.-) 1)
                 ORDER BY o.sequence DESC LIMIT 1), 0)
    RETURNING position INTO appended;
    RETURN appended;
END $$;

-- A batch of those: the n-th elements of the columns are the n-th append, one event, no name, no key, no two to one
-- stream. Each is judged by itself. Answers the position before the batch: the good appends' events follow it in their
-- order; then, for each that was not appended, its number (from 1) and the number of its stream's last event.
CREATE FUNCTION append_plain(
    a_type text[], a_id text[], a_sequence bigint[], a_event_type text[], a_event_version text[],
    a_payload text[], a_metadata text[], a_event_id uuid[], a_recorded_at timestamptz[], a_team_id uuid[]
) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    head     bigint;
    appended bigint;
    refused  bigint[];
BEGIN
    IF public.lock_log() IS NULL THEN
        RAISE EXCEPTION 'the log cannot be locked';
    END IF;
    SELECT e.position INTO head FROM public.events e ORDER BY e.position DESC LIMIT 1;
    head := coalesce(head, 0);
    INSERT INTO public.events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                               position, event_id, recorded_at, team_id)
    SELECT e.type, e.id, e.sequence, e.event_type, e.event_version, e.payload::pg_catalog.json,
           e.metadata::pg_catalog.json,
           head OPERATOR(pg_catalog.+) pg_catalog.row_number() OVER (ORDER BY e.place),
           e.event_id, e.recorded_at, e.team_id
      FROM ROWS FROM (
               pg_catalog.unnest(a_type), pg_catalog.unnest(a_id), pg_catalog.unnest(a_sequence),
               pg_catalog.unnest(a_event_type), pg_catalog.unnest(a_event_version), pg_catalog.unnest(a_payload),
               pg_catalog.unnest(a_metadata), pg_catalog.unnest(a_event_id), pg_catalog.unnest(a_recorded_at),
               pg_catalog.unnest(a_team_id)) WITH ORDINALITY
           AS e (type, id, sequence, event_type, event_version, payload, metadata, event_id, recorded_at, team_id,
                 place)
     WHERE e.sequence OPERATOR(pg_catalog.-) 1 OPERATOR(pg_catalog.=) coalesce(
               (SELECT o.sequence FROM public.events o
                 WHERE o.aggregate_type OPERATOR(pg_catalog.=) e.type AND o.aggregate_id OPERATOR(pg_catalog.=) e.id
                   AND o.sequence OPERATOR(pg_catalog.>=) (e.sequence OPERATOR(pg_catalog.-) 1)
                 ORDER BY o.sequence DESC LIMIT 1), 0);
    GET DIAGNOSTICS appended = ROW_COUNT;
    IF appended OPERATOR(pg_catalog.=) pg_catalog.cardinality(a_id) THEN
        RETURN ARRAY[head];
    END IF;
    SELECT pg_catalog.array_agg(answer.number ORDER BY answer.place, answer.rank) INTO refused
      FROM ROWS FROM (pg_catalog.unnest(a_type), pg_catalog.unnest(a_id), pg_catalog.unnest(a_event_id))
           WITH ORDINALITY AS e (type, id, event_id, place)
     CROSS JOIN LATERAL (
           VALUES (e.place, 1, e.place),
                  (e.place, 2, coalesce(
                      (SELECT o.sequence FROM public.events o
                        WHERE o.aggregate_type OPERATOR(pg_catalog.=) e.type
                          AND o.aggregate_id OPERATOR(pg_catalog.=) e.id
                        ORDER BY o.sequence DESC LIMIT 1), 0))) AS answer (place, rank, number)
     -- Not added now. An event that is sent again is there, but further back.
     WHERE NOT EXISTS (SELECT FROM public.events o
                        WHERE o.event_id OPERATOR(pg_catalog.=) e.event_id
                          AND o.position OPERATOR(pg_catalog.>) head);
    RETURN pg_catalog.array_cat(ARRAY[head], refused);
END $$;
