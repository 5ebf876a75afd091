-- Looking back: what a moment is in the log, and which streams belong to what is looked at.

-- The first event of every stream of a team: to see a team as it was, its streams are read and no others.
CREATE INDEX events_births ON events (team_id, position) WHERE sequence = 1;

-- The project of an environment, also when it has gone since: an environment has no stream of its own.
CREATE INDEX events_environments ON events ((payload -> 'environment' ->> 'id'))
    WHERE event_type = 'project.environment_created';

-- The position of a time. A few bytes for many events: they stand in the order of their times, but for clocks that
-- differ a little.
CREATE INDEX events_recorded_at ON events USING brin (recorded_at) WITH (autosummarize = on);
