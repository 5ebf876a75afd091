//! The operator's tool, as an operator runs it.

use std::process::{Command, Output};

use serde_json::{Value, json};
use tests::app::TestApp;
use tests::world::team_and_project;

fn tool(app: &TestApp, arguments: &[&str]) -> Output {
    Command::new(tests::app::program("replay-tool"))
        .args(arguments)
        .env("DATABASE_URL", app.db.url())
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn it_tells_rebuilds_proves_and_looks_back() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let at = format!("/projects/{}/env-vars/COLOUR", project.id);
    let first = owner.put(&at, json!({ "value": "red", "sensitive": false })).await;
    let position = first.headers["x-event-position"].to_str().unwrap().to_owned();
    owner.delete(&at).await.expect(200);
    project.deployed(&app, &owner).await;
    app.settle().await;

    let status = tool(&app, &["status", "--json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert!(status["head"].as_i64().unwrap() > 10);
    assert!(status["consumers"].as_array().unwrap().iter().all(|consumer| consumer["lag"] == 0), "{status}");

    let verified = tool(&app, &["verify"]);
    assert!(verified.status.success(), "{}", text(&verified));
    let rebuilt = tool(&app, &["rebuild", "all"]);
    assert!(rebuilt.status.success(), "{}", text(&rebuilt));
    assert_eq!(owner.get(&format!("/projects/{}", project.id)).await.status, 200);
    let verified = tool(&app, &["verify", "all"]);
    assert!(verified.status.success(), "{}", text(&verified));

    let history = tool(&app, &["history", "project", &project.id]);
    assert!(text(&history).contains("project.env_var_deleted"), "{}", text(&history));
    let then = tool(&app, &["as-of", "project", &project.id, "--at", &position]);
    assert!(text(&then).contains("COLOUR"), "{}", text(&then));
    let now = tool(&app, &["as-of", "project", &project.id, "--at", "2999-01-01T00:00:00Z"]);
    assert!(now.status.success() && !text(&now).contains("COLOUR"), "{}", text(&now));

    sqlx::query("UPDATE read.projects SET slug = 'forged'").execute(app.db.pool()).await.unwrap();
    let forged = tool(&app, &["verify", "projects"]);
    assert_eq!(forged.status.code(), Some(3), "{}", text(&forged));
    assert!(text(&forged).contains("forged"), "{}", text(&forged));
    assert_eq!(tool(&app, &["verify", "nonsense"]).status.code(), Some(1));
}
