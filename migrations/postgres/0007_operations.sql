-- What operators do is in the log as well. The replay tool cannot append events; through this function alone it
-- leaves one that says what was done: of the kind `operation`, in a stream of its own, taking no names.
-- It is meant to be the last statement of the transaction that does it: both or neither, and the head of the log is
-- held for a moment only.
CREATE FUNCTION record_operation(
    operation_id  uuid,
    event_id      uuid,
    event_type    text,
    event_version text,
    payload       json,
    metadata      json
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    taken bigint;
BEGIN
    IF record_operation.event_type NOT LIKE 'ops.%'
       OR record_operation.payload ->> 'type' IS DISTINCT FROM record_operation.event_type THEN
        RAISE EXCEPTION '% is no operation', record_operation.event_type USING ERRCODE = 'check_violation';
    END IF;
    IF coalesce(record_operation.metadata ->> 'actor', '') !~ '^(operator:.+|system)$' THEN
        RAISE EXCEPTION 'an operation is of an operator or of the system' USING ERRCODE = 'check_violation';
    END IF;
    PERFORM lock_log();
    SELECT log_head.position + 1 INTO taken FROM log_head;
    INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position,
                        event_id, recorded_at)
    VALUES ('operation', record_operation.operation_id::text, 1, record_operation.event_type,
            record_operation.event_version, record_operation.payload, record_operation.metadata, taken,
            record_operation.event_id, clock_timestamp());
    PERFORM pg_notify('log_appended', taken::text); -- it is rare: what this costs an append does not matter here
    RETURN taken;
END $$;
