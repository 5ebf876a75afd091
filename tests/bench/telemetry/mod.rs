//! Telemetry: how fast it is stored and read, how soon it is seen, what it costs in memory, and what a store that is away costs
//! everybody else.

mod ingest;
mod outage;
mod overload;
mod questions;
mod soon;

use reqwest::Method;
use serde_json::json;
use tests::app::TestApp;
use tests::client::{Answer, Client};
use tests::world::{Project, project, team};

use crate::measure::Figure;

/// What is stored.
pub(crate) async fn ingest() -> Vec<Figure> {
    ingest::figures().await
}

/// Everything else.
pub(crate) async fn figures() -> Vec<Figure> {
    let mut figures = questions::figures().await;
    figures.extend(soon::figures().await);
    figures.push(overload::figure().await);
    figures.extend(outage::figures().await);
    figures
}

/// Somebody who reads, and projects with whom sends to each.
struct World {
    owner: Client,
    projects: Vec<(Project, Client)>,
}

impl World {
    /// A team with so many projects.
    async fn of(app: &TestApp, count: usize) -> Self {
        let owner = app.owner().await;
        team(&owner, "acme").await;
        let repository = app.repository("tiny", "tiny");
        let mut projects = Vec::new();
        for n in 0..count {
            let it = project(&owner, "acme", &format!("agent-{n}"), &repository, json!({})).await;
            let token = json!({ "name": "sender", "scopes": ["telemetry:write"] });
            let made = owner.post(&format!("/projects/{}/tokens", it.id), token).await;
            projects.push((it, owner.with_token(&made.str("plainToken"))));
        }
        Self { owner, projects }
    }
}

/// OTLP as protobuf.
async fn otlp(sender: &Client, body: Vec<u8>) -> Answer {
    let request =
        sender.request(Method::POST, "//v1/traces").header("content-type", "application/x-protobuf");
    Client::send(request.body(body)).await
}

/// A line of `/proc/{pid}/status`, in MiB.
fn memory(pid: u32, line: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let kib = status.lines().find_map(|text| text.strip_prefix(line)).expect("Linux says so");
    kib.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}
