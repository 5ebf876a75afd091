//! The code flow: who comes back, and who does not come in.

use serde_json::{Value, json};
use tests::app::{OWNER, TestApp};
use tests::oidc::{Browser, PUBLIC, Peer, location, person};

const OIDC: (&str, &str, &str, &str) = ("oidc", "oidc", "/oidc", "web");

async fn registered(app: &TestApp, subject: &str) -> Vec<Value> {
    sqlx::query_scalar(
        "SELECT payload FROM events WHERE event_type = 'user.registered' AND payload ->> 'subject' = $1",
    )
    .bind(subject)
    .fetch_all(app.db.pool())
    .await
    .unwrap()
}

async fn failures(app: &TestApp) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT payload ->> 'reason' FROM events WHERE event_type = 'access.sign_in_failed' ORDER BY position",
    )
    .fetch_all(app.db.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn every_shape_of_provider_signs_people_in_and_knows_them_again() {
    let peer = Peer::start().await;
    let providers =
        [OIDC, ("post", "oidc", "/realms/test", "web-post"), ("auth0", "auth0", "/auth0/", "spa")];
    let app = peer.app(&providers, &[]).await;
    let listed = app.nobody().get("/auth/providers").await.expect(200);
    let ids: Vec<_> = listed["items"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert_eq!(ids, ["local", "oidc", "post", "auth0"]);
    for (id, _, path, _) in providers {
        let who = format!("ada-{id}");
        peer.tell("users", person(&who, &format!("{who}@example.test"), true)).await;
        let browser = Browser::new(&app);
        let answer = browser.sign_in(id, &who).await;
        assert_eq!((answer.status, answer.headers.get("location").is_some()), (302, true), "{}", answer.text);
        let cookies: Vec<_> =
            answer.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap()).collect();
        let session = cookies.iter().find(|cookie| cookie.starts_with("__Host-mastra_session=")).unwrap();
        for part in ["Secure", "HttpOnly", "Path=/", "SameSite=Lax"] {
            assert!(session.contains(part), "{session}");
        }
        let me = browser.me().await.expect(200);
        assert_eq!((&me["email"], &me["firstName"]), (&json!(format!("{who}@example.test")), &json!("Ada")));
        let again = Browser::new(&app);
        again.sign_in(id, &who).await;
        assert_eq!(again.me().await.expect(200)["id"], me["id"], "the same identity is the same user");
        assert_ne!(browser.cookie("__Host-mastra_session"), again.cookie("__Host-mastra_session"));
        let events = registered(&app, &who).await;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0]["provider"], format!("{}{path}", peer.base));
    }
}

#[tokio::test]
async fn what_comes_back_belongs_to_the_browser_the_provider_and_the_moment() {
    let peer = Peer::start().await;
    let app = peer.app(&[OIDC, ("auth0", "auth0", "/auth0/", "web")], &[]).await;
    let flow = "__Host-mastra_sign_in";
    let browser = Browser::new(&app);
    let back = browser.come_back("oidc", "ann", "/teams").await;
    assert!(back.contains("iss="), "{back}");

    let stranger = Browser::new(&app);
    assert_eq!(stranger.get(&back).await.expect(401)["code"], "wrong_state", "another browser");
    stranger.come_back("oidc", "eve", "/").await;
    assert_eq!(stranger.get(&back).await.expect(401)["code"], "wrong_state", "a login forced upon somebody");
    stranger.set_cookie(flow, "AQ==");
    assert_eq!(stranger.get(&back).await.expect(401)["code"], "wrong_state", "a made up cookie");
    let elsewhere = back.replace("/auth/oidc/", "/auth/auth0/");
    assert_eq!(browser.get(&elsewhere).await.expect(401)["code"], "wrong_state", "another provider");

    let kept = browser.cookie(flow).unwrap();
    let (before, iss) = back.split_once("&iss=").unwrap();
    for (mixed, why) in [
        (format!("{before}&iss=https%3A%2F%2Fevil.test"), "another issuer answers"),
        (before.to_owned(), "the issuer does not say who it is"),
        (back.replace("code=", "code=x"), "another code"),
        (back.replace("code=", "other="), "no code"),
        (
            format!("{}&error=access_denied&iss={iss}", before.replace("code=", "other=")),
            "the provider says no",
        ),
    ] {
        browser.set_cookie(flow, &kept);
        assert_eq!(browser.get(&mixed).await.expect(401)["code"], "not_signed_in", "{why}");
    }
    browser.set_cookie(flow, &kept);
    let answer = browser.get(&back).await;
    assert_eq!((answer.status, location(&answer).as_str()), (302, "/teams"), "{}", answer.text);
    assert_eq!(browser.cookie(flow), None, "it is over");
    browser.set_cookie(flow, &kept);
    assert_eq!(browser.get(&back).await.expect(401)["code"], "not_signed_in", "a code works once");

    let failed = failures(&app).await;
    assert_eq!(failed.iter().filter(|reason| *reason == "wrong_state").count(), 4, "{failed:?}");
    assert_eq!(failed.iter().filter(|reason| *reason == "unproved").count(), 6, "{failed:?}");
    let begin = |to: &str| format!("{PUBLIC}/api/v1/auth/oidc/authorize?returnTo={to}");
    for outside in ["https%3A%2F%2Fevil.test", "%2F%2Fevil.test", "%2F%5Cevil.test", "teams"] {
        let refused = Browser::new(&app).get(&begin(outside)).await;
        assert_eq!((refused.status, refused.body["errors"][0]["field"].as_str()), (422, Some("returnTo")));
    }
    assert_eq!(app.nobody().get("/auth/unknown/authorize").await.status, 404);
}

#[tokio::test]
async fn the_browser_takes_state_nonce_and_challenge_along_and_no_secret() {
    let peer = Peer::start().await;
    let app = peer.app(&[OIDC], &[]).await;
    let browser = Browser::new(&app);
    let url = location(&browser.get(&format!("{PUBLIC}/api/v1/auth/oidc/authorize")).await);
    for part in ["code_challenge_method=S256", "code_challenge=", "state=", "nonce=", "response_type=code"] {
        assert!(url.contains(part), "{url}");
    }
    assert!(!url.contains("secret") && !url.contains("code_verifier"), "{url}");
    let other = location(&browser.get(&format!("{PUBLIC}/api/v1/auth/oidc/authorize")).await);
    assert_ne!(url, other, "each is new");
}

#[tokio::test]
async fn an_address_counts_only_when_verified_and_never_leads_to_an_account() {
    let peer = Peer::start().await;
    let app = peer.app(&[OIDC], &[]).await;
    app.owner().await;
    peer.tell("users", person("thief", OWNER, true)).await;
    let thief = Browser::new(&app);
    let answer = thief.sign_in("oidc", "thief").await;
    assert_eq!(answer.expect(409)["code"], "email_taken");
    assert_eq!(thief.me().await.status, 401);
    assert!(registered(&app, "thief").await.is_empty());

    for who in ["liar", "other"] {
        peer.tell("users", person(who, OWNER, false)).await;
        let liar = Browser::new(&app);
        assert_eq!(liar.sign_in("oidc", who).await.status, 302);
        assert_eq!(
            liar.me().await.expect(200)["email"],
            Value::Null,
            "an address that is not verified is none"
        );
    }
    assert_eq!(failures(&app).await, ["address_taken"]);
}

#[tokio::test]
async fn a_list_of_domains_lets_only_their_people_in() {
    let peer = Peer::start().await;
    let app =
        peer.app(&[OIDC], &[("MASTRA_ADMIN_AUTH_OIDC_ALLOWED_DOMAINS", "example.test, other.test")]).await;
    for (who, email, verified, may) in [
        ("in", "in@Example.test", true, true),
        ("unverified", "unverified@example.test", false, false),
        ("out", "out@example.test.evil", true, false),
        ("sub", "sub@sub.example.test", true, false),
    ] {
        peer.tell("users", person(who, email, verified)).await;
        let browser = Browser::new(&app);
        let answer = browser.sign_in("oidc", who).await;
        assert_eq!(answer.status, if may { 302 } else { 403 }, "{who}: {}", answer.text);
        assert_eq!(browser.me().await.status, if may { 200 } else { 401 }, "{who}");
    }
    // Whoever leaves does not come in again.
    peer.tell("users", person("in", "in@elsewhere.test", true)).await;
    assert_eq!(Browser::new(&app).sign_in("oidc", "in").await.status, 403);
    assert_eq!(failures(&app).await, ["not_admitted"; 4]);
}

#[tokio::test]
async fn a_provider_that_is_away_is_said_to_be_and_others_serve() {
    let peer = Peer::start().await;
    let app = peer.app(&[OIDC], &[]).await;
    peer.tell("away", json!({ "away": true })).await;
    for _ in 0..4 {
        let answer = app.nobody().get("/auth/oidc/authorize").await;
        assert_eq!((answer.status, answer.str("code").as_str()), (503, "provider_unavailable"));
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert!(peer.fetched("/oidc/.well-known/openid-configuration").await <= 2, "it is not asked for ever");
    app.owner().await;
}

#[tokio::test]
async fn a_claim_takes_people_into_the_teams_that_it_names() {
    let peer = Peer::start().await;
    let app = peer.app(&[OIDC], &[("MASTRA_ADMIN_AUTH_OIDC_TEAM_CLAIM", "groups")]).await;
    let owner = app.owner().await;
    for slug in ["acme", "bolt", "other"] {
        owner.post("/teams", json!({ "name": slug, "slug": slug })).await.expect(201);
    }
    let mut ann = person("ann", "ann@example.test", true);
    ann["groups"] = json!(["/acme", "bolt:viewer", "nowhere", "other:owner"]);
    peer.tell("users", ann.clone()).await;
    let browser = Browser::new(&app);
    browser.sign_in("oidc", "ann").await;
    let token = browser.cookie("__Host-mastra_session").unwrap();
    let ann_here = app.nobody().with_token(&token);
    let id = ann_here.get("/me").await.expect(200)["id"].clone();
    let role = async |team: &str| {
        let members = owner.get(&format!("/teams/{team}/members")).await.expect(200);
        let all = members["items"].as_array().unwrap().clone();
        all.into_iter().find(|it| it["userId"] == id).map(|it| it["role"].as_str().unwrap().to_owned())
    };
    assert_eq!(role("acme").await.as_deref(), Some("developer"));
    assert_eq!(role("bolt").await.as_deref(), Some("viewer"));
    assert_eq!(role("other").await, None, "it makes no owners");
    // What the team's own people have changed stays so.
    let member = format!("/teams/bolt/members/{}", id.as_str().unwrap());
    owner.patch(&member, json!({ "role": "admin" })).await.expect(200);
    ann["groups"] = json!("bolt:viewer");
    peer.tell("users", ann).await;
    Browser::new(&app).sign_in("oidc", "ann").await;
    assert_eq!((role("bolt").await.as_deref(), role("acme").await.is_some()), (Some("admin"), true));
    let actor = owner.get("/teams/acme/audit").await.expect(200)["items"][0]["actor"].clone();
    assert_eq!(actor, format!("user:{}", id.as_str().unwrap()));
}
