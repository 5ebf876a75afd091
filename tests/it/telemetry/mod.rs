//! Telemetry: what senders said is what is read back, once, and costs what it cost.

mod bad;
mod bounds;
mod clickhouse;
mod clickhouse_signals;
mod contract;
mod cost;
mod deployed;
mod documented;
mod errors;
mod export;
mod logs;
mod many;
mod measurements;
mod node;
mod parts;
mod prices;
mod quota;
mod rerate;
mod retention;
mod rollups;
mod same;
mod scores;
mod senders;
mod spool;
mod store;
mod tail;
mod under_way;

use serde_json::json;
use tests::app::TestApp;
use tests::client::Client;
use tests::people::join;
use tests::world::{Project, team_and_project};

/// A project with its owner, and with a token that may send.
async fn open(app: &TestApp) -> (Client, Project, Client) {
    let owner = app.owner().await;
    let project = team_and_project(app, &owner, "tiny").await;
    let sender = project.sender(app, &owner).await;
    (owner, project, sender)
}

/// A trace of a project, sent now; its id.
pub(crate) async fn one_trace(app: &TestApp, owner: &Client, project: &Project) -> String {
    let (id, now) = (format!("{:032x}", 7), chrono::Utc::now());
    let span = json!({ "traceId": id, "spanId": format!("{:016x}", 7), "name": "x", "startedAt": now, "endedAt": now });
    let path = format!("//projects/{}/ai/spans/publish", project.id);
    project.sender(app, owner).await.post(&path, json!({ "spans": [span] })).await.expect(200);
    id
}

#[tokio::test]
async fn a_trace_is_found_by_its_id_by_those_alone_who_may_read_it() {
    let app = TestApp::start().await;
    let (owner, project, _) = open(&app).await;
    let url = app.repository("tiny", "other");
    let other = tests::world::project(&owner, "acme", "other", &url, json!({})).await;
    let trace = one_trace(&app, &owner, &project).await;
    let path = format!("/traces/{trace}");
    let shown = owner.get(&path).await.expect(200);
    assert_eq!((&shown["traceId"], &shown["spans"]), (&json!(trace), &json!(1)));
    assert_eq!(shown, owner.get(&format!("/projects/{}/traces/{trace}", project.id)).await.expect(200));
    assert_eq!(owner.get(&format!("{path}?projectId={}", project.id)).await.expect(200), shown);
    assert_eq!(owner.get(&format!("{path}?projectId={}", other.id)).await.status, 404);
    assert_eq!(owner.get(&format!("/traces/{:032x}", 8)).await.status, 404);
    // Who says which team is held to it.
    tests::world::team(&owner, "elsewhere").await;
    for (team, status) in [("acme", 200), ("elsewhere", 404), ("nowhere", 404)] {
        let held = owner.request(reqwest::Method::GET, &path).header("x-organization-id", team);
        assert_eq!(Client::send(held).await.status, status, "{team}");
    }
    assert_eq!(owner.get("/traces/7").await.status, 404);

    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    assert_eq!(viewer.get(&path).await.expect(200), shown);
    let stranger = join(&app, &owner, "stranger@example.org", None).await;
    for path in [path.clone(), format!("{path}?projectId={}", project.id)] {
        assert_eq!(stranger.get(&path).await.status, 404);
    }
    for (of, scope, status) in [
        (&project, "telemetry:read", 200),
        (&project, "telemetry:write", 404),
        (&other, "telemetry:read", 404),
    ] {
        let body = json!({ "name": scope, "scopes": [scope] });
        let made = owner.post(&format!("/projects/{}/tokens", of.id), body).await.expect(201);
        let token = app.nobody().with_token(made["plainToken"].as_str().unwrap());
        assert_eq!(token.get(&path).await.status, status, "{scope}");
    }
}
