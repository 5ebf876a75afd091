//! Kills the server at every step of a deployment, before and after PostgreSQL has heard of it, and looks what is
//! left: everything once, and it goes on without another command.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed, in its helpers too")]

mod deliveries;
mod others;
mod storm;
mod switches;

use std::time::Duration;

use serde_json::json;
use tests::app::TestApp;
use tests::client::Client;
use tests::tape::assert_log_is_whole;
use tests::wire::{Cut, Wire};
use tests::world::team_and_project;

/// What becomes true on the way from a click to a running server, in order.
const STEPS: [&str; 8] = [
    "build.requested",
    "build.started",
    "build.commit_resolved",
    "build.succeeded",
    "deployment.requested",
    "deployment.starting",
    "deployment.activated",
    "deployment.superseded",
];

async fn killed_at_every_step(cut: Cut) {
    let wire = Wire::start().await;
    let mut app = TestApp::start_behind(&wire).await;
    let owner = app.owner().await;
    let token = owner.token().expect("signed in").to_owned();
    let it = team_and_project(&app, &owner, "tiny").await;
    let mut serving = it.deployed(&app, &owner).await["id"].as_str().unwrap().to_owned();
    for step in STEPS {
        app.settle().await;
        wire.cut(cut, &format!("{{\"type\":\"{step}\""));
        let clicked = tokio::spawn(click(app.url.clone(), token.clone(), it.id.clone(), step));
        tokio::time::timeout(Duration::from_secs(60), wire.sprung())
            .await
            .unwrap_or_else(|_| panic!("{step} never came to pass; the server says:\n{}", app.end_of_log()));
        app.kill_and_restart().await;
        clicked.await.unwrap(); // whatever it was told, it may ask again under its key
        let build = click(app.url.clone(), token.clone(), it.id.clone(), step).await.unwrap();
        let owner = Client::new(&app.url).with_token(&token);
        app.settle().await; // what the killed one had leased is taken over
        let ended = app.until_status(&owner, &format!("/builds/{build}"), &["ready", "failed"]).await;
        assert_eq!(ended["status"], "ready", "killed {cut:?} {step}: {ended}");
        let deployment = it.deployment_of(&app, &owner, &build).await;
        app.until_status(&owner, &format!("/deployments/{deployment}"), &["running"]).await;
        app.until_status(&owner, &format!("/deployments/{serving}"), &["superseded"]).await;
        app.settle().await;
        app.wait_until("it answers", Duration::from_secs(60), async || {
            it.ask(&owner, "/api/version").await.status == 200
        })
        .await;
        let log = events_about(&app, &[&build, &deployment, &serving]).await;
        // Servers that ran are started again with the platform, and activated again: that may be seen more than once.
        for (event_type, id, at_most) in [
            ("build.requested", &build, 1),
            ("build.succeeded", &build, 1),
            ("deployment.requested", &deployment, 1),
            ("deployment.activated", &deployment, 2),
            ("deployment.superseded", &serving, 1),
        ] {
            let times = log.iter().filter(|(of, t)| (of, t.as_str()) == (id, event_type)).count();
            assert!(
                (1..=at_most).contains(&times),
                "{event_type} when the server was killed {cut:?} {step}: {log:?}"
            );
        }
        serving = deployment;
    }
    let (builds, deployments): (i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE event_type = 'build.requested'),
                count(*) FILTER (WHERE event_type = 'deployment.requested') FROM events",
    )
    .fetch_one(app.db.pool())
    .await
    .unwrap();
    let clicks = i64::try_from(STEPS.len()).unwrap() + 1;
    assert_eq!((builds, deployments), (clicks, clicks), "one click, one build, one deployment");
    assert_log_is_whole(app.db.pool()).await;
}

/// Asks for a build under the key of the step; its id, when somebody answers.
async fn click(url: String, token: String, project: String, step: &str) -> Option<String> {
    let client = Client::new(&url).with_token(&token);
    let request = client.request(reqwest::Method::POST, &format!("/projects/{project}/builds"));
    let answer = request.header("idempotency-key", step).json(&json!({})).send().await.ok()?;
    let build: serde_json::Value = answer.json().await.ok()?;
    build["id"].as_str().map(str::to_owned)
}

/// Streams and types of the events about some aggregates.
async fn events_about(app: &TestApp, ids: &[&String]) -> Vec<(String, String)> {
    let ids: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
    sqlx::query_as(
        "SELECT aggregate_id, event_type FROM events WHERE aggregate_id = ANY ($1) ORDER BY position",
    )
    .bind(ids)
    .fetch_all(app.db.pool())
    .await
    .unwrap()
}

/// A team is made; the server dies when it is about to tell its query tables. They catch up by themselves.
#[tokio::test]
async fn a_server_killed_between_the_log_and_its_tables_catches_up() {
    let wire = Wire::start().await;
    let mut app = TestApp::start_behind(&wire).await;
    let owner = app.owner().await;
    app.settle().await;
    // The second message that names it is that of the first table to hear of it; the first is the append's.
    wire.cut_after(1, Cut::Before, "slug-of-the-lost");
    let token = owner.token().unwrap().to_owned();
    let url = app.url.clone();
    let asking = tokio::spawn(async move {
        let body = json!({ "name": "Lost", "slug": "slug-of-the-lost" });
        let client = Client::new(&url).with_token(&token);
        client.request(reqwest::Method::POST, "/teams").json(&body).send().await.ok()
    });
    wire.sprung().await;
    app.kill_and_restart().await;
    asking.await.unwrap();
    app.settle().await;
    let owner = Client::new(&app.url).with_token(owner.token().unwrap());
    assert_eq!(owner.get("/teams/slug-of-the-lost").await.status, 200);
    assert_log_is_whole(app.db.pool()).await;
}

#[tokio::test]
async fn a_server_killed_before_it_could_say_so_does_it_once() {
    killed_at_every_step(Cut::Before).await;
}

#[tokio::test]
async fn a_server_killed_before_it_heard_that_it_was_done_does_it_once() {
    killed_at_every_step(Cut::After).await;
}
