//! Telemetry: what senders said is what is read back, once, and costs what it cost.

mod bad;
mod clickhouse;
mod clickhouse_signals;
mod contract;
mod cost;
mod deployed;
mod logs;
mod measurements;
mod parts;
mod same;
mod scores;
mod senders;
mod store;

use serde_json::json;
use tests::app::TestApp;
use tests::client::Client;
use tests::world::{Project, team_and_project};

/// A project with its owner, and with a token that may send.
async fn open(app: &TestApp) -> (Client, Project, Client) {
    let owner = app.owner().await;
    let project = team_and_project(app, &owner, "tiny").await;
    let sender = sender(app, &owner, &project).await;
    (owner, project, sender)
}

/// A trace of a project, sent now; its id.
pub(crate) async fn one_trace(app: &TestApp, owner: &Client, project: &Project) -> String {
    let (id, now) = (format!("{:032x}", 7), chrono::Utc::now());
    let span = json!({ "traceId": id, "spanId": format!("{:016x}", 7), "name": "x", "startedAt": now, "endedAt": now });
    let path = format!("//projects/{}/ai/spans/publish", project.id);
    sender(app, owner, project).await.post(&path, json!({ "spans": [span] })).await.expect(200);
    id
}

/// A token that may send telemetry of a project.
async fn sender(app: &TestApp, owner: &Client, project: &Project) -> Client {
    let body = json!({ "name": "server", "scopes": ["telemetry:write"] });
    let made = owner.post(&format!("/projects/{}/tokens", project.id), body).await.expect(201);
    app.nobody().with_token(made["plainToken"].as_str().unwrap())
}
