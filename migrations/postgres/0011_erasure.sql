-- Erasing a person: all that is personal is sealed under the person's key, and that is destroyed.

-- Address and program of a sign-in are sealed from now on; what stands there in clear goes.
UPDATE sessions SET source_ip = NULL, user_agent = NULL;

-- Destroys the keys of a person, and of the invites to the person's address, and forgets what stands outside the log.
-- Asked again, or for somebody who never was, it leaves the same: nobody of this id gets a key again. Answers the
-- owners of the keys that it destroyed.
CREATE FUNCTION erase_person(person uuid) RETURNS SETOF text
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
END $$;
