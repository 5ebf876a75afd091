//! A log that goes into a file and comes out of it in another database is the same log.

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use tests::app::TestApp;
use tests::postgres::{Template, TestDb};
use tests::world::team_and_project;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use uuid::Uuid;

static MIGRATED: Template = Template::new("transfer");

/// A migrated database on which no server has ever run.
async fn empty() -> TestDb {
    TestDb::create(&MIGRATED, tests::tape::migrate).await
}

async fn run(db: &TestDb, arguments: &[&str]) -> Output {
    let mut tool = Command::new(tests::app::program("replay-tool"));
    tool.args(arguments).args(["--actor", "ada"]).env("DATABASE_URL", db.url());
    tool.output().await.expect("`cargo build --bins` makes it")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

async fn good(db: &TestDb, arguments: &[&str]) -> Vec<u8> {
    let output = run(db, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    output.stdout
}

async fn count(pool: &PgPool, table: &str) -> i64 {
    sqlx::query_scalar(&format!("SELECT count(*) FROM {table}")).fetch_one(pool).await.unwrap()
}

/// What must be the same in both databases, row by row, as text.
async fn rows(db: &TestDb, query: &str) -> Vec<String> {
    sqlx::query_scalar(query).fetch_all(db.pool()).await.unwrap()
}

/// An event whose JSON is stored in a form of its own, as another writer may.
async fn odd_event(db: &TestDb) {
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ('operation', $1, 1, 'ops.consumer_paused', '1', $2::json, $3::json)",
    )
    .bind(Uuid::now_v7().to_string())
    .bind(" {\n\t\"type\" :\"ops.consumer_paused\", \"consumer\":\"x\",  \"more\": [1.0, 1e3, \"\\u00e4\\\\N\"], \"more\":2 }\n")
    .bind("{ \"actor\" : \"system\"}")
    .execute(db.pool())
    .await
    .unwrap();
}

#[tokio::test]
async fn a_log_goes_through_a_file_byte_by_byte_and_a_server_goes_on_with_it() {
    let mut app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    project.deployed(&app, &owner).await;
    let token = owner.post("/me/tokens", json!({ "name": "ci" })).await.expect(201);
    let value = json!({ "value": "v", "sensitive": false });
    owner.put(&format!("/projects/{}/env-vars/KEY", project.id), value).await.expect(200);
    owner
        .post("/teams/acme/invites", json!({ "email": "x@example.org", "role": "viewer" }))
        .await
        .expect(201);
    let keyed = owner.request(reqwest::Method::POST, "/teams").header("idempotency-key", "k");
    let keyed = tests::client::Client::send(keyed.json(&json!({ "name": "B", "slug": "b" }))).await;
    app.settle().await;
    app.kill().await;
    odd_event(&app.db).await;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (first, second) = (path("first"), path("second"));
    let last = count(app.db.pool(), "events").await;
    good(&app.db, &["export", "--with-keys", &first]).await;
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&first).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "a log is for its owner alone");
    assert_eq!(run(&app.db, &["export", &first]).await.status.code(), Some(1), "a file is never overwritten");

    let copy = empty().await;
    let said = good(&copy, &["import", &first]).await;
    assert!(text(&said).contains(&format!("{last} events are imported")), "{}", text(&said));
    good(&copy, &["export", "--with-keys", "--until", &last.to_string(), &second]).await;
    let (first, second) = (std::fs::read(first).unwrap(), std::fs::read(second).unwrap());
    assert!(first == second, "export, import, export: the same bytes");
    let events = format!(
        "SELECT (to_jsonb(e) - 'payload' - 'metadata')::text || payload::text || metadata::text FROM events e
          WHERE position <= {last} ORDER BY position"
    );
    for query in [
        events.as_str(),
        "SELECT to_jsonb(c)::text FROM claims c ORDER BY 1",
        "SELECT to_jsonb(k)::text FROM idempotency_keys k ORDER BY 1",
        "SELECT to_jsonb(k)::text FROM data_keys k ORDER BY 1",
    ] {
        assert_eq!(rows(&copy, query).await, rows(&app.db, query).await, "{query}");
    }
    let done = "SELECT event_type || ' ' || (metadata ->> 'actor') FROM events WHERE position > $1 ORDER BY position";
    let done: Vec<String> = sqlx::query_scalar(done).bind(last).fetch_all(copy.pool()).await.unwrap();
    assert_eq!(done, ["ops.log_imported operator:ada", "ops.log_exported_with_keys operator:ada"]);

    let head = count(copy.pool(), "events").await;
    app.move_to(copy).await;
    app.settle().await;
    let client = app.nobody().with_token(token["plainToken"].as_str().unwrap());
    let members = client.get("/teams/acme/members").await.expect(200);
    assert!(members.to_string().contains("owner@example.org"), "{members}");
    let redone = "work WHERE process IN ('run_build', 'build_deployment', 'deliver_invite')";
    assert_eq!(count(app.db.pool(), redone).await, 0, "what was done is not done again");
    let builds = rows(
        &app.db,
        "SELECT payload ->> 'type' FROM events WHERE position > 0 AND event_type LIKE 'build.%'",
    );
    assert_eq!(builds.await.iter().filter(|kind| *kind == "build.requested").count(), 1);
    let taken = client.post("/teams", json!({ "name": "A", "slug": "acme" })).await;
    assert_eq!(taken.status, 409, "names are still taken");
    let again = client.request(reqwest::Method::POST, "/teams").header("idempotency-key", "k");
    let again = tests::client::Client::send(again.json(&json!({ "name": "B", "slug": "b" }))).await;
    assert_eq!((again.status, again.str("id")), (201, keyed.str("id")), "and done commands are done");
    assert!(count(app.db.pool(), "events").await >= head);
    good(&app.db, &["verify"]).await;
}

/// A log of a few events, as a file; made once, changed by each case.
async fn lines() -> (TestDb, Vec<String>) {
    let db = empty().await;
    for _ in 0..4 {
        odd_event(&db).await;
    }
    let file = good(&db, &["export"]).await;
    let lines = text(&file).lines().map(str::to_owned).collect();
    (db, lines)
}

/// The lines with a trailer that fits them.
fn sealed(lines: &[String]) -> String {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let events = lines.iter().filter(|line| line.starts_with("{\"event\"")).count();
    let sha256 = hex::encode(Sha256::digest(body.as_bytes()));
    let counts = json!({ "events": events, "receipts": 0, "keys": 0, "processes": 0, "work": 0 });
    format!("{body}{}\n", json!({ "trailer": { "counts": counts, "sha256": sha256 } }))
}

#[tokio::test]
async fn what_is_not_a_whole_log_is_refused_and_leaves_nothing() {
    let (_db, lines) = lines().await;
    assert_eq!(lines.len(), 6, "a header, four events, a trailer: {lines:#?}");
    let (body, whole) = (&lines[..5], lines.join("\n") + "\n");
    let without = |n: usize| [&body[..n], &body[n + 1..]].concat();
    let swapped = vec![body[0].clone(), body[2].clone(), body[1].clone(), body[3].clone(), body[4].clone()];
    let twice = [body, &[body[1].clone()]].concat();
    let unknown = body[4].replace("ops.consumer_paused", "ops.vanished");
    let cases = [
        ("an empty file", String::new(), "ends before its trailer"),
        ("no trailer", body.join("\n") + "\n", "ends before its trailer"),
        ("a cut trailer", whole.trim_end().to_owned(), "ends before its trailer"),
        ("a cut line", whole[..whole.len() / 2].to_owned(), "ends before its trailer"),
        ("a changed byte", whole.replacen("\"sequence\":1", "\"sequence\":2", 1), "SHA-256"),
        ("a missing event", without(2).join("\n") + "\n" + &lines[5] + "\n", "position 2 is missing"),
        ("a hole", sealed(&without(2)), "position 2 is missing"),
        ("a missing last event", body[..4].join("\n") + "\n" + &lines[5] + "\n", "the trailer says"),
        ("two swapped", sealed(&swapped), "position 1 is missing"),
        ("one twice", sealed(&twice), "position 5 is missing"),
        ("no header", sealed(&without(0)), "wrong place"),
        ("two headers", sealed(&[&body[..1], body].concat()), "wrong place"),
        ("more after the trailer", whole.clone() + &body[1] + "\n", "after the trailer"),
        ("another version", sealed(&[&[body[0].replace(":1", ":2")], &body[1..]].concat()), "version 2"),
        ("an unknown event", sealed(&[&body[..4], &[unknown]].concat()), "ops.vanished"),
        ("a hole in a stream", sealed(&streams_with_a_hole(body)), "has a hole"),
        ("something else", "{\"type\":\"x\"}\n".to_owned(), "no record"),
    ];
    let target = empty().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("log").to_str().unwrap().to_owned();
    for (what, content, why) in cases {
        std::fs::write(&file, content).unwrap();
        let refused = run(&target, &["import", &file]).await;
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{what}: {said}");
        assert!(said.contains(why), "{what}: {said}");
        for table in ["events", "claims", "idempotency_keys", "consumers"] {
            assert_eq!(count(target.pool(), table).await, 0, "{what} left {table}");
        }
    }
    std::fs::write(&file, whole).unwrap();
    good(&target, &["import", &file]).await;
    let again = run(&target, &["import", &file]).await;
    assert!(text(&again.stderr).contains("not empty"), "{}", text(&again.stderr));
    assert_eq!(count(target.pool(), "events").await, 5, "four, and that they were imported");
}

#[tokio::test]
async fn an_import_that_is_killed_leaves_nothing() {
    let (_db, lines) = lines().await;
    let target = empty().await;
    let mut tool = Command::new(tests::app::program("replay-tool"));
    let tool =
        tool.arg("import").env("DATABASE_URL", target.url()).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut tool = tool.kill_on_drop(true).spawn().unwrap();
    let mut input = tool.stdin.take().unwrap();
    input.write_all((lines[..5].join("\n") + "\n").as_bytes()).await.unwrap();
    let locked = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted
                                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
    let is_at_it = async || sqlx::query_scalar::<_, bool>(locked).fetch_one(target.pool()).await.unwrap();
    while !is_at_it().await {
        tokio::task::yield_now().await;
    }
    tool.kill().await.unwrap();
    while is_at_it().await {
        tokio::task::yield_now().await;
    }
    assert_eq!(count(target.pool(), "events").await, 0);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("log").to_str().unwrap().to_owned();
    std::fs::write(&file, lines.join("\n") + "\n").unwrap();
    good(&target, &["import", &file]).await;
}

/// Two events of one stream, the second with number 3.
fn streams_with_a_hole(body: &[String]) -> Vec<String> {
    let id = |line: &str| {
        serde_json::from_str::<Value>(line).unwrap()["event"]["aggregateId"].as_str().unwrap().to_owned()
    };
    let second = body[2].replace(&id(&body[2]), &id(&body[1])).replace("\"sequence\":1", "\"sequence\":3");
    vec![body[0].clone(), body[1].clone(), second, body[3].clone(), body[4].clone()]
}

#[tokio::test]
async fn a_part_of_a_log_is_a_log_and_keys_travel_only_when_asked() {
    let (db, lines) = lines().await;
    sqlx::query("INSERT INTO data_keys (owner, provider, wrapped, created_at) VALUES ('system', 'p', '\\x00ff', now())")
        .execute(db.pool())
        .await
        .unwrap();
    let part = good(&db, &["export", "--until", "2"]).await;
    assert_eq!(text(&part).lines().count(), 4);
    assert_eq!(text(&part).lines().take(3).collect::<Vec<_>>(), lines[..3]);
    assert!(!text(&part).contains("{\"key\""));
    assert_eq!(count(db.pool(), "events").await, 4, "an export without keys writes nothing");
    let beyond = run(&db, &["export", "--until", "5"]).await;
    assert_eq!(beyond.status.code(), Some(1));
    let with_keys = good(&db, &["export", "--with-keys"]).await;
    assert!(text(&with_keys).contains("\"wrapped\":\"00ff\""), "{}", text(&with_keys));
    assert_eq!(text(&with_keys).lines().count(), 7, "what was there when it was asked for");
    let nothing = good(&empty().await, &["export"]).await;
    assert_eq!(text(&nothing).lines().count(), 2, "an empty log has a header and a trailer");
}
