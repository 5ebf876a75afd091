//! Two servers on one database: what a server that was stopped in the middle has in hand is worth nothing when it
//! wakes up.

use std::time::Duration;

use serde_json::Value;
use tests::app::{TestApp, program};
use tests::tape::{append, lone_event};
use tokio::process::Command;

/// The lease of a server that is not heard of, the time PostgreSQL gives its open transaction, and some.
const LONG: Duration = Duration::from_secs(90);

async fn one<T>(app: &TestApp, query: &str) -> T
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    sqlx::query_scalar(query).fetch_one(app.db.pool()).await.unwrap()
}

#[tokio::test]
async fn a_server_that_is_stopped_in_the_middle_and_goes_on_later_applies_nothing_twice() {
    const OWNER: &str = "SELECT coalesce(lease_owner, '') FROM consumers WHERE name = 'audit_trail'";
    let app = TestApp::start().await;
    app.settle().await;
    let first: String = one(&app, OWNER).await;
    assert_ne!(first, "");
    let other = app.another().await;
    assert_eq!(one::<String>(&app, OWNER).await, first, "a second server leaves the lease alone");

    // It is stopped while its batch waits for the table: rows and checkpoint are on their way.
    let mut lock = app.db.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE read.audit_trail IN EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    append(app.db.pool(), &[lone_event(), lone_event(), lone_event()]).await;
    app.wait_until("its batch waits for the lock", LONG, async || {
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                                     AND wait_event_type = 'Lock' AND query LIKE '%audit_trail%')";
        one(&app, waits).await
    })
    .await;
    app.signal("STOP").await;
    lock.commit().await.unwrap();
    app.wait_until("its transaction is open, and nobody goes on with it", LONG, async || {
        let open = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                                    AND state = 'idle in transaction' AND query LIKE '%audit_trail%')";
        one(&app, open).await
    })
    .await;

    append(app.db.pool(), &[lone_event(), lone_event()]).await;
    let all_taken =
        "SELECT NOT EXISTS (SELECT FROM consumers WHERE position < (SELECT position FROM log_head))";
    app.wait_until("the other server has taken over everything", LONG, async || one(&app, all_taken).await)
        .await;
    assert_ne!(one::<String>(&app, OWNER).await, first);

    // It wakes up with what it had in hand, and more to read.
    app.signal("CONT").await;
    let head = append(app.db.pool(), &[lone_event(), lone_event()]).await;
    app.wait_until("it knows that it has lost its leases", LONG, async || {
        let answer = app.nobody().get("//api/ready").await;
        answer.status == 200 && one(&app, all_taken).await
    })
    .await;
    assert_ne!(one::<String>(&app, OWNER).await, first);
    let rows: i64 = one(&app, "SELECT count(*) FROM read.audit_trail").await;
    assert_eq!(rows, head, "one row an event");
    assert_eq!(one::<i64>(&app, "SELECT count(*) FROM parked").await, 0, "nor was it taken for a bad event");
    let verify = Command::new(program("replay-tool"))
        .args(["verify", "--json"])
        .env("DATABASE_URL", app.db.url())
        .output();
    let verify = verify.await.unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
    let lines = String::from_utf8(verify.stdout).unwrap();
    assert!(
        lines.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["position"] == head),
        "{lines}"
    );
    drop(other);
}
