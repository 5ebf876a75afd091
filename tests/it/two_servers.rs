//! Two servers on one database: what a server that was stopped in the middle has in hand is worth nothing when it
//! wakes up.

use std::time::Duration;

use serde_json::Value;
use sqlx::{Decode, Postgres, Type};
use tests::app::{Another, TestApp, program};
use tests::tape::{append, lone_event};
use tokio::process::Command;

/// The lease of a server that is not heard of, the time PostgreSQL gives its open transaction, and some.
const LONG: Duration = Duration::from_secs(90);
const OWNER: &str = "SELECT coalesce(lease_owner, '') FROM consumers WHERE name = 'audit_trail'";
const ALL_TAKEN: &str =
    "SELECT NOT EXISTS (SELECT FROM consumers WHERE position < (SELECT position FROM log_head))";

async fn one<T>(app: &TestApp, query: &str) -> T
where
    T: Send + Unpin + for<'r> Decode<'r, Postgres> + Type<Postgres>,
{
    sqlx::query_scalar(query).fetch_one(app.db.pool()).await.unwrap()
}

/// Two servers; the first has every lease. Answers its name for itself.
async fn two_servers() -> (TestApp, Another, String) {
    let app = TestApp::start().await;
    app.settle().await;
    let first: String = one(&app, OWNER).await;
    assert_ne!(first, "");
    let other = app.another().await;
    assert_eq!(one::<String>(&app, OWNER).await, first, "a second server leaves the leases alone");
    (app, other, first)
}

async fn until_a_statement(app: &TestApp, what: &str, condition: &str) {
    let there = format!(
        "SELECT EXISTS (SELECT FROM pg_stat_activity
                         WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition})"
    );
    app.wait_until(what, LONG, async || one(app, &there).await).await;
}

/// The other server has taken over; the first wakes up, has more to read, and changes nothing.
async fn wakes_up_in_vain(app: &TestApp, first: &str) {
    app.wait_until("the other server has taken over everything", LONG, async || one(app, ALL_TAKEN).await)
        .await;
    assert_ne!(one::<String>(app, OWNER).await, first);
    app.signal("CONT").await;
    let head = append(app.db.pool(), &[lone_event(), lone_event()]).await;
    app.wait_until("it answers, and everything is taken in", LONG, async || {
        app.nobody().get("//api/ready").await.status == 200 && one(app, ALL_TAKEN).await
    })
    .await;
    assert_ne!(one::<String>(app, OWNER).await, first);
    let rows: i64 = one(app, "SELECT count(*) FROM read.audit_trail").await;
    assert_eq!(rows, head, "one row an event");
    // A row that is there already is refused like a bad event.
    assert_eq!(one::<i64>(app, "SELECT count(*) FROM parked").await, 0, "nothing was applied twice");
    assert_eq!(one::<i64>(app, "SELECT min(position) FROM consumers").await, head, "no checkpoint went back");
    let mut verify = Command::new(program("replay-tool"));
    let verify = verify.args(["verify", "--json"]).env("DATABASE_URL", app.db.url()).output().await.unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
    let lines = String::from_utf8(verify.stdout).unwrap();
    assert!(
        lines.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["position"] == head),
        "{lines}"
    );
}

/// How often a test begins anew when a busy machine has made the first server lose its leases before it was stopped.
const TRIES: u32 = 5;

#[tokio::test]
async fn a_server_that_is_stopped_with_rows_on_their_way_applies_nothing_twice() {
    for _ in 0..TRIES {
        let (app, _other, first) = two_servers().await;
        // It is stopped while its batch waits for the table: rows and checkpoint are on their way.
        let mut lock = app.db.pool().begin().await.unwrap();
        sqlx::query("LOCK TABLE read.audit_trail IN EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
        append(app.db.pool(), &[lone_event(), lone_event(), lone_event()]).await;
        let waits = "wait_event_type = 'Lock' AND query LIKE '%audit_trail%'";
        until_a_statement(&app, "its batch waits for the lock", waits).await;
        app.signal("STOP").await;
        if one::<String>(&app, OWNER).await != first {
            continue;
        }
        lock.commit().await.unwrap();
        let open = "state = 'idle in transaction' AND query LIKE '%audit_trail%'";
        until_a_statement(&app, "its transaction is open, and nobody goes on with it", open).await;
        append(app.db.pool(), &[lone_event(), lone_event()]).await;
        return wakes_up_in_vain(&app, &first).await;
    }
    panic!("the first server never kept its leases");
}

#[tokio::test]
async fn a_server_that_is_stopped_with_events_in_hand_applies_none_of_them() {
    for _ in 0..TRIES {
        let (app, _other, first) = two_servers().await;
        // It is stopped while it reads the log: the answer is the first thing that it finds when it wakes up.
        let mut lock = app.db.pool().begin().await.unwrap();
        sqlx::query("LOCK TABLE events IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
        sqlx::query("SELECT pg_notify('log_appended', '1000000')").execute(app.db.pool()).await.unwrap();
        let reads = "wait_event_type = 'Lock' AND query LIKE '%FROM events WHERE position >%'";
        until_a_statement(&app, "it reads the log", reads).await;
        app.signal("STOP").await;
        if one::<String>(&app, OWNER).await != first {
            continue;
        }
        append(&mut *lock, &[lone_event()]).await;
        lock.commit().await.unwrap();
        return wakes_up_in_vain(&app, &first).await;
    }
    panic!("the first server never kept its leases");
}
