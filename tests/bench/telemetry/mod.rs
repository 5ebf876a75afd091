//! Telemetry: how fast it is stored and read, how soon it is seen, what it costs in memory, and what a store that is away costs
//! everybody else.

pub(crate) mod ingest;
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

/// All but what is stored a second.
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
            let sender = it.sender(app, &owner).await;
            projects.push((it, sender));
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
