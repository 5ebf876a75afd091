//! Teams, members, invites; and what every command and list has in common, shown on them.

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::{Answer, Client};
use tests::people::join;
use tests::world::team;
use uuid::Uuid;

async fn id_of(client: &Client) -> String {
    client.get("/me").await.expect(200)["id"].as_str().expect("an id").to_owned()
}

async fn events(app: &TestApp) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM events")
        .fetch_one(app.db.pool())
        .await
        .expect("the database answers")
}

fn field(answer: &Answer) -> &str {
    answer.body["errors"][0]["field"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_team_is_made_changed_and_closed() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let made = owner.post("/teams", json!({ "name": "Acme", "slug": "acme" })).await;
    assert!(made.headers["x-event-position"].to_str().unwrap().parse::<i64>().unwrap() > 0);
    assert_eq!(made.headers["etag"], "\"1\"");
    let made = made.expect(201);
    let id = made["id"].as_str().unwrap().to_owned();
    let taken = owner.post("/teams", json!({ "name": "Other", "slug": "acme" })).await;
    assert_eq!((taken.status, field(&taken)), (409, "slug"));

    let shown = owner.get(&format!("/teams/{id}")).await;
    assert_eq!(shown.headers["etag"], "\"1\"");
    assert_eq!(owner.get("/teams/acme").await.expect(200), shown.expect(200), "by id or slug");

    let rename = |version: &'static str, name: &'static str| {
        let request = owner.request(Method::PATCH, "/teams/acme").header("if-match", version);
        Client::send(request.json(&json!({ "name": name })))
    };
    assert_eq!(rename("\"7\"", "Late").await.status, 412);
    assert_eq!(rename("\"1\"", "Acme Inc").await.expect(200)["name"], "Acme Inc");
    assert_eq!(rename("\"1\"", "Late").await.status, 412);
    let before = events(&app).await;
    assert_eq!(rename("*", "Acme Inc").await.expect(200)["name"], "Acme Inc", "asked twice it is quiet");
    assert_eq!(events(&app).await, before);

    owner.patch("/teams/acme", json!({ "slug": "acme-inc" })).await.expect(200);
    owner.delete("/teams/acme-inc").await.expect(200);
    assert_eq!(owner.get(&format!("/teams/{id}")).await.status, 404);
}

#[tokio::test]
async fn a_slug_that_a_team_had_leads_to_it_and_to_nobody_else() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let id = team(&owner, "acme").await["id"].clone();
    let rename = async |from: &str, to: &str| {
        let path = format!("/teams/{from}");
        owner.patch(&path, json!({ "slug": to })).await.expect(200)
    };
    rename("acme", "bolt").await;
    rename("acme", "core").await;
    for slug in ["acme", "bolt", "core"] {
        let shown = owner.get(&format!("/teams/{slug}")).await.expect(200);
        assert_eq!((&shown["id"], shown["slug"].as_str()), (&id, Some("core")), "{slug}");
        let taken = owner.post("/teams", json!({ "name": "Other", "slug": slug })).await;
        assert_eq!((taken.status, field(&taken)), (409, "slug"), "{slug}");
    }
    rename("core", "acme").await;
    rename("acme", "core").await;
    assert_eq!(owner.get("/teams/acme").await.expect(200)["slug"], "core");
    owner.delete("/teams/acme").await.expect(200);
    assert_eq!(owner.get("/teams/acme").await.status, 404);
    let taken = owner.post("/teams", json!({ "name": "Other", "slug": "acme" })).await;
    assert_eq!(taken.status, 409, "an old address never leads to somebody else");
}

#[tokio::test]
async fn an_owner_gives_the_team_away_and_only_an_owner_does() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let admin = join(&app, &owner, "admin@example.org", Some(("acme", "admin"))).await;
    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    let (owner_id, viewer_id) = (id_of(&owner).await, id_of(&viewer).await);
    let to = |id: &str| json!({ "userId": id });
    assert_eq!(admin.post("/teams/acme/transfer", to(&viewer_id)).await.status, 403);
    let nobody = owner.post("/teams/acme/transfer", to("01900000-0000-7000-8000-000000000000")).await;
    assert_eq!(nobody.status, 404);
    owner.post("/teams/acme/transfer", to(&viewer_id)).await.expect(200);
    let members = viewer.get("/teams/acme/members").await.expect(200);
    let role = |id: &str| {
        let all = members["items"].as_array().unwrap();
        all.iter().find(|it| it["userId"] == id).unwrap()["role"].clone()
    };
    assert_eq!((role(&viewer_id), role(&owner_id)), (json!("owner"), json!("admin")));
    assert_eq!(owner.post("/teams/acme/transfer", to(&owner_id)).await.status, 403);
    owner.delete(&format!("/teams/acme/members/{owner_id}")).await.expect(200);
    assert_eq!(owner.get("/teams/acme").await.status, 404, "who has left sees nothing");
}

#[tokio::test]
async fn a_key_makes_a_command_happen_once() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let stranger = join(&app, &owner, "stranger@example.org", None).await;
    let make = |client: &Client, key: &str, slug: &str| {
        let request = client.request(Method::POST, "/teams").header("idempotency-key", key);
        Client::send(request.json(&json!({ "name": slug, "slug": slug })))
    };
    let (one, other) = tokio::join!(make(&owner, "k", "acme"), make(&owner, "k", "acme"));
    assert_eq!((one.status, other.status), (201, 201), "{} {}", one.text, other.text);
    assert_eq!(one.text, other.text);
    let again = make(&owner, "k", "acme").await;
    assert_eq!((again.status, &again.text), (201, &one.text));
    assert_eq!(again.headers["x-event-position"], one.headers["x-event-position"]);
    assert_eq!(again.headers["etag"], one.headers["etag"]);
    let reused = make(&owner, "k", "other").await;
    assert_eq!((reused.status, reused.str("code").as_str()), (422, "idempotency_key_reused"));
    assert_eq!(make(&stranger, "k", "strangers").await.status, 201, "keys of others are others");
    sqlx::query("DELETE FROM answers").execute(app.db.pool()).await.unwrap();
    let again = make(&owner, "k", "acme").await;
    assert_eq!(again.expect(201)["id"], one.body["id"], "without the kept answer");

    let invite = || {
        let request = owner.request(Method::POST, "/teams/acme/invites").header("idempotency-key", "i");
        Client::send(request.json(&json!({ "email": "ann@example.org", "role": "viewer" })))
    };
    let (one, other) = tokio::join!(invite(), invite());
    assert_eq!(one.expect(201), other.expect(201));
}

#[tokio::test]
async fn a_dry_run_shows_the_events_and_appends_none() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let before = events(&app).await;
    let shown = owner.post("/teams?dryRun=true", json!({ "name": "B", "slug": "b" })).await.expect(200);
    assert_eq!(shown["events"][0]["type"], "team.created");
    assert_eq!(shown["events"][0]["aggregateType"], "team");
    let taken = owner.post("/teams?dryRun=true", json!({ "name": "B", "slug": "acme" })).await;
    assert_eq!((taken.status, field(&taken)), (409, "slug"));
    let invite = json!({ "email": "ann@example.org", "role": "viewer" });
    let shown = owner.post("/teams/acme/invites?dryRun=true", invite).await.expect(200);
    assert!(!shown.to_string().contains("\"data\""), "{shown}");
    for odd in ["1", "yes", "TRUE", ""] {
        let refused = owner.post(&format!("/teams?dryRun={odd}"), json!({ "name": "B", "slug": "b" })).await;
        assert_eq!((refused.status, field(&refused)), (422, "dryRun"), "{odd}: nobody meant to do it");
    }
    assert_eq!(events(&app).await, before);
}

#[tokio::test]
async fn a_read_waits_for_a_position_and_says_when_it_could_not() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let made = owner.post("/teams", json!({ "name": "Acme", "slug": "acme" })).await;
    let position = made.headers["x-event-position"].to_str().unwrap().to_owned();
    let read = |position: &str| {
        Client::send(owner.request(Method::GET, "/teams/acme").header("x-min-position", position))
    };
    let seen = read(&position).await;
    assert_eq!((seen.status, seen.headers.get("x-projection-lag")), (200, None));
    let future = read("999999").await;
    assert_eq!(future.status, 200);
    assert_eq!(future.headers["x-projection-lag"], "true");
    for bad in ["-1", "x"] {
        assert!([400, 422].contains(&read(bad).await.status), "{bad}");
    }
}

#[tokio::test]
async fn members_come_go_and_change_their_roles_as_the_rules_say() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let admin = join(&app, &owner, "admin@example.org", Some(("acme", "admin"))).await;
    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    let (owner_id, admin_id, viewer_id) = (id_of(&owner).await, id_of(&admin).await, id_of(&viewer).await);
    let at = |id: &str| format!("/teams/acme/members/{id}");
    let role = |role: &str| json!({ "role": role });

    let refused = owner.patch(&at(&owner_id), role("admin")).await;
    assert_eq!((refused.status, refused.str("code").as_str()), (409, "last_owner"));
    assert_eq!(owner.delete(&at(&owner_id)).await.status, 409);
    assert_eq!(admin.patch(&at(&owner_id), role("viewer")).await.status, 403);
    assert_eq!(admin.patch(&at(&admin_id), role("owner")).await.status, 403);
    assert_eq!(viewer.patch(&at(&viewer_id), role("admin")).await.status, 403);
    assert_eq!(viewer.delete(&at(&admin_id)).await.status, 403);
    let changed = admin.patch(&at(&viewer_id), role("member")).await.expect(200);
    assert_eq!(
        (changed["role"].as_str(), changed["email"].as_str()),
        (Some("developer"), Some("viewer@example.org"))
    );
    assert_eq!(admin.patch(&at(&viewer_id), role("king")).await.status, 422);
    for odd in ["01900000-0000-7000-8000-000000000000", "not-an-id"] {
        assert_eq!(owner.patch(&at(odd), role("viewer")).await.status, 404);
    }

    viewer.delete(&at(&viewer_id)).await.expect(200);
    assert_eq!(viewer.get("/teams/acme").await.status, 404, "who has left sees nothing");
    owner.delete(&at(&admin_id)).await.expect(200);
    let left = owner.get("/teams/acme/members").await.expect(200);
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn nobody_gives_what_he_does_not_hold() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let acme = team(&owner, "acme").await["id"].clone();
    let recruiter = join(&app, &owner, "recruiter@example.org", Some(("acme", "viewer"))).await;
    let role = Uuid::now_v7();
    let may = |action: &str| json!({ "resource": "team.invites", "action": action });
    let definition =
        json!({ "name": "Recruiter", "permissions": [may("create"), may("read")], "inherits": [] });
    let scope = json!({ "type": "team", "teamId": acme });
    for (kind, id, event) in [
        ("role", role, json!({ "type": "role.created", "team_id": acme, "definition": definition })),
        (
            "role_assignment",
            Uuid::now_v7(),
            json!({
                "type": "role.assigned", "user_id": id_of(&recruiter).await, "role": role, "scope": scope
            }),
        ),
    ] {
        sqlx::query(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             VALUES ($1, $2, 1, $3, '1', $4, '{}')",
        )
        .bind(kind)
        .bind(id.to_string())
        .bind(event["type"].as_str())
        .bind(&event)
        .execute(app.db.pool())
        .await
        .unwrap();
    }
    app.settle().await;
    let invite = async |email: &str, role: &str| {
        recruiter.post("/teams/acme/invites", json!({ "email": email, "role": role })).await
    };
    let refused = invite("a@example.org", "viewer").await;
    assert_eq!(
        (refused.status, refused.str("code").as_str()),
        (403, "admins_only"),
        "nobody could accept it"
    );
    for role in ["developer", "admin", "owner"] {
        let refused = invite("b@example.org", role).await;
        assert_eq!((refused.status, refused.str("code").as_str()), (403, "not_held"), "{role}");
    }
}

#[tokio::test]
async fn every_list_comes_in_pages() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    for slug in ["a", "b", "c"] {
        team(&owner, slug).await;
        let email = format!("{slug}@example.org");
        owner.post("/teams/a/invites", json!({ "email": email, "role": "viewer" })).await.expect(201);
        owner.post("/me/tokens", json!({ "name": slug })).await.expect(201);
        app.owner().await;
    }
    join(&app, &owner, "d@example.org", Some(("a", "viewer"))).await;
    join(&app, &owner, "e@example.org", Some(("a", "viewer"))).await;
    for path in ["/teams", "/teams/a/members", "/teams/a/invites", "/me/tokens", "/auth/sessions"] {
        for (query, name) in [("limit=0", "limit"), ("limit=201", "limit"), ("cursor=%00", "cursor")] {
            let refused = owner.get(&format!("{path}?{query}")).await;
            assert_eq!((refused.status, field(&refused)), (422, name), "{path}?{query}: {}", refused.text);
        }
        let whole = owner.get(path).await.expect(200);
        assert_eq!(whole["nextCursor"], Value::Null);
        let whole = whole["items"].as_array().unwrap().clone();
        assert!(whole.len() >= 3, "{path}: {whole:?}");
        let mut walked = Vec::new();
        let mut query = "limit=2".to_owned();
        loop {
            let page = owner.get(&format!("{path}?{query}")).await.expect(200);
            walked.extend(page["items"].as_array().unwrap().iter().cloned());
            let Some(cursor) = page["nextCursor"].as_str() else { break };
            query = format!("limit=2&cursor={cursor}");
        }
        assert_eq!(walked, whole, "{path}");
    }
}
