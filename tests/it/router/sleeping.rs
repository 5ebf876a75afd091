//! `minScale` 0: what nobody asks for sleeps, and the request that wakes it is answered.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::world::{Project, project, team};

const AFTER: (&str, &str) = ("MASTRA_ADMIN_SLEEP_AFTER", "3");

async fn sleepy(app: &TestApp, owner: &Client) -> (Project, String) {
    team(owner, "acme").await;
    let repository = app.repository("tiny", "tiny");
    let project = project(owner, "acme", "agent", &repository, json!({ "minScale": 0 })).await;
    let deployment = project.deployed(app, owner).await;
    let at = format!("/deployments/{}", deployment["id"].as_str().unwrap());
    (project, at)
}

async fn events(app: &TestApp, kind: &str) -> i64 {
    let query = "SELECT count(*) FROM events WHERE event_type = $1";
    sqlx::query_scalar(query).bind(kind).fetch_one(app.db.pool()).await.unwrap()
}

/// Waits until it sleeps and nothing of its server is left.
async fn asleep(app: &TestApp, owner: &Client, at: &str) -> Value {
    let shown = app.until_status(owner, at, &["sleeping"]).await;
    app.wait_until("its server is gone", Duration::from_secs(60), async || {
        owner.get(&format!("{at}/health")).await.body["health"] == "absent"
    })
    .await;
    shown
}

#[tokio::test]
async fn who_is_not_asked_sleeps_and_requests_wait_until_it_is_awake() {
    let mut app = TestApp::start_with(&[AFTER]).await;
    let owner = app.owner().await;
    let (project, at) = sleepy(&app, &owner).await;
    // A request under way is no silence, however long it takes.
    assert_eq!(project.ask(&owner, "/api/slow?ms=6000").await.status, 200);
    assert_eq!(owner.get(&at).await.body["status"], "running");
    assert_eq!(events(&app, "deployment.slept").await, 0);

    let shown = asleep(&app, &owner, &at).await;
    assert_eq!((&shown["finishedAt"], &shown["failure"]), (&json!(null), &json!(null)));
    let starts = events(&app, "deployment.starting").await;
    let answers = join_all((0..20).map(|_| project.ask(&owner, "/api/version"))).await;
    for answer in answers {
        assert_eq!((answer.status, &answer.body["version"]), (200, &json!("1")), "{}", answer.text);
    }
    assert_eq!(events(&app, "deployment.starting").await, starts + 1, "all of them woke it once");
    assert_eq!(owner.get(&at).await.body["status"], "running");

    // It sleeps through the end of the platform, and is woken after it.
    asleep(&app, &owner, &at).await;
    app.kill_and_restart().await;
    let owner = app.owner().await;
    assert_eq!(owner.get(&at).await.body["status"], "sleeping");
    assert_eq!(project.ask(&owner, "/api/version").await.body["version"], "1");
    // Nobody wakes what was stopped.
    asleep(&app, &owner, &at).await;
    owner.post(&format!("{at}/stop"), json!({})).await.expect(200);
    app.wait_until("the router knows", Duration::from_secs(10), async || {
        project.ask(&owner, "/api/version").await.status == 503
    })
    .await;
}

#[tokio::test]
async fn a_new_deployment_takes_over_from_one_that_sleeps() {
    let app = TestApp::start_with(&[AFTER]).await;
    let owner = app.owner().await;
    let (project, at) = sleepy(&app, &owner).await;
    asleep(&app, &owner, &at).await;
    let path = app.repositories().join("tiny");
    tests::repository::change(&path, &[("behaviour.json", r#"{ "version": "2" }"#)]);
    project.deployed(&app, &owner).await;
    assert_eq!(project.ask(&owner, "/api/version").await.body["version"], "2");
    app.until_status(&owner, &at, &["superseded"]).await;
}
