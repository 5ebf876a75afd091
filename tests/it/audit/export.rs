//! The trail as a file.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::trail;
use tests::world::{team, team_and_project};
use uuid::Uuid;

#[tokio::test]
async fn an_export_has_every_row_in_each_form_and_is_a_row_itself() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let path = format!("/projects/{}/env-vars/A", project.id);
    owner.put(&path, json!({ "value": "x", "sensitive": false })).await.expect(200);
    let formula = owner.request(Method::PATCH, "/teams/acme").header("user-agent", "=HYPERLINK(\"evil\")");
    tests::client::Client::send(formula.json(&json!({ "name": "Two, \"really\"" }))).await.expect(200);
    app.settle().await;
    let list = owner.get("/teams/acme/audit?limit=200").await.expect(200);
    let mut list = list["items"].as_array().unwrap().clone();
    list.reverse();

    let lines = owner.get("/teams/acme/audit/export").await;
    assert_eq!(
        (lines.status, &lines.headers["content-type"]),
        (200, &"application/x-ndjson".parse().unwrap())
    );
    assert!(lines.headers["content-disposition"].to_str().unwrap().ends_with(".ndjson\""));
    let rows: Vec<Value> = lines.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows, list, "the same rows, oldest first, without the export itself");

    let csv = owner.get("/teams/acme/audit/export?format=csv").await.text;
    assert!(csv.starts_with("position,eventId,at,"), "{csv}");
    assert_eq!(csv.lines().count(), list.len() + 2, "a head, the rows, the first export");
    assert!(csv.contains("\"'=HYPERLINK(\"\"evil\"\")\""), "{csv}");
    assert!(csv.contains(r#"\""name\"":"#) || csv.contains(r#"""name"":""Two, \""really\"""""#), "{csv}");

    let ocsf = owner.get("/teams/acme/audit/export?format=ocsf&action=project.env_var_set").await.text;
    let event: Value = serde_json::from_str(ocsf.lines().next().unwrap()).unwrap();
    assert_eq!((ocsf.lines().count(), &event["type_uid"]), (1, &json!(600_303)));
    assert_eq!(event["resources"][0]["uid"], project.id);

    let taken = owner.get("/teams/acme/audit?action=access.audit_exported").await.expect(200);
    let taken = taken["items"].as_array().unwrap();
    let formats: Vec<&str> = taken.iter().map(|row| row["after"]["format"].as_str().unwrap()).collect();
    assert_eq!(formats, ["ocsf", "csv", "ndjson"]);
    assert!(taken[0]["after"]["filter"]["fingerprint"].is_string(), "what was searched for is sealed");
    assert_eq!((&taken[0]["resource"], &taken[0]["outcome"]), (&json!("team"), &json!("success")));
    assert_eq!(owner.get("/teams/acme/audit/export?format=pdf").await.status, 422);
}

/// A line of `/proc/PID/status`, in KiB.
fn memory(pid: u32, line: &str) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    kib.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Whether the server neither holds a transaction nor reads the trail.
async fn is_quiet(app: &TestApp) -> bool {
    sqlx::query_scalar(
        "SELECT NOT EXISTS (SELECT FROM pg_stat_activity
                             WHERE datname = current_database() AND pid <> pg_backend_pid()
                               AND application_name = 'mastra-admin'
                               AND (state LIKE 'idle in transaction%'
                                    OR (state = 'active' AND query LIKE '%audit_trail%')))",
    )
    .fetch_one(app.db.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn an_export_whose_reader_hangs_up_is_recorded_and_holds_nothing() {
    const ROWS: i64 = 60_000;
    /// More than the server has connections of the database.
    const READERS: usize = 40;
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let id: Uuid = team(&owner, "acme").await["id"].as_str().unwrap().parse().unwrap();
    app.settle().await;
    trail::fill(app.db.pool(), id, ROWS).await;
    for _ in 0..READERS {
        let response = owner.request(Method::GET, "/teams/acme/audit/export").send().await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.bytes_stream();
        body.next().await.unwrap().unwrap();
        drop(body);
    }
    app.wait_until("nothing is read for who has gone", Duration::from_secs(10), async || {
        is_quiet(&app).await
    })
    .await;
    let asked = (0..READERS).map(|_| owner.get("/teams/acme"));
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer.status, 200, "the pool is whole: {}", answer.text);
    }
    let taken: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'access.audit_exported'")
            .fetch_one(app.db.pool())
            .await
            .unwrap();
    assert_eq!(taken, i64::try_from(READERS).unwrap());
    app.settle().await;
    let shown = owner.get("/teams/acme/audit?action=access.audit_exported&limit=200").await.expect(200);
    assert_eq!(shown["items"].as_array().unwrap().len(), READERS, "each stands in the trail");
}

#[tokio::test]
async fn a_long_export_takes_constant_memory_and_holds_nothing_while_nobody_reads() {
    const ROWS: i64 = 420_000; // three of five are the team's
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let id: Uuid = team(&owner, "acme").await["id"].as_str().unwrap().parse().unwrap();
    app.settle().await;
    // Filled without the indexes that an export does not use.
    let drop = "DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT indexname FROM pg_indexes
                     WHERE schemaname = 'read' AND tablename = 'audit_trail'
                       AND indexdef NOT LIKE '%(team_id, at, \"position\")%' AND indexname NOT LIKE '%pkey'
        LOOP EXECUTE 'DROP INDEX read.' || name; END LOOP; END $$";
    sqlx::raw_sql(drop).execute(app.db.pool()).await.unwrap();
    trail::fill(app.db.pool(), id, ROWS).await;
    for _ in 0..3 {
        owner.get("/teams/acme/audit?limit=200").await.expect(200);
    }
    std::fs::write(format!("/proc/{}/clear_refs", app.pid()), "5").unwrap(); // VmHWM begins anew
    let before = memory(app.pid(), "VmRSS:");
    let response = owner.request(Method::GET, "/teams/acme/audit/export").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.bytes_stream();
    body.next().await.unwrap().unwrap();

    // Nobody reads on. Whatever the server has sent ahead, it holds no transaction and runs no query.
    app.wait_until("the export waits for its reader", Duration::from_secs(10), async || is_quiet(&app).await)
        .await;
    assert_eq!(owner.get("/teams/acme").await.status, 200);

    let mut lines = 0;
    while let Some(chunk) = body.next().await {
        lines += chunk.unwrap().iter().filter(|byte| **byte == b'\n').count();
    }
    assert!(lines > 250_000, "{lines} lines");
    let grown = memory(app.pid(), "VmHWM:") - before;
    assert!(grown < 32 * 1024, "{grown} KiB more for {lines} lines");
}
