-- Histograms whose sender does not say their sum: it counts in no sum and in no average. What came before has the sum 0.

ALTER TABLE metric_points ALTER COLUMN sum DROP NOT NULL;

-- Days that were made before have the rule of their own, in releases of PostgreSQL that keep it so.
DO $$
DECLARE
    day regclass;
BEGIN
    FOR day IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'public.metric_points'::regclass LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN sum DROP NOT NULL', day);
    END LOOP;
END $$;

-- What is kept of them beside the log goes, when it comes late, too.
CREATE INDEX events_deletions ON events (recorded_at) WHERE event_type IN ('project.deleted', 'team.deleted');
