//! Generations of tables: kept, taken up again, collected; and rebuilds that were interrupted.

use std::process::{Output, Stdio};
use std::time::Duration;

use domain::envelope::Actor;
use projections::feed::{Consumer, Feed, FeedOptions, checkpoints};
use projections::rebuild::{Options, RebuildError, rebuild, rebuild_with, rollback};
use projections::verify::verify;
use projections::{generations, log, pool, read_models};
use serde_json::Value;
use sqlx::PgPool;
use tests::bus::Bus;
use tests::postgres::TestDb;
use tests::tape::{Tape, append, lone_event, until};
use tokio::process::Command;

const LONG: Duration = Duration::from_secs(20);
const QUICK: FeedOptions = FeedOptions { lease: Duration::from_millis(600), poll: Duration::from_millis(20) };

async fn database() -> (Bus, PgPool) {
    let bus = Bus::start().await;
    let pool = pool::connect(&bus.db.url(), 24).await.unwrap();
    (bus, pool)
}

async fn start(pool: &PgPool, tape: Tape) -> Feed {
    Feed::start_with(pool.clone(), vec![std::sync::Arc::new(tape)], QUICK).await.unwrap()
}

/// The next version of the tape: its table has one more column.
fn wider() -> Tape {
    Tape {
        version: 2,
        tables: "CREATE TABLE tape (more text NOT NULL DEFAULT 'x', position bigint PRIMARY KEY, before bigint NOT NULL)",
        ..Tape::new()
    }
}

fn ada() -> Actor {
    Actor::Operator("ada".to_owned())
}

async fn schemas(pool: &PgPool) -> Vec<String> {
    let names = "SELECT nspname::text FROM pg_namespace
                  WHERE nspname LIKE 'read\\_old%' OR nspname LIKE 'rebuild%' OR nspname LIKE 'verify%' ORDER BY 1";
    sqlx::query_scalar(names).fetch_all(pool).await.unwrap()
}

async fn run(db: &TestDb, arguments: &[&str]) -> Output {
    let mut tool = Command::new(tests::app::program("replay-tool"));
    tool.args(arguments).args(["--actor", "ada"]).env("DATABASE_URL", db.url());
    tool.output().await.expect("`cargo build --bins` makes it")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn what_a_rebuild_replaces_is_kept_taken_up_again_and_collected() {
    let (_bus, pool) = database().await;
    let feed = start(&pool, Tape::new()).await;
    let position = append(&pool, &[lone_event(), lone_event()]).await;
    assert!(feed.wait_for(position, LONG).await);
    let none = rollback(&pool, &Tape::new(), None).await.unwrap_err();
    assert!(matches!(none, RebuildError::NoGeneration { .. }), "{none}");

    rebuild(&pool, &Tape::new()).await.unwrap();
    let kept = generations::list(&pool).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].state.as_str(), kept[0].position, kept[0].number), ("kept", 2, 0));
    assert_eq!(schemas(&pool).await, ["read_old_tape_0"]);
    // A mark, to tell it from the live one.
    sqlx::query("UPDATE read_old_tape_0.tape SET before = -7 WHERE position = 1")
        .execute(&pool)
        .await
        .unwrap();

    let position = append(&pool, &[lone_event()]).await;
    feed.wake();
    assert!(feed.wait_for(position, LONG).await);
    let back = rollback(&pool, &Tape::new(), Some(&ada())).await.unwrap();
    assert_eq!((back.number, back.position, back.events), (0, 3, 3), "it has caught up before it went live");
    let mark: i64 =
        sqlx::query_scalar("SELECT before FROM read.tape WHERE position = 1").fetch_one(&pool).await.unwrap();
    assert_eq!(mark, -7);
    assert_eq!(checkpoints(&pool).await.unwrap()[0].generation, 0);
    assert_eq!(schemas(&pool).await, ["read_old_tape_1"], "the other one is kept in its place");

    // The feed goes on in the tables that are live now.
    let position = append(&pool, &[lone_event()]).await;
    feed.wake();
    assert!(feed.wait_for(position, LONG).await);
    assert_eq!(Tape::read(&pool).await.0, position);

    assert_eq!(
        generations::collect(&pool, Some("teams"), false, &ada()).await.unwrap(),
        Vec::<String>::new()
    );
    assert_eq!(generations::collect(&pool, None, false, &ada()).await.unwrap(), ["read_old_tape_1"]);
    assert_eq!(schemas(&pool).await, Vec::<String>::new());
    assert_eq!(generations::list(&pool).await.unwrap(), vec![]);
    let operations: Vec<String> = sqlx::query_scalar(
        "SELECT event_type FROM events WHERE aggregate_type = 'operation' ORDER BY position",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(operations, ["ops.read_model_rolled_back", "ops.generations_collected"]);
}

#[tokio::test]
async fn only_the_code_that_made_a_generation_takes_it_up_again() {
    let (_bus, pool) = database().await;
    start(&pool, Tape::new()).await.stop().await;
    append(&pool, &[lone_event(), lone_event()]).await;
    start(&pool, wider()).await.stop().await; // which builds it anew
    let refused = rollback(&pool, &wider(), None).await.unwrap_err();
    assert!(
        refused.to_string().contains("made by version 1 of its code and this program has version 2"),
        "{refused}"
    );
    assert_eq!(checkpoints(&pool).await.unwrap()[0].version, 2);

    // A server of the version before does not begin at the beginning: it takes up what was kept.
    sqlx::query("UPDATE read_old_tape_0.tape SET before = -7").execute(&pool).await.unwrap();
    append(&pool, &[lone_event()]).await;
    let feed = start(&pool, Tape::new()).await;
    assert!(feed.wait_for(3, LONG).await);
    assert_eq!(checkpoints(&pool).await.unwrap()[0].version, 1);
    assert_eq!(Tape::read(&pool).await.0, 3);
    assert_eq!(generations::list(&pool).await.unwrap()[0].version, 2);
}

#[tokio::test]
async fn statements_that_were_prepared_before_a_swap_go_on_after_it() {
    let (bus, pool) = database().await;
    let feed = start(&pool, Tape::new()).await;
    let position = append(&pool, &[lone_event(), lone_event()]).await;
    assert!(feed.wait_for(position, LONG).await);
    feed.stop().await;
    // One connection, so that each statement is the one it has prepared; often enough for a plan of its own.
    let readers = pool::connect(&bus.db.url(), 1).await.unwrap();
    let all = async || {
        let rows: Vec<(i64, i64)> =
            sqlx::query_as("SELECT position, before FROM tape WHERE position > $1 ORDER BY position")
                .bind(0_i64)
                .fetch_all(&readers)
                .await
                .unwrap();
        rows
    };
    for _ in 0..8 {
        assert_eq!(all().await, [(1, 0), (2, 1)]);
    }
    rebuild(&pool, &wider()).await.unwrap();
    assert_eq!(all().await, [(1, 0), (2, 1)], "with one more column, before the others");
    let more: String = sqlx::query_scalar("SELECT min(more) FROM tape").fetch_one(&readers).await.unwrap();
    assert_eq!(more, "x");
    rollback(&pool, &Tape::new(), None).await.unwrap();
    assert_eq!(all().await, [(1, 0), (2, 1)], "and without it again");
}

#[tokio::test]
async fn tables_that_somebody_has_dropped_are_built_anew_and_nothing_is_kept_of_them() {
    let (_bus, pool) = database().await;
    let feed = Feed::start(pool.clone(), read_models()).await.unwrap();
    append(&pool, &[lone_event()]).await;
    feed.stop().await;
    sqlx::raw_sql("DROP SCHEMA read CASCADE").execute(&pool).await.unwrap();
    for model in read_models() {
        rebuild(&pool, model.as_ref()).await.unwrap();
        verify(&pool, model.as_ref()).await.unwrap();
    }
    assert_eq!(generations::list(&pool).await.unwrap(), vec![]);
    until("no schema is left", async || schemas(&pool).await.is_empty()).await;
}

/// A log long enough that a rebuild of the audit trail can be killed in the middle.
async fn long_log(pool: &PgPool) -> i64 {
    let feed = Feed::start(pool.clone(), read_models()).await.unwrap();
    feed.stop().await;
    let mut head = 0;
    for _ in 0..12 {
        head = append(pool, &(0..1000).map(|_| lone_event()).collect::<Vec<_>>()).await;
    }
    head
}

/// Starts a rebuild of the audit trail and kills it when it is under way. Answers what it has said.
async fn killed_rebuild(bus: &Bus, pool: &PgPool, head: i64) -> String {
    let mut tool = Command::new(tests::app::program("replay-tool"));
    tool.args(["rebuild", "audit_trail"]).env("DATABASE_URL", bus.db.url());
    let child = tool.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    until("it is under way", async || {
        let all = generations::list(pool).await.unwrap();
        all.iter().any(|found| found.state == "building" && (1..head).contains(&found.position))
    })
    .await;
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().await.unwrap().success());
    let output = child.wait_with_output().await.unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_killed_rebuild_says_nothing_and_the_next_one_goes_on_where_it_was() {
    let (bus, pool) = database().await;
    let head = long_log(&pool).await;
    assert_eq!(killed_rebuild(&bus, &pool, head).await, "");
    assert_eq!(schemas(&pool).await, ["rebuild_audit_trail"]);
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM read.audit_trail").fetch_one(&pool).await.unwrap();
    assert_eq!(rows, 0, "the live table is as it was");

    let again = run(&bus.db, &["rebuild", "audit_trail", "--json"]).await;
    assert!(again.status.success(), "{}", said(&again));
    let built: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert!(built["resumedAt"].as_i64().unwrap() > 0, "{built}");
    assert_eq!((&built["position"], &built["events"]), (&head.into(), &head.into()));
    let audit = read_models().into_iter().find(|model| model.name() == "audit_trail").unwrap();
    assert_eq!(verify(&pool, audit.as_ref()).await.unwrap().rows, head);
}

#[tokio::test]
async fn a_rebuild_that_was_killed_before_an_index_became_a_key_goes_on_and_makes_it_one() {
    let (bus, pool) = database().await;
    let head = long_log(&pool).await;
    killed_rebuild(&bus, &pool, head).await;
    // Every index is there, and that of a key is nothing but an index.
    let made: Vec<String> = sqlx::query_scalar(
        "SELECT replace(indexdef, ' ON read.', ' ON rebuild_audit_trail.') FROM pg_indexes i
          WHERE schemaname = 'read' AND NOT EXISTS (SELECT FROM pg_indexes o
                 WHERE o.schemaname = 'rebuild_audit_trail' AND o.indexname = i.indexname)
            AND tablename = ANY($1)",
    )
    .bind(vec!["audit_trail", "audit_parts"])
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(made.iter().any(|index| index.contains("UNIQUE INDEX audit_trail_pkey")), "{made:?}");
    sqlx::raw_sql(&made.join("; ")).execute(&pool).await.unwrap();

    let again = run(&bus.db, &["rebuild", "audit_trail", "--json"]).await;
    assert!(again.status.success(), "{}", said(&again));
    let built: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert!(built["resumedAt"].as_i64().unwrap() > 0, "{built}");
    let keys: Vec<String> = sqlx::query_scalar(
        "SELECT conname::text FROM pg_constraint WHERE connamespace = 'read'::regnamespace
            AND contype = 'p' AND conname LIKE 'audit%' ORDER BY 1",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(keys, ["audit_parts_pkey", "audit_trail_pkey"]);
}

#[tokio::test]
async fn what_is_not_as_long_as_the_log_is_never_called_complete() {
    let (bus, pool) = database().await;
    let head = long_log(&pool).await;
    killed_rebuild(&bus, &pool, head).await;
    // As a reader would have left it that met an end where there was none.
    sqlx::query("UPDATE generations SET events = events - 1").execute(&pool).await.unwrap();
    let lacking = run(&bus.db, &["rebuild", "audit_trail"]).await;
    assert_eq!(lacking.status.code(), Some(1), "{}", said(&lacking));
    assert!(said(&lacking).contains("it is not complete"), "{}", said(&lacking));
    assert_eq!(checkpoints(&pool).await.unwrap()[0].position, 0, "nothing was swapped in");
    // Nobody goes on with it.
    let whole = run(&bus.db, &["rebuild", "audit_trail", "--json"]).await;
    let built: Value = serde_json::from_slice(&whole.stdout).unwrap();
    assert_eq!((&built["resumedAt"], &built["events"]), (&0.into(), &head.into()));
}

#[tokio::test]
async fn other_code_does_not_go_on_with_what_was_left() {
    let (_bus, pool) = database().await;
    start(&pool, Tape::new()).await.stop().await;
    append(&pool, &[lone_event(), lone_event()]).await;
    sqlx::raw_sql(
        "CREATE SCHEMA rebuild_tape; CREATE TABLE rebuild_tape.tape (position bigint PRIMARY KEY, before bigint);
         INSERT INTO generations (schema_name, consumer, number, version, state, position, events, table_names)
         VALUES ('rebuild_tape', 'tape', 9, 1, 'building', 1, 1, '{tape}')",
    )
    .execute(&pool)
    .await
    .unwrap();
    let built = rebuild_with(&pool, &wider(), Options::default()).await.unwrap();
    assert_eq!((built.resumed_at, built.events), (0, 2));
    assert_eq!(Tape::read(&pool).await, (2, 0));
    assert_eq!(log::head(&pool).await.unwrap(), 2, "the platform itself leaves no event");
    assert_eq!(wider().version(), checkpoints(&pool).await.unwrap()[0].version);
}
