//! What everybody else notices of a store that is away while 1,000 rows come a second, and what becomes of the rows.

use std::time::{Duration, Instant};

use chrono::Utc;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::clickhouse::ClickHouse;
use tests::client::Client;
use tests::world::Project;
use tokio::time::MissedTickBehavior;

use super::World;
use crate::measure::{Figure, percentile};

/// How many seconds the store is away, by the environment; it is there for as long before.
const SECONDS: &str = "BENCH_OUTAGE_SECONDS";
/// Rows of a batch, ten of which come a second.
const BATCH: u32 = 100;
const BEAT: Duration = Duration::from_millis(100);
/// Somebody else asks this often.
const ASK: Duration = Duration::from_millis(20);

pub(super) async fn figures() -> Vec<Figure> {
    let seconds = std::env::var(SECONDS).ok().map_or(60, |text| text.parse().expect("a number of seconds"));
    let time = Duration::from_secs(seconds);
    let mut engine = ClickHouse::start().await;
    let app = TestApp::start_with(&engine.settings()).await;
    let world = World::of(&app, 1).await;
    let mut sent = 0;
    meanwhile(&world, &mut sent, Duration::from_secs(5)).await; // the schema, plans, files
    let there = meanwhile(&world, &mut sent, time).await;
    engine.kill().await;
    meanwhile(&world, &mut sent, Duration::from_secs(10)).await; // some wait for the store before it is known to be away
    let away = meanwhile(&world, &mut sent, time).await;
    let start = Instant::now();
    engine.start_again().await;
    app.wait_until("nothing waits", Duration::from_secs(600), async || {
        let ready = app.nobody().get("//api/ready").await;
        ready.body["telemetry"]["waiting"]["rows"] == 0
    })
    .await;
    let drained = start.elapsed();
    let stored = engine.ask("SELECT count(), uniqExact(id) FROM log_records").await;
    assert_eq!(stored, format!("{sent}\t{sent}"), "each row once");
    let figure = |name: &str, there: f64, away: f64| {
        Figure::at_most(
            format!("{name}, p95, while the store is away for {seconds} s at 1,000 rows/s"),
            away,
            "ms",
            format!("{there:.1} ms with it"),
            away / there,
            1.1,
        )
    };
    let name = format!("until {} rows that waited are stored, each once", seconds * 1000);
    vec![
        figure("answer of the API", percentile(there.0, 95), percentile(away.0, 95)),
        figure("answer to who sends", percentile(there.1, 95), percentile(away.1, 95)),
        Figure::limit(&name, drained.as_secs_f64(), "s", seconds as f64),
    ]
}

/// Answers to somebody else, and to who sends.
async fn meanwhile(world: &World, sent: &mut u32, time: Duration) -> (Vec<Duration>, Vec<Duration>) {
    let (project, sender) = &world.projects[0];
    tokio::join!(ask(&world.owner, project, time), send(sender, project, sent, time))
}

async fn ask(client: &Client, project: &Project, time: Duration) -> Vec<Duration> {
    let (mut beat, begun, mut times) = (tokio::time::interval(ASK), Instant::now(), Vec::new());
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while begun.elapsed() < time {
        beat.tick().await;
        let start = Instant::now();
        client.get(&format!("/projects/{}", project.id)).await.expect(200);
        times.push(start.elapsed());
    }
    times
}

async fn send(sender: &Client, project: &Project, sent: &mut u32, time: Duration) -> Vec<Duration> {
    let (mut beat, begun, mut times) = (tokio::time::interval(BEAT), Instant::now(), Vec::new());
    while begun.elapsed() < time {
        beat.tick().await;
        let lines: Vec<Value> = (*sent..*sent + BATCH)
            .map(|n| {
                let id = format!("{:032x}", n + 1);
                json!({ "logId": id, "timestamp": Utc::now(), "level": "info", "message": format!("Asked the weather of town {n}") })
            })
            .collect();
        let start = Instant::now();
        let answer = sender
            .post(&format!("//projects/{}/ai/logs/publish", project.id), json!({ "logs": lines }))
            .await;
        assert_eq!(answer.expect(200)["accepted"], BATCH);
        times.push(start.elapsed());
        *sent += BATCH;
    }
    times
}
