//! The server's role: it appends through functions and reads, and nothing else of the log is open to it.

use commands::Commands;
use domain::ids::{TeamId, UserId};
use domain::team::TeamCommand;
use projections::pool;
use sqlx::PgPool;
use tests::app::TestApp;
use tests::bus::{Bus, context};
use tests::postgres::TestDb;
use tests::world::team;
use tokio::process::Command;
use uuid::Uuid;

/// What PostgreSQL says to who may not.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

async fn make_team(commands: &Commands, slug: &str) {
    let owner = UserId(Uuid::from_u128(1));
    let create =
        TeamCommand::CreateTeam { name: "Acme".parse().unwrap(), slug: slug.parse().unwrap(), owner };
    commands.team(TeamId(Uuid::now_v7()), create, &context()).await.unwrap();
}

/// SQLSTATE with which PostgreSQL refuses it, if it does.
async fn refusal(pool: &PgPool, statement: &str) -> Option<String> {
    let error = sqlx::raw_sql(statement).execute(pool).await.err()?;
    Some(error.as_database_error()?.code()?.into_owned())
}

async fn count(pool: &PgPool, table: &str) -> i64 {
    sqlx::query_scalar(&format!("SELECT count(*) FROM {table}")).fetch_one(pool).await.unwrap()
}

/// A role that can connect, and is nothing but a member of the server's. Answers the URL with it.
async fn login(db: &TestDb) -> String {
    let name = format!("login_{}", Uuid::now_v7().simple());
    sqlx::raw_sql(&format!("CREATE ROLE {name} LOGIN IN ROLE mastra_admin_app"))
        .execute(db.pool())
        .await
        .unwrap();
    let owner = db.options().get_username().to_owned();
    db.url().replacen(&format!("//{owner}@"), &format!("//{name}@"), 1)
}

#[tokio::test]
async fn the_server_writes_to_the_log_through_functions_alone() {
    let bus = Bus::start().await;
    make_team(&bus.commands, "acme").await;
    let server = pool::connect(&bus.db.url(), 4).await.unwrap();
    let (commands, _) = Bus::on(server.clone()).await;
    make_team(&commands, "beta").await;
    assert_eq!(count(&server, "events").await, 2);
    for table in ["events", "claims", "idempotency_keys", "ledger_checkpoints", "ledger_nodes"] {
        let column: String = sqlx::query_scalar(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = $1::regclass AND attnum = 1",
        )
        .bind(table)
        .fetch_one(&server)
        .await
        .unwrap();
        for statement in [
            format!("INSERT INTO {table} DEFAULT VALUES"),
            format!("UPDATE {table} SET {column} = {column}"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table} CASCADE"),
            format!("ALTER TABLE {table} DISABLE TRIGGER ALL"),
            format!("DROP TABLE {table}"),
        ] {
            let refused = refusal(&server, &statement).await;
            assert_eq!(refused.as_deref(), Some(INSUFFICIENT_PRIVILEGE), "{statement}");
        }
    }
    for statement in [
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TABLE public.mine (id integer)",
        "SET session_replication_role = replica",
        "UPDATE _sqlx_migrations SET success = false",
    ] {
        // A superuser's connection that took the role on may still set what only superusers may: the role may not.
        if statement.starts_with("SET session") {
            let own = pool::connect(&login(&bus.db).await, 1).await.unwrap();
            assert_eq!(refusal(&own, statement).await.as_deref(), Some(INSUFFICIENT_PRIVILEGE));
        } else {
            assert_eq!(
                refusal(&server, statement).await.as_deref(),
                Some(INSUFFICIENT_PRIVILEGE),
                "{statement}"
            );
        }
    }
    assert_eq!(count(bus.db.pool(), "events").await, 2);
}

#[tokio::test]
async fn a_table_of_ones_own_does_not_stand_in_front_of_the_log() {
    let bus = Bus::start().await;
    let server = pool::connect(&bus.db.url(), 1).await.unwrap();
    sqlx::raw_sql("CREATE TEMP TABLE claims (scope text, key text, owner text)")
        .execute(&server)
        .await
        .unwrap();
    let (commands, _) = Bus::on(server).await;
    make_team(&commands, "acme").await;
    assert_eq!(count(bus.db.pool(), "public.claims").await, 1);
}

/// What the functions without a search path of their own make use of, by the same names in a schema of the caller's.
const TRAPS: &str = "
    CREATE SCHEMA mine;
    CREATE TABLE mine.events AS SELECT FROM public.events WITH NO DATA;
    CREATE DOMAIN mine.json AS text CHECK (false);
    CREATE FUNCTION mine.trap() RETURNS void LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'a trap of the caller''s runs as %', current_user; END $$;
    CREATE FUNCTION mine.lock_log() RETURNS void LANGUAGE sql AS 'SELECT mine.trap()';
    CREATE FUNCTION mine.pg_advisory_xact_lock(bigint) RETURNS void LANGUAGE sql AS 'SELECT mine.trap()';
    CREATE FUNCTION mine.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE sql AS
        'SELECT mine.trap(); SELECT $1[1]';
    CREATE FUNCTION mine.cardinality(anyarray) RETURNS integer LANGUAGE sql AS 'SELECT mine.trap(); SELECT 1';
    CREATE FUNCTION mine.array_cat(anyarray, anyarray) RETURNS anyarray LANGUAGE sql AS
        'SELECT mine.trap(); SELECT $1';
    CREATE FUNCTION mine.row_number() RETURNS bigint LANGUAGE sql AS 'SELECT mine.trap(); SELECT 1::bigint';
    CREATE FUNCTION mine.array_agg(bigint) RETURNS bigint[] LANGUAGE sql AS 'SELECT mine.trap(); SELECT ARRAY[$1]';
    DO $$
    DECLARE
        name text;
        kind text;
    BEGIN
        FOREACH kind IN ARRAY ARRAY['bigint, bigint', 'bigint, integer', 'integer, bigint', 'integer, integer',
                                    'text, text', 'uuid, uuid'] LOOP
            EXECUTE format('CREATE FUNCTION mine.compare(%s) RETURNS boolean LANGUAGE sql AS
                            ''SELECT mine.trap(); SELECT true''', kind);
            EXECUTE format('CREATE FUNCTION mine.reckon(%s) RETURNS bigint LANGUAGE sql AS
                            ''SELECT mine.trap(); SELECT 1::bigint''', kind);
            FOREACH name IN ARRAY ARRAY['=', '<>', '<', '<=', '>', '>='] LOOP
                EXECUTE format('CREATE OPERATOR mine.%s (FUNCTION = mine.compare, LEFTARG = %s, RIGHTARG = %s)',
                               name, split_part(kind, ', ', 1), split_part(kind, ', ', 2));
            END LOOP;
            FOREACH name IN ARRAY ARRAY['+', '-'] LOOP
                EXECUTE format('CREATE OPERATOR mine.%s (FUNCTION = mine.reckon, LEFTARG = %s, RIGHTARG = %s)',
                               name, split_part(kind, ', ', 1), split_part(kind, ', ', 2));
            END LOOP;
        END LOOP;
    END $$;
    SET search_path = mine, pg_catalog, public";

#[tokio::test]
async fn nothing_of_the_callers_runs_as_the_owner_of_the_log() {
    let bus = Bus::start().await;
    let server = pool::connect(&bus.db.url(), 1).await.unwrap();
    sqlx::raw_sql(TRAPS).execute(&server).await.unwrap();
    let trap = sqlx::raw_sql("SELECT 1::bigint = 2::bigint").execute(&server).await.unwrap_err().to_string();
    assert!(trap.contains("runs as mastra_admin_app"), "the traps are set: {trap}");
    let one = "SELECT append_one('team', 'a', $1, 'x', '1', '{}', '{}', $2, $3, NULL)";
    for (sequence, position) in [(1_i64, Some(1_i64)), (2, Some(2)), (2, None)] {
        let one = sqlx::query_scalar(one).bind(sequence).bind(Uuid::now_v7()).bind(context().at);
        assert_eq!(one.fetch_one(&server).await.ok(), Some(position), "{sequence}");
    }
    let plain =
        "SELECT append_plain('{team,team,team}', '{a,a,b}', '{3,7,1}', '{x,x,x}', '{1,1,1}', '{1,2,3}',
                                     '{1,2,3}', $1, $2, '{NULL,NULL,NULL}')";
    let batch: Vec<i64> = sqlx::query_scalar(plain)
        .bind([(); 3].map(|()| Uuid::now_v7()).to_vec())
        .bind(vec![context().at; 3])
        .fetch_one(&server)
        .await
        .unwrap();
    // The second is refused, with the number that its stream has by then.
    assert_eq!(batch, [2, 2, 3]);
    assert_eq!(count(bus.db.pool(), "public.events").await, 4);
}

#[tokio::test]
async fn rights_are_set_anew_at_every_start() {
    let bus = Bus::start().await;
    sqlx::raw_sql(
        "GRANT ALL ON events TO mastra_admin_app, PUBLIC; CREATE SCHEMA read; CREATE TABLE read.teams (id uuid);
         CREATE TABLE of_a_later_migration (id integer)",
    )
    .execute(bus.db.pool())
    .await
    .unwrap();
    let server = pool::connect(&bus.db.url(), 2).await.unwrap();
    commands::migrate(&server).await.unwrap();
    let refused = refusal(&server, "DELETE FROM events").await;
    assert_eq!(refused.as_deref(), Some(INSUFFICIENT_PRIVILEGE));
    for allowed in ["DROP TABLE read.teams", "INSERT INTO of_a_later_migration VALUES (1)"] {
        assert_eq!(refusal(&server, allowed).await, None, "{allowed}");
    }
}

#[tokio::test]
async fn what_others_have_in_the_database_stays_as_it_is() {
    let bus = Bus::start().await;
    let stranger = format!("stranger_{}", Uuid::now_v7().simple());
    sqlx::raw_sql(&format!(
        "CREATE ROLE {stranger}; CREATE TABLE public.theirs (id integer); ALTER TABLE public.theirs OWNER TO {stranger};
         GRANT SELECT ON public.theirs TO PUBLIC; CREATE SEQUENCE public.their_numbers;
         ALTER SEQUENCE public.their_numbers OWNER TO {stranger}"
    ))
    .execute(bus.db.pool())
    .await
    .unwrap();
    commands::migrate(bus.db.pool()).await.unwrap();
    let server = pool::connect(&bus.db.url(), 1).await.unwrap();
    assert_eq!(refusal(&server, "SELECT id FROM theirs").await, None, "what everybody may stays");
    for refused in ["INSERT INTO theirs VALUES (1)", "SELECT nextval('their_numbers')"] {
        assert_eq!(refusal(&server, refused).await.as_deref(), Some(INSUFFICIENT_PRIVILEGE), "{refused}");
    }
    let leave = format!("DROP OWNED BY {stranger}; DROP ROLE {stranger}");
    sqlx::raw_sql(&leave).execute(bus.db.pool()).await.unwrap();
}

#[tokio::test]
async fn a_server_that_could_not_make_query_tables_in_its_role_works_as_its_owner() {
    let bus = Bus::start().await;
    let name: String =
        sqlx::query_scalar("SELECT current_database()").fetch_one(bus.db.pool()).await.unwrap();
    sqlx::raw_sql(&format!("REVOKE CREATE ON DATABASE {name} FROM mastra_admin_app"))
        .execute(bus.db.pool())
        .await
        .unwrap();
    let server = pool::connect(&bus.db.url(), 1).await.unwrap();
    assert_eq!(refusal(&server, "CREATE SCHEMA read").await, None);
}

#[tokio::test]
async fn a_server_needs_no_more_than_the_role() {
    let db = TestApp::database().await;
    let url = login(&db).await;
    let app = TestApp::start_on(db, &[("DATABASE_URL", &url)]).await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    app.settle().await;
    let own = pool::connect(&url, 1).await.unwrap();
    let refused = refusal(&own, "RESET ROLE; SELECT position FROM events; DELETE FROM events").await;
    assert_eq!(refused.as_deref(), Some(INSUFFICIENT_PRIVILEGE), "there is no way back to a stronger role");

    // Who does not own the log cannot bring it to the present schema, and is told who can.
    sqlx::raw_sql("DELETE FROM _sqlx_migrations WHERE version = 13").execute(app.db.pool()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut migrate = Command::new(tests::app::program("mastra-admin"));
    let migrate = migrate.args(["migrate", "--data-dir"]).arg(dir.path()).env("DATABASE_URL", &url);
    let output = migrate.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("migrations are pending (1): run `mastra-admin migrate` as the owner"), "{said}");
}
