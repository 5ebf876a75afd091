-- Appends what is alone, for who is alone: one append, nobody else waits, so one transaction does it and waits for the
-- disk itself. Most commands add one event to one stream, without a name or a key; that is looked at by hand, in a
-- third of the time. Everything else, and every refusal, is as in `append_events`, whose rows it answers.
CREATE FUNCTION append_alone(
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
SET enable_seqscan = off
AS $$
DECLARE
    head     bigint;
    actual   bigint;
    verdicts json;
BEGIN
    IF cardinality(e_append) = 1 AND cardinality(s_append) = 1 AND cardinality(k_append) = 0
       AND cardinality(c_append) = 0 THEN
        PERFORM lock_log();
        SELECT coalesce(max(e.position), 0) INTO head FROM events e;
        SELECT coalesce(max(e.sequence), 0) INTO actual FROM events e
         WHERE e.aggregate_type = s_type[1] AND e.aggregate_id = s_id[1];
        IF actual = s_version[1] THEN
            INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                                position, event_id, recorded_at, team_id)
            VALUES (e_type[1], e_id[1], e_sequence[1], e_event_type[1], e_event_version[1], e_payload[1]::json,
                    e_metadata[1]::json, head + 1, e_event_id[1], e_recorded_at[1], e_team_id[1]);
            RETURN json_build_array(json_build_object('append', 0, 'outcome', 'head', 'position', head));
        END IF;
    END IF;
    SELECT json_agg(verdict) INTO verdicts
      FROM append_events(
               s_append, s_type, s_id, s_version, k_append, k_scope, k_key, k_hash, k_type, k_id, k_version, k_at,
               c_append, c_take, c_scope, c_key, c_owner, e_append, e_type, e_id, e_sequence, e_event_type,
               e_event_version, e_payload, e_metadata, e_event_id, e_recorded_at, e_team_id) verdict;
    RETURN verdicts;
END $$;
