//! API tokens: what they may do, from where, for how long, and that they end with the right they stand for, on every
//! server with the next request.

use std::time::Duration;

use serde_json::{Value, json};
use tests::app::{PASSWORD, TestApp, program};
use tests::client::Client;
use tests::people::join;
use tests::world::{Project, project, team, team_and_project};
use tokio::process::Command;

/// One token on two servers.
struct Both([Client; 2]);

impl Both {
    async fn get(&self, path: &str) -> [u16; 2] {
        [self.0[0].get(path).await.status, self.0[1].get(path).await.status]
    }
}

async fn id_of(client: &Client) -> String {
    client.get("/me").await.expect(200)["id"].as_str().unwrap().to_owned()
}

async fn make(client: &Client, path: &str, body: Value) -> (String, String) {
    let made = client.post(path, body).await.expect(201);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&made["token"]["id"]), text(&made["plainToken"]))
}

async fn trail(app: &TestApp, code: &str) -> Vec<Value> {
    sqlx::query_scalar(
        "SELECT payload::jsonb || jsonb_build_object('actor', metadata::jsonb ->> 'actor') FROM events
          WHERE event_type = 'access.command_denied' AND payload ->> 'code' = $1 ORDER BY position",
    )
    .bind(code)
    .fetch_all(app.db.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn a_token_ends_on_both_servers_with_the_right_of_who_made_it() {
    let app = TestApp::start().await;
    let other = app.another().await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    let on_both = |plain: &str| Both([&app.url, &other.url].map(|url| Client::new(url).with_token(plain)));
    let (of_project, path) = (format!("/projects/{}/tokens", it.id), format!("/projects/{}", it.id));

    let dev = join(&app, &owner, "dev@example.org", Some(("acme", "developer"))).await;
    let (_, deploys) = make(&dev, &of_project, json!({ "name": "ci", "scopes": ["deploy"] })).await;
    let (_, personal) = make(&dev, "/me/tokens", json!({ "name": "laptop" })).await;
    let (deploys, personal) = (on_both(&deploys), on_both(&personal));
    assert_eq!((deploys.get(&path).await, personal.get(&path).await), ([200, 200], [200, 200]));

    // Demoted below what the token may do; raised again; gone for good.
    let member = format!("/teams/acme/members/{}", id_of(&dev).await);
    owner.patch(&member, json!({ "role": "viewer" })).await.expect(200);
    assert_eq!(deploys.get(&path).await, [401, 401]);
    assert_eq!(personal.get(&path).await, [200, 200], "a person's token may what the person may");
    assert_eq!(personal.0[1].post(&format!("{path}/builds"), json!({})).await.status, 403);
    owner.patch(&member, json!({ "role": "developer" })).await.expect(200);
    assert_eq!(deploys.get(&path).await, [200, 200]);
    owner.delete(&member).await.expect(200);
    assert_eq!((deploys.get(&path).await, personal.get(&path).await), ([401, 401], [404, 404]));
    assert_eq!(
        owner.get(&of_project).await.expect(200)["items"],
        json!([]),
        "it does not come back with him"
    );

    // Who is erased, and a project and a team that are no more.
    let zoe = join(&app, &owner, "zoe@example.org", Some(("acme", "developer"))).await;
    let (_, of_zoe) = make(&zoe, &of_project, json!({ "name": "zoe" })).await;
    let (_, her_own) = make(&zoe, "/me/tokens", json!({ "name": "zoe" })).await;
    let (of_zoe, her_own) = (on_both(&of_zoe), on_both(&her_own));
    assert_eq!((of_zoe.get(&path).await, her_own.get("/me").await), ([200, 200], [200, 200]));
    Client::send(zoe.request(reqwest::Method::DELETE, "/me").json(&json!({ "password": PASSWORD })))
        .await
        .expect(200);
    assert_eq!((of_zoe.get(&path).await, her_own.get("/me").await), ([401, 401], [401, 401]));

    let (_, kept) = make(&owner, &of_project, json!({ "name": "kept" })).await;
    let kept = on_both(&kept);
    assert_eq!(kept.get(&path).await, [200, 200]);
    owner.delete(&path).await.expect(200);
    assert_eq!(kept.get(&path).await, [401, 401]);
    team(&owner, "brief").await;
    let Project { id, .. } =
        project(&owner, "brief", "agent", &app.repository("tiny", "brief"), json!({})).await;
    let (_, brief) = make(&owner, &format!("/projects/{id}/tokens"), json!({ "name": "brief" })).await;
    let brief = on_both(&brief);
    assert_eq!(brief.get(&format!("/projects/{id}")).await, [200, 200]);
    owner.delete("/teams/brief").await.expect(200);
    assert_eq!(brief.get(&format!("/projects/{id}")).await, [401, 401]);
}

#[tokio::test]
async fn a_rotated_token_works_with_both_secrets_for_a_while() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    let stranger = join(&app, &owner, "stranger@example.org", None).await;
    let tokens = [("/me/tokens".to_owned(), "/me"), (format!("/projects/{}/tokens", it.id), "")];
    for (tokens, path) in tokens {
        let path = if path.is_empty() { format!("/projects/{}", it.id) } else { path.to_owned() };
        let works = async |plain: &str| app.nobody().with_token(plain).get(&path).await.status == 200;
        let (id, first) = make(&owner, &tokens, json!({ "name": "ci" })).await;
        let rotate = format!("{tokens}/{id}/rotate");
        let second = owner.post(&rotate, json!({})).await.expect(200);
        assert_eq!(second["token"]["id"], id.as_str());
        let second = second["plainToken"].as_str().unwrap().to_owned();
        assert!(works(&first).await && works(&second).await, "{tokens}");
        let third = owner.post(&rotate, json!({ "overlapSeconds": 0 })).await.expect(200);
        let (token, third) = (&third["token"], third["plainToken"].as_str().unwrap());
        assert!(!works(&first).await && !works(&second).await && works(third).await, "{tokens}");
        assert!(third.starts_with(token["prefix"].as_str().unwrap()));
        assert!(third.ends_with(token["lastFour"].as_str().unwrap()));

        for bad in [
            json!({ "overlapSeconds": 604_801 }),
            json!({ "overlapSeconds": -1 }),
            json!({ "expiresAt": "2020-01-01T00:00:00Z" }),
        ] {
            assert_eq!(owner.post(&rotate, bad.clone()).await.status, 422, "{bad}");
        }
        assert_eq!(stranger.post(&rotate, json!({})).await.status, 404);
        assert!(works(third).await);
        let token = app.nobody().with_token(third);
        assert_eq!(token.post(&rotate, json!({})).await.status, 403, "a token makes no secrets");
        owner.delete(&format!("{tokens}/{id}")).await.expect(200);
        assert!(!works(third).await);
        assert_eq!(owner.post(&rotate, json!({})).await.status, 404);
    }
}

#[tokio::test]
async fn a_token_with_an_allow_list_is_refused_from_elsewhere_for_the_record() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    let tokens = format!("/projects/{}/tokens", it.id);
    for bad in [json!([]), json!(["everywhere"]), json!(["10.0.0.0/33"]), json!("10.0.0.0/8")] {
        let answer = owner.post(&tokens, json!({ "name": "x", "ipAllowlist": bad })).await;
        assert_eq!(answer.status, 422, "{bad}");
    }
    let near = json!({ "name": "near", "ipAllowlist": ["127.0.0.0/8", "::1"] });
    let far = json!({ "name": "far", "ipAllowlist": ["192.0.2.0/24"] });
    let (_, near) = make(&owner, &tokens, near).await;
    let (far_id, far_plain) = make(&owner, &tokens, far.clone()).await;
    let (_, far_own) = make(&owner, "/me/tokens", far).await;
    let path = format!("/projects/{}", it.id);
    assert_eq!(app.nobody().with_token(&near).get(&path).await.status, 200);
    let refused = app.nobody().with_token(&far_plain).get(&path).await;
    assert_eq!((refused.status, refused.str("code")), (403, "address_not_allowed".to_owned()));
    assert_eq!(app.nobody().with_token(&far_own).get("/me?dryRun=true").await.status, 403);
    let recorded = trail(&app, "address_not_allowed").await;
    assert_eq!(recorded.len(), 2, "reads and dry runs too: {recorded:?}");
    assert_eq!(recorded[0]["actor"], format!("token:{far_id}"));
    assert_eq!(recorded[0]["project_id"], it.id.as_str());
    app.settle().await;
    let denied = owner.get("/teams/acme/audit?outcome=denied").await.expect(200);
    assert_eq!(denied["items"][0]["after"]["code"], "address_not_allowed", "its team sees it");
    let list = owner.get(&tokens).await.expect(200);
    let far = list["items"].as_array().unwrap().iter().find(|token| token["id"] == far_id.as_str()).unwrap();
    assert_eq!(far["ipAllowlist"], json!(["192.0.2.0/24"]));
    assert_eq!(far["lastUsedAt"], Value::Null, "what is refused is no use");
}

#[tokio::test]
async fn the_scopes_of_a_personal_token_leave_what_its_owner_may() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let it = team_and_project(&app, &owner, "tiny").await;
    let path = format!("/projects/{}", it.id);
    assert_eq!(owner.post("/me/tokens", json!({ "name": "x", "scopes": [] })).await.status, 422);
    let (_, plain) = make(&owner, "/me/tokens", json!({ "name": "reads", "scopes": ["read"] })).await;
    let reads = app.nobody().with_token(&plain);
    reads.get("/me").await.expect(200);
    reads.get(&path).await.expect(200);
    assert_eq!(reads.patch(&path, json!({ "name": "Mine" })).await.status, 403);
    assert_eq!(reads.post(&format!("{path}/builds"), json!({})).await.status, 403);
    assert_eq!(reads.get(&format!("{path}/env-vars")).await.status, 403);
    assert_eq!(reads.post("/teams", json!({ "name": "New", "slug": "new" })).await.status, 403);
    assert_eq!(reads.patch("/me", json!({ "firstName": "Eve" })).await.status, 403);
    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    let (_, plain) = make(&viewer, "/me/tokens", json!({ "name": "more", "scopes": ["deploy"] })).await;
    let more = app.nobody().with_token(&plain);
    assert_eq!(more.post(&format!("{path}/builds"), json!({})).await.status, 403, "no scope adds anything");
}

#[tokio::test]
async fn the_last_use_of_a_token_outlives_a_crash_and_a_rebuild() {
    let mut app = TestApp::start().await;
    let owner = app.owner().await;
    let (_, plain) = make(&owner, "/me/tokens", json!({ "name": "ci" })).await;
    let used = async |app: &TestApp| {
        let list = app.owner().await.get("/me/tokens").await.expect(200);
        list["items"][0]["lastUsedAt"].as_str().map(str::to_owned)
    };
    assert_eq!(used(&app).await, None);
    app.nobody().with_token(&plain).get("/me").await.expect(200);
    let at = used(&app).await.expect("its own server knows at once");
    let events = "SELECT count(*) FROM events";
    let before: i64 = sqlx::query_scalar(events).fetch_one(app.db.pool()).await.unwrap();
    for _ in 0..50 {
        app.nobody().with_token(&plain).get("/me").await.expect(200);
    }
    app.wait_until("the uses are written", Duration::from_secs(30), async || {
        let written = "SELECT EXISTS (SELECT FROM token_uses WHERE last_used_at > $1::timestamptz)";
        sqlx::query_scalar(written).bind(&at).fetch_one(app.db.pool()).await.unwrap()
    })
    .await;
    let after: i64 = sqlx::query_scalar(events).fetch_one(app.db.pool()).await.unwrap();
    assert_eq!(after, before, "a use is no event");
    let last = used(&app).await.unwrap();
    app.kill_and_restart().await;
    assert_eq!(used(&app).await.as_deref(), Some(&*last));
    let rebuilt = Command::new(program("replay-tool"))
        .args(["rebuild", "tokens"])
        .env("DATABASE_URL", app.db.url())
        .output()
        .await
        .unwrap();
    assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    assert_eq!(used(&app).await.as_deref(), Some(&*last));
}
