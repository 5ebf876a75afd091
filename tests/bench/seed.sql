-- A log of any length as a busy installation writes it: of forty events sixteen are of two builds, eight of two
-- deployments, eleven of environment variables, one of a project's settings, four of sign-ins. Ids rise with time.
-- Run once; then `SELECT bench_seed(from, to, projects)` appends the events at these positions.

CREATE FUNCTION bench_id(kind text, n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT left(lpad(to_hex(1000000 + n), 12, '0'), 8) || '-' || right(lpad(to_hex(1000000 + n), 12, '0'), 4) || '-7' || kind
           || '-8000-' || left(md5(kind || n), 12)
$$;

CREATE FUNCTION bench_sealed(kind text, n bigint, owner text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT format('{"id":"%s","key":"%s","data":"%s","mark":"%s"}', bench_id(kind, n), owner,
                  encode(sha512(n::text::bytea), 'hex'), md5(n::text) || md5(kind || n))
$$;

CREATE FUNCTION bench_settings(project bigint, n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT format('{"name":"Agent %s","slug":"agent-%s","repo_url":"https://git.example.org/acme/agent-%s.git","branch":"main","project_root":"apps/agent","mastra_directory":"src/mastra","install_command":"npm ci","build_command":"npm run build %s","port":4111,"min_scale":1,"resources":{"builder":{"memoryMib":2048},"runner":{"memoryMib":512}}}',
                  project, project, project, n)
$$;

-- The variable number `n` of a project without its value.
CREATE FUNCTION bench_variable(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT format('{"key":"SETTING_%s","value_id":"%s","mark":"%s","sensitive":true,"availability":"runtime"}',
                  n % 40, bench_id('a01', n), md5(n::text) || md5('a01' || n))
$$;

-- The first five events of each project: its owner, its team, itself, two environments.
CREATE FUNCTION bench_first(p bigint, step bigint)
RETURNS TABLE (kind text, id text, sequence bigint, payload text) LANGUAGE sql IMMUTABLE AS $$
    SELECT (ARRAY['user', 'team', 'project', 'project', 'project'])[step + 1],
           CASE step WHEN 0 THEN bench_id('001', p) WHEN 1 THEN bench_id('002', p) ELSE bench_id('003', p) END,
           greatest(step - 1, 1),
           CASE step
           WHEN 0 THEN format('{"type":"user.registered","provider":"local","subject":"s%s","email":%s,"email_hash":"%s","first_name":%s,"last_name":%s}',
                              p, bench_sealed('b01', p, 'user:' || bench_id('001', p)), md5(p::text),
                              bench_sealed('b02', p, 'user:' || bench_id('001', p)),
                              bench_sealed('b03', p, 'user:' || bench_id('001', p)))
           WHEN 1 THEN format('{"type":"team.created","name":"Team %s","slug":"team-%s","owner":"%s"}', p, p, bench_id('001', p))
           WHEN 2 THEN format('{"type":"project.created","team_id":"%s","settings":%s}', bench_id('002', p), bench_settings(p, 0))
           WHEN 3 THEN format('{"type":"project.environment_created","environment":{"id":"%s","name":"Production","slug":"production","kind":"production"}}', bench_id('004', p))
           ELSE format('{"type":"project.environment_created","environment":{"id":"%s","name":"Staging","slug":"staging","kind":"staging"}}', bench_id('005', p))
           END
$$;

-- The event number `i` after those.
CREATE FUNCTION bench_next(i bigint, projects bigint)
RETURNS TABLE (kind text, id text, sequence bigint, payload text) LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN r < 16 THEN 'build' WHEN r < 24 THEN 'deployment' WHEN r < 36 THEN 'project' ELSE 'user' END,
           CASE WHEN r < 16 THEN bench_id('006', 2 * k + r % 2) WHEN r < 24 THEN bench_id('007', 2 * k + r % 2)
                WHEN r < 36 THEN bench_id('003', p) ELSE bench_id('001', p) END,
           CASE WHEN r < 16 THEN r / 2 + 1 WHEN r < 24 THEN (r - 16) / 2 + 1
                WHEN r < 36 THEN 3 + m * 12 + r - 23 ELSE 1 + m * 4 + r - 35 END,
           CASE
           WHEN r < 2 THEN format('{"type":"build.requested","team_id":"%s","project_id":"%s","environment_id":"%s","branch":"main","deploy":true}',
                                  bench_id('002', p), bench_id('003', p), bench_id('004', p))
           WHEN r < 4 THEN format('{"type":"build.started","fence":%s,"runner":"local"}', k)
           WHEN r < 6 THEN format('{"type":"build.commit_resolved","commit":"%s"}', encode(substr(sha256(i::text::bytea), 1, 20), 'hex'))
           WHEN r < 14 THEN format('{"type":"build.phase_entered","phase":"%s"}', (ARRAY['cloning', 'installing', 'building', 'packaging'])[r / 2 - 2])
           WHEN r < 16 THEN format('{"type":"build.succeeded","artifact":{"sha256":"%s","bytes":1048576},"node_version":"22.13.0","warnings":["no lockfile"],"env_refs":["OPENAI_API_KEY","DATABASE_URL"]}',
                                   encode(sha256(k::text::bytea), 'hex'))
           WHEN r < 18 THEN format('{"type":"deployment.requested","team_id":"%s","project_id":"%s","environment_id":"%s","build_id":"%s","artifact":{"sha256":"%s","bytes":1048576},"node_version":"22.13.0","env_vars":[%s,%s,%s,%s],"kind":"deploy"}',
                                   bench_id('002', p), bench_id('003', p), bench_id('004', p), bench_id('006', 2 * k + r % 2),
                                   encode(sha256(k::text::bytea), 'hex'), bench_variable(i), bench_variable(i + 1),
                                   bench_variable(i + 2), bench_variable(i + 3))
           WHEN r < 20 THEN format('{"type":"deployment.starting","fence":%s,"runner":"local"}', k)
           WHEN r < 22 THEN format('{"type":"deployment.activated","address":"127.0.0.1:%s"}', 20000 + k % 40000)
           WHEN r < 24 THEN format('{"type":"deployment.superseded","by":"%s"}', bench_id('007', 2 * k + 2))
           WHEN r < 34 THEN format('{"type":"project.env_var_set","key":"SETTING_%s","value":%s,"sensitive":true,"availability":"runtime","old":%s}',
                                   i % 40, bench_sealed('a01', i, 'project:' || bench_id('003', p)), bench_variable(i))
           WHEN r < 35 THEN format('{"type":"project.env_var_deleted","old":%s}', bench_variable(i))
           WHEN r < 36 THEN format('{"type":"project.settings_changed","team_id":"%s","settings":%s,"old":%s}',
                                   bench_id('002', p), bench_settings(p, m + 1), bench_settings(p, m))
           ELSE format('{"type":"user.signed_in","session_id":"%s","provider":"local"}', bench_id('009', i))
           END
      FROM (SELECT i % 40, i / 40, i / 40 % projects, i / 40 / projects) AS t (r, k, p, m)
$$;

CREATE FUNCTION bench_seed(first bigint, last bigint, projects bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position,
                        event_id, recorded_at, team_id)
    SELECT e.kind, e.id, e.sequence, e.payload::json ->> 'type', '1', e.payload::json,
           format('{"actor":"user:%s","request_id":"%s","command":"BenchCommand","causation":"request:%s","correlation":"request:%s","source_ip":"%s","user_agent":"%s","app_version":"0.1.0"}',
                  bench_id('001', n % projects), bench_id('00a', n), bench_id('00a', n), bench_id('00a', n),
                  encode(sha256(n::text::bytea), 'base64'), replace(encode(sha512(n::text::bytea), 'base64'), E'\n', ''))::json,
           n, bench_id('00b', n)::uuid, timestamptz '2026-01-01' + n * interval '10 ms',
           bench_id('002', n % projects)::uuid
      FROM generate_series(first, last) n
     CROSS JOIN LATERAL (
          SELECT * FROM bench_first((n - 1) / 5, (n - 1) % 5) WHERE n <= 5 * projects
          UNION ALL
          SELECT * FROM bench_next(n - 1 - 5 * projects, projects) WHERE n > 5 * projects
     ) e;
END $$;
