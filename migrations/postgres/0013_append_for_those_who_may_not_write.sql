-- The server's role may not write to the log: these functions do, as their owner. `pg_temp` comes last in their path,
-- so that nobody can put a table of his own in front of one of ours.
ALTER FUNCTION append_events SECURITY DEFINER SET search_path = public, pg_temp;
ALTER FUNCTION take_position SET search_path = public, pg_temp;
