-- Appends a batch, lets the next writer in, and only then waits for the disk: who waits for the lock of the log does
-- not wait for another's flush as well, and one flush serves many. Called outside of a transaction; answers the rows of
-- `append_events` once everything it appended is on disk.
--
-- What has been committed and is not on disk yet can be seen for a moment. Nothing comes of it before it is there:
-- whatever is written because of it commits later, and a flush of the later takes the earlier along.
CREATE PROCEDURE append_batch(
    s_append integer[], s_type text[], s_id text[], s_version bigint[],
    k_append integer[], k_scope text[], k_key text[], k_hash text[],
    k_type text[], k_id text[], k_version bigint[], k_at timestamptz[],
    c_append integer[], c_take boolean[], c_scope text[], c_key text[], c_owner text[],
    e_append integer[], e_type text[], e_id text[], e_sequence bigint[], e_event_type text[], e_event_version text[],
    e_payload text[], e_metadata text[], e_event_id uuid[], e_recorded_at timestamptz[], e_team_id uuid[],
    INOUT verdicts json
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT json_agg(verdict) INTO verdicts
      FROM public.append_events(
               s_append, s_type, s_id, s_version, k_append, k_scope, k_key, k_hash, k_type, k_id, k_version, k_at,
               c_append, c_take, c_scope, c_key, c_owner, e_append, e_type, e_id, e_sequence, e_event_type,
               e_event_version, e_payload, e_metadata, e_event_id, e_recorded_at, e_team_id) verdict;
    COMMIT;
    PERFORM flush_log();
END $$;

-- What was committed before is on disk when the transaction of this has ended: it writes, so its commit flushes.
CREATE FUNCTION flush_log() RETURNS void LANGUAGE sql AS $$
    SELECT pg_logical_emit_message(true, 'mastra-admin', '')
$$;
