//! An audit trail of any length, as a busy installation has it, without the events behind it.

use sqlx::PgPool;
use uuid::Uuid;

/// Somebody who did one of a hundred things.
pub const SOMEBODY: &str = "user:00000000-0000-7000-8000-000000000050";
/// Who did 40 of a hundred.
pub const BUSY: &str = "user:00000000-0000-7000-8000-000000000000";

/// The names of variables: a thousand, each with its words.
const NAMES: &str = "CREATE TEMPORARY TABLE names AS
    SELECT n AS k, key, ARRAY(SELECT DISTINCT substr(word, at)
                           FROM regexp_split_to_table(lower(key), '_') word,
                                generate_series(1, greatest(length(word) - 1, 1)) at) AS words
      FROM (SELECT n, (ARRAY['OPENAI','ANTHROPIC','STRIPE','DATABASE','REDIS','GITHUB','SLACK','TWILIO','SENTRY',
                             'MISTRAL'])[n % 10 + 1] || '_' || upper(substr(md5(n::text), 1, 6)) || '_'
                      || (ARRAY['API_KEY','URL','TOKEN','SECRET','REGION'])[n / 10 % 5 + 1] AS key
              FROM generate_series(0, 999) n) k";

/// Three rows of five are the team's, one is made every ten seconds. Half of them set variables of 39 projects.
const ROWS: &str = "INSERT INTO audit_trail (position, event_id, at, team_id, project_id, actor, action, command,
        outcome, resource, resource_id, before, after, request_id, causation, correlation, words)
    SELECT $3 + n, md5('event' || n)::uuid, timestamptz '2025-01-01 00:00Z' + n * interval '10 seconds',
           CASE WHEN n % 5 < 3 THEN $1 ELSE md5('team' || n % 5)::uuid END,
           CASE WHEN kind = 'project' THEN project END,
           actor, action, 'Command', CASE WHEN n % 2000 = 7 THEN 'denied' ELSE 'success' END,
           kind, CASE WHEN kind = 'project' THEN project ELSE md5(kind || n)::uuid END::text, NULL,
           jsonb_build_object('key', key, 'value', jsonb_build_object('fingerprint', md5('mark' || n))),
           'request-' || n, 'request:request-' || n, 'request:request-' || n,
           words || regexp_split_to_array(action, '[._]') || md5('mark' || n) || replace(project::text, '-', '')
                 || replace(substr(actor, 6), '-', '')
      FROM (SELECT n, md5('project' || n * 7 % 39)::uuid AS project,
                   'user:00000000-0000-7000-8000-0000000000'
                       || lpad((CASE WHEN n * 31 % 100 < 40 THEN 0 ELSE n * 31 % 100 END)::text, 2, '0') AS actor,
                   CASE WHEN n % 10000 = 2 THEN 'team.deleted'
                        WHEN n % 2 = 0 THEN 'project.env_var_set'
                        ELSE (ARRAY['build.started','build.succeeded','deployment.activated','user.signed_in'])
                             [n / 2 % 4 + 1] END AS action
              FROM generate_series(1, $2::bigint) n) rows
      CROSS JOIN LATERAL (SELECT split_part(action, '.', 1) AS kind) kinds
      JOIN names ON k = n * 13 % 1000";

/// Fills the audit trail with rows of the first half of 2025 whose positions are not of any log: below zero.
pub async fn fill(pool: &PgPool, team: Uuid, rows: i64) {
    let mut db = pool.acquire().await.expect("the database answers").detach();
    sqlx::raw_sql("SET statement_timeout = 0; SET search_path = read, public; SET synchronous_commit = off")
        .execute(&mut db)
        .await
        .expect("they can be set");
    sqlx::query(NAMES).execute(&mut db).await.expect("names are made");
    sqlx::query(ROWS).bind(team).bind(rows).bind(-rows - 1).execute(&mut db).await.expect("rows are made");
    sqlx::raw_sql("VACUUM ANALYZE audit_trail").execute(&mut db).await.expect("it is ours");
}
