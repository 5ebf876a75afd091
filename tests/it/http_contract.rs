//! What every client of the API relies on: positions, versions, keys, dry runs, cookies, the first user.

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{OWNER, PASSWORD, TestApp};
use tests::client::{Answer, Client};
use tests::people::{join, mailed_token};
use tests::world::{project, team};

async fn head(app: &TestApp) -> i64 {
    sqlx::query_scalar("SELECT position FROM log_head").fetch_one(app.db.pool()).await.unwrap()
}

async fn keyed(client: &Client, path: &str, key: &str, body: Value) -> Answer {
    let request = client.request(Method::POST, path).header("idempotency-key", key).json(&body);
    Client::send(request).await
}

#[tokio::test]
async fn a_command_says_its_position_and_version_and_happens_once_under_its_key() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let body = json!({ "name": "Acme", "slug": "acme" });
    let first = keyed(&owner, "/teams", "k1", body.clone()).await;
    assert_eq!(first.status, 201, "{}", first.text);
    let position: i64 = first.headers["x-event-position"].to_str().unwrap().parse().unwrap();
    assert_eq!((position, first.headers["etag"].to_str().unwrap()), (head(&app).await, "\"1\""));
    let again = keyed(&owner, "/teams", "k1", body.clone()).await;
    assert_eq!((again.status, &again.text), (201, &first.text), "the first answer, byte for byte");
    assert_eq!(again.headers["x-event-position"], first.headers["x-event-position"]);
    let other = keyed(&owner, "/teams", "k1", json!({ "name": "Acme", "slug": "acme-2" })).await;
    assert_eq!((other.status, other.str("code").as_str()), (422, "idempotency_key_reused"));
    let unkeyed = owner.post("/teams", body.clone()).await;
    assert_eq!((unkeyed.status, unkeyed.str("code").as_str()), (409, "slug_taken"));
    assert_eq!(unkeyed.body["errors"][0]["field"], "slug");
    // A crash between the append and the stored answer: the receipt in the log leads to the same team.
    sqlx::query("DELETE FROM answers").execute(app.db.pool()).await.unwrap();
    let after = keyed(&owner, "/teams", "k1", body).await;
    assert_eq!((after.status, after.str("id")), (201, first.str("id")));
    assert_eq!(head(&app).await, position);
}

#[tokio::test]
async fn a_token_under_a_repeated_key_is_the_same_token() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let first = keyed(&owner, "/me/tokens", "t", json!({ "name": "ci" })).await.expect(201);
    let again = keyed(&owner, "/me/tokens", "t", json!({ "name": "ci" })).await.expect(201);
    assert_eq!(first["plainToken"], again["plainToken"]);
    let token = app.nobody().with_token(first["plainToken"].as_str().unwrap());
    assert_eq!(token.get("/me").await.expect(200)["email"], OWNER);
    owner.delete(&format!("/me/tokens/{}", first["token"]["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(token.get("/me").await.status, 401);
    let stored: String = sqlx::query_scalar("SELECT string_agg(body, '') FROM answers")
        .fetch_one(app.db.pool())
        .await
        .unwrap();
    assert!(!stored.contains(first["plainToken"].as_str().unwrap()), "answers are kept sealed");
}

#[tokio::test]
async fn a_dry_run_shows_the_events_and_a_stale_version_is_refused() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let repository = app.repository("tiny", "tiny");
    let made = project(&owner, "acme", "agent", &repository, json!({})).await;
    let before = head(&app).await;
    let var = format!("/projects/{}/env-vars/KEY", made.id);
    let dry =
        owner.put(&format!("{var}?dryRun=true"), json!({ "value": "secret-value", "sensitive": true })).await;
    assert_eq!(dry.status, 200, "{}", dry.text);
    assert_eq!(dry.body["events"][0]["type"], "project.env_var_set");
    assert!(!dry.text.contains("secret-value"));
    assert_eq!(head(&app).await, before);

    let path = format!("/projects/{}", made.id);
    let tag = owner.get(&path).await.headers["etag"].to_str().unwrap().to_owned();
    owner.put(&var, json!({ "value": "x" })).await.expect(200);
    let stale = owner.request(Method::PATCH, &path).header("if-match", &tag).json(&json!({ "name": "New" }));
    let stale = Client::send(stale).await;
    assert_eq!((stale.status, stale.str("code").as_str()), (412, "version_mismatch"));
    let tag = owner.get(&path).await.headers["etag"].to_str().unwrap().to_owned();
    let fresh = owner.request(Method::PATCH, &path).header("if-match", &tag).json(&json!({ "name": "New" }));
    assert_eq!(Client::send(fresh).await.expect(200)["name"], "New");
    let waiting = owner.request(Method::GET, &path).header("x-min-position", head(&app).await.to_string());
    assert_eq!(Client::send(waiting).await.status, 200);
}

#[tokio::test]
async fn a_cookie_needs_its_csrf_token_to_change_anything() {
    let app = TestApp::start().await;
    let nobody = app.nobody();
    let login = nobody.post("/auth/login", json!({ "email": OWNER, "password": PASSWORD })).await;
    let cookie = login.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let csrf = login.str("csrfToken");
    let with = |method: Method, path: &str| nobody.request(method, path).header("cookie", &cookie);
    assert_eq!(Client::send(with(Method::GET, "/me")).await.status, 200);
    let body = json!({ "name": "A", "slug": "a" });
    let create = || with(Method::POST, "/teams").json(&body);
    assert_eq!(Client::send(create()).await.status, 403);
    assert_eq!(Client::send(create().header("x-csrf-token", "wrong")).await.status, 403);
    let foreign = create().header("x-csrf-token", &csrf).header("origin", "https://evil.example");
    assert_eq!(Client::send(foreign).await.status, 403);
    let cross = create().header("x-csrf-token", &csrf).header("sec-fetch-site", "cross-site");
    assert_eq!(Client::send(cross).await.status, 403);
    let own = create().header("x-csrf-token", &csrf).header("origin", &app.url);
    assert_eq!(Client::send(own).await.status, 201);
}

#[tokio::test]
async fn sessions_are_listed_ended_and_fall_with_the_password() {
    let app = TestApp::start().await;
    let (first, second) = (app.owner().await, app.owner().await);
    let sessions = first.get("/auth/sessions").await.expect(200);
    assert_eq!(sessions["items"].as_array().unwrap().len(), 2);
    let new = "another good battery staple";
    let wrong = first.post("/auth/password", json!({ "current": "not it at all", "new": new })).await;
    assert_eq!((wrong.status, wrong.body["errors"][0]["field"].as_str()), (422, Some("current")));
    first.post("/auth/password", json!({ "current": PASSWORD, "new": new })).await.expect(200);
    assert_eq!(second.get("/me").await.status, 401, "every other session ends");
    assert_eq!(first.get("/me").await.status, 200);
    first.post("/auth/logout", json!({})).await.expect(200);
    assert_eq!(first.get("/me").await.status, 401);
    let old = app.nobody().post("/auth/login", json!({ "email": OWNER, "password": PASSWORD })).await;
    assert_eq!((old.status, old.str("code").as_str()), (401, "invalid_credentials"));
    for _ in 0..12 {
        app.nobody().post("/auth/login", json!({ "email": OWNER, "password": "wrong guess" })).await;
    }
    let throttled = app.nobody().post("/auth/login", json!({ "email": OWNER, "password": new })).await;
    assert_eq!(throttled.status, 429);
    assert!(throttled.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn an_empty_system_is_set_up_once_by_who_has_the_link() {
    let app =
        TestApp::start_with(&[("MASTRA_ADMIN_OWNER_EMAIL", ""), ("MASTRA_ADMIN_OWNER_PASSWORD", "")]).await;
    let said = app.said();
    let token = said.split("\"setupToken\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let body = |token: &str| {
        json!({
            "setupToken": token, "email": "first@example.org", "password": PASSWORD,
            "firstName": "First", "lastName": "",
        })
    };
    let nobody = app.nobody();
    assert_eq!(nobody.post("/auth/setup", body("guess")).await.status, 403);
    let made = nobody.post("/auth/setup", body(token)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(nobody.post("/auth/setup", body(token)).await.status, 403);
    let me = nobody.with_token(&made.str("token")).get("/me").await.expect(200);
    assert_eq!((&me["email"], &me["firstName"]), (&json!("first@example.org"), &json!("First")));
    let events: String =
        sqlx::query_scalar("SELECT string_agg(payload::text || metadata::text, '') FROM events")
            .fetch_one(app.db.pool())
            .await
            .unwrap();
    assert!(!events.contains("first@example.org") && !events.contains("First"), "personal data is sealed");
}

#[tokio::test]
async fn an_invite_is_for_one_address_and_one_use() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let ann = join(&app, &owner, "ann@example.org", None).await;
    let eve = join(&app, &owner, "eve@example.org", None).await;
    let invite =
        owner.post("/teams/acme/invites", json!({ "email": "Ann@example.org", "role": "member" })).await;
    assert_eq!((invite.status, invite.str("role").as_str()), (201, "developer"));
    assert!(invite.body.get("token").is_none(), "the secret is in the mail alone");
    let token = mailed_token(&app, &invite.str("id")).await;
    let stolen = eve.post("/invites/accept", json!({ "token": token })).await;
    let guessed = eve.post("/invites/accept", json!({ "token": "guess" })).await;
    assert_eq!((stolen.status, guessed.status), (410, 410));
    assert_eq!(stolen.body["detail"], guessed.body["detail"], "a guess learns nothing");
    ann.post("/invites/accept", json!({ "token": token })).await.expect(200);
    let members = owner.get("/teams/acme/members").await.expect(200);
    assert!(members.to_string().contains("ann@example.org"), "{members}");
    let last = owner.get("/me").await.expect(200)["id"].as_str().unwrap().to_owned();
    let leave = owner.delete(&format!("/teams/acme/members/{last}")).await;
    assert_eq!((leave.status, leave.str("code").as_str()), (409, "last_owner"));
    let audit = owner.get("/teams/acme/audit?action=team.member_added").await.expect(200);
    let entry = &audit["items"][0];
    assert_eq!(entry["sourceIp"], "127.0.0.1");
    assert!(entry["actor"].as_str().unwrap().starts_with("user:"), "{entry}");
}

#[tokio::test]
async fn health_metrics_and_documentation_answer_without_another_host() {
    let app = TestApp::start().await;
    let nobody = app.nobody();
    let health = nobody.get("//api/health").await.expect(200);
    assert_eq!((&health["status"], &health["database"]["connected"]), (&json!("ok"), &json!(true)));
    app.settle().await;
    assert_eq!(nobody.get("//api/ready").await.expect(200)["status"], "ok");
    let metrics = nobody.get("//metrics").await.text;
    for name in [
        "append_seconds",
        "consumer_lag_events",
        "consumer_lag_seconds",
        "consumer_stalled_seconds",
        "consumer_paused",
        "dead_letters",
        "rebuild_progress_ratio",
        "generations_kept",
        "wait_seconds",
        "work_rows",
        "timers_overdue",
        "timers_overdue_seconds",
        "oldest_transaction_seconds",
    ] {
        assert!(metrics.contains(&format!("mastra_admin_{name}")), "{name} is not in\n{metrics}");
    }
    let document = nobody.get("//openapi.json").await.expect(200);
    assert_eq!(document["openapi"], "3.1.0");
    for file in ["//docs/", "//docs/swagger-initializer.js", "//docs/index.css"] {
        let text = nobody.get(file).await;
        assert_eq!(text.status, 200, "{file}");
        assert!(
            !text.text.contains("https://") && !text.text.contains("//cdn"),
            "{file} loads from elsewhere"
        );
    }
}
