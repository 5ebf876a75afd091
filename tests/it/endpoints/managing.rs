//! Making, changing and ending endpoints: what is refused, who may, and what is left.

use serde_json::{Value, json};
use tests::app::TestApp;
use tests::people::join;
use tests::receiver::{Receiver, Reply};
use tests::world::team;

use super::{acme, deliveries, endpoint, rename, webhook};

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_its_field() {
    let (_app, owner) = acme().await;
    team(&owner, "other").await;
    let foreign = json!({ "name": "F", "slug": "f", "repoUrl": "https://github.com/a/b" });
    let foreign = owner.post("/teams/other/projects", foreign).await.expect(201)["id"].clone();
    let url = "https://example.org/hook";
    for (body, field) in [
        (json!({ "name": "A", "kind": "webhook" }), "url"),
        (json!({ "name": "A", "kind": "webhook", "url": url, "to": [] }), "to"),
        (json!({ "name": "A", "kind": "email", "to": [], "url": url }), "url"),
        (json!({ "name": "A", "kind": "email" }), "to"),
        (json!({ "name": "A", "kind": "email", "to": [] }), "to"),
        (json!({ "name": "A", "kind": "webhook", "url": url, "events": ["build.exploded"] }), "events"),
        (json!({ "name": "A", "kind": "webhook", "url": url, "events": ["*"] }), "events"),
        (json!({ "name": "A", "kind": "slack", "url": url, "events": ["team.created"] }), "events"),
        (json!({ "name": "A", "kind": "webhook", "url": url, "projects": [foreign] }), "projects"),
        (json!({ "name": "A", "kind": "webhook", "url": format!("{url}/{}", "x".repeat(3000)) }), "url"),
    ] {
        let refused = owner.post("/teams/acme/endpoints", body.clone()).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], field, "{body}: {refused}");
    }
    let (id, _) = endpoint(&owner, json!({ "name": "A", "kind": "slack", "url": url })).await;
    let rotate = owner.post(&format!("/endpoints/{id}/rotate"), json!({})).await.expect(409);
    assert_eq!(rotate["code"], "not_signed");
    let to = owner.patch(&format!("/endpoints/{id}"), json!({ "to": [] })).await.expect(422);
    assert_eq!(to["errors"][0]["field"], "to");
}

#[tokio::test]
async fn owners_and_admins_manage_and_who_may_not_audit_has_no_events_sent() {
    let (app, owner) = acme().await;
    let receiver = Receiver::start().await;
    let (id, _) = webhook(&owner, &receiver, &[]).await;
    let admin = join(&app, &owner, "admin@example.org", Some(("acme", "admin"))).await;
    let developer = join(&app, &owner, "dev@example.org", Some(("acme", "developer"))).await;
    let path = format!("/endpoints/{id}");
    assert_eq!(admin.get(&path).await.expect(200)["name"], "Bot");
    developer.get(&path).await.expect(403);
    developer.get("/teams/acme/endpoints").await.expect(403);
    let stranger = join(&app, &owner, "eve@example.org", None).await;
    stranger.get(&path).await.expect(404);
    // A role of its own, without the audit trail.
    let may = |action: &str| json!({ "resource": "team.endpoints", "action": action });
    let permissions = json!([may("create"), may("read"), may("update")]);
    let role = json!({ "name": "Plumber", "permissions": permissions });
    let role = owner.post("/teams/acme/roles", role).await.expect(201)["id"].clone();
    let (user, acme) = (developer.get("/me").await.expect(200), owner.get("/teams/acme").await.expect(200));
    let scope = json!({ "type": "team", "teamId": acme["id"] });
    let give = json!({ "userId": user["id"], "roleId": role, "scope": scope });
    owner.post("/role-assignments", give).await.expect(201);
    developer.get(&path).await.expect(200);
    let mine = json!({ "name": "Mine", "kind": "webhook", "url": format!("{}/", receiver.url) });
    assert_eq!(developer.post("/teams/acme/endpoints", mine).await.expect(403)["code"], "not_held");
    let elsewhere = json!({ "url": format!("{}/mine", receiver.url) });
    assert_eq!(developer.patch(&path, elsewhere).await.expect(403)["code"], "not_held");
    let replay = developer.post(&format!("{path}/replay"), json!({ "after": 0 })).await;
    assert_eq!(replay.expect(403)["code"], "not_held");
    let chat = json!({ "name": "Chat", "kind": "slack", "url": format!("{}/", receiver.url) });
    developer.post("/teams/acme/endpoints", chat).await.expect(201);
}

#[tokio::test]
async fn a_repeated_command_makes_one_endpoint_and_shows_the_same_secret() {
    let (_app, owner) = acme().await;
    let body = json!({ "name": "Once", "kind": "webhook", "url": "https://example.org/" });
    let mut answers = Vec::new();
    for _ in 0..2 {
        let request = owner.request(reqwest::Method::POST, "/teams/acme/endpoints");
        let request = request.header("idempotency-key", "once").json(&body);
        answers.push(tests::client::Client::send(request).await.expect(201));
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0]["secret"].as_str().unwrap().starts_with("whsec_"));
    let all = owner.get("/teams/acme/endpoints").await.expect(200);
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_deleted_leaves_no_address_no_secret_and_no_deliveries() {
    let (app, owner) = acme().await;
    let receiver = Receiver::start().await;
    receiver.answers(Reply::Status(500, String::new()));
    let (id, _) = webhook(&owner, &receiver, &["team.renamed"]).await;
    rename(&owner, "Waits").await;
    receiver.until(&app, 1).await;
    owner.delete(&format!("/endpoints/{id}")).await.expect(200);
    app.settle().await;
    owner.get(&format!("/endpoints/{id}")).await.expect(404);
    assert_eq!(keys_and_rows(&app, &id).await, (1, 0));
    // With its team, in the same way.
    let (id, _) = webhook(&owner, &receiver, &["team.renamed"]).await;
    rename(&owner, "Again").await;
    receiver.until(&app, 2).await;
    let team: String = sqlx::query_scalar("SELECT id::text FROM read.teams WHERE slug = 'acme'")
        .fetch_one(app.db.pool())
        .await
        .unwrap();
    owner.delete("/teams/acme").await.expect(200);
    owner.get(&format!("/endpoints/{id}")).await.expect(404);
    // Thirty days pass: an event says that its time was over before.
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, team_id)
         SELECT 'team', $1, max(sequence) + 1, 'team.closed', '1', $2, '{}', ($1::text)::uuid FROM events
          WHERE aggregate_id = $1",
    )
    .bind(&team)
    .bind(json!({ "type": "team.closed", "until": "2020-01-01T00:00:00Z" }))
    .execute(app.db.pool())
    .await
    .unwrap();
    app.wait_until("nothing is left", std::time::Duration::from_secs(30), async || {
        keys_and_rows(&app, &id).await == (1, 0)
    })
    .await;
}

/// How many of an endpoint's keys are destroyed, and how many deliveries are left.
async fn keys_and_rows(app: &TestApp, id: &str) -> (i64, i64) {
    sqlx::query_as(
        "SELECT (SELECT count(*) FROM data_keys WHERE owner = 'endpoint:' || $1 AND wrapped IS NULL),
                (SELECT count(*) FROM endpoint_deliveries WHERE endpoint_id = $1::uuid)",
    )
    .bind(id)
    .fetch_one(app.db.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn deliveries_are_paged_and_forgotten_after_thirty_days() {
    let (mut app, owner) = acme().await;
    let receiver = Receiver::start().await;
    let (id, _) = webhook(&owner, &receiver, &["team.renamed"]).await;
    for n in 0..5 {
        rename(&owner, &format!("N{n}")).await;
    }
    app.settle().await;
    let (mut seen, mut cursor) = (Vec::<Value>::new(), String::new());
    loop {
        let path = format!("/endpoints/{id}/deliveries?limit=2{cursor}");
        let page = owner.get(&path).await.expect(200);
        seen.extend(page["items"].as_array().unwrap().clone());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, deliveries(&owner, &id).await);
    assert_eq!(seen.len(), 5);
    let old = "UPDATE endpoint_deliveries SET settled_at = now() - interval '31 days' WHERE number IN
               (SELECT number FROM endpoint_deliveries ORDER BY number LIMIT 3)";
    sqlx::query(old).execute(app.db.pool()).await.unwrap();
    app.kill_and_restart().await; // it looks at its beginning, and every hour
    let left = "SELECT count(*) FROM endpoint_deliveries";
    app.wait_until("what is old is forgotten", std::time::Duration::from_secs(30), async || {
        sqlx::query_scalar::<_, i64>(left).fetch_one(app.db.pool()).await.unwrap() == 2
    })
    .await;
    let work = "SELECT count(*) FROM work WHERE process = 'send_delivery'";
    assert_eq!(sqlx::query_scalar::<_, i64>(work).fetch_one(app.db.pool()).await.unwrap(), 2);
}
