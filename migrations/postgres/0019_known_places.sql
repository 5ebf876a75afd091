-- Where people were seen when they signed in, so that they hear of a sign-in from elsewhere. Mutable, outside the log.
CREATE TABLE known_places (
    user_id     uuid        NOT NULL,
    -- Keyed hash of network and program.
    mark        text        NOT NULL,
    -- The sign-in that was the first from there.
    first_event uuid        NOT NULL,
    -- Whether the person was seen nowhere before.
    is_first    boolean     NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (user_id, mark)
);

-- As before, and the places go with the person.
CREATE OR REPLACE FUNCTION erase_person(person uuid) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO data_keys (owner, provider, created_at) VALUES ('user:' || person, 'none', now())
    ON CONFLICT DO NOTHING;
    RETURN QUERY
    WITH events_of AS (
        SELECT position, event_type, payload FROM events
         WHERE aggregate_type = 'user' AND aggregate_id = person::text
    )
    UPDATE data_keys SET wrapped = NULL, destroyed_at = now()
     WHERE destroyed_at IS NULL
       AND (owner = 'user:' || person
            OR owner IN (SELECT 'invite:' || (invited.payload ->> 'invite_id')
                           FROM events invited
                          WHERE invited.event_type = 'team.member_invited'
                            AND invited.payload ->> 'email_hash' IN (
                                SELECT payload ->> 'email_hash' FROM events_of WHERE event_type = 'user.registered')
                            -- Whoever has the address after that is somebody else.
                            AND NOT EXISTS (SELECT FROM events_of erased
                                             WHERE erased.event_type = 'user.erased'
                                               AND erased.position < invited.position)))
    RETURNING owner;
    IF FOUND THEN
        -- First answers are sealed under the installation's key, and anybody's may show the person. They are kept for
        -- a day only; a repeat is answered from its receipt.
        DELETE FROM answers;
    END IF;
    DELETE FROM sessions WHERE user_id = person;
    DELETE FROM credentials WHERE user_id = person;
    DELETE FROM idempotency_keys WHERE scope = 'user:' || person;
    DELETE FROM second_factors WHERE user_id = person;
    DELETE FROM known_places WHERE user_id = person;
END $$;
