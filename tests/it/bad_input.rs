//! Bad input: a clear refusal that names the field, nothing stored, nothing run, never a 5xx.

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::world::{project, team, team_and_project};

async fn head(app: &TestApp) -> i64 {
    sqlx::query_scalar("SELECT position FROM log_head").fetch_one(app.db.pool()).await.unwrap()
}

fn fields(body: &Value) -> Vec<String> {
    let errors = body["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| error["field"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn every_field_refuses_what_it_must() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let repository = app.repository("tiny", "tiny");
    let project = project(&owner, "acme", "agent", &repository, json!({})).await;
    let good = json!({ "name": "B", "slug": "b", "repoUrl": repository, "branch": "main" });
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let projects = "/teams/acme/projects".to_owned();
    let builds = format!("/projects/{}/builds", project.id);
    let vars = format!("/projects/{}/env-vars", project.id);
    let before = head(&app).await;
    let cases = [
        (projects.clone(), "slug", with("slug", json!("Not A Slug"))),
        (projects.clone(), "slug", with("slug", json!("a\0b"))),
        (projects.clone(), "slug", with("slug", json!(7))),
        (projects.clone(), "name", with("name", json!(""))),
        (projects.clone(), "repoUrl", with("repoUrl", json!("ext::sh -c id"))),
        (projects.clone(), "repoUrl", with("repoUrl", json!("https://u:p@example.org/x"))),
        (projects.clone(), "repoUrl", with("repoUrl", json!("file:///etc"))),
        (projects.clone(), "repoUrl", json!({ "name": "B", "slug": "b", "branch": "main" })),
        (projects.clone(), "branch", with("branch", json!("--upload-pack=id"))),
        (projects.clone(), "projectRoot", with("projectRoot", json!("../../etc"))),
        (projects.clone(), "mastraDirectory", with("mastraDirectory", json!("/abs"))),
        (projects.clone(), "buildCommand", with("buildCommand", json!("npm run build; id"))),
        (projects.clone(), "port", with("port", json!(70000))),
        (projects.clone(), "port", with("port", json!(1e300))),
        (projects.clone(), "colour", with("colour", json!("red"))),
        ("/teams".to_owned(), "slug", json!({ "name": "x", "slug": "-x" })),
        ("/teams/acme/invites".to_owned(), "email", json!({ "email": "no address", "role": "viewer" })),
        ("/teams/acme/invites".to_owned(), "role", json!({ "email": "a@example.org", "role": "king" })),
        (builds.clone(), "commitSha", json!({ "commitSha": "HEAD" })),
        (builds.clone(), "branch", json!({ "branch": "a..b" })),
    ];
    for (path, field, body) in cases {
        let answer = owner.post(&path, body.clone()).await;
        assert!((400..500).contains(&answer.status), "{path} {body}: {} {}", answer.status, answer.text);
        assert!(fields(&answer.body).contains(&field.to_owned()), "{path} {body}: {}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert!(answer.body["code"].is_string() && answer.body["requestId"].is_string(), "{}", answer.text);
    }
    for (key, body) in [
        ("1BAD", json!({ "value": "x", "sensitive": true })),
        ("GOOD", json!({ "value": "x\0y", "sensitive": true })),
        ("GOOD", json!({ "value": "x".repeat(200_000), "sensitive": true })),
        ("MASTRA_PROJECT_ID", json!({ "value": "x", "sensitive": true })),
    ] {
        let answer = owner.put(&format!("{vars}/{key}"), body).await;
        assert!((400..500).contains(&answer.status), "{key}: {} {}", answer.status, answer.text);
    }
    assert_eq!(head(&app).await, before, "nothing is stored");
}

#[tokio::test]
async fn malformed_requests_are_problems_too() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let raw = |body: &'static str, kind: &'static str| {
        owner.request(Method::POST, "/teams").header("content-type", kind).body(body)
    };
    let cases = [
        (raw("{", "application/json"), 400),
        (raw("{}", "text/plain"), 415),
        (raw("", "application/json"), 400),
        (raw("[]", "application/json"), 422),
        (raw("{\"name\":\"a\",\"slug\":\"a\",\"slug\":\"b\"}", "application/json"), 422),
        (
            owner
                .request(Method::POST, "/teams")
                .json(&json!({ "name": "x".repeat(2_000_000), "slug": "a" })),
            413,
        ),
        (owner.request(Method::GET, "/teams/%00"), 404),
        (owner.request(Method::GET, "/teams/%ff"), 404),
        (owner.request(Method::GET, "/projects/not-a-uuid"), 404),
        (owner.request(Method::GET, "/nowhere"), 404),
        (owner.request(Method::PATCH, "/teams"), 405),
        (owner.request(Method::GET, "/teams?limit=0"), 422),
        (owner.request(Method::GET, "/teams?limit=9999"), 422),
        (owner.request(Method::GET, "/teams?cursor=%00"), 422),
        (owner.request(Method::POST, "/auth/login").json(&json!({ "email": "x", "password": 7 })), 422),
    ];
    for (n, (request, status)) in cases.into_iter().enumerate() {
        let answer = Client::send(request).await;
        let allowed = [status, 400, 404, 422];
        assert!(
            allowed.contains(&answer.status) && answer.status < 500,
            "case {n}: {} {}",
            answer.status,
            answer.text
        );
        if [413, 415, 405].contains(&status) {
            assert_eq!(answer.status, status, "case {n}: {}", answer.text);
        }
        assert_eq!(answer.headers["content-type"], "application/problem+json", "case {n}: {}", answer.text);
    }
}

#[tokio::test]
async fn ids_of_other_teams_answer_as_unknown_ids_do() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let build = project.build(&owner).await;
    let stranger = tests::people::join(&app, &owner, "stranger@example.org", None).await;
    team(&stranger, "other").await;
    let unknown = "01900000-0000-7000-8000-000000000000";
    for (mine, path) in [
        (project.id.as_str(), "/projects/{}"),
        (project.id.as_str(), "/projects/{}/env-vars"),
        (project.id.as_str(), "/projects/{}/builds"),
        (project.production.as_str(), "/environments/{}"),
        (project.production.as_str(), "/environments/{}/deployments"),
        (build.as_str(), "/builds/{}"),
        (build.as_str(), "/builds/{}/logs"),
    ] {
        let hidden = stranger.get(&path.replace("{}", mine)).await;
        let absent = stranger.get(&path.replace("{}", unknown)).await;
        assert_eq!((hidden.status, absent.status), (404, 404), "{path}");
        let text = |answer: &tests::client::Answer| {
            (answer.body["code"].clone(), answer.body["title"].clone(), answer.body["detail"].clone())
        };
        assert_eq!(text(&hidden), text(&absent), "{path}");
    }
    assert_eq!(stranger.get("/teams/acme").await.status, 404);
    let answer = stranger.post(&format!("/projects/{}/builds", project.id), json!({})).await;
    assert_eq!(answer.status, 404);
}
