//! How much telemetry a project may bring a day: Mastra's exporter and OpenTelemetry are told each in their own way when it is
//! enough, and two servers count together.

use chrono::Utc;
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::{Answer, Client};
use tests::node::Told;
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

/// The exporter as npm has it: it drops what it has, pauses for as long as it was told, and asks with an empty batch; once
/// there is room again, it sends what comes from then on, and nothing of before.
#[tokio::test]
async fn mastras_exporter_pauses_when_it_was_enough_and_sends_again_when_there_is_room() {
    let app = TestApp::start().await;
    let (owner, project, sender) = open(&app).await;
    let path = format!("/projects/{}/telemetry-quota", project.id);
    owner.put(&path, json!({ "rowsPerDay": 1 })).await.expect(200);
    send(&sender, &project, 0..1).await.expect(200);
    let mut agent = Told::start(
        "quota.mjs",
        &[
            ("MASTRA_PLATFORM_OBSERVABILITY_ENDPOINT", &app.url),
            ("MASTRA_PLATFORM_ACCESS_TOKEN", sender.token().unwrap()),
            ("MASTRA_PROJECT_ID", &project.id),
        ],
    )
    .await;
    assert_eq!(agent.next().await, "paused");
    let traces = async || owner.get(&format!("/projects/{}/traces", project.id)).await.expect(200);
    assert_eq!((traces().await["items"].clone(), today(&owner, &project).await), (json!([]), json!(1)));
    owner.put(&path, json!({ "rowsPerDay": null })).await.expect(200);

    let told: Value = serde_json::from_str(&agent.next().await).unwrap();
    let requests = told["requests"].as_array().unwrap();
    let is_probe = |it: &&Value| it["rows"] == 0;
    let first_probe = requests.iter().position(|it| it["rows"] == 0).unwrap();
    let (before, after) = requests.split_at(first_probe);
    // Spans, lines and measurements of the first answers, each tried once.
    assert!((1..=6).contains(&before.len()), "{told}");
    assert!(before.iter().all(|it| it["status"] == 402 && it["capabilities"] == "quota-pause-v1"), "{told}");
    let (probes, sent): (Vec<&Value>, Vec<&Value>) = after.iter().partition(is_probe);
    let (last, refused) = probes.split_last().unwrap();
    assert!(!refused.is_empty() && refused.iter().all(|it| it["status"] == 402), "{told}");
    assert_eq!((&last["status"], &last["signal"]), (&json!(200), &json!("spans")));
    // Nothing but probes until then, at the pace it was told.
    let resumed = after.iter().position(|it| it["status"] == 200).unwrap();
    assert!(after[..resumed].iter().all(|it| it["rows"] == 0), "{told}");
    assert!(sent.iter().all(|it| it["status"] == 200) && !sent.is_empty(), "{told}");
    let asked = |it: &&Value| it["retryAfter"].as_str().unwrap().parse::<u64>().unwrap() * 1000;
    let pauses: Vec<u64> = told["timers"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    assert_eq!(pauses[1..], refused.iter().map(asked).collect::<Vec<_>>(), "{told}");
    assert!(before.iter().map(|it| asked(&it)).any(|pause| pause == pauses[0]), "{told}");

    let shown = traces().await;
    let items = shown["items"].as_array().unwrap();
    assert!(
        !items.is_empty() && items.iter().all(|it| it["name"] == "agent run: 'weather-agent'"),
        "{shown}"
    );
}
