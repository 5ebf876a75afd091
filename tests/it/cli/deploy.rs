//! The real command line of npm, unmodified. Needs the npm registry.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::mastra_cli::{MastraCli, built_tiny, real_project};
use tests::world::{Project, team};

use super::project;

/// As somebody with a personal token has it in his CI.
async fn cli(app: &TestApp, owner: &Client, project: &Project) -> MastraCli {
    let made = owner.post("/me/tokens", json!({ "name": "ci" })).await.expect(201);
    let token = made["plainToken"].as_str().unwrap().to_owned();
    MastraCli::of(app)
        .await
        .with("MASTRA_API_TOKEN", &token)
        .with("MASTRA_ORG_ID", "acme")
        .with("MASTRA_PROJECT_ID", &project.id)
}

#[tokio::test]
async fn a_real_project_is_deployed_by_the_unmodified_command_line() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = project(&app, &owner).await;
    let cli = cli(&app, &owner, &project).await;
    let (dir, _turn) = real_project().await;
    std::fs::write(dir.join(".env.production"), "GREETING=\"good morning\"\nPORT=4111\n").unwrap();

    let said = cli.run(&dir, &["deploy", "--yes", "--env", "production"]).await;
    assert_eq!(said.code, Some(0), "{}\n{}", said.text, app.log());
    assert!(said.text.contains("Deploy succeeded"), "{}", said.text);
    assert!(said.text.contains("added ") && said.text.contains("Packing the artifact"), "{}", said.text);

    let path = project.url("/api/agents/weather-agent/generate");
    let request =
        owner.request(reqwest::Method::POST, &path).json(&json!({ "messages": "weather in Paris" }));
    let answer = Client::send(request).await.expect(200);
    assert_eq!(answer["text"], r#"Tool said: {"city":"Paris","celsius":21}"#);
    let vars = owner.get(&format!("/projects/{}/env-vars?reveal=true", project.id)).await.expect(200);
    let [var] = &vars["items"].as_array().unwrap()[..] else { panic!("{vars}") };
    assert_eq!((&var["key"], &var["value"]), (&json!("GREETING"), &json!("good morning")));
    assert_eq!(var["environment"], project.production.as_str());
}

#[tokio::test]
async fn a_deploy_that_fails_says_why_and_the_other_commands_work() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = project(&app, &owner).await;
    let cli = cli(&app, &owner, &project).await;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let deploy = ["deploy", "--yes", "--skip-build", "--skip-preflight"];

    built_tiny(dir, r#"{ "version": "1" }"#);
    std::fs::write(dir.join(".env.production"), "GREETING=hello\n").unwrap();
    let said = cli.run(dir, &deploy).await;
    assert!(said.code == Some(0) && said.text.contains("Deploy succeeded"), "{}\n{}", said.text, app.log());
    assert_eq!(project.ask(&owner, "/api/env").await.body["GREETING"], "hello");

    built_tiny(dir, r#"{ "version": "2", "exitAtLoad": true }"#);
    let said = cli.run(dir, &deploy).await;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(said.text.contains("Deploy failed: "), "{}", said.text);
    assert!(said.text.contains("tiny: asked to fail while loading"), "{}", said.text);
    assert_eq!(project.ask(&owner, "/api/version").await.body["version"], "1", "what served goes on");
    let said = cli.run(dir, &["env", "diagnosis", "--environment", "production"]).await;
    assert!(said.code == Some(0) && said.text.contains("Summary"), "{}", said.text);

    every_other_command(&app, &owner, &project, &cli, dir).await;
}

async fn every_other_command(app: &TestApp, owner: &Client, project: &Project, cli: &MastraCli, dir: &Path) {
    for (args, words) in [
        (&["auth", "orgs"][..], "acme"),
        (&["env", "list"], "Production"),
        (&["env", "deploys"], "failed"),
        (&["env", "create", "rehearsal"], "Created environment"),
        (&["env", "delete", "rehearsal", "--yes"], "Environment deleted"),
        (&["server", "env", "set", "SHARED", "one"], "Set SHARED"),
        (&["server", "env", "list"], "SHARED"),
        (&["env", "vars", "pull", "production", "--output", "pulled"], "Pulled 2 variable(s)"),
        (&["env", "restart", "production"], "Restarted production"),
    ] {
        let said = cli.run(dir, args).await;
        assert!(said.code == Some(0) && said.text.contains(words), "{args:?}: {}\n{}", said.text, app.log());
    }
    let pulled = std::fs::read_to_string(dir.join("pulled")).unwrap();
    assert!(pulled.contains("GREETING=\"hello\"") && pulled.contains("SHARED=\"one\""), "{pulled}");
    app.wait_until("it runs with what was set", std::time::Duration::from_secs(60), async || {
        project.ask(owner, "/api/env").await.body["SHARED"] == "one"
    })
    .await;

    let secret = json!({ "value": "s3cret-value", "sensitive": true, "environment": project.production });
    owner.put(&format!("/projects/{}/env-vars/HIDDEN", project.id), secret).await.expect(200);
    let said = cli.run(dir, &["env", "vars", "pull", "production", "--output", "pulled", "--force"]).await;
    let pulled = std::fs::read_to_string(dir.join("pulled")).unwrap();
    assert!(!pulled.contains("s3cret-value") && pulled.contains("# HIDDEN"), "{}\n{pulled}", said.text);
    let said = cli.run(dir, &["server", "env", "unset", "SHARED"]).await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    let vars = owner.get(&format!("/projects/{}/env-vars", project.id)).await.expect(200);
    let keys: Vec<&Value> = vars["items"].as_array().unwrap().iter().map(|var| &var["key"]).collect();
    assert_eq!(keys, ["GREETING", "HIDDEN"], "what was not shown was not deleted");
    let reveals: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'project.env_vars_revealed'")
            .fetch_one(app.db.pool())
            .await
            .unwrap();
    assert!(reveals > 0, "whoever brings values is in the log");
}

/// Whoever is signed in deploys what nobody has made yet: the first deploy makes the project, which has no repository.
pub(super) async fn first_deploy(app: &TestApp, owner: &Client, cli: &MastraCli) {
    let dir = tempfile::tempdir().unwrap();
    let deploy = ["deploy", "--yes", "--skip-build", "--skip-preflight", "--project", "Fresh Agent"];
    for version in ["1", "2"] {
        built_tiny(dir.path(), &json!({ "version": version }).to_string());
        let said = cli.run(dir.path(), &deploy).await;
        let is_good = said.code == Some(0) && said.text.contains("Deploy succeeded");
        assert!(is_good, "{}\n{}", said.text, app.log());
        let answer = owner.get("//p/acme/fresh-agent/api/version").await;
        assert_eq!(answer.body["version"], version);
    }

    let projects = owner.get("/teams/acme/projects").await.expect(200);
    let mut fresh = projects["items"].as_array().unwrap().iter().filter(|it| it["slug"] == "fresh-agent");
    let (Some(project), None) = (fresh.next(), fresh.next()) else { panic!("one: {projects}") };
    let shown = [&project["name"], &project["slug"], &project["repoUrl"]];
    assert_eq!(shown, [&json!("Fresh Agent"), &json!("fresh-agent"), &Value::Null]);
    let id = project["id"].as_str().unwrap();
    let build = owner.post(&format!("/projects/{id}/builds"), json!({})).await;
    assert_eq!((build.status, build.str("code").as_str()), (409, "no_repository"), "{}", build.text);
    let access = owner.get(&format!("/projects/{id}/repository")).await.expect(200);
    assert_eq!((&access["repoUrl"], &access["host"]), (&Value::Null, &Value::Null));

    // It may get a repository later, and lose it again.
    let url = app.repository("tiny", "later");
    let with = owner.patch(&format!("/projects/{id}"), json!({ "repoUrl": url })).await.expect(200);
    assert_eq!(with["repoUrl"], url.as_str());
    owner.post(&format!("/projects/{id}/builds"), json!({ "deploy": false })).await.expect(202);
    let without = owner.patch(&format!("/projects/{id}"), json!({ "repoUrl": null })).await.expect(200);
    assert_eq!(without["repoUrl"], Value::Null);
}

#[tokio::test]
async fn who_may_not_is_told_so_by_the_command_line() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = project(&app, &owner).await;
    let dir = tempfile::tempdir().unwrap();
    built_tiny(dir.path(), r#"{ "version": "1" }"#);
    let made = json!({ "name": "reader", "scopes": ["read"] });
    let made = owner.post(&format!("/projects/{}/tokens", project.id), made).await.expect(201);
    let reader = MastraCli::of(&app)
        .await
        .with("MASTRA_API_TOKEN", made["plainToken"].as_str().unwrap())
        .with("MASTRA_ORG_ID", "acme")
        .with("MASTRA_PROJECT_ID", &project.id);
    let said = reader.run(dir.path(), &["deploy", "--yes", "--skip-build", "--skip-preflight"]).await;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(said.text.contains("This needs the right to create build"), "{}", said.text);
}

#[tokio::test]
async fn what_was_made_in_one_team_is_no_answer_in_another() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    team(&owner, "other").await;
    let make = async |team: &str| {
        let request = owner.request(Method::POST, "//v1/studio/projects").header("idempotency-key", "once");
        Client::send(request.header("x-organization-id", team).json(&json!({ "name": "Same" }))).await
    };
    let made = make("acme").await.expect(201);
    assert_eq!(make("acme").await.expect(201), made, "asked twice, it is one project");
    let refused = make("other").await;
    assert_eq!(
        (refused.status, refused.str("code").as_str()),
        (422, "idempotency_key_reused"),
        "{}",
        refused.text
    );
    assert_eq!(owner.get("/teams/other/projects").await.expect(200)["items"], json!([]));
    let nameless = owner.post("//v1/studio/projects", json!({ "name": "x" })).await;
    assert_eq!((nameless.status, &nameless.body["errors"][0]["field"]), (422, &json!("x-organization-id")));
    for name in ["日本", "", "x\0y"] {
        let request = owner.request(Method::POST, "//v1/studio/projects").header("x-organization-id", "acme");
        let refused = Client::send(request.json(&json!({ "name": name }))).await;
        assert_eq!((refused.status, &refused.body["errors"][0]["field"]), (422, &json!("name")), "{name}");
    }
}
