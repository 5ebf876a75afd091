//! A deployed server is told where to send what it sees, and may do nothing else with that.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::world::{Project, project, team_and_project};

/// What the server of a project is told of its surroundings.
async fn env(it: &Project, owner: &Client) -> Value {
    it.ask(owner, "/api/env").await.expect(200)
}

fn span(n: u32) -> Value {
    let now = chrono::Utc::now();
    json!({ "spans": [{
        "traceId": format!("{n:032x}"), "spanId": format!("{n:016x}"), "name": "seen",
        "startedAt": now, "endedAt": now,
    }] })
}

#[tokio::test]
async fn a_deployed_server_sends_with_a_token_of_its_own() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    let other = project(&owner, "acme", "other", &app.repository("tiny", "other"), json!({})).await;
    let deployment = it.deployed(&app, &owner).await["id"].as_str().unwrap().to_owned();
    let told = env(&it, &owner).await;
    let token = told["MASTRA_PLATFORM_ACCESS_TOKEN"].as_str().unwrap();
    assert_eq!(
        [&told["MASTRA_PROJECT_ID"], &told["MASTRA_PLATFORM_OBSERVABILITY_ENDPOINT"]],
        [&json!(it.id), &json!(app.url)]
    );
    assert_eq!(
        [&told["MASTRA_CLOUD_TRACES_ENDPOINT"], &told["MASTRA_CLOUD_ACCESS_TOKEN"]],
        [&json!(app.url), &json!(token)]
    );
    assert_eq!(told["OTEL_EXPORTER_OTLP_ENDPOINT"], app.url);
    assert_eq!(told["OTEL_EXPORTER_OTLP_HEADERS"], format!("authorization=Bearer%20{token}"));

    let server = app.nobody().with_token(token);
    let publish = format!("//projects/{}/ai/spans/publish", it.id);
    let claims = server.request(Method::POST, &publish).header("x-mastraadmin-deployment", &other.production);
    Client::send(claims.json(&span(1))).await.expect(200);
    let of_it = format!("/projects/{}/traces?deploymentId={deployment}", it.id);
    assert_eq!(owner.get(&of_it).await.expect(200)["items"][0]["name"], "seen", "whatever it claims");

    // It may do nothing else, and nowhere else.
    let elsewhere = format!("//projects/{}/ai/spans/publish", other.id);
    assert_eq!(server.post(&elsewhere, span(2)).await.status, 404);
    for path in ["/me", "/teams", &format!("/projects/{}", it.id), &of_it] {
        assert_eq!(server.get(path).await.status, 403, "{path}");
    }
    assert_eq!(server.post("/teams", json!({ "name": "Mine" })).await.status, 403);
    let denied = "SELECT metadata ->> 'actor' FROM events WHERE event_type = 'access.command_denied'
                  ORDER BY position DESC LIMIT 1";
    let denied: String = sqlx::query_scalar(denied).fetch_one(app.db.pool()).await.unwrap();
    assert_eq!(denied, format!("process:deployment/{deployment}"), "it is known who it was");
    let last = if token.ends_with('0') { "1" } else { "0" };
    let forged = format!("{}{last}", &token[..token.len() - 1]);
    assert_eq!(app.nobody().with_token(&forged).post(&publish, span(3)).await.status, 401);

    // Its log does not tell it.
    it.ask(&owner, &format!("/api/log?line=it-is-{token}")).await.expect(200);
    app.wait_until("the line is logged", Duration::from_secs(30), async || {
        let log = owner.get(&format!("/deployments/{deployment}/logs")).await.text;
        assert!(!log.contains(token), "{log}");
        log.contains("it-is-***")
    })
    .await;

    // While it ends it says what it saw last; after that the token is worth nothing.
    owner.post(&format!("/deployments/{deployment}/stop"), json!({})).await.expect(200);
    app.until_status(&owner, &format!("/deployments/{deployment}"), &["stopped"]).await;
    server.post(&publish, span(4)).await.expect(200);
    let passed = "UPDATE read.deployments SET finished_at = finished_at - interval '11 minutes'";
    sqlx::query(passed).execute(app.db.pool()).await.unwrap();
    assert_eq!(server.post(&publish, span(5)).await.status, 401);
}

#[tokio::test]
async fn who_sends_elsewhere_is_given_no_token_for_that() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    let path = format!("/projects/{}/env-vars/OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", it.id);
    owner.put(&path, json!({ "value": "https://traces.example.org" })).await.expect(200);
    it.deployed(&app, &owner).await;
    let told = env(&it, &owner).await;
    assert_eq!(told["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"], "https://traces.example.org");
    assert!(
        told["OTEL_EXPORTER_OTLP_HEADERS"].is_null() && told["OTEL_EXPORTER_OTLP_ENDPOINT"].is_null(),
        "{told}"
    );
    assert!(told["MASTRA_PLATFORM_ACCESS_TOKEN"].is_string(), "Mastra's own exporter goes where it is told");
}

#[tokio::test]
async fn where_servers_are_not_to_send_they_are_told_nothing() {
    let app = TestApp::start_with(&[("MASTRA_ADMIN_TELEMETRY_URL", "none")]).await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    it.deployed(&app, &owner).await;
    let told = env(&it, &owner).await;
    let known = told.as_object().unwrap().keys().filter(|key| key.contains("OTEL") || key.contains("TOKEN"));
    assert_eq!(known.count(), 0, "{told}");
}
