//! What the server says of itself in `/openapi.json`, held against what it does, by schemathesis (PyPI): it makes
//! requests out of the document, good and bad ones, and judges the answers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::github::installed;
use tests::people::join;
use tests::python;
use tests::world::{Project, team, team_and_project};
use tokio::process::Command;
use uuid::Uuid;

/// What is not asked for, and why.
const EXCLUDED: [&str; 4] = [
    // They end the session that asks, or its user: everything after that would be refused.
    "post_auth_logout",
    "delete_me",
    // They are scrapes and pages of their own formats.
    "get_metrics",
    "get_openapijson",
];

/// Streams do not end; tests of their own read them.
const STREAMS: &str = "/stream$";

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

async fn id_of(client: &Client) -> String {
    text(&client.get("/me").await.expect(200)["id"])
}

async fn made(client: &Client, path: &str, body: Value) -> String {
    let made = client.post(path, body).await;
    assert!(made.status < 300, "{path}: {}", made.text);
    let inner = ["token", "endpoint"].into_iter().find(|inner| made.body[inner].is_object());
    text(inner.map_or(&made.body["id"], |inner| &made.body[inner]["id"]))
}

/// An id for every parameter of a path: of what is there, and of what a test may end.
async fn world(app: &TestApp, owner: &Client, project: &Project) -> Value {
    let deployment = project.deployed(app, owner).await;
    let acme = text(&owner.get("/teams/acme").await.expect(200)["id"]);
    let member = join(app, owner, "member@example.org", Some(("acme", "viewer"))).await;
    let other = join(app, owner, "other@example.org", Some(("acme", "viewer"))).await;
    team(owner, "doomed").await;
    app.owner().await;
    let sessions = owner.get("/auth/sessions").await.expect(200);
    let session = sessions["items"].as_array().unwrap().iter().find(|it| it["current"] == false).unwrap();
    let role =
        |name: &str| json!({ "name": name, "permissions": [{ "resource": "build", "action": "read" }] });
    let give = |user: &str, role: &str| json!({ "userId": user, "roleId": role, "scope": { "type": "team", "teamId": acme } });
    let project_of =
        |slug: &str| json!({ "name": slug, "slug": slug, "repoUrl": app.repository("tiny", slug) });
    let (mut ids, mut doomed) = (json!({}), json!({}));
    for (name, all) in [("ids", &mut ids), ("doomed", &mut doomed)] {
        let user = id_of(if name == "ids" { &member } else { &other }).await;
        let invite = json!({ "email": format!("{name}@example.org"), "role": "viewer" });
        let endpoint = json!({ "name": name, "kind": "email", "to": [user] });
        let of_project = format!("/projects/{}", project.id);
        let environment = json!({ "name": name, "type": "staging" });
        let role = made(owner, "/teams/acme/roles", role(name)).await;
        *all = json!({
            "invite": made(owner, "/teams/acme/invites", invite).await,
            "endpoint": made(owner, "/teams/acme/endpoints", endpoint).await,
            "environment": made(owner, &format!("{of_project}/environments"), environment).await,
            "projectToken": made(owner, &format!("{of_project}/tokens"), json!({ "name": name })).await,
            "hook": text(
                &owner.post(&format!("{of_project}/push-hooks"), json!({ "name": name })).await.expect(201)["hook"]["id"],
            ),
            "myToken": made(owner, "/me/tokens", json!({ "name": name })).await,
            "assignment": made(owner, "/role-assignments", give(&user, &role)).await,
            "role": role, "user": user, "session": session["id"], "provider": "local",
            "project": project.id, "build": deployment["buildId"], "deployment": deployment["id"], "team": acme,
        });
        owner
            .put(&format!("{of_project}/env-vars/{}", name.to_uppercase()), json!({ "value": "x" }))
            .await
            .expect(200);
        all["key"] = name.to_uppercase().into();
    }
    // GitHub is not connected: what needs it says so.
    ids["installation"] = installed(app, owner, "acme").await.into();
    doomed["installation"] = ids["installation"].clone();
    // Nothing was uploaded for a deploy: that is said, too.
    let nowhere = Uuid::now_v7().to_string();
    let made_up = [
        ("owner", "acme"),
        ("name", "agent"),
        ("delivery", &nowhere),
        ("deploy", &nowhere),
        ("message", &nowhere),
        ("trace", &"a".repeat(32)),
    ];
    for (name, value) in made_up {
        ids[name] = value.into();
        doomed[name] = value.into();
    }
    ids["environment"] = project.production.clone().into();
    doomed["team"] = owner.get("/teams/doomed").await.expect(200)["id"].clone();
    doomed["project"] = made(owner, "/teams/acme/projects", project_of("doomed")).await.into();
    (ids["event"], ids["position"]) = covered(app, owner).await;
    json!({ "ids": ids, "doomed": doomed })
}

/// An event of the team that a checkpoint covers, and its position.
async fn covered(app: &TestApp, owner: &Client) -> (Value, Value) {
    let page = owner.get("/teams/acme/audit?limit=200").await.expect(200);
    let event = page["items"].as_array().unwrap().last().unwrap().clone();
    let proof = format!("/audit/proof/{}", event["position"]);
    app.wait_until("a checkpoint covers it", Duration::from_secs(60), async || {
        owner.get(&proof).await.status == 200
    })
    .await;
    (event["eventId"].clone(), event["position"].clone())
}

#[tokio::test]
async fn the_server_does_what_its_document_says_and_nothing_else() {
    let app = TestApp::start_with(&[
        ("MASTRA_ADMIN_RATE_ADDRESS", "1000000"),
        ("MASTRA_ADMIN_RATE_USER", "1000000"),
        ("MASTRA_ADMIN_RATE_TEAM", "1000000"),
    ])
    .await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let world = world(&app, &owner, &project).await;
    let bin = python::environment("schemathesis").await;
    let folder = tempfile::tempdir().unwrap();
    let mut run = Command::new(bin.join("schemathesis"));
    run.args(["run", &format!("{}/openapi.json", app.url), "--no-color", "--continue-on-failure"])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "6", "--mode", "all"])
        .args(["--seed", "1", "--generation-deterministic"])
        .args(["--no-shrink", "--workers", "1", "--request-timeout", "20", "--warnings", "off"])
        .args(["--suppress-health-check", "all", "--output-truncate", "true"])
        .args(["--checks", CHECKS, "--exclude-path-regex", STREAMS])
        .args(["--header", &format!("Authorization: Bearer {}", owner.token().unwrap())]);
    for operation in EXCLUDED {
        run.args(["--exclude-operation-id", operation]);
    }
    run.env("WORLD", world.to_string())
        .env("SCHEMATHESIS_HOOKS", "world")
        .env("PYTHONPATH", python::peers().join("schemathesis"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(folder.path())
        .kill_on_drop(true);
    let began = Instant::now();
    let done = run.output().await.unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
    assert!(began.elapsed() < Duration::from_secs(300), "it takes {:?}", began.elapsed());
    assert_eq!(owner.get("/me").await.status, 200, "the session is still there");
}

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance,negative_data_rejection,ignored_auth,unsupported_method";
