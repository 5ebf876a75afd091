//! What one reads after one has written, and what one is told when others were faster.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::{Answer, Client};
use tests::people::join;
use tests::world::{project, team};

async fn head(app: &TestApp) -> i64 {
    sqlx::query_scalar("SELECT position FROM log_head").fetch_one(app.db.pool()).await.unwrap()
}

fn tag(answer: &Answer) -> String {
    answer.headers["etag"].to_str().unwrap().to_owned()
}

async fn with(client: &Client, method: Method, path: &str, tag: &str, body: Value) -> Answer {
    Client::send(client.request(method, path).header("if-match", tag).json(&body)).await
}

#[tokio::test]
async fn a_change_of_what_has_changed_says_what_came_since() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let made = project(&owner, "acme", "agent", &app.repository("tiny", "agent"), json!({})).await;
    let path = format!("/projects/{}", made.id);
    let old = tag(&owner.get(&path).await);
    let from = head(&app).await;
    owner.put(&format!("{path}/env-vars/KEY"), json!({ "value": "secret" })).await.expect(200);
    owner.patch(&path, json!({ "name": "Renamed" })).await.expect(200);
    let me = owner.get("/me").await.expect(200)["id"].as_str().unwrap().to_owned();

    let stale = with(&owner, Method::PATCH, &path, &old, json!({ "name": "Mine" })).await;
    assert_eq!(
        (stale.status, stale.headers["content-type"].to_str().unwrap()),
        (412, "application/problem+json")
    );
    assert_eq!(stale.str("code"), "version_mismatch");
    assert_eq!(stale.body["currentVersion"], 4);
    let since = stale.body["since"].as_array().unwrap();
    let told: Vec<_> =
        since.iter().map(|event| (event["position"].as_i64(), event["eventType"].clone())).collect();
    assert_eq!(
        told,
        [(Some(from + 1), json!("project.env_var_set")), (Some(from + 2), json!("project.settings_changed"))]
    );
    assert!(
        since.iter().all(|event| event["actor"] == format!("user:{me}") && event["at"].is_string()),
        "{since:?}"
    );
    assert!(stale.body["requestId"].is_string());
    for n in 0..60 {
        owner.put(&format!("{path}/env-vars/K{n}"), json!({ "value": "x" })).await.expect(200);
    }
    let stale = with(&owner, Method::DELETE, &path, &old, json!({})).await;
    assert_eq!((stale.status, stale.body["since"].as_array().unwrap().len()), (412, 50), "bounded");
    let future = with(&owner, Method::DELETE, &path, "\"9999\"", json!({})).await;
    assert_eq!((future.status, &future.body["since"]), (412, &json!([])));
}

#[tokio::test]
async fn every_change_can_be_made_dependent_on_a_version() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let ann = join(&app, &owner, "ann@example.org", Some(("acme", "viewer"))).await;
    let ann = ann.get("/me").await.expect(200)["id"].as_str().unwrap().to_owned();
    let made = project(&owner, "acme", "agent", &app.repository("tiny", "agent"), json!({})).await;
    let base = format!("/projects/{}", made.id);
    let environment = format!("/environments/{}", made.production);
    let token = owner.post(&format!("{base}/tokens"), json!({ "name": "ci" })).await.expect(201);
    let token = format!("{base}/tokens/{}", token["token"]["id"].as_str().unwrap());
    owner.put(&format!("{base}/env-vars/KEY"), json!({ "value": "x" })).await.expect(200);
    let changes = [
        (Method::PATCH, "/teams/acme".to_owned(), "/teams/acme".to_owned(), json!({ "name": "New" })),
        (
            Method::PATCH,
            "/teams/acme/members".to_owned(),
            format!("/teams/acme/members/{ann}"),
            json!({ "role": "admin" }),
        ),
        (
            Method::POST,
            "/teams/acme/invites".to_owned(),
            "/teams/acme/invites".to_owned(),
            json!({ "email": "b@example.org", "role": "viewer" }),
        ),
        (Method::PATCH, base.clone(), base.clone(), json!({ "name": "New" })),
        (Method::PATCH, environment.clone(), environment, json!({ "name": "Prod" })),
        (
            Method::POST,
            format!("{base}/environments"),
            format!("{base}/environments"),
            json!({ "name": "S", "type": "staging" }),
        ),
        (Method::PUT, format!("{base}/env-vars"), format!("{base}/env-vars/KEY"), json!({ "value": "y" })),
        (Method::DELETE, format!("{base}/tokens"), token, json!({})),
        (Method::PATCH, "/me".to_owned(), "/me".to_owned(), json!({ "firstName": "Zoe" })),
    ];
    for (method, read, path, body) in changes {
        let now = tag(&owner.get(&read).await);
        let older = format!("\"{}\"", now.trim_matches('"').parse::<i64>().unwrap() - 1);
        let stale = with(&owner, method.clone(), &path, &older, body.clone()).await;
        assert_eq!(stale.status, 412, "{method} {path}: {}", stale.text);
        let done = with(&owner, method.clone(), &path, &now, body).await;
        assert!([200, 201].contains(&done.status), "{method} {path}: {}", done.text);
        assert_eq!(
            tag(&owner.get(&read).await),
            tag(&done),
            "{method} {path}: the answer has the version of then"
        );
    }
}

#[tokio::test]
async fn what_is_committed_is_never_an_error_however_far_the_tables_lag() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    app.settle().await;
    let mut held = app.db.pool().begin().await.unwrap();
    // One read model cannot move its checkpoint; another's tables cannot even be read.
    sqlx::query("SELECT name FROM consumers WHERE name = 'audit_trail' FOR UPDATE")
        .execute(&mut *held)
        .await
        .unwrap();
    let renamed = owner.patch("/teams/acme", json!({ "name": "New" })).await;
    assert_eq!((renamed.status, renamed.headers["x-projection-lag"].to_str().unwrap()), (200, "true"));
    assert_eq!(renamed.str("name"), "New", "what can be shown is shown");
    sqlx::query("LOCK TABLE read.teams IN ACCESS EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    let made = owner.post("/teams", json!({ "name": "B", "slug": "b" })).await;
    assert_eq!(
        (made.status, made.headers["x-projection-lag"].to_str().unwrap()),
        (201, "true"),
        "{}",
        made.text
    );
    let position = made.headers["x-event-position"].to_str().unwrap().to_owned();
    assert_eq!(position, head(&app).await.to_string());
    let read = owner.request(Method::GET, "/me").header("x-min-position", &position);
    let read = Client::send(read).await;
    assert_eq!((read.status, read.headers["x-projection-lag"].to_str().unwrap()), (200, "true"));
    held.rollback().await.unwrap();
    let id = made.str("id");
    app.wait_until("the tables have caught up", Duration::from_secs(30), async || {
        owner.get(&format!("/teams/{id}")).await.status == 200
    })
    .await;
    let read = owner.request(Method::GET, "/teams/b").header("x-min-position", &position);
    let read = Client::send(read).await;
    assert_eq!((read.status, read.headers.get("x-projection-lag")), (200, None));
}
