//! Signing in and out, cookies, passwords, sessions, tokens, the first user.

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::{OWNER, PASSWORD, TestApp};
use tests::client::{Answer, Client};
use tests::people::{join, mailed_token};
use tests::world::team;

async fn login(app: &TestApp, email: &str, password: &str) -> Answer {
    app.nobody().post("/auth/login", json!({ "email": email, "password": password })).await
}

#[tokio::test]
async fn a_session_begins_with_the_password_and_ends_when_one_says_so() {
    let app = TestApp::start().await;
    assert_eq!(app.nobody().get("/me").await.status, 401);
    let signed_in = login(&app, OWNER, PASSWORD).await;
    assert!(signed_in.headers.contains_key("x-event-position"));
    let cookie = signed_in.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let body = signed_in.expect(200);
    assert_eq!(body["user"]["email"], OWNER);
    let owner = app.nobody().with_token(body["token"].as_str().unwrap());
    let me = owner.get("/me").await.expect(200);
    assert_eq!(me["csrfToken"], body["csrfToken"]);

    let other = app.owner().await;
    owner.post("/auth/logout", json!({})).await.expect(200);
    assert_eq!(owner.get("/me").await.status, 401);
    assert_eq!(other.get("/me").await.status, 200, "other sessions go on");
}

#[tokio::test]
async fn who_guesses_learns_nothing_and_is_slowed_down() {
    let app = TestApp::start().await;
    let wrong = login(&app, OWNER, "not the password").await;
    let nobody = login(&app, "nobody@example.org", "not the password").await;
    for answer in [&wrong, &nobody] {
        assert_eq!((answer.status, answer.str("code").as_str()), (401, "invalid_credentials"));
    }
    assert_eq!(wrong.body["detail"], nobody.body["detail"]);
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(login(&app, OWNER, "not the password").await.status);
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    let refused = login(&app, OWNER, PASSWORD).await;
    assert_eq!(refused.status, 429);
    assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
}

#[tokio::test]
async fn a_cookie_alone_changes_nothing() {
    let app = TestApp::start().await;
    let signed_in = login(&app, OWNER, PASSWORD).await;
    let cookie = signed_in.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let csrf = signed_in.str("csrfToken");
    let browser = app.nobody();
    let make = |slug: &str, headers: &[(&str, &str)]| {
        let mut request = browser.request(Method::POST, "/teams").header("cookie", &cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Client::send(request.json(&json!({ "name": slug, "slug": slug })))
    };
    let here = app.url.clone();
    assert_eq!(make("a", &[]).await.status, 403);
    assert_eq!(make("a", &[("x-csrf-token", "guess")]).await.status, 403);
    let foreign = [("x-csrf-token", csrf.as_str()), ("origin", "https://evil.example")];
    assert_eq!(make("a", &foreign).await.status, 403);
    let foreign = [("x-csrf-token", csrf.as_str()), ("sec-fetch-site", "cross-site")];
    assert_eq!(make("a", &foreign).await.status, 403);
    make("a", &[("x-csrf-token", &csrf), ("origin", &here)]).await.expect(201);
    let reading = browser.request(Method::GET, "/teams").header("cookie", &cookie);
    let teams = Client::send(reading).await.expect(200);
    assert_eq!(teams["items"].as_array().unwrap().len(), 1, "reading needs no token");
}

#[tokio::test]
async fn another_password_ends_all_other_sessions() {
    let app = TestApp::start().await;
    let (owner, other) = (app.owner().await, app.owner().await);
    let change = |current: &str, new: &str| json!({ "current": current, "new": new });
    let refused = owner.post("/auth/password", change("wrong password", "another long one")).await;
    assert_eq!((refused.status, refused.body["errors"][0]["field"].as_str()), (422, Some("current")));
    let refused = owner.post("/auth/password", change(PASSWORD, "password123")).await;
    assert_eq!((refused.status, refused.body["errors"][0]["field"].as_str()), (422, Some("new")));
    owner.post("/auth/password?dryRun=true", change(PASSWORD, "another long one")).await.expect(200);
    assert_eq!(login(&app, OWNER, PASSWORD).await.status, 200, "a dry run changes nothing");
    owner.post("/auth/password", change(PASSWORD, "another long one")).await.expect(200);
    assert_eq!(owner.get("/me").await.status, 200);
    assert_eq!(other.get("/me").await.status, 401);
    assert_eq!(login(&app, OWNER, PASSWORD).await.status, 401);
    assert_eq!(login(&app, OWNER, "another long one").await.status, 200);
}

#[tokio::test]
async fn sessions_are_listed_and_ended() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (second, third) = (app.owner().await, app.owner().await);
    let list = owner.get("/auth/sessions").await.expect(200);
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 3);
    let current: Vec<&Value> = items.iter().filter(|session| session["current"] == true).collect();
    assert_eq!(current.len(), 1);
    assert_eq!(current[0]["sourceIp"], "127.0.0.1");

    let seconds = second.get("/auth/sessions").await.expect(200);
    let its = seconds["items"].as_array().unwrap().iter().find(|session| session["current"] == true).unwrap();
    let path = format!("/auth/sessions/{}", its["id"].as_str().unwrap());
    owner.delete(&path).await.expect(200);
    assert_eq!(second.get("/me").await.status, 401);
    assert_eq!(owner.delete(&path).await.status, 404);
    owner.delete("/auth/sessions").await.expect(200);
    assert_eq!(third.get("/me").await.status, 401);
    assert_eq!(owner.get("/me").await.status, 200, "the one that asks goes on");
}

#[tokio::test]
async fn the_first_user_is_made_once() {
    let nobody_yet = [("MASTRA_ADMIN_OWNER_EMAIL", ""), ("MASTRA_ADMIN_OWNER_PASSWORD", "")];
    let app = TestApp::start_with(&nobody_yet).await;
    sqlx::query("INSERT INTO setup_tokens VALUES (sha256('known to the test'), now())")
        .execute(app.db.pool())
        .await
        .unwrap();
    let setup = |token: &str, email: &str, query: &str| {
        let body = json!({
            "setupToken": token, "email": email, "password": PASSWORD, "firstName": "Ann", "lastName": "Lee"
        });
        let (nobody, path) = (app.nobody(), format!("/auth/setup{query}"));
        async move { nobody.post(&path, body).await }
    };
    let wrong = setup("wrong", "a@example.org", "").await.status;
    assert!(wrong == 401 || wrong == 403, "{wrong}");
    setup("known to the test", "a@example.org", "?dryRun=true").await.expect(200);
    let (one, other) = tokio::join!(
        setup("known to the test", "a@example.org", ""),
        setup("known to the test", "b@example.org", "")
    );
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses[0], 201, "{} {}", one.text, other.text);
    assert!((400..500).contains(&statuses[1]), "{} {}", one.text, other.text);
    let first = if one.status == 201 { "a@example.org" } else { "b@example.org" };
    assert_eq!(login(&app, first, PASSWORD).await.status, 200);
    assert!(setup("known to the test", "c@example.org", "").await.status >= 400);
}

#[tokio::test]
async fn a_personal_token_acts_for_its_owner_until_it_is_revoked() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let past = owner.post("/me/tokens", json!({ "name": "x", "expiresAt": "2020-01-01T00:00:00Z" })).await;
    assert_eq!((past.status, past.body["errors"][0]["field"].as_str()), (422, Some("expiresAt")));
    let made = owner.post("/me/tokens", json!({ "name": "ci" })).await.expect(201);
    let plain = made["plainToken"].as_str().unwrap();
    assert!(plain.starts_with("ma_") && plain.starts_with(made["token"]["prefix"].as_str().unwrap()));
    let token = app.nobody().with_token(plain);
    team(&token, "acme").await;
    let audit = owner.get("/teams/acme/audit").await.expect(200);
    let id = made["token"]["id"].as_str().unwrap();
    assert_eq!(audit["items"][0]["actor"], format!("token:{id}"));
    let me = owner.get("/me").await.expect(200)["id"].clone();
    assert_eq!(audit["items"][0]["onBehalfOf"], format!("user:{}", me.as_str().unwrap()));
    assert_eq!(token.post("/auth/logout", json!({})).await.status, 403);
    assert_eq!(token.post("/me/tokens", json!({ "name": "immortal" })).await.status, 403);

    let list = owner.get("/me/tokens").await.expect(200);
    assert!(!list.to_string().contains(plain));
    owner.delete(&format!("/me/tokens/{id}")).await.expect(200);
    assert_eq!(token.get("/me").await.status, 401);
    let typo = app.nobody().with_token(&plain.replace("ma_", "ma_x"));
    assert_eq!(typo.get("/me").await.status, 401);
}

#[tokio::test]
async fn a_repeated_token_is_the_same_token_even_when_its_answer_was_lost() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let make = || {
        let request = owner.request(Method::POST, "/me/tokens").header("idempotency-key", "once");
        Client::send(request.json(&json!({ "name": "ci" })))
    };
    let (one, other) = tokio::join!(make(), make());
    let (one, other) = (one.expect(201), other.expect(201));
    assert_eq!(one, other, "at once");
    // A server that was killed after the append and before the answer leaves no answer behind.
    sqlx::query("DELETE FROM answers").execute(app.db.pool()).await.unwrap();
    assert_eq!(make().await.expect(201), one, "without the kept answer");
    assert_eq!(owner.get("/me/tokens").await.expect(200)["items"].as_array().unwrap().len(), 1);
    let plain = one["plainToken"].as_str().unwrap();
    assert_eq!(app.nobody().with_token(plain).get("/me").await.status, 200);
}

#[tokio::test]
async fn one_changes_oneself() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let acme = team(&owner, "acme").await;
    let stranger = join(&app, &owner, "stranger@example.org", None).await;
    let change =
        json!({ "firstName": "Ada", "photoUrl": "https://example.org/a.png", "activeTeamId": acme["id"] });
    let shown = owner.request(Method::PATCH, "/me?dryRun=true").json(&change);
    let shown = Client::send(shown).await.expect(200);
    let types: Vec<&str> =
        shown["events"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["user.profile_changed", "user.active_team_switched"]);
    assert!(!shown.to_string().contains("\"data\""), "no ciphertext: {shown}");
    assert_ne!(owner.get("/me").await.expect(200)["firstName"], "Ada");

    let me = owner.patch("/me", change).await.expect(200);
    assert_eq!((me["firstName"].as_str(), &me["activeTeamId"]), (Some("Ada"), &acme["id"]));
    let me = owner.patch("/me", json!({ "photoUrl": null, "activeTeamId": null })).await.expect(200);
    assert_eq!((&me["photoUrl"], &me["activeTeamId"]), (&Value::Null, &Value::Null));
    assert_eq!(me["firstName"], "Ada", "what is absent stays");
    for (body, field) in [
        (json!({ "photoUrl": "javascript:x" }), "photoUrl"),
        (json!({ "firstName": "a\0b" }), "firstName"),
        (json!({ "colour": "red" }), "colour"),
    ] {
        let refused = owner.patch("/me", body).await;
        assert_eq!((refused.status, refused.body["errors"][0]["field"].as_str()), (422, Some(field)));
    }
    let refused = stranger.patch("/me", json!({ "activeTeamId": acme["id"] })).await;
    assert_eq!((refused.status, refused.body["errors"][0]["field"].as_str()), (422, Some("activeTeamId")));
}

#[tokio::test]
async fn who_is_invited_makes_an_account_with_that_address_and_joins() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let body = json!({ "email": "ann@example.org", "role": "developer" });
    let invite = owner.post("/teams/acme/invites", body).await.expect(201);
    let token = mailed_token(&app, invite["id"].as_str().unwrap()).await;
    let register = |email: &str, query: &str| {
        let body = json!({
            "inviteToken": token, "email": email, "password": PASSWORD, "firstName": "Ann", "lastName": "Lee"
        });
        let (nobody, path) = (app.nobody(), format!("/auth/register{query}"));
        async move { nobody.post(&path, body).await }
    };
    let other = register("eve@example.org", "").await.status;
    assert!([404, 410, 422].contains(&other), "{other}");
    register("ann@example.org", "?dryRun=true").await.expect(200);
    assert_eq!(login(&app, "ann@example.org", PASSWORD).await.status, 401, "a dry run makes nobody");
    register("Ann@Example.org", "").await.expect(201);
    let ann = app.sign_in("ann@example.org").await;
    assert_eq!(ann.get("/teams/acme").await.status, 200);
    assert_eq!(register("ann@example.org", "").await.status, 410, "an invite works once");
}

#[tokio::test]
async fn the_documentation_comes_from_this_server_alone() {
    let app = TestApp::start().await;
    let nobody = app.nobody();
    let page = nobody.get("//docs/").await;
    assert_eq!(page.status, 200);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'self'") && !policy.contains("http"), "{policy}");
    let scripts = nobody.get("//docs/swagger-initializer.js").await;
    assert!(scripts.text.contains("/openapi.json"), "{}", scripts.text);
    for text in [&page.text, &scripts.text] {
        assert!(!text.contains("http://") && !text.contains("https://"), "{text}");
    }
    // Swagger UI would show a badge from its makers' server otherwise.
    assert!(scripts.text.contains(r#""validatorUrl": "none""#), "{}", scripts.text);
    let document = nobody.get("//openapi.json").await.expect(200);
    assert_eq!(document["openapi"], "3.1.0");
}
