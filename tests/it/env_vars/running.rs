//! What runs of the variables: to the byte, and otherwise than what is saved.

use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::repository;
use tests::world::{Project, team_and_project};

async fn pending(client: &Client, project: &Project) -> Value {
    client.get(&format!("/environments/{}/env-vars/pending", project.production)).await.expect(200)
}

/// Keys with what has become of them.
fn changes(pending: &Value) -> Vec<(&str, &str)> {
    let items = pending["items"].as_array().unwrap().iter();
    items.map(|one| (one["key"].as_str().unwrap(), one["change"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn a_process_gets_every_value_to_the_byte() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let values = [
        ("EMPTY", String::new()),
        ("SPACES", "  at both ends \t".to_owned()),
        ("LINES", "one\ntwo\r\n\n".to_owned()),
        ("QUOTES", "'\"`\\\\\" \\n".to_owned()),
        ("DOLLAR", "$HOME ${PATH} $(id) `id` %PATH% !x".to_owned()),
        ("UNICODE", "Ünï © 日本 \u{1f600} \u{feff}\u{2028}".to_owned()),
        ("CONTROL", "\u{1}\u{1b}[31m\u{7f}".to_owned()),
        ("DASHES", "--setenv X y --".to_owned()),
        ("EQUALS", "=a=b=".to_owned()),
        ("LONG", "0123456789abcdef".repeat(2048)),
    ];
    for (key, value) in &values {
        let path = format!("/projects/{}/env-vars/{key}", project.id);
        owner.put(&path, json!({ "value": value, "availability": "both" })).await.expect(200);
    }
    project.deployed(&app, &owner).await;
    let env = project.ask(&owner, "/api/env").await.expect(200);
    for (key, value) in &values {
        assert_eq!(env[key], *value, "{key}");
    }
}

#[tokio::test]
async fn what_is_saved_but_does_not_run_is_shown_until_it_does() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let at = |key: &str| format!("/projects/{}/env-vars/{key}", project.id);
    for key in ["STAYS", "CHANGES", "GOES"] {
        owner.put(&at(key), json!({ "value": "s3cret", "sensitive": true })).await.expect(200);
    }
    let first = pending(&owner, &project).await;
    assert_eq!(first["deploymentId"], json!(null), "nothing runs yet");
    assert_eq!(changes(&first), [("CHANGES", "added"), ("GOES", "added"), ("STAYS", "added")]);
    let deployment = project.deployed(&app, &owner).await;
    let none = pending(&owner, &project).await;
    assert_eq!((changes(&none), &none["deploymentId"]), (vec![], &deployment["id"]));

    owner.put(&at("CHANGES"), json!({ "value": "other", "sensitive": true })).await.expect(200);
    owner.put(&at("NEW"), json!({ "value": "1" })).await.expect(200);
    owner.put(&at("BUILT"), json!({ "value": "1", "availability": "build" })).await.expect(200);
    owner.delete(&at("GOES")).await.expect(200);
    // The same value, now of this environment alone, changes nothing for the process.
    let own = json!({ "value": "s3cret", "sensitive": true, "environment": project.production });
    owner.put(&at("STAYS"), own).await.expect(200);
    let staged = pending(&owner, &project).await;
    assert_eq!(changes(&staged), [("CHANGES", "changed"), ("GOES", "removed"), ("NEW", "added")]);
    let changed = &staged["items"][0];
    assert_ne!(changed["saved"]["fingerprint"], changed["running"]["fingerprint"]);
    assert!(!staged.to_string().contains("s3cret") && !staged.to_string().contains("other"), "{staged}");

    let path = format!("/deployments/{}/env-vars", deployment["id"].as_str().unwrap());
    let set = owner.get(&path).await.expect(200);
    let keys: Vec<_> = set["items"].as_array().unwrap().iter().map(|one| &one["key"]).collect();
    assert_eq!(keys, ["CHANGES", "GOES", "STAYS"], "as it was when it was made");
    let me = owner.get("/me").await.expect(200)["id"].as_str().unwrap().to_owned();
    let one = &set["items"][0];
    assert_eq!(one["fingerprint"], changed["running"]["fingerprint"]);
    assert_eq!((&one["setBy"], one["setAt"].is_string()), (&json!(format!("user:{me}")), true), "{one}");

    let body = json!({ "buildId": deployment["buildId"] });
    let again =
        owner.post(&format!("/environments/{}/deployments", project.production), body).await.expect(202);
    let again = format!("/deployments/{}", again["id"].as_str().unwrap());
    app.until_status(&owner, &again, &["running"]).await;
    assert_eq!(changes(&pending(&owner, &project).await), []);
}

#[tokio::test]
async fn what_the_code_reads_and_nobody_set_is_named_before_the_deploy() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let notes =
        r#"{ "userEnvRefs": ["OPENAI_API_KEY", "DATABASE_URL", "NODE_ENV", "PORT", "npm_package_name"] }"#;
    let build = "import { cpSync, mkdirSync } from 'node:fs';\n\
        mkdirSync('.mastra/output', { recursive: true });\n\
        cpSync('server.mjs', '.mastra/output/index.mjs');\n\
        cpSync('behaviour.json', '.mastra/output/behaviour.json');\n\
        cpSync('notes.json', '.mastra/output/preflight-metadata.json');\n";
    let files = [("build.mjs", build), ("notes.json", notes)];
    repository::change(&app.repositories().join("tiny"), &files);
    let set = |key: &str| format!("/projects/{}/env-vars/{key}", project.id);
    owner.put(&set("DATABASE_URL"), json!({ "value": "x" })).await.expect(200);
    // For the build alone, or elsewhere: the server has it not.
    owner.put(&set("OPENAI_API_KEY"), json!({ "value": "x", "availability": "build" })).await.expect(200);
    let deployment = project.deployed(&app, &owner).await;
    let build = format!("/builds/{}", deployment["buildId"].as_str().unwrap());
    let environment = format!("/environments/{}", project.production);
    let named = async || {
        let of_build = owner.get(&build).await.expect(200)["missingEnvVars"].clone();
        assert_eq!(owner.get(&environment).await.expect(200)["missingEnvVars"], of_build);
        assert_eq!(pending(&owner, &project).await["missing"], of_build);
        of_build
    };
    assert_eq!(named().await, json!(["OPENAI_API_KEY"]));
    owner.put(&set("OPENAI_API_KEY"), json!({ "value": "x" })).await.expect(200);
    assert_eq!(named().await, json!([]));
}

#[tokio::test]
async fn what_was_set_before_its_name_was_forbidden_reaches_no_process() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let path = format!("/projects/{}/env-vars/OLD", project.id);
    owner.put(&path, json!({ "value": "/evil", "availability": "both" })).await.expect(200);
    // As an older version took it. Who opened its value would fail: it is sealed for another name.
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         SELECT aggregate_type, aggregate_id, sequence + 1, event_type, event_version,
                payload::jsonb || jsonb_build_object('key', 'PATH', 'value',
                    payload::jsonb -> 'value' || jsonb_build_object('id', gen_random_uuid())), metadata
           FROM events WHERE event_type = 'project.env_var_set'",
    )
    .execute(app.db.pool())
    .await
    .unwrap();
    app.settle().await;
    let listed = owner.get(&format!("/projects/{}/env-vars", project.id)).await.expect(200);
    assert_eq!(listed["items"][1]["key"], "PATH", "{listed}");
    let deployment = project.deployed(&app, &owner).await;
    assert_eq!(deployment["status"], "running", "{deployment}");
    let env = project.ask(&owner, "/api/env").await.expect(200);
    assert_eq!(env["OLD"], "/evil");
    assert!(!env["PATH"].as_str().unwrap().contains("evil"), "{env}");
    assert_eq!(pending(&owner, &project).await["items"], json!([]));
    // It can still be deleted.
    owner.delete(&format!("/projects/{}/env-vars/PATH", project.id)).await.expect(200);
}
