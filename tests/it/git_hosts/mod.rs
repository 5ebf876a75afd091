//! Git hosts beside GitHub: what opens their repositories, over https and over ssh, and what they tell by webhooks. The
//! other side is git's own server, a real sshd, and libraries of others that sign.

mod hooks;
mod opened;

use serde_json::Value;
use tests::app::TestApp;
use tests::client::Client;
use tests::world::Project;

/// Builds and waits for the end; the message of its failure, or nothing.
async fn why_not(app: &TestApp, owner: &Client, project: &Project) -> Option<String> {
    let build = project.built(app, owner).await;
    match build["status"].as_str() {
        Some("ready") => None,
        _ => Some(build["failure"]["message"].as_str().unwrap_or_else(|| panic!("{build}")).to_owned()),
    }
}

/// Fails when a secret stands anywhere where it can be read.
async fn is_nowhere(app: &TestApp, secret: &str) {
    let events: Vec<String> = sqlx::query_scalar("SELECT payload::text || metadata::text FROM events")
        .fetch_all(app.db.pool())
        .await
        .unwrap();
    let rows: Vec<String> = sqlx::query_scalar("SELECT r::text FROM read.repository_access r")
        .fetch_all(app.db.pool())
        .await
        .unwrap();
    let lines: Vec<Vec<u8>> = sqlx::query_scalar("SELECT to_jsonb(l)::text::bytea FROM log_lines l")
        .fetch_all(app.db.pool())
        .await
        .unwrap();
    let lines = lines.into_iter().map(|line| String::from_utf8_lossy(&line).into_owned());
    for place in events.into_iter().chain(rows).chain(lines).chain([app.log()]) {
        assert!(!place.contains(secret), "a secret is in {place}");
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
