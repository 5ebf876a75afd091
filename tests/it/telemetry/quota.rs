//! How much telemetry a project may bring a day: Mastra's exporter and OpenTelemetry are told each in their own way when it is
//! enough, and two servers count together.

use chrono::Utc;
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::{Answer, Client};
use tests::people::join;
use tests::world::Project;

use super::open;

const MASTRA: &str = include_str!("../../fixtures/telemetry/mastra-spans.json");

/// Lines with these ids.
async fn send(sender: &Client, project: &Project, ids: std::ops::Range<u32>) -> Answer {
    let now = Utc::now();
    let line =
        |n: u32| json!({ "logId": format!("{n:032x}"), "timestamp": now, "level": "info", "message": "x" });
    let lines: Vec<Value> = ids.map(line).collect();
    sender.post(&format!("//projects/{}/ai/logs/publish", project.id), json!({ "logs": lines })).await
}

async fn otlp(sender: &Client, rows: usize) -> Answer {
    let now = Utc::now().timestamp_nanos_opt().unwrap();
    let line =
        |n: usize| json!({ "timeUnixNano": now.to_string(), "body": { "stringValue": n.to_string() } });
    let lines: Vec<Value> = (0..rows).map(line).collect();
    let body = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": lines }] }] });
    sender.post("//v1/logs", body).await
}

async fn today(owner: &Client, project: &Project) -> Value {
    owner.get(&format!("/projects/{}/telemetry-quota", project.id)).await.expect(200)["rowsToday"].clone()
}

#[tokio::test]
async fn what_is_enough_is_told_to_each_sender_in_its_own_way() {
    let app = TestApp::start_with(&[("MASTRA_ADMIN_TELEMETRY_DAYS", "3650")]).await;
    let (owner, project, sender) = open(&app).await;
    let path = format!("/projects/{}/telemetry-quota", project.id);
    let shown = owner.get(&path).await.expect(200);
    assert_eq!((&shown["rowsPerDay"], &shown["rowsToday"]), (&Value::Null, &json!(0)));
    for odd in [json!(0), json!(-1), json!("7"), json!(1.5)] {
        let answer = owner.put(&path, json!({ "rowsPerDay": odd })).await;
        assert_eq!(
            (answer.status, answer.text.contains("rowsPerDay")),
            (422, true),
            "{odd}: {}",
            answer.text
        );
    }
    send(&sender, &project, 0..50).await.expect(200);
    assert_eq!(today(&owner, &project).await, 0, "nobody counts what may be any number");
    assert_eq!(owner.put(&path, json!({ "rowsPerDay": 40 })).await.expect(200)["rowsPerDay"], 40);

    // As Mastra's exporter sends it, and again: what is known already does not count.
    let spans = format!("//projects/{}/ai/spans/publish", project.id);
    let publish = async |body: &str| {
        let request = sender.request(Method::POST, &spans).header("content-type", "application/json");
        let request = request.header("x-mastra-observability-capabilities", "quota-pause-v1");
        Client::send(request.body(body.to_owned())).await
    };
    for _ in 0..2 {
        assert_eq!(publish(MASTRA).await.expect(200)["accepted"], 21);
        assert_eq!(today(&owner, &project).await, 21);
    }
    publish(r#"{"spans":[]}"#).await.expect(200);
    // A batch that begins below the limit is taken in as a whole.
    otlp(&sender, 30).await.expect(200);
    assert_eq!(today(&owner, &project).await, 51);

    // The exporter pauses for so long, and then probes with an empty batch.
    for body in [MASTRA, r#"{"spans":[]}"#] {
        let paused = publish(body).await;
        assert_eq!((paused.status, &paused.body["code"]), (402, &json!("telemetry_quota")));
        let seconds = paused.headers["x-mastra-observability-retry-after"].to_str().unwrap();
        assert!((1..=300).contains(&seconds.parse::<u32>().unwrap()), "{seconds}");
    }
    let slowed = otlp(&sender, 1).await;
    assert_eq!((slowed.status, slowed.headers.contains_key("retry-after")), (429, true));
    let score = json!({ "name": "relevance", "value": 1 });
    assert_eq!(sender.post(&format!("/projects/{}/scores", project.id), score).await.status, 429);
    assert_eq!(today(&owner, &project).await, 51, "what was refused does not count");
    let stored: i64 =
        sqlx::query_scalar("SELECT count(*) FROM log_records").fetch_one(app.db.pool()).await.unwrap();
    assert_eq!(stored, 80);

    owner.put(&path, json!({ "rowsPerDay": 100 })).await.expect(200);
    publish(r#"{"spans":[]}"#).await.expect(200);
    otlp(&sender, 1).await.expect(200);
    owner.put(&path, json!({ "rowsPerDay": null })).await.expect(200);
    send(&sender, &project, 100..300).await.expect(200);
    let admin = join(&app, &owner, "admin@example.org", Some(("acme", "admin"))).await;
    assert_eq!(admin.put(&path, json!({ "rowsPerDay": 1 })).await.status, 403, "what costs is for owners");
    assert_eq!(admin.get(&path).await.status, 200);
}

#[tokio::test]
async fn two_servers_count_together() {
    let app = TestApp::start().await;
    let (owner, project, sender) = open(&app).await;
    let path = format!("/projects/{}/telemetry-quota", project.id);
    owner.put(&path, json!({ "rowsPerDay": 200 })).await.expect(200);
    let another = app.another().await;
    let other = sender.at(&another.url);
    let turns = (0..80).map(|n| {
        let to = if n % 2 == 0 { &sender } else { &other };
        send(to, &project, n * 5..n * 5 + 5)
    });
    let answers = futures_util::future::join_all(turns).await;
    let taken = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(taken, 40, "no batch more");
    assert!(answers.iter().all(|answer| [200, 402].contains(&answer.status)));
    let stored: i64 =
        sqlx::query_scalar("SELECT count(*) FROM log_records").fetch_one(app.db.pool()).await.unwrap();
    assert_eq!((stored, today(&owner, &project).await), (200, json!(200)));
}
