//! What others do to the database as a whole: back it up, hold transactions open, drop what is derived.

use std::process::{Output, Stdio};
use std::time::Duration;

use providers::database::embedded::{Embedded, EmbeddedConfig};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tests::app::{TestApp, program};
use tests::bus::Bus;
use tests::people::join;
use tests::postgres::TestDb;
use tests::world::{team, team_and_project};
use tokio::process::Command;

async fn tool(url: &str, arguments: &[&str]) -> Output {
    let mut tool = Command::new(program("replay-tool"));
    tool.args(arguments).env("DATABASE_URL", url).output().await.expect("`cargo build --bins` makes it")
}

/// Runs it; what it said, when it was content.
async fn content(url: &str, arguments: &[&str]) -> String {
    let output = tool(url, arguments).await;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

/// How to connect, with nothing in it that is sqlx's own.
fn plain(options: &PgConnectOptions) -> String {
    let host =
        options.get_socket().map_or_else(|| options.get_host().into(), |socket| socket.display().to_string());
    let (user, database) = (options.get_username(), options.get_database().unwrap());
    format!("host={host} port={} user={user} dbname={database}", options.get_port())
}

#[tokio::test]
async fn a_dump_restored_into_another_cluster_goes_on() {
    let mut app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    app.settle().await;
    app.kill().await;

    let mut dump = Command::new("pg_dump");
    let dump = dump
        .args(["--no-owner", "--no-privileges", "--dbname", &plain(&app.db.options())])
        .output()
        .await
        .unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump.sql");
    std::fs::write(&file, dump.stdout).unwrap();
    let config = EmbeddedConfig { data_dir: folder.path().to_owned(), bin_dir: None, durable: false };
    let cluster = Embedded::start(config).await.unwrap();
    let url = cluster.url();
    let mut restore = Command::new("psql");
    restore
        .args([
            "--quiet",
            "--no-psqlrc",
            "--set",
            "ON_ERROR_STOP=1",
            "--dbname",
            &plain(&url.parse().unwrap()),
            "--file",
        ])
        .arg(&file);
    let restored = restore.stdout(Stdio::null()).output().await.unwrap();
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));

    let before: i64 =
        sqlx::query_scalar("SELECT max(position) FROM events").fetch_one(app.db.pool()).await.unwrap();
    app.restart_with(&[("DATABASE_URL", &url)]).await;
    let owner = app.nobody().with_token(owner.token().unwrap());
    assert_eq!(owner.get("/teams/acme/members").await.expect(200)["items"].as_array().unwrap().len(), 2);
    let renamed = owner.patch("/teams/acme", json!({ "name": "Restored" })).await;
    let position: i64 = renamed.headers["x-event-position"].to_str().unwrap().parse().unwrap();
    assert!(position > before, "{position} after {before}");
    // The leases of the server that was killed came along: until they run out nobody reads the log.
    app.wait_until("its tables are caught up with", Duration::from_secs(60), async || {
        owner.get("/teams/acme").await.expect(200)["name"] == "Restored"
    })
    .await;
    app.kill().await;
    content(&url, &["verify"]).await;
    let said = content(&url, &["doctor"]).await;
    assert!(said.contains("mastra_admin_app can only append by function"), "{said}");
    cluster.stop().await;
}

/// A transaction that has written, and one that only reads: both keep what they see from being cleaned up.
async fn hold_open(db: &TestDb) -> Vec<PgConnection> {
    let mut held = Vec::new();
    for statement in ["CREATE TABLE held (id integer)", "SELECT count(*) FROM pg_class"] {
        let mut other = PgConnection::connect_with(&db.options()).await.unwrap();
        let statement =
            format!("BEGIN ISOLATION LEVEL REPEATABLE READ; {statement}; SELECT pg_current_xact_id()");
        sqlx::raw_sql(&statement).execute(&mut other).await.unwrap();
        held.push(other);
    }
    held
}

#[tokio::test]
async fn transactions_that_others_hold_open_stall_nothing() {
    let app = TestApp::start().await;
    let elsewhere = Bus::start().await; // another database of the same cluster
    let held = [hold_open(&app.db).await, hold_open(&elsewhere.db).await];
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    it.deployed(&app, &owner).await;
    for n in 0..50 {
        let name = format!("Acme {n}");
        owner.patch("/teams/acme", json!({ "name": name })).await.expect(200);
        // Read at once, without asking for a position: the answer has waited for its tables.
        assert_eq!(owner.get("/teams/acme").await.expect(200)["name"], name);
    }
    app.settle().await;
    content(&app.db.url(), &["rebuild", "teams"]).await;
    content(&app.db.url(), &["verify", "teams"]).await;
    let metrics = reqwest::get(format!("{}/metrics", app.url)).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("mastra_admin_oldest_transaction_seconds"), "it can be seen");
    drop(held);
}

/// Every row of every query table, as text, but of what operators do to the tables themselves.
async fn tables(db: &PgPool) -> Vec<(String, Vec<String>)> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'read' ORDER BY tablename",
    )
    .fetch_all(db)
    .await
    .unwrap();
    let mut tables = Vec::new();
    for name in names {
        let rows = format!(
            "SELECT t::text FROM read.{name} t WHERE t::text NOT LIKE '%,ops.read_model%' ORDER BY t::text"
        );
        tables.push((name, sqlx::query_scalar(&rows).fetch_all(db).await.unwrap()));
    }
    tables
}

/// What a process would have done: work, events of others than operators, mail.
async fn done(app: &TestApp) -> (i64, i64, usize) {
    let (work, events) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM work), (SELECT count(*) FROM events WHERE event_type NOT LIKE 'ops.%')",
    )
    .fetch_one(app.db.pool())
    .await
    .unwrap();
    let mails = std::fs::read_dir(app.dir.path().join("mail")).map_or(0, Iterator::count);
    (work, events, mails)
}

#[tokio::test]
async fn query_tables_that_were_dropped_are_made_again_to_the_byte_and_nothing_else_is_done() {
    let mut app = TestApp::start().await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    it.deployed(&app, &owner).await;
    app.settle().await;
    app.kill().await;
    let (before, did) = (tables(app.db.pool()).await, done(&app).await);
    assert!(did.0 > 0 && did.2 > 0, "there was work and mail: {did:?}");

    sqlx::raw_sql(
        "DO $$ DECLARE s text; BEGIN
             FOR s IN SELECT nspname FROM pg_namespace WHERE nspname ~ '^(read|rebuild|verify)' LOOP
                 EXECUTE format('DROP SCHEMA %I CASCADE', s);
             END LOOP; END $$",
    )
    .execute(app.db.pool())
    .await
    .unwrap();
    content(&app.db.url(), &["rebuild", "all"]).await;
    assert_eq!(tables(app.db.pool()).await, before);
    assert_eq!(done(&app).await, did, "no work, no event, no mail");
    content(&app.db.url(), &["verify"]).await;

    app.kill_and_restart().await;
    let owner = app.nobody().with_token(owner.token().unwrap());
    app.wait_until("its server is there again", Duration::from_secs(60), async || {
        it.ask(&owner, "/api/version").await.status == 200
    })
    .await;
    assert_eq!(done(&app).await.2, did.2, "nobody gets a second mail");
}
