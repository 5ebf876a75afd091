//! Ids of others, wherever a request can have one.

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::people::join;
use tests::world::{project, team, team_and_project};
use uuid::Uuid;

use super::{id_of, refusal};

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table: one entry a place where an id can stand")]
async fn ids_of_others_are_as_unknown_as_none_wherever_they_stand() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let theirs = team_and_project(&app, &owner, "tiny").await;
    let deployment = theirs.deployed(&app, &owner).await;
    let role = json!({ "name": "Theirs", "permissions": [{ "resource": "build", "action": "read" }] });
    let role = owner.post("/teams/acme/roles", role).await.expect(201);
    let acme = owner.get("/teams/acme").await.expect(200)["id"].clone();

    let stranger = join(&app, &owner, "stranger@example.org", None).await;
    let other = team(&stranger, "other").await["id"].clone();
    let own = project(&stranger, "other", "own", &app.repository("tiny", "own"), json!({})).await;
    let (me, owner_id) = (id_of(&stranger).await, id_of(&owner).await);
    let in_own_team = json!({ "type": "team", "teamId": other });
    let check = |context: Value| json!({ "resource": "build", "action": "read", "context": context });
    let builds = format!("/projects/{}/builds", own.id);
    let variable = format!("/projects/{}/env-vars/A", own.id);
    let promote = format!("/environments/{}/env-vars/promote", own.production);
    let deployments = format!("/environments/{}/deployments", own.production);
    let roll_back = format!("/environments/{}/rollback", own.production);
    let (build, running) = (deployment["buildId"].clone(), deployment["id"].clone());

    // In bodies: the same request with an id of theirs and with one of nobody's.
    for (method, path, id, body) in [
        (Method::POST, builds.as_str(), json!(theirs.production), json!({ "environment": "?" })),
        (Method::PUT, &variable, json!(theirs.production), json!({ "value": "x", "environment": "?" })),
        (Method::POST, &promote, json!(theirs.production), json!({ "from": "?" })),
        (Method::POST, &deployments, build, json!({ "buildId": "?" })),
        (Method::POST, &roll_back, running, json!({ "deploymentId": "?" })),
        (Method::POST, "/teams/other/roles", role["id"].clone(), json!({ "name": "x", "inherits": ["?"] })),
        (
            Method::POST,
            "/role-assignments",
            role["id"].clone(),
            json!({ "userId": me, "roleId": "?", "scope": in_own_team }),
        ),
        (
            Method::POST,
            "/role-assignments",
            json!(owner_id),
            json!({ "userId": "?", "roleId": "team:viewer", "scope": in_own_team }),
        ),
        (
            Method::POST,
            "/role-assignments",
            acme.clone(),
            json!({ "userId": me, "roleId": "team:viewer", "scope": { "type": "team", "teamId": "?" } }),
        ),
        (
            Method::POST,
            "/role-assignments",
            json!(theirs.id),
            json!({ "userId": me, "roleId": "team:viewer", "scope": { "type": "project", "projectId": "?" } }),
        ),
        (Method::POST, "/permissions/check", acme.clone(), check(json!({ "teamId": "?" }))),
        (Method::POST, "/permissions/check", json!(theirs.id), check(json!({ "projectId": "?" }))),
        (Method::PATCH, "/me", acme.clone(), json!({ "activeTeamId": "?" })),
        (Method::PATCH, "/me", json!(theirs.id), json!({ "activeProjectId": "?" })),
    ] {
        let with = |id: &Value| -> Value {
            let text = body.to_string().replace("\"?\"", &id.to_string());
            serde_json::from_str(&text).unwrap()
        };
        let send = async |id: &Value| {
            let said = refusal(stranger.request(method.clone(), path).json(&with(id))).await;
            said.to_string().replace(id.as_str().unwrap(), "?").replace(own.production.as_str(), "own")
        };
        let (foreign, unknown) = (send(&id).await, send(&json!(Uuid::now_v7())).await);
        assert_eq!(foreign, unknown, "{method} {path} {body}");
        assert!(
            !foreign.contains("\"status\":20") || path.ends_with("check"),
            "{method} {path} {body}: {foreign}"
        );
    }

    // In queries and cursors.
    let ask = async |path: String| refusal(stranger.request(Method::GET, &path)).await;
    for (path, id) in [
        ("/role-assignments?teamId=?", acme.as_str().unwrap()),
        ("/role-assignments?projectId=?", theirs.id.as_str()),
        ("/teams/other/audit?projectId=?", &theirs.id),
        ("/teams/other/audit/export?projectId=?", &theirs.id),
        ("/teams/other/access-review?resource=build&action=read&projectId=?", &theirs.id),
        (&format!("/users/{me}/permissions?teamId=?"), acme.as_str().unwrap()),
        (&format!("/users/{owner_id}/permissions?projectId=?"), &theirs.id),
        (&format!("/projects/{}/builds?cursor=?", own.id), deployment["buildId"].as_str().unwrap()),
        ("/teams?cursor=?", acme.as_str().unwrap()),
    ] {
        let (start, end) = path.rsplit_once('?').unwrap();
        let foreign = ask(format!("{start}{id}{end}")).await;
        let unknown = ask(format!("{start}{}{end}", Uuid::now_v7())).await;
        assert_eq!(foreign["status"], unknown["status"], "{path}: {foreign} {unknown}");
        assert!(!foreign.to_string().contains("acme"), "{path}: {foreign}");
        if !path.contains("cursor") && foreign["status"] != 200 {
            assert_eq!(foreign, unknown, "{path}");
        }
    }

    // An idempotency key is everybody's own.
    let make = async |client: &Client, slug: &str| {
        let body = json!({ "name": slug, "slug": slug });
        let request = client.request(Method::POST, "/teams").header("idempotency-key", "the-same");
        Client::send(request.json(&body)).await
    };
    let first = make(&owner, "first").await.expect(201);
    let second = make(&stranger, "second").await;
    assert!(second.headers.get("idempotency-replayed").is_none());
    assert_ne!(second.expect(201)["id"], first["id"]);

    // A stream goes on after any position, and shows nothing of others.
    let events = stranger.get("/events?limit=200").await.expect(200).to_string();
    assert!(!events.contains(&theirs.id) && !events.contains(acme.as_str().unwrap()), "{events}");
}
