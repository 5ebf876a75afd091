//! How soon what was sent can be read.

use std::time::{Duration, Instant};

use chrono::Utc;
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::json;
use tests::app::TestApp;
use tests::clickhouse::ClickHouse;

use super::World;
use crate::measure::{Figure, percentile};

const ROUNDS: u32 = 100;

pub(super) async fn figures() -> Vec<Figure> {
    let engine = ClickHouse::start().await;
    let mut figures = Vec::new();
    for (store, settings) in [("ClickHouse", engine.settings()), ("PostgreSQL", vec![])] {
        let app = TestApp::start_with(&settings).await;
        let world = World::of(&app, 1).await;
        let name = format!("span sent until it is read, {store}, p99");
        figures.push(Figure::limit(&name, percentile(sent_to_read(&world).await, 99), "ms", 2000.0));
        let name = format!("line sent until a live tail shows it, {store}, p99");
        figures.push(Figure::limit(&name, percentile(sent_to_shown(&world).await, 99), "ms", 1000.0));
    }
    figures
}

async fn sent_to_read(world: &World) -> Vec<Duration> {
    let (project, sender) = &world.projects[0];
    let mut times = Vec::new();
    for n in 1..=ROUNDS {
        let (trace, now) = (format!("{n:032x}"), Utc::now());
        let span = json!({ "traceId": trace, "spanId": format!("{n:016x}"), "name": "x", "startedAt": now, "endedAt": now });
        let start = Instant::now();
        sender
            .post(&format!("//projects/{}/ai/spans/publish", project.id), json!({ "spans": [span] }))
            .await
            .expect(200);
        while world.owner.get(&format!("/projects/{}/traces/{trace}", project.id)).await.status != 200 {
            assert!(start.elapsed() < Duration::from_secs(30), "it is never read");
        }
        times.push(start.elapsed());
    }
    times
}

async fn sent_to_shown(world: &World) -> Vec<Duration> {
    let (project, sender) = &world.projects[0];
    let path = format!("/projects/{}/logs/stream", project.id);
    let mut stream = world.owner.request(Method::GET, &path).send().await.expect("it answers").bytes_stream();
    let mut times = Vec::new();
    for n in 1..=ROUNDS {
        let word = format!("line-{n}-end");
        let line = json!({ "logId": format!("{n:032x}"), "timestamp": Utc::now(), "level": "info", "message": word });
        let start = Instant::now();
        sender
            .post(&format!("//projects/{}/ai/logs/publish", project.id), json!({ "logs": [line] }))
            .await
            .expect(200);
        let mut seen = String::new();
        while !seen.contains(&word) {
            let chunk = tokio::time::timeout(Duration::from_secs(30), stream.next()).await;
            seen.push_str(&String::from_utf8_lossy(
                &chunk.expect("in time").expect("not the end").expect("bytes"),
            ));
        }
        times.push(start.elapsed());
    }
    times
}
