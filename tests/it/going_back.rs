//! Rollbacks and promotions: what a dry run shows first, with which variables, and from one environment to another.

use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::people::join;
use tests::repository;
use tests::world::{Project, team_and_project};

/// Two deployments with other code, other variables and another setting, the second of which serves.
struct Two {
    app: TestApp,
    owner: Client,
    project: Project,
    first: Value,
    second: Value,
}

async fn two() -> Two {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let vars = format!("/projects/{}/env-vars", project.id);
    let set = async |key: &str, value: &str| {
        owner.put(&format!("{vars}/{key}"), json!({ "value": value, "sensitive": true })).await.expect(200);
    };
    set("KEPT", "same").await;
    set("CHANGED", "secret-of-then").await;
    set("GONE", "x").await;
    let first = project.deployed(&app, &owner).await;
    set("CHANGED", "secret-of-now").await;
    set("NEW", "y").await;
    owner.delete(&format!("{vars}/GONE")).await.expect(200);
    repository::change(&app.repositories().join("tiny"), &[("behaviour.json", r#"{ "version": "2" }"#)]);
    let second = project.deployed(&app, &owner).await;
    app.until_status(&owner, &at(&first), &["superseded"]).await;
    let settings = json!({ "health": { "path": "/api/version" } });
    owner.patch(&format!("/projects/{}", project.id), settings).await.expect(200);
    Two { app, owner, project, first, second }
}

fn at(deployment: &Value) -> String {
    format!("/deployments/{}", deployment["id"].as_str().unwrap())
}

/// Name and kind of change of each variable.
fn changes(diff: &Value) -> Vec<(&str, &str)> {
    let all = diff["envVars"].as_array().unwrap().iter();
    all.map(|one| (one["key"].as_str().unwrap(), one["change"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn a_rollback_shows_what_it_would_change_before_it_does() {
    let Two { app, owner, project, first, second } = two().await;
    let rollback = format!("/environments/{}/rollback", project.production);
    let now = owner.post(&format!("{rollback}?dryRun=true"), json!({})).await.expect(200);
    assert_eq!(now["events"][0]["type"], "deployment.requested");
    let diff = &now["diff"];
    assert_eq!(diff["deployment"], json!({ "before": second["id"], "after": first["id"] }));
    assert_eq!(diff["build"], json!({ "before": second["buildId"], "after": first["buildId"] }));
    for field in ["commit", "artifact"] {
        let (before, after) = (&diff[field]["before"], &diff[field]["after"]);
        assert!(before.is_string() && after.is_string() && before != after, "{field}: {diff}");
    }
    assert_eq!(diff["settings"][0]["field"], "health");
    assert_eq!(diff["settings"][0]["after"], json!({ "path": "/api/version" }));
    assert_eq!(diff["envVars"], json!([]), "those of now run already");

    let body = json!({ "deploymentId": first["id"], "envVars": "then" });
    let then = owner.post(&format!("{rollback}?dryRun=true"), body.clone()).await.expect(200);
    let wanted = [("CHANGED", "changed"), ("GONE", "added"), ("NEW", "removed")];
    assert_eq!(changes(&then["diff"]), wanted);
    let changed = &then["diff"]["envVars"][0];
    assert_ne!(changed["before"]["fingerprint"], changed["after"]["fingerprint"]);
    assert!(!then.to_string().contains("secret-of"), "fingerprints, never values");
    app.settle().await;
    assert_eq!(owner.get(&at(&second)).await.expect(200)["status"], "running", "nothing has happened");

    let back = owner.post(&rollback, body).await.expect(202);
    assert_eq!(back["envVars"], first["envVars"], "exactly those of then");
    app.until_status(&owner, &at(&back), &["running"]).await;
    assert_eq!(project.ask(&owner, "/api/version").await.body["version"], "1");
    let both = json!({ "envVars": "now", "withEnvVarsAsOf": "2026-01-01T00:00:00Z" });
    let refused = owner.post(&rollback, both).await;
    assert_eq!((refused.status, &refused.body["errors"][0]["field"]), (422, &json!("envVars")));
}

#[tokio::test]
async fn what_runs_in_one_environment_is_promoted_to_another_with_the_variables_of_that_one() {
    let Two { app, owner, project, first, .. } = two().await;
    let staging = json!({ "name": "Staging", "type": "staging" });
    let staging = owner.post(&format!("/projects/{}/environments", project.id), staging).await.expect(201);
    let staging = staging["id"].as_str().unwrap();
    let own = json!({ "value": "of staging", "sensitive": true, "environment": staging });
    owner.put(&format!("/projects/{}/env-vars/CHANGED", project.id), own).await.expect(200);
    let to = format!("/environments/{staging}/deployments");
    let body = json!({ "deploymentId": first["id"] });
    let dry = owner.post(&format!("{to}?dryRun=true"), body.clone()).await.expect(200);
    assert_eq!(dry["diff"]["deployment"], json!({ "before": null, "after": first["id"] }));
    assert!(changes(&dry["diff"]).iter().all(|(_, change)| *change == "added"), "{dry}");

    let made = owner.post(&to, body.clone()).await.expect(202);
    assert_eq!((&made["type"], &made["buildId"]), (&json!("promote"), &first["buildId"]));
    let given = made["envVars"].as_array().unwrap().iter().find(|var| var["key"] == "CHANGED").unwrap();
    assert_eq!(given["environment"], staging, "the target's own");
    app.until_status(&owner, &at(&made), &["running"]).await;
    let answer = owner.get("//p/acme/agent/staging/api/version").await.expect(200);
    assert_eq!(answer["version"], "1");

    for (body, field) in [
        (json!({}), "buildId"),
        (json!({ "buildId": first["buildId"], "deploymentId": first["id"] }), "buildId"),
        (json!({ "deploymentId": uuid::Uuid::now_v7() }), "deploymentId"),
    ] {
        let refused = owner.post(&to, body).await;
        assert_eq!(
            (refused.status, &refused.body["errors"][0]["field"]),
            (422, &json!(field)),
            "{}",
            refused.text
        );
    }
    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    assert_eq!(
        viewer.post(&format!("{to}?dryRun=true"), body).await.status,
        403,
        "a look at it needs the right to it"
    );
    let rollback = format!("/environments/{}/rollback?dryRun=true", project.production);
    assert_eq!(viewer.post(&rollback, json!({})).await.status, 403);
}

#[tokio::test]
async fn a_chart_is_told_what_changed_when_and_who_began_it() {
    let Two { app, owner, project, first, second } = two().await;
    app.settle().await;
    let markers = format!("/projects/{}/markers", project.id);
    let all = owner.get(&markers).await.expect(200);
    let all = all["items"].as_array().unwrap();
    let told = |of: &[Value]| -> Vec<String> {
        of.iter()
            .map(|it| format!("{} {}", it["type"].as_str().unwrap(), it["key"].as_str().unwrap_or("")))
            .collect()
    };
    let wanted = [
        "settings ",
        "deploy ",
        "env_var_deleted GONE",
        "env_var_set NEW",
        "env_var_set CHANGED",
        "deploy ",
        "env_var_set GONE",
        "env_var_set CHANGED",
        "env_var_set KEPT",
    ];
    assert_eq!(told(all), wanted);
    assert_eq!(all[0]["changed"], json!(["health"]));
    let me = format!("user:{}", owner.get("/me").await.expect(200)["id"].as_str().unwrap());
    for (marker, deployment) in [(&all[1], &second), (&all[5], &first)] {
        assert_eq!((&marker["deploymentId"], &marker["at"]), (&deployment["id"], &deployment["activatedAt"]));
        assert!(marker["commit"].is_string(), "{marker}");
        let began = (&marker["cause"]["action"], &marker["cause"]["actor"]);
        assert_eq!(began, (&json!("build.requested"), &json!(me)), "{marker}");
    }
    assert!(all.windows(2).all(|pair| pair[0]["position"].as_i64() > pair[1]["position"].as_i64()));

    let (from, to) = (all[5]["at"].as_str().unwrap(), all[1]["at"].as_str().unwrap());
    let between = owner.get(&format!("{markers}?from={from}&to={to}")).await.expect(200);
    assert_eq!(told(between["items"].as_array().unwrap()), wanted[2..6]);
    let page = owner.get(&format!("{markers}?limit=4")).await.expect(200);
    let rest = format!("{markers}?cursor={}", page["nextCursor"].as_str().unwrap());
    assert_eq!(told(owner.get(&rest).await.expect(200)["items"].as_array().unwrap()), wanted[4..]);
    assert_eq!(owner.get(&format!("{markers}?from=yesterday")).await.status, 422);
    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    let seen = viewer.get(&markers).await.expect(200);
    assert_eq!(told(seen["items"].as_array().unwrap()), ["settings ", "deploy ", "deploy "]);
}
