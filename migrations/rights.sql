-- What the server's role may do. Set anew at every start by the owner of the log, whatever was restored or created
-- meanwhile: grants on a database travel with no copy of it, and a table of a new migration is covered by itself.
--
-- The role reads everything, writes to the log and what is decided with it through functions alone, and owns the
-- query tables, which it makes, rebuilds and drops.

-- One at a time: two that grant the same thing at once disturb each other.
SELECT pg_advisory_xact_lock(5570926163358164047);
-- Nor while another server makes room for a day of spans (`spans_make_day`): that changes the same rows of the catalogue.
SELECT pg_advisory_xact_lock(5570926163358164048);

DO $$
DECLARE
    written_by_functions CONSTANT text[] := ARRAY[
        'events', 'claims', 'idempotency_keys', 'ledger_checkpoints', 'ledger_nodes', '_sqlx_migrations'];
    ours CONSTANT oid := (SELECT relowner FROM pg_class WHERE oid = 'public.events'::regclass);
    name text;
BEGIN
    EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO mastra_admin_app', current_database());
    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    GRANT USAGE ON SCHEMA public TO mastra_admin_app;

    -- Ours are those of whom the log belongs to; what an extension brought is not ours, whoever it belongs to.
    FOR name IN SELECT relname FROM pg_class
                 WHERE relnamespace = 'public'::regnamespace AND relkind = 'S' AND relowner = ours
                   AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e') LOOP
        EXECUTE format('GRANT USAGE ON SEQUENCE public.%I TO mastra_admin_app', name);
    END LOOP;
    FOR name IN SELECT relname FROM pg_class
                 WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'p') AND relowner = ours
                   AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e') LOOP
        EXECUTE format('REVOKE ALL ON public.%I FROM mastra_admin_app, PUBLIC', name);
        EXECUTE format('GRANT SELECT ON public.%I TO mastra_admin_app', name);
        IF name <> ALL (written_by_functions) THEN
            EXECUTE format('GRANT INSERT, UPDATE, DELETE ON public.%I TO mastra_admin_app', name);
        END IF;
    END LOOP;

    -- Functions that do something as their owner.
    FOR name IN SELECT oid::regprocedure FROM pg_proc
                 WHERE pronamespace = 'public'::regnamespace AND prosecdef AND proowner = ours
                   AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e') LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO mastra_admin_app', name);
    END LOOP;

    -- Query tables that were made before the role was there.
    FOR name IN SELECT nspname FROM pg_namespace
                 WHERE nspname ~ '^(read|(read_old|rebuild|verify)_.*)$'
                   AND NOT pg_has_role('mastra_admin_app', nspowner, 'USAGE') LOOP
        EXECUTE format('ALTER SCHEMA %I OWNER TO mastra_admin_app', name);
    END LOOP;
    FOR name IN SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname ~ '^(read|(read_old|rebuild|verify)_.*)$' AND c.relkind IN ('r', 'p')
                   AND NOT pg_has_role('mastra_admin_app', c.relowner, 'USAGE') LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO mastra_admin_app', name);
    END LOOP;
END $$;

-- How long others hold a transaction open is seen with this right alone. Who may not give it can do without.
DO $$
BEGIN
    IF NOT pg_has_role('mastra_admin_app', 'pg_read_all_stats', 'MEMBER') THEN
        GRANT pg_read_all_stats TO mastra_admin_app;
    END IF;
EXCEPTION WHEN insufficient_privilege OR unique_violation THEN
    NULL;
END $$;
