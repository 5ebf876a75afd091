//! Real Mastra projects, from a git repository to an agent that answers, through the API alone.
//!
//! Needs the npm registry: `npm ci` and `mastra build` run as they would for anybody.

use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::repository;
use tests::world::{Project, team_and_project};

async fn weather(project: &Project, client: &Client) -> Value {
    let path = project.url("/api/agents/weather-agent/generate");
    let request =
        client.request(reqwest::Method::POST, &path).json(&json!({ "messages": "weather in Paris" }));
    Client::send(request).await.expect(200)["text"].clone()
}

const PARIS: &str = r#"Tool said: {"city":"Paris","celsius":21}"#;

#[tokio::test]
async fn a_real_project_answers_and_what_fails_leaves_it_answering() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "single").await;
    let deployment = project.deployed(&app, &owner).await;
    assert_eq!(deployment["status"], "running", "{deployment}\n{}", app.log());
    assert_eq!(weather(&project, &owner).await, PARIS);
    let build = owner.get(&format!("/builds/{}", deployment["buildId"].as_str().unwrap())).await.expect(200);
    assert!(build["nodeVersion"].as_str().unwrap().starts_with("22."), "{build}");

    let stream = project.url("/api/agents/weather-agent/stream");
    let request = owner.request(reqwest::Method::POST, &stream).json(&json!({ "messages": "slow 20 a b c" }));
    let said = Client::send(request).await;
    assert!(said.text.trim_end().ends_with("data: [DONE]"), "{}", said.text);

    // Nothing was set up for that: the server was told where to send what it sees.
    let traces =
        format!("/projects/{}/traces?deploymentId={}", project.id, deployment["id"].as_str().unwrap());
    app.wait_until("the agent's trace has come", std::time::Duration::from_secs(60), async || {
        let traces = owner.get(&traces).await.expect(200);
        traces["items"].as_array().unwrap().iter().any(|trace| trace["name"] == "agent run: 'weather-agent'")
    })
    .await;

    // Each variant comes as the next commit of the same repository.
    let path = app.repositories().join("single");
    let variants = [
        ("broken-build", "build_failed", "Unexpected"),
        ("missing-file", "build_failed", "does-not-exist"),
        ("throw-at-load", "exited_before_ready", "asked to crash at load"),
        ("crash-on-start", "crashed_after_start", "exited with code 1"),
        ("no-health", "never_ready", "/health"),
    ];
    for (variant, code, words) in variants {
        repository::restore(&path, "single");
        repository::overlay(&path, variant);
        let build = project.built(&app, &owner).await;
        let failed = if code == "build_failed" {
            build
        } else {
            assert_eq!(build["status"], "ready", "{variant}: {build}");
            let id = project.deployment_of(&app, &owner, build["id"].as_str().unwrap()).await;
            let end = if code == "crashed_after_start" { "rolled_back" } else { "failed" };
            app.until_status(&owner, &format!("/deployments/{id}"), &[end]).await
        };
        assert_eq!(failed["failure"]["code"], code, "{variant}: {failed}");
        let message = failed["failure"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{variant}: {message}");
        assert_eq!(weather(&project, &owner).await, PARIS, "after {variant}");
    }
}

#[tokio::test]
async fn a_real_project_built_again_without_installs_is_the_same() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "single").await;
    let mut artifacts = Vec::new();
    for is_first in [true, false] {
        repository::change(&app.repositories().join("single"), &[("NOTES.md", &format!("{is_first}"))]);
        let deployment = project.deployed(&app, &owner).await;
        assert_eq!(deployment["status"], "running", "{deployment}\n{}", app.log());
        assert_eq!(weather(&project, &owner).await, PARIS);
        let path = format!("/builds/{}", deployment["buildId"].as_str().unwrap());
        let said = owner.get(&format!("{path}/logs")).await.text;
        let lines = ["$ npm ci", "Updating dependency lockfile and installing"];
        assert_eq!(lines.map(|line| said.contains(line)), [is_first; 2], "{said}");
        assert_eq!(said.contains("Modules are those of the last build"), !is_first, "{said}");
        artifacts.push(owner.get(&path).await.expect(200)["artifact"].clone());
    }
    assert!(artifacts[0].is_object() && artifacts[0] == artifacts[1], "{artifacts:?}");
}

#[tokio::test]
async fn a_real_monorepo_answers() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "monorepo").await;
    let deployment = project.deployed(&app, &owner).await;
    assert_eq!(deployment["status"], "running", "{deployment}\n{}", app.log());
    assert_eq!(weather(&project, &owner).await, PARIS);
}

#[tokio::test]
async fn a_real_project_answers_from_containers_and_goes_on_while_the_platform_restarts() {
    let mut app = TestApp::start_with(&tests::docker::engine().await.settings()).await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "single").await;
    let deployment = project.deployed(&app, &owner).await;
    assert_eq!(deployment["status"], "running", "{deployment}\n{}", app.log());
    assert_eq!(weather(&project, &owner).await, PARIS);

    app.kill_and_restart().await;
    let owner = app.owner().await;
    let path = format!("/deployments/{}", deployment["id"].as_str().unwrap());
    let after = owner.get(&path).await.expect(200);
    assert_eq!(
        (&after["status"], &after["version"]),
        (&deployment["status"], &deployment["version"]),
        "{after}"
    );
    app.wait_until("it is taken up again", std::time::Duration::from_secs(60), async || {
        app.log().contains("went on without the platform")
    })
    .await;
}
