-- What sign-in providers have told of the objects that they keep, by their clocks: what comes late or again is known
-- by it. Nothing is derived from it; without it a late delivery could undo a newer one.
CREATE TABLE told (
    issuer text        NOT NULL,
    object text        NOT NULL,
    at     timestamptz NOT NULL,
    -- Gone for good: nothing that comes later counts.
    gone   boolean     NOT NULL,
    PRIMARY KEY (issuer, object)
);

-- As before; a disabled person has given the address away as well, and a provider's word does not make anew who was
-- erased here. That account may be deleted there later, and its person may sign in again: it is not gone.
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
                                             WHERE erased.event_type IN ('user.erased', 'user.disabled')
                                               AND erased.position < invited.position)))
    RETURNING owner;
    IF FOUND THEN
        -- First answers are sealed under the installation's key, and anybody's may show the person. They are kept for
        -- a day only; a repeat is answered from its receipt.
        DELETE FROM answers;
    END IF;
    INSERT INTO told (issuer, object, at, gone)
    SELECT payload ->> 'provider', 'user/' || (payload ->> 'subject'), '9999-01-01', false FROM events
     WHERE aggregate_type = 'user' AND aggregate_id = person::text AND event_type = 'user.registered'
       AND payload ->> 'provider' <> 'local'
    ON CONFLICT (issuer, object) DO UPDATE SET at = EXCLUDED.at;
    DELETE FROM sessions WHERE user_id = person;
    DELETE FROM credentials WHERE user_id = person;
    DELETE FROM idempotency_keys WHERE scope = 'user:' || person;
    DELETE FROM second_factors WHERE user_id = person;
    DELETE FROM known_places WHERE user_id = person;
END $$;
