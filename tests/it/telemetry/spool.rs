//! A store that is away: what was answered with 200 waits on disk, survives kills, and is stored once; what there is no room
//! for is counted.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::Utc;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::clickhouse::ClickHouse;
use tests::client::{Answer, Client};
use tests::world::Project;

use super::open;
use crate::disk_full::Small;

const LONG: Duration = Duration::from_secs(60);

/// Lines with texts of so many bytes, each with its own id.
async fn send(sender: &Client, project: &Project, ids: std::ops::Range<u32>, bytes: usize) -> Answer {
    let now = Utc::now();
    // Nothing that packs well: a text of digits that follow from the id.
    let text = |n: u32| {
        let mut state = u64::from(n) + 1;
        let digits = (0..bytes).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'!' + u8::try_from((state >> 33) % 90).unwrap())
        });
        digits.collect::<String>()
    };
    let line = |n: u32| json!({ "logId": format!("{n:032x}"), "timestamp": now, "level": "info", "message": text(n) });
    let lines: Vec<Value> = ids.map(line).collect();
    sender.post(&format!("//projects/{}/ai/logs/publish", project.id), json!({ "logs": lines })).await
}

async fn span(sender: &Client, project: &Project, n: u32, name: &str) -> Answer {
    let now = Utc::now();
    let span = json!({ "traceId": format!("{n:032x}"), "spanId": format!("{n:016x}"), "name": name,
                       "startedAt": now, "endedAt": now });
    sender.post(&format!("//projects/{}/ai/spans/publish", project.id), json!({ "spans": [span] })).await
}

/// What waits, as operators are told.
async fn waiting(app: &TestApp) -> Value {
    app.nobody().get("//api/ready").await.expect(200)["telemetry"]["waiting"].clone()
}

async fn until_nothing_waits(app: &TestApp) {
    app.wait_until("nothing waits", LONG, async || waiting(app).await["rows"] == 0).await;
}

/// Rows that wait are there, by their files.
fn files(dir: &Path) -> Vec<PathBuf> {
    let is_file = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "rows");
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(is_file).collect()
}

#[tokio::test]
async fn what_was_taken_in_while_the_store_was_away_survives_kills_and_is_stored_once() {
    let mut engine = ClickHouse::start().await;
    let mut app = TestApp::start_with(&engine.settings()).await;
    let (owner, project, sender) = open(&app).await;
    send(&sender, &project, 0..10, 20).await.expect(200);
    engine.kill().await;
    // Partly what is known already.
    for n in 0..30 {
        send(&sender, &project, n * 10..n * 10 + 20, 20).await.expect(200);
    }
    span(&sender, &project, 1, "x").await.expect(200);
    let begun = Instant::now();
    send(&sender, &project, 0..1, 20).await.expect(200);
    assert!(begun.elapsed() < Duration::from_secs(4), "nobody waits for what is known to be away");
    assert_eq!(waiting(&app).await["rows"], 602);
    let ready = app.nobody().get("//api/ready").await.expect(200);
    assert_eq!((&ready["status"], &ready["telemetry"]["connected"]), (&json!("degraded"), &json!(false)));

    // A power cut in the middle of a record that nobody was told of.
    app.kill().await;
    let dir = app.dir.path().join("data/telemetry/0");
    let newest = files(&dir).into_iter().max().unwrap();
    let torn = [std::fs::read(&newest).unwrap(), vec![9; 57]].concat();
    std::fs::write(&newest, torn).unwrap();
    app.kill_and_restart().await;
    assert_eq!(waiting(&app).await["rows"], 602);
    let kept: Vec<_> = files(&dir).iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect();
    let metrics = app.nobody().get("//metrics").await.text;
    assert!(metrics.contains("mastra_admin_telemetry_waiting_rows 602"), "{metrics}");

    engine.start_again().await;
    until_nothing_waits(&app).await;
    let rows = async || engine.ask("SELECT count(), uniqExact(id) FROM log_records").await;
    assert_eq!(rows().await, "310\t310", "each once");
    assert_eq!(engine.ask("SELECT count() FROM spans").await, "1");
    assert_eq!(files(&dir), Vec::<PathBuf>::new(), "what is stored is gone from the disk");
    let owner = owner.at(&app.url);
    let shown = owner.get(&format!("/projects/{}/logs?limit=200", project.id)).await.expect(200);
    assert_eq!(shown["items"].as_array().unwrap().len(), 200);

    // Killed between storing and removing: it is stored anew, and known.
    app.kill().await;
    for (file, bytes) in kept {
        std::fs::write(file, bytes).unwrap();
    }
    app.kill_and_restart().await;
    until_nothing_waits(&app).await;
    assert_eq!(rows().await, "310\t310", "nothing twice");
    let metrics = app.nobody().get("//metrics").await.text;
    assert!(metrics.contains("mastra_admin_telemetry_late_rows{became=\"repeated\"} 602"), "{metrics}");
}

#[tokio::test]
async fn beyond_the_room_senders_are_told_to_come_again_and_every_row_is_counted() {
    let mut engine = ClickHouse::start().await;
    engine.kill().await;
    let settings = [&engine.settings()[..], &[("MASTRA_ADMIN_TELEMETRY_SPOOL_MIB", "1")]].concat();
    let app = TestApp::start_with(&settings).await;
    let (_, project, sender) = open(&app).await;
    let (mut kept, mut refused) = (0, 0);
    for n in 0..40 {
        let answer = send(&sender, &project, n * 50..n * 50 + 50, 1000).await;
        match answer.status {
            200 => kept += 50,
            _ => {
                assert_eq!((answer.status, answer.headers.contains_key("retry-after")), (503, true));
                refused += 50;
            }
        }
    }
    assert!(kept > 200 && refused > 200, "{kept} {refused}");
    let told = waiting(&app).await;
    assert_eq!((&told["rows"], &told["refusedRows"]), (&json!(kept), &json!(refused)));
    assert!(told["bytes"].as_u64().unwrap() <= 1 << 20, "{told}");
    assert_eq!(told["room"], 1 << 20);
    engine.start_again().await;
    until_nothing_waits(&app).await;
    assert_eq!(engine.ask("SELECT count() FROM log_records").await, kept.to_string());
    send(&sender, &project, 0..2000, 10).await.expect(200);
    assert_eq!(engine.ask("SELECT count(), uniqExact(id) FROM log_records").await, "2000\t2000");
    assert_eq!(app.nobody().get("//api/ready").await.expect(200)["status"], "ok");
}

#[tokio::test]
async fn a_disk_without_room_takes_nothing_in_and_is_used_again_when_it_has_some() {
    let mut engine = ClickHouse::start().await;
    engine.kill().await;
    let mut app = TestApp::start_with(&engine.settings()).await;
    let (_, project, sender) = open(&app).await;
    app.kill().await;
    let small = Small::mount(&app.dir.path().join("data/telemetry"), 1);
    app.kill_and_restart().await;
    let sender = sender.at(&app.url);
    let (mut kept, mut refused) = (0, 0);
    for n in 0..40 {
        match send(&sender, &project, n * 50..n * 50 + 50, 1000).await.status {
            200 => kept += 50,
            503 => refused += 50,
            other => panic!("{other}"),
        }
    }
    assert!(kept > 200 && refused > 200, "{kept} {refused}");
    let told = waiting(&app).await;
    assert_eq!((&told["rows"], &told["refusedRows"]), (&json!(kept), &json!(refused)));
    engine.start_again().await;
    until_nothing_waits(&app).await;
    assert_eq!(engine.ask("SELECT count() FROM log_records").await, kept.to_string());
    send(&sender, &project, 0..2000, 10).await.expect(200);
    assert_eq!(engine.ask("SELECT count(), uniqExact(id) FROM log_records").await, "2000\t2000");
    app.kill().await;
    drop(small);
}

#[tokio::test]
async fn a_store_that_is_too_slow_is_waited_for_once_and_a_row_that_it_refuses_holds_up_no_other() {
    let app = TestApp::start().await;
    let (owner, project, sender) = open(&app).await;
    let mut lock = app.db.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE spans IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    for (n, name) in [(1, "good"), (2, "bad"), (3, "good")] {
        let begun = Instant::now();
        span(&sender, &project, n, name).await.expect(200);
        assert!(n == 1 || begun.elapsed() < Duration::from_secs(4), "{n}: {:?}", begun.elapsed());
    }
    assert_eq!(waiting(&app).await["rows"], 3);
    let rule = "ALTER TABLE spans ADD CONSTRAINT good CHECK (name <> 'bad') NOT VALID";
    sqlx::query(rule).execute(&mut *lock).await.unwrap();
    lock.commit().await.unwrap();
    until_nothing_waits(&app).await;
    let stats = owner.get(&format!("/projects/{}/stats", project.id)).await.expect(200);
    assert_eq!(stats["traces"], 2);
    let ready = app.nobody().get("//api/ready").await.expect(200);
    assert_eq!(ready["telemetry"]["waiting"]["setAsideRows"], 1);
    assert_eq!(ready["status"], "degraded", "an operator has to look at it");
    let direct = async || span(&sender, &project, 4, "bad").await.status == 400;
    app.wait_until("the store is asked again", LONG, direct).await;
}

#[tokio::test]
async fn what_is_too_much_at_once_is_stored_by_halves() {
    let app = TestApp::start().await;
    let (_, project, sender) = open(&app).await;
    // As a statement ends that takes too long.
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                  IF (SELECT count(*) FROM fresh) > 3 THEN
                    RAISE EXCEPTION 'canceling statement due to statement timeout' USING ERRCODE = '57014';
                  END IF;
                  RETURN NULL;
                END $$";
    let when = "CREATE TRIGGER slow AFTER INSERT ON log_records REFERENCING NEW TABLE AS fresh
                FOR EACH STATEMENT EXECUTE FUNCTION slow()";
    for sql in [slow, when] {
        sqlx::query(sql).execute(app.db.pool()).await.unwrap();
    }
    send(&sender, &project, 0..10, 20).await.expect(200);
    until_nothing_waits(&app).await;
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM log_records").fetch_one(app.db.pool()).await.unwrap();
    assert_eq!((rows, &waiting(&app).await["setAsideRows"]), (10, &json!(0)));
}
