//! Memory of the server while far more is sent than it takes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::Utc;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::clickhouse::ClickHouse;
use tests::client::Client;

use super::World;
use crate::measure::{Figure, forget_peak, memory};

/// Projects that send.
const SENDERS: usize = 4;
/// Bodies of each that are under way.
const AT_ONCE: usize = 16;
/// Bytes of a body, about.
const BODY: usize = 7 << 20;
/// Bytes of what a span says.
const SAID: usize = 4096;
/// How long.
const TIME: Duration = Duration::from_secs(20);

pub(super) async fn figure() -> Figure {
    let engine = ClickHouse::start().await;
    let app = TestApp::start_with(&engine.settings()).await;
    let world = World::of(&app, SENDERS).await;
    for (project, sender) in &world.projects {
        sender
            .post(&format!("//projects/{}/ai/spans/publish", project.id), json!({ "spans": [] }))
            .await
            .expect(200);
    }
    let before = forget_peak(app.pid());
    let until = Instant::now() + TIME;
    let all = world.projects.iter().enumerate().flat_map(|(n, (project, sender))| {
        (0..AT_ONCE).map(move |k| {
            flood(sender, format!("//projects/{}/ai/spans/publish", project.id), n * AT_ONCE + k, until)
        })
    });
    let mut answers = BTreeMap::new();
    for (status, count) in join_all(all).await.into_iter().flatten() {
        *answers.entry(status).or_insert(0) += count;
    }
    let (taken, told) = (answers.remove(&200).unwrap_or(0), answers.remove(&503).unwrap_or(0));
    assert!(taken > 0 && told > 0, "it was no overload: {taken} taken, {told} to come again");
    assert!(answers.is_empty(), "other answers: {answers:?}");
    let more = memory(app.pid(), "VmHWM:") - before;
    let name = format!("more memory while {} bodies of 7 MiB are sent at a time", SENDERS * AT_ONCE);
    Figure::limit(&name, more, "MiB", 200.0)
}

/// Sends one body after the other; how often each status came.
async fn flood(sender: &Client, path: String, who: usize, until: Instant) -> BTreeMap<u16, u32> {
    let mut answers = BTreeMap::new();
    let mut sent = 0;
    while Instant::now() < until {
        let body = spans(who, sent);
        sent += 1;
        let request =
            sender.request(Method::POST, &path).header("content-type", "application/json").body(body);
        // Whoever is told to come again before all is sent may find the connection closed instead.
        let status = request.send().await.map_or(503, |answer| answer.status().as_u16());
        *answers.entry(status).or_insert(0) += 1;
    }
    answers
}

fn spans(who: usize, round: usize) -> String {
    let now = Utc::now();
    let spans = (0..BODY / SAID).map(|n| {
        let id = (((who as u128) << 64) | ((round as u128) << 32) | n as u128) + 1;
        json!({ "traceId": format!("{id:032x}"), "spanId": format!("{:016x}", n + 1), "name": "chat", "startedAt": now,
                "endedAt": now, "attributes": { "said": "x".repeat(SAID - 250), "list": [1, 2, 3] } })
    });
    json!({ "spans": spans.collect::<Vec<Value>>() }).to_string()
}
