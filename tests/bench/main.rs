//! Measures the platform against its goals, on the real program with a real PostgreSQL (fsync off for tests
//! only where the kit's cluster says so), and writes `bench-results.json` at the root of the checkout.
//!
//! Every figure is a ratio, to a limit or to a peer in the same run.

mod append;
mod asleep;
mod audit;
mod hostile;
mod measure;
mod permissions;
mod queue;
mod rebuild;
mod router;
mod telemetry;
mod webhooks;

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use measure::{Figure, memory, percentile};
use serde_json::json;
use tests::app::TestApp;
use tests::client::Client;
use tests::repository;
use tests::world::{Project, project, team, team_and_project};

/// The groups of figures, by the name that selects one: `cargo bench … -- append`.
const GROUPS: [&str; 11] = [
    "platform",
    "append",
    "audit",
    "permissions",
    "queue",
    "webhooks",
    "router",
    "hostile",
    "ingest",
    "telemetry",
    "rebuild",
];

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [append::WRITER, url, writers] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return append::write(url, writers.parse().expect("a number")).await;
    }
    if let [router::PROXY, to] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return router::bare_proxy(to).await;
    }
    let wanted = |group: &&str| arguments.is_empty() || arguments.iter().any(|argument| argument == group);
    let mut figures = Vec::new();
    for group in GROUPS.into_iter().filter(wanted) {
        figures.extend(match group {
            "append" => append::figures().await,
            "audit" => audit::figures().await,
            "permissions" => permissions::figures().await,
            "queue" => queue::figures().await,
            "webhooks" => webhooks::figures().await,
            "hostile" => hostile::figures().await,
            "router" => router::figures().await,
            "ingest" => telemetry::ingest::figures().await,
            "telemetry" => telemetry::figures().await,
            "rebuild" => rebuild::figures().await,
            _ => platform().await,
        });
    }
    measure::publish(&figures);
}

async fn platform() -> Vec<Figure> {
    vec![
        idle_memory().await,
        command_latency().await,
        build_start().await,
        deployment_overhead().await,
        log_line_to_client().await,
    ]
}

/// Resident memory of a server that does nothing.
async fn idle_memory() -> Figure {
    let app = TestApp::start().await;
    app.owner().await;
    app.settle().await;
    Figure::limit("idle server, resident memory", memory(app.pid(), "VmRSS:"), "MiB", 60.0)
}

/// A command answered with its query tables caught up, at 8 clients.
async fn command_latency() -> Figure {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let repository = app.repository("tiny", "tiny");
    let clients = join_all((0..8).map(|n| {
        let (owner, repository) = (owner.clone(), repository.clone());
        async move {
            let it = project(&owner, "acme", &format!("agent-{n}"), &repository, json!({})).await;
            let mut times = Vec::new();
            for k in 0..100 {
                let path = format!("/projects/{}/env-vars/KEY_{}", it.id, k % 50);
                let start = Instant::now();
                let answer = owner.put(&path, json!({ "value": format!("{k}"), "sensitive": false })).await;
                times.push(start.elapsed());
                assert_eq!(answer.status, 200, "{}", answer.text);
                assert!(!answer.headers.contains_key("x-projection-lag"), "the tables were not caught up");
            }
            times
        }
    }))
    .await;
    let times = clients.into_iter().flatten().collect();
    Figure::limit("command with its tables caught up, p99 at 8 clients", percentile(times, 99), "ms", 60.0)
}

/// `build.requested` to `build.started`, as the log has them.
async fn build_start() -> Figure {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    let sleep = r#"{ "version": "1", "sleep": 600000 }"#;
    repository::change(&app.repositories().join("tiny"), &[("behaviour.json", sleep)]);
    for _ in 0..30 {
        let build = it.build(&owner).await;
        let at = format!("/builds/{build}");
        app.until_status(&owner, &at, &["building"]).await;
        owner.post(&format!("{at}/cancel"), json!({})).await;
        app.until_status(&owner, &at, &["cancelled"]).await;
        app.settle().await;
    }
    let times = between(&app, "build.requested", "build.started").await;
    Figure::limit("build requested to process started, p99", percentile(times, 99), "ms", 100.0)
}

/// From an artifact that is ready to a route that is switched, without the server's own start.
async fn deployment_overhead() -> Figure {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    let first = it.deployed(&app, &owner).await;
    let own_start = measure::own_start(&app.repositories().join("tiny")).await;
    for _ in 0..10 {
        let build = json!({ "buildId": first["buildId"] });
        let path = format!("/environments/{}/deployments", it.production);
        let made = owner.post(&path, build).await.expect(202);
        let id = made["id"].as_str().expect("an id").to_owned();
        app.until_status(&owner, &format!("/deployments/{id}"), &["running"]).await;
    }
    let times = between(&app, "deployment.requested", "deployment.activated").await;
    let overhead = percentile(times, 50) - own_start.as_secs_f64() * 1000.0;
    Figure::limit("deployment without the server's own start, p50", overhead, "ms", 300.0)
}

/// A line from the server's standard output to a client of the live stream.
async fn log_line_to_client() -> Figure {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    let deployment = it.deployed(&app, &owner).await;
    let stream = format!("/deployments/{}/logs/stream", deployment["id"].as_str().expect("an id"));
    let response = owner.request(reqwest::Method::GET, &stream).send().await.expect("it answers");
    let mut body = response.bytes_stream();
    let mut times = Vec::new();
    for n in 0..100 {
        let word = format!("line-{n}-end");
        let start = Instant::now();
        speak(&it, &owner, &word).await;
        let mut seen = String::new();
        while !seen.contains(&word) {
            let chunk = tokio::time::timeout(Duration::from_secs(10), body.next()).await;
            seen.push_str(&String::from_utf8_lossy(
                &chunk.expect("in time").expect("not the end").expect("bytes"),
            ));
        }
        times.push(start.elapsed());
    }
    Figure::limit("log line to a client of the live stream, p99", percentile(times, 99), "ms", 200.0)
}

async fn speak(it: &Project, client: &Client, word: &str) {
    it.ask(client, &format!("/api/log?line={word}")).await.expect(200);
}

/// How long after an event of one type the next of another type came in the same stream.
async fn between(app: &TestApp, from: &str, to: &str) -> Vec<Duration> {
    let seconds: Vec<f64> = sqlx::query_scalar(
        "SELECT extract(epoch FROM (b.recorded_at - a.recorded_at))::float8
           FROM events a JOIN events b USING (aggregate_type, aggregate_id)
          WHERE a.event_type = $1 AND b.event_type = $2",
    )
    .bind(from)
    .bind(to)
    .fetch_all(app.db.pool())
    .await
    .expect("the log reads");
    seconds.into_iter().map(|seconds| Duration::from_secs_f64(seconds.max(0.0))).collect()
}
