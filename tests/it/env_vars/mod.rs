//! Environment variables: who sees which, when, and that nobody else does.

mod dotenv;
mod files;
mod running;

use serde_json::json;
use tests::app::TestApp;
use tests::repository;
use tests::world::team_and_project;

#[tokio::test]
async fn a_run_time_secret_reaches_the_server_and_neither_build_nor_log_nor_database() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let at = |key: &str| format!("/projects/{}/env-vars/{key}", project.id);
    let secret = "s3cr3t-Ünï\"code\\ with spaces";
    owner.put(&at("SECRET"), json!({ "value": secret, "sensitive": true })).await.expect(200);
    owner.put(&at("PLAIN"), json!({ "value": "plain-value", "sensitive": false })).await.expect(200);
    owner
        .put(&at("AT_BUILD"), json!({ "value": "only-at-build", "sensitive": true, "availability": "build" }))
        .await
        .expect(200);
    owner
        .put(
            &at("PRINT_AT_BUILD"),
            json!({ "value": "SECRET,AT_BUILD", "sensitive": false, "availability": "build" }),
        )
        .await
        .expect(200);
    let deployment = project.deployed(&app, &owner).await;

    let env = project.ask(&owner, "/api/env").await.expect(200);
    assert_eq!(env["SECRET"], secret, "byte for byte");
    assert_eq!(env["PLAIN"], "plain-value");
    assert_eq!(env["AT_BUILD"], json!(null));
    assert_eq!(env["NODE_ENV"], "production");
    assert_eq!(env["MASTRA_HOST"], "127.0.0.1");
    assert!(env.get("DATABASE_URL").is_none() && env.get("MASTRA_ADMIN_OWNER_PASSWORD").is_none(), "{env}");

    let build = deployment["buildId"].as_str().unwrap();
    let log = owner.get(&format!("/builds/{build}/logs")).await.text;
    assert!(log.contains("SECRET=\n") || log.contains("SECRET=\r\n"), "the build does not see it: {log}");
    assert!(log.contains("AT_BUILD=***"), "build-time secrets are masked: {log}");
    assert!(!log.contains("only-at-build"));

    let id = deployment["id"].as_str().unwrap();
    let encoded = "s3cr3t-%C3%9Cn%C3%AF%22code%5C%20with%20spaces";
    project.ask(&owner, &format!("/api/log?line=leak:{encoded}")).await.expect(200);
    app.wait_until("the line is stored", std::time::Duration::from_secs(10), async || {
        owner.get(&format!("/deployments/{id}/logs")).await.text.contains("leak:***")
    })
    .await;

    let events: String =
        sqlx::query_scalar("SELECT string_agg(payload::text || metadata::text, ' ') FROM events")
            .fetch_one(app.db.pool())
            .await
            .unwrap();
    for value in [secret, "plain-value", "only-at-build"] {
        assert!(!events.contains(value), "no value stands in the log: {value}");
    }
}

#[tokio::test]
async fn sensitive_values_are_write_only_for_those_who_may_not_manage_them() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let list = format!("/projects/{}/env-vars", project.id);
    owner.put(&format!("{list}/A"), json!({ "value": "hidden", "sensitive": true })).await.expect(200);
    owner.put(&format!("{list}/B"), json!({ "value": "shown", "sensitive": false })).await.expect(200);
    let plain = owner.get(&list).await.expect(200);
    assert!(!plain.to_string().contains("hidden"), "{plain}");
    let items = plain["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(owner.get(&format!("{list}?reveal=true")).await.status, 403, "sensitive ones stay hidden");
    owner.delete(&format!("{list}/A")).await.expect(200);
    let shown = owner.get(&format!("{list}?reveal=true")).await.expect(200);
    assert_eq!(shown["items"][0]["value"], "shown");
    app.settle().await;
    let audit = owner.get("/teams/acme/audit?action=project.env_vars_revealed").await.expect(200);
    assert_eq!(audit["items"][0]["after"]["keys"], json!(["B"]), "who looked is recorded");
    assert_eq!(owner.delete(&format!("{list}/A")).await.status, 404);
    let reserved = owner.put(&format!("{list}/PORT"), json!({ "value": "1", "sensitive": false })).await;
    assert_eq!(reserved.status, 422, "{}", reserved.text);
}

#[tokio::test]
async fn a_deployment_keeps_the_variables_it_was_made_with() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let at = format!("/projects/{}/env-vars/COLOUR", project.id);
    owner.put(&at, json!({ "value": "red", "sensitive": false })).await.expect(200);
    let first = project.deployed(&app, &owner).await;
    owner.put(&at, json!({ "value": "blue", "sensitive": false })).await.expect(200);
    assert_eq!(project.ask(&owner, "/api/env").await.body["COLOUR"], "red");
    repository::change(&app.repositories().join("tiny"), &[("behaviour.json", r#"{ "version": "2" }"#)]);
    project.deployed(&app, &owner).await;
    assert_eq!(project.ask(&owner, "/api/env").await.body["COLOUR"], "blue");

    let rollback = format!("/environments/{}/rollback", project.production);
    let back = owner
        .post(&rollback, json!({ "deploymentId": first["id"], "withEnvVarsAsOf": first["createdAt"] }))
        .await
        .expect(202);
    app.until_status(&owner, &format!("/deployments/{}", back["id"].as_str().unwrap()), &["running"]).await;
    let env = project.ask(&owner, "/api/env").await.body;
    assert_eq!(env["COLOUR"], "red", "as it was then");
}
