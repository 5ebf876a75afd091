//! Commands about builds and deployments.

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::world::Project;

use super::{Case, case};

pub(super) async fn cases(app: &TestApp, owner: &Client, project: &Project, first: &Value) -> Vec<Case> {
    let build = project.build(owner).await;
    app.until_status(owner, &format!("/builds/{build}"), &["ready"]).await;
    let running = project.deployment_of(app, owner, &build).await;
    app.until_status(owner, &format!("/deployments/{running}"), &["running"]).await;
    // A build that waits for a worker for ever: one that somebody may cancel.
    let queued = queued_build(app, first).await;
    let of_project = [("project", project.id.clone())];
    let of_production = [("environment", project.production.clone())];
    let of_running = [("deployment", running)];
    let (post, none) = (Method::POST, json!({}));
    vec![
        case(
            owner,
            post.clone(),
            "/projects/{project}/builds",
            &of_project,
            none.clone(),
            &["build.requested"],
        ),
        case(
            owner,
            post.clone(),
            "/builds/{build}/cancel",
            &[("build", queued)],
            none.clone(),
            &["build.cancel_requested", "build.cancelled"],
        ),
        case(
            owner,
            post.clone(),
            "/environments/{environment}/deployments",
            &of_production,
            json!({ "buildId": build }),
            &["deployment.requested"],
        ),
        case(
            owner,
            post.clone(),
            "/environments/{environment}/rollback",
            &of_production,
            none.clone(),
            &["deployment.requested"],
        ),
        case(
            owner,
            post.clone(),
            "/deployments/{deployment}/stop",
            &of_running,
            none.clone(),
            &["deployment.stopped"],
        ),
        case(owner, post, "/deployments/{deployment}/restart", &of_running, none, &["deployment.requested"]),
    ]
}

/// A build that no worker has taken, as the log would have it: its process is told that it has seen it.
async fn queued_build(app: &TestApp, like: &Value) -> String {
    let id = uuid::Uuid::now_v7().to_string();
    let mut tx = app.db.pool().begin().await.unwrap();
    sqlx::query("SELECT name FROM consumers WHERE name = 'run_build' FOR UPDATE")
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             team_id)
         SELECT aggregate_type, $2, 1, event_type, event_version, payload,
                (metadata::jsonb - 'source_ip' - 'user_agent')::json, team_id
           FROM events WHERE aggregate_id = $1 AND sequence = 1",
    )
    .bind(like["buildId"].as_str().unwrap())
    .bind(&id)
    .execute(&mut *tx)
    .await
    .unwrap();
    sqlx::query(
        "UPDATE consumers SET position = (SELECT position FROM log_head), fence = fence + 1, lease_owner = NULL,
                lease_until = NULL WHERE name = 'run_build'",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    app.settle().await;
    id
}
