//! Telemetry as files, and pages of large rows.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use futures_util::StreamExt;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::clickhouse::ClickHouse;
use tests::client::Client;
use tests::world::Project;

use super::open;

/// Lines of so many bytes, with large attributes: more than one page has room for.
const LARGE: usize = 250_000;
const LINES: usize = 120;

#[tokio::test]
async fn an_export_has_every_row_and_says_that_it_is_whole() {
    exported(&[]).await;
}

#[tokio::test]
async fn an_export_out_of_clickhouse_has_every_row_and_says_that_it_is_whole() {
    let engine = ClickHouse::some().await;
    exported(&engine.settings()).await;
}

/// The rows of an export, without its end, which counts them.
async fn rows(client: &Client, path: &str) -> Vec<Value> {
    let file = client.get(path).await;
    assert_eq!((file.status, &file.headers["content-type"]), (200, &"application/x-ndjson".parse().unwrap()));
    let mut rows: Vec<Value> = file.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.pop(), Some(json!({ "end": { "rows": rows.len() } })));
    rows
}

async fn publish(sender: &Client, project: &Project, what: &str, body: Value) {
    sender.post(&format!("//projects/{}/ai/{what}/publish", project.id), body).await.expect(200);
}

async fn exported(store: &[(&str, &str)]) {
    let app = TestApp::start_with(store).await;
    let (owner, project, sender) = open(&app).await;
    let now = Utc::now();
    let span = |n: i64| {
        let at = now - TimeDelta::milliseconds(n);
        json!({ "traceId": format!("{:032x}", 1 + n / 3), "spanId": format!("{:016x}", n + 1), "startedAt": at, "endedAt": at,
                "name": if n % 2 == 0 { "even" } else { "odd" } })
    };
    let spans: Vec<Value> = (0..2100).map(span).collect();
    publish(&sender, &project, "spans", json!({ "spans": spans })).await;
    // The first by a clock that is half an hour ahead.
    let line = |n: i64| json!({ "timestamp": now - TimeDelta::seconds(n), "level": "warn", "message": format!("line {n}") });
    publish(&sender, &project, "logs", json!({ "logs": Vec::from([-1800, 0, 1, 2].map(line)) })).await;
    owner.get(&format!("/projects/{}/stats", project.id)).await.expect(200);
    let score = json!({ "id": "s-1", "name": "relevance", "value": 0.5 });
    sender.post(&format!("/projects/{}/scores", project.id), score).await.expect(200);

    let path = |what: &str| format!("/projects/{}/{what}", project.id);
    let all = rows(&owner, &path("spans/export")).await;
    let ids: Vec<i64> =
        all.iter().map(|row| i64::from_str_radix(row["spanId"].as_str().unwrap(), 16).unwrap()).collect();
    assert_eq!(ids, (1..=2100).collect::<Vec<_>>(), "each once, newest first");
    assert_eq!((&all[0]["traceId"], &all[0]["name"]), (&json!(format!("{:032x}", 1)), &json!("even")));
    assert_eq!(rows(&owner, &path("spans/export?name=odd")).await.len(), 1050);
    let lines = rows(&owner, &path("logs/export?level=warn")).await;
    assert_eq!((lines.len(), &lines[0]["message"]), (4, &json!("line -1800")));
    assert_eq!(lines, *owner.get(&path("logs")).await.expect(200)["items"].as_array().unwrap());
    let scores = rows(&owner, &path("scores/export")).await;
    assert_eq!(scores, *owner.get(&path("scores")).await.expect(200)["items"].as_array().unwrap());
    assert_eq!(rows(&owner, &path("logs/export?to=2020-01-01T00:00:00Z")).await, Vec::<Value>::new());

    // Each was recorded, with what it was narrowed by and not what for.
    app.settle().await;
    let taken = owner.get("/teams/acme/audit?action=access.telemetry_exported").await.expect(200);
    let taken: Vec<_> = taken["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (row["after"]["signal"].as_str().unwrap(), row["after"]["filters"].clone(), &row["resourceId"])
        })
        .collect();
    let id = json!(project.id);
    let wanted = [
        ("logs", json!([])),
        ("scores", json!([])),
        ("logs", json!(["level"])),
        ("spans", json!(["name"])),
        ("spans", json!([])),
    ];
    assert_eq!(taken, wanted.map(|(signal, filters)| (signal, filters, &id)));
    for (odd, field) in [
        ("spans/export?limit=5", "limit"),
        ("spans/export?status=x", "status"),
        ("scores/export?cursor=1-1", "cursor"),
        ("logs/export?around=7", "around"),
    ] {
        let answer = owner.get(&path(odd)).await;
        assert_eq!((answer.status, &answer.body["errors"][0]["field"]), (422, &json!(field)), "{odd}");
    }
    let url = app.repository("tiny", "other");
    let other = tests::world::project(&owner, "acme", "other", &url, json!({})).await;
    large(&owner, [&project, &other], &sender).await;
}

/// A page of large lines is short and goes on; exports wait for who reads them, and end with him.
async fn large(owner: &Client, [project, other]: [&Project; 2], sender: &Client) {
    let at = Utc::now() - TimeDelta::hours(2);
    let line = |n: usize| {
        let data: serde_json::Map<String, Value> =
            (0..8).map(|k| (format!("k{k}"), "x".repeat(LARGE / 8).into())).collect();
        json!({ "timestamp": at + TimeDelta::seconds(n as i64), "level": "info", "message": format!("large {n}"), "data": data })
    };
    for some in (0..LINES).collect::<Vec<_>>().chunks(20) {
        let lines: Vec<Value> = some.iter().map(|n| line(*n)).collect();
        publish(sender, project, "logs", json!({ "logs": lines })).await;
    }
    let (mut seen, mut pages, mut cursor) = (vec![], 0, String::new());
    loop {
        let page = owner.get(&format!("/projects/{}/logs?text=large&limit=50{cursor}", project.id)).await;
        assert!(page.text.len() < 10 << 20, "{}", page.text.len());
        let page = page.expect(200);
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|it| it["message"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, (0..LINES).rev().map(|n| format!("large {n}")).collect::<Vec<_>>());
    assert!(pages >= 2, "{pages}");

    let path = format!("/projects/{}/logs/export", project.id);
    let ask = || owner.request(Method::GET, &path).send();
    let mut held = Vec::new();
    for begun in join_all((0..2).map(|_| ask())).await {
        let begun = begun.unwrap();
        assert_eq!(begun.status(), 200);
        let mut body = begun.bytes_stream();
        body.next().await.unwrap().unwrap();
        held.push(body);
    }
    let refused = ask().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), refused.headers().get("retry-after")),
        (503, Some(&"30".parse().unwrap()))
    );
    assert_eq!(rows(owner, &format!("/projects/{}/logs/export", other.id)).await, Vec::<Value>::new());
    drop(held);
    let again = async {
        while ask().await.unwrap().status() != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), again).await.expect("who goes away makes room");
}
