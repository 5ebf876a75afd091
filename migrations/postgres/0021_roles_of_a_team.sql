-- The changes to the roles of a team, in their order: every change to one is judged by all of them.
CREATE INDEX events_roles ON events (team_id, position) WHERE aggregate_type = 'role';

-- Roles that were given everywhere count in every team, also in its past.
CREATE INDEX events_given_everywhere ON events (aggregate_id)
    WHERE event_type = 'role.assigned' AND payload -> 'scope' ->> 'type' = 'global';
