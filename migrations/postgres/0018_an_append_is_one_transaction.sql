-- Appends a batch in one transaction, which waits for the disk itself. Most commands add one event to one stream,
-- without a name or a key: a batch of those is one statement, in a third of the time. Everything else is as in
-- `append_events`, whose rows it answers, as a JSON array.
CREATE FUNCTION append(
    s_append integer[], s_type text[], s_id text[], s_version bigint[],
    k_append integer[], k_scope text[], k_key text[], k_hash text[],
    k_type text[], k_id text[], k_version bigint[], k_at timestamptz[],
    c_append integer[], c_take boolean[], c_scope text[], c_key text[], c_owner text[],
    e_append integer[], e_type text[], e_id text[], e_sequence bigint[], e_event_type text[], e_event_version text[],
    e_payload text[], e_metadata text[], e_event_id uuid[], e_recorded_at timestamptz[], e_team_id uuid[]
) RETURNS json
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp
-- As in `append_events`.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    head     bigint;
    appended bigint;
    verdicts json;
BEGIN
    IF cardinality(k_append) = 0 AND cardinality(c_append) = 0
       AND s_append = e_append AND s_type = e_type AND s_id = e_id THEN
        PERFORM lock_log();
        SELECT coalesce(max(e.position), 0) INTO head FROM events e;
        INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                            position, event_id, recorded_at, team_id)
        SELECT e.type, e.id, e.sequence, e.event_type, e.event_version, e.payload::json, e.metadata::json,
               head + row_number() OVER (ORDER BY e.place), e.event_id, e.recorded_at, e.team_id
          FROM unnest(s_version, e_type, e_id, e_sequence, e_event_type, e_event_version, e_payload, e_metadata,
                      e_event_id, e_recorded_at, e_team_id) WITH ORDINALITY
               AS e (version, type, id, sequence, event_type, event_version, payload, metadata, event_id, recorded_at,
                     team_id, place)
         WHERE e.version = coalesce((SELECT max(o.sequence) FROM events o
                                      WHERE o.aggregate_type = e.type AND o.aggregate_id = e.id), 0);
        GET DIAGNOSTICS appended = ROW_COUNT;
        verdicts := json_build_array(json_build_object('append', 0, 'outcome', 'head', 'position', head));
        IF appended < cardinality(e_append) THEN
            SELECT json_agg(verdict ORDER BY (verdict->>'append')::integer) INTO verdicts FROM (
                SELECT verdicts->0 AS verdict
                UNION ALL
                SELECT json_build_object('append', s.n, 'outcome', 'conflict', 'version', s.version, 'actual',
                                         (SELECT coalesce(max(o.sequence), 0) FROM events o
                                           WHERE o.aggregate_type = s.type AND o.aggregate_id = s.id))
                  FROM unnest(s_append, s_type, s_id, s_version, e_event_id) AS s (n, type, id, version, event_id)
                 -- Not added now. An event that is sent again is there, but further back.
                 WHERE NOT EXISTS (SELECT FROM events o WHERE o.event_id = s.event_id AND o.position > head)) answers;
        END IF;
        RETURN verdicts;
    END IF;
    SELECT json_agg(verdict) INTO verdicts
      FROM append_events(
               s_append, s_type, s_id, s_version, k_append, k_scope, k_key, k_hash, k_type, k_id, k_version, k_at,
               c_append, c_take, c_scope, c_key, c_owner, e_append, e_type, e_id, e_sequence, e_event_type,
               e_event_version, e_payload, e_metadata, e_event_id, e_recorded_at, e_team_id) verdict;
    RETURN verdicts;
END $$;

DROP FUNCTION append_alone;
DROP PROCEDURE append_batch;
DROP FUNCTION flush_log;
