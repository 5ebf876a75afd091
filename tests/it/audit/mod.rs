//! The audit trail: what it tells, who sees it, how it is found, taken away and followed.

mod chain;
mod export;
mod plans;
mod stream;

use serde_json::{Value, json};
use sqlx::Row;
use tests::app::TestApp;
use tests::client::Client;
use tests::people::join;
use tests::world::{project, team_and_project};
use uuid::Uuid;

async fn id_of(client: &Client) -> String {
    client.get("/me").await.expect(200)["id"].as_str().unwrap().to_owned()
}

/// Gives a role in a project, as the log would have it.
async fn assign(app: &TestApp, user: &str, role: &str, project: &str) {
    let payload = json!({
        "type": "role.assigned", "user_id": user, "role": role,
        "scope": { "type": "project", "projectId": project },
    });
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ('role_assignment', $1, 1, 'role.assigned', '1', $2, '{}')",
    )
    .bind(Uuid::now_v7().to_string())
    .bind(payload)
    .execute(app.db.pool())
    .await
    .unwrap();
    app.settle().await;
}

/// The newest row of an action.
async fn last(client: &Client, action: &str) -> Value {
    let trail = client.get(&format!("/teams/acme/audit?action={action}&limit=1")).await.expect(200);
    trail["items"][0].clone()
}

#[tokio::test]
async fn every_event_is_a_row_with_what_was_before_and_after() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    owner.patch("/teams/acme", json!({ "name": "Acme & Sons" })).await.expect(200);
    owner.patch(&format!("/projects/{}", it.id), json!({ "branch": "next" })).await.expect(200);
    let variable = format!("/projects/{}/env-vars/OPENAI_API_KEY", it.id);
    for value in ["first-secret", "second-secret"] {
        owner.put(&variable, json!({ "value": value, "sensitive": true })).await.expect(200);
    }
    let tokens = format!("/projects/{}/tokens", it.id);
    let token = owner.post(&tokens, json!({ "name": "ci", "scopes": ["read"] })).await.expect(201);
    owner.delete(&format!("{tokens}/{}", token["token"]["id"].as_str().unwrap())).await.expect(200);
    owner.delete(&format!("/teams/acme/members/{}", id_of(&viewer).await)).await.expect(200);
    let secret = owner.delete(&variable).await;
    assert_eq!(secret.status, 200);
    app.settle().await;

    let renamed = last(&owner, "team.renamed").await;
    assert_eq!(renamed["before"], json!({ "name": "acme", "slug": "acme" }));
    assert_eq!(renamed["after"], json!({ "name": "Acme & Sons", "slug": "acme" }));
    let changed = last(&owner, "project.settings_changed").await;
    assert_eq!((&changed["before"]["branch"], &changed["after"]["branch"]), (&json!("main"), &json!("next")));
    assert_eq!(changed["projectId"], it.id);
    let set = last(&owner, "project.env_var_set").await;
    let mark = |side: &str| set[side]["value"]["fingerprint"].as_str().unwrap().to_owned();
    assert_ne!(mark("before"), mark("after"), "that it changed is seen, what it is is not");
    let revoked = last(&owner, "project.token_revoked").await;
    assert_eq!((&revoked["before"]["name"], &revoked["after"]), (&json!("ci"), &json!(null)));
    let removed = last(&owner, "team.member_removed").await;
    assert_eq!((&removed["before"]["role"], &removed["after"]), (&json!("viewer"), &json!(null)));

    // Complete by construction: one row an event, and every column that the log can fill is filled.
    let (events, rows): (i64, i64) =
        sqlx::query_as("SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM read.audit_trail)")
            .fetch_one(app.db.pool())
            .await
            .unwrap();
    assert_eq!(events, rows);
    for row in owner.get("/teams/acme/audit?limit=200").await.expect(200)["items"].as_array().unwrap() {
        for field in ["eventId", "at", "actor", "action", "command", "resource", "resourceId", "requestId"] {
            assert!(row[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {row}");
        }
        assert_eq!(row["outcome"], "success");
        if row["actor"].as_str().unwrap().starts_with("user:") {
            assert_eq!(row["sourceIp"], "127.0.0.1", "{row}");
        }
    }
    let stored = sqlx::query("SELECT string_agg(t::text, ' ') AS text FROM read.audit_trail t")
        .fetch_one(app.db.pool())
        .await
        .unwrap();
    let stored: String = stored.get("text");
    for secret in ["first-secret", "second-secret", "viewer@example.org", "127.0.0.1"] {
        assert!(!stored.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn it_is_filtered_searched_and_paged() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    for key in ["OPENAI_API_KEY", "STRIPE_KEY", "REGION"] {
        let path = format!("/projects/{}/env-vars/{key}", it.id);
        owner.put(&path, json!({ "value": "x", "sensitive": false })).await.expect(200);
    }
    app.settle().await;
    let keys = async |query: &str| -> Vec<String> {
        let answer =
            owner.get(&format!("/teams/acme/audit?action=project.env_var_set&{query}")).await.expect(200);
        let items = answer["items"].as_array().unwrap();
        items.iter().map(|item| item["after"]["key"].as_str().unwrap().to_owned()).collect()
    };
    let (openai, stripe, region) = ("OPENAI_API_KEY", "STRIPE_KEY", "REGION");
    assert_eq!(keys("").await, [region, stripe, openai], "newest first");
    assert_eq!(keys("q=API_KEY").await, [openai]);
    assert_eq!(keys("q=nai").await, [openai], "the middle of a name");
    assert_eq!(keys("q=key").await, [stripe, openai]);
    assert_eq!(keys("q=env_var%20region").await, [region]);
    assert_eq!(keys("q=anthropic").await, [] as [&str; 0]);
    assert_eq!(keys(&format!("resource=project&resourceId={}", it.id)).await.len(), 3);
    assert_eq!(keys(&format!("actor=user:{}", id_of(&owner).await)).await.len(), 3);
    assert_eq!(keys("actor=user:nobody").await.len(), 0);
    assert_eq!(keys("outcome=denied").await.len(), 0);
    assert_eq!(keys("to=2020-01-01T00:00:00Z").await.len(), 0);
    assert_eq!(keys("from=2020-01-01T00:00:00Z").await.len(), 3);

    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = owner.get(&format!("/teams/acme/audit?limit=2{cursor}")).await.expect(200);
        let items = page["items"].as_array().unwrap();
        paged.extend(items.iter().map(|item| item["position"].as_i64().unwrap()));
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let whole = owner.get("/teams/acme/audit?limit=200").await.expect(200);
    let whole: Vec<i64> =
        whole["items"].as_array().unwrap().iter().map(|item| item["position"].as_i64().unwrap()).collect();
    assert_eq!(paged, whole);
    for (query, field) in [
        ("limit=0", "limit"),
        ("cursor=x", "cursor"),
        ("outcome=odd", "outcome"),
        ("q=--", "q"),
        ("q=%00", "q"),
        ("from=yesterday", "from"),
        ("projectId=1&projectId=2", "projectId"),
    ] {
        let answer = owner.get(&format!("/teams/acme/audit?{query}")).await;
        assert_eq!(
            (answer.status, answer.body["errors"][0]["field"].as_str()),
            (422, Some(field)),
            "{query}"
        );
    }
}

#[tokio::test]
async fn who_may_audit_one_project_sees_that_one() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    let other = project(&owner, "acme", "other", &app.repository("tiny", "second"), json!({})).await;
    let admin = join(&app, &owner, "admin@example.org", None).await;
    assign(&app, &id_of(&admin).await, "project:admin", &it.id).await;
    for path in ["/teams/acme/audit", "/teams/acme/audit/export"] {
        assert_eq!(admin.get(path).await.status, 404, "{path}");
        assert_eq!(admin.get(&format!("{path}?projectId={}", other.id)).await.status, 404, "{path}");
        assert_eq!(admin.get(&format!("{path}?projectId={}", it.id)).await.status, 200, "{path}");
        assert_eq!(admin.get(&format!("/teams/other/audit?projectId={}", it.id)).await.status, 404);
    }
    app.settle().await;
    let trail = admin.get(&format!("/teams/acme/audit?projectId={}", it.id)).await.expect(200);
    let items = trail["items"].as_array().unwrap();
    assert!(items.iter().all(|item| item["projectId"] == json!(it.id)), "{trail}");
    assert!(items.iter().any(|item| item["action"] == "project.created"));
    // The team's own may narrow it down, and still do so when the project is gone.
    owner.delete(&format!("/projects/{}", other.id)).await.expect(200);
    app.settle().await;
    let gone = owner.get(&format!("/teams/acme/audit?projectId={}", other.id)).await.expect(200);
    assert_eq!(gone["items"][0]["action"], "project.deleted");
    assert_eq!(gone["items"][0]["before"]["name"], "other");
}
