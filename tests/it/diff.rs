//! What changed in a project between two moments, and who made it so.

use serde_json::{Value, json};
use tests::app::TestApp;
use tests::people::join;
use tests::world::{project, team, team_and_project};
use uuid::Uuid;

async fn head(app: &TestApp) -> i64 {
    sqlx::query_scalar("SELECT position FROM log_head").fetch_one(app.db.pool()).await.unwrap()
}

/// Resource, field, before, after and the types of the events of every change.
fn told(diff: &Value) -> Vec<(String, String, Value, Value, Vec<String>)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let changes = diff["changes"].as_array().unwrap().iter().map(|change| {
        let events = change["events"].as_array().unwrap().iter().map(|event| text(&event["eventType"]));
        let (before, after) = (change["before"].clone(), change["after"].clone());
        (text(&change["resource"]), text(&change["field"]), before, after, events.collect())
    });
    changes.collect()
}

#[tokio::test]
async fn every_part_of_a_project_tells_what_changed_and_which_events_made_it_so() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let made = team_and_project(&app, &owner, "tiny").await;
    let base = format!("/projects/{}", made.id);
    let set = async |key: &str, value: &str| {
        let body = json!({ "value": value, "sensitive": true });
        owner.put(&format!("{base}/env-vars/{key}"), body).await.expect(200);
    };
    set("CHANGED", "old secret").await;
    set("BACK", "same").await;
    let token = owner.post(&format!("{base}/tokens"), json!({ "name": "old" })).await.expect(201);
    app.settle().await;
    let from = head(&app).await;
    set("CHANGED", "interim").await;
    set("CHANGED", "new secret").await;
    set("BACK", "other").await;
    set("BACK", "same").await;
    set("NEW", "x").await;
    owner.patch(&base, json!({ "name": "Renamed" })).await.expect(200);
    owner.patch(&base, json!({ "port": 4111 })).await.expect(200);
    owner.delete(&format!("{base}/tokens/{}", token["token"]["id"].as_str().unwrap())).await.expect(200);
    owner.patch(&format!("/environments/{}", made.production), json!({ "name": "Prod" })).await.expect(200);
    let deployment = made.deployed(&app, &owner).await;
    let user = owner.get("/me").await.expect(200)["id"].clone();
    assign(&app, &made.id, &user).await;
    app.settle().await;

    let diff = owner.get(&format!("{base}/diff?from={from}")).await.expect(200);
    assert_eq!(
        (&diff["from"]["position"], &diff["to"]["position"]),
        (&json!(from), &json!(head(&app).await))
    );
    assert!(!diff.to_string().contains("secret"), "fingerprints, never values: {diff}");
    let told = told(&diff);
    let find = |resource: &str, field: &str| {
        let one = told.iter().find(|change| change.0 == resource && change.1 == field);
        one.unwrap_or_else(|| panic!("no {resource}.{field} in {told:#?}")).clone()
    };
    assert_eq!(
        find("project", "name").4,
        ["project.settings_changed"],
        "not the event that changed the port"
    );
    for (resource, field, before, after) in [
        ("project", "name", json!("agent"), json!("Renamed")),
        ("project", "port", Value::Null, json!(4111)),
        ("environment", "name", json!("Production"), json!("Prod")),
    ] {
        let change = find(resource, field);
        assert_eq!((change.2, change.3), (before, after), "{resource}.{field}");
    }
    let active = find("environment", "activeDeploymentId");
    assert_eq!(
        (active.2, active.3, active.4),
        (Value::Null, deployment["id"].clone(), vec!["deployment.activated".to_owned()])
    );
    let gone = find("token", "name");
    assert_eq!(
        (gone.2, gone.3, gone.4),
        (json!("old"), Value::Null, vec!["project.token_revoked".to_owned()])
    );
    let role = find("role_assignment", "roleId");
    assert_eq!(
        (role.2, role.3, role.4),
        (Value::Null, json!("project:admin"), vec!["role.assigned".to_owned()])
    );
    told_of_variables(&diff);
}

fn told_of_variables(diff: &Value) {
    let vars: Vec<_> =
        diff["changes"].as_array().unwrap().iter().filter(|c| c["resource"] == "env_var").collect();
    let changed = vars.iter().find(|c| c["resourceId"] == "CHANGED").unwrap();
    let events = changed["events"].as_array().unwrap();
    assert_eq!((changed["field"].as_str(), events.len()), (Some("fingerprint"), 2));
    assert!(events.iter().all(|event| event["actor"].as_str().unwrap().starts_with("user:")), "{events:?}");
    assert!(!vars.iter().any(|c| c["resourceId"] == "BACK"), "what is again as it was is no change");
    assert!(vars.iter().any(|c| c["resourceId"] == "NEW" && c["before"].is_null()));
}

#[tokio::test]
async fn who_may_not_see_a_part_is_not_told_of_it() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let made = project(&owner, "acme", "agent", &app.repository("tiny", "agent"), json!({})).await;
    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    let base = format!("/projects/{}", made.id);
    let from = head(&app).await;
    owner.put(&format!("{base}/env-vars/KEY"), json!({ "value": "x" })).await.expect(200);
    owner.post(&format!("{base}/tokens"), json!({ "name": "ci" })).await.expect(201);
    owner.patch(&base, json!({ "name": "Renamed" })).await.expect(200);
    let seen = viewer.get(&format!("{base}/diff?from={from}")).await.expect(200);
    let resources: Vec<_> = self::told(&seen).into_iter().map(|change| change.0).collect();
    assert!(resources.iter().any(|resource| resource == "project"));
    assert!(!resources.iter().any(|resource| resource == "env_var" || resource == "token"), "{resources:?}");
    let none = owner.get(&format!("{base}/diff?from={from}&to={from}")).await.expect(200);
    assert_eq!(none["changes"], json!([]));
}

async fn assign(app: &TestApp, project: &str, user: &Value) {
    let scope = json!({ "type": "project", "projectId": project });
    let payload =
        json!({ "type": "role.assigned", "user_id": user, "role": "project:admin", "scope": scope });
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             team_id)
         SELECT 'role_assignment', $1, 1, 'role.assigned', '1', $2, '{}', team_id
           FROM events WHERE aggregate_id = $3 AND sequence = 1",
    )
    .bind(Uuid::now_v7().to_string())
    .bind(payload)
    .bind(project)
    .execute(app.db.pool())
    .await
    .unwrap();
}

#[tokio::test]
async fn any_project_has_a_past_also_one_that_has_gone_but_not_for_strangers() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let stranger = join(&app, &owner, "stranger@example.org", None).await;
    let made = project(&owner, "acme", "gone", &app.repository("tiny", "gone"), json!({})).await;
    let alive = head(&app).await;
    owner.delete(&format!("/projects/{}", made.id)).await.expect(200);
    let path = format!("/projects/{}/diff", made.id);
    let whole = owner.get(&format!("{path}?from=1")).await.expect(200);
    assert_eq!(whole["changes"], json!([]), "it came and went");
    let end = owner.get(&format!("{path}?from={alive}")).await.expect(200);
    let told = told(&end);
    assert!(told.iter().all(|change| change.3.is_null() && change.4 == ["project.deleted"]), "{told:?}");
    assert!(told.iter().any(|change| change.0 == "environment" && change.1 == "name"));
    assert_eq!(stranger.get(&format!("{path}?from=1")).await.status, 404);
    assert_eq!(app.nobody().get(&format!("{path}?from=1")).await.status, 401);
    for (query, field) in [
        ("", "from"),
        ("?from=0", "from"),
        ("?from=x", "from"),
        ("?from=1&to=999999", "to"),
        ("?from=1&to=-1", "to"),
        ("?from=2999-01-01T00:00:00Z", "from"),
        ("?from=9&to=8", "from"),
        ("?from=1&asOf=1", "asOf"),
    ] {
        let refused = owner.get(&format!("{path}{query}")).await;
        let named = refused.body["errors"][0]["field"].as_str().unwrap_or("-");
        assert_eq!((refused.status, named), (422, field), "{query}: {}", refused.text);
    }
}
