//! Access tokens of providers as bearer: what is believed, and what is not.

use serde_json::{Value, json};
use tests::app::TestApp;
use tests::oidc::{Browser, Peer, person};

const OIDC: (&str, &str, &str, &str) = ("oidc", "oidc", "/oidc", "web");

async fn me(app: &TestApp, token: &str) -> u16 {
    app.nobody().with_token(token).get("/me").await.status
}

async fn users(app: &TestApp) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'user.registered'")
        .fetch_one(app.db.pool())
        .await
        .unwrap()
}

fn oidc(mut more: Value) -> Value {
    more["issuer"] = json!("oidc");
    more
}

#[tokio::test]
async fn a_token_is_believed_for_what_its_key_proves_and_for_nothing_it_says_of_itself() {
    let peer = Peer::start().await;
    let app = peer.app(&[OIDC], &[]).await;
    for good in [
        json!({}),
        json!({ "alg": "ES256" }),
        json!({ "alg": "EdDSA" }),
        json!({ "header": { "typ": "at+jwt" } }),
        json!({ "claims": { "aud": ["other", "https://api.mastraadmin.test"] } }),
    ] {
        assert_eq!(me(&app, &peer.mint(oidc(good.clone())).await).await, 200, "{good}");
    }
    let before = users(&app).await;
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    for bad in [
        json!({ "alg": "none" }),
        json!({ "alg": "HS256" }),
        json!({ "key": "foreign" }),
        json!({ "header": { "kid": "unknown" } }),
        json!({ "header": { "kid": "../../etc/passwd' OR 1=1 --" } }),
        json!({ "header": { "jku": "http://127.0.0.1:1/keys" } }),
        json!({ "header": { "x5u": "http://127.0.0.1:1/cert" } }),
        json!({ "header": { "jwk": { "kty": "oct", "k": "AA" } } }),
        json!({ "header": { "typ": "logout+jwt" } }),
        json!({ "claims": { "iss": format!("{}/auth0/", peer.base) } }),
        json!({ "claims": { "iss": format!("{}/oidc/", peer.base) } }),
        json!({ "claims": { "iss": null } }),
        json!({ "claims": { "aud": null } }),
        json!({ "claims": { "aud": "https://somebody.else" } }),
        json!({ "claims": { "aud": "web" } }),
        json!({ "claims": { "sub": null } }),
        json!({ "claims": { "sub": "" } }),
        json!({ "claims": { "exp": null } }),
        json!({ "ttl": -31 }),
        json!({ "claims": { "nbf": now + 120 } }),
        json!({ "claims": { "iat": now + 120 } }),
        json!({ "claims": { "nonce": "n" } }),
        json!({ "claims": { "typ": "Refresh" } }),
        json!({ "claims": { "sub": "web", "azp": "web" } }),
        json!({ "claims": { "gty": "client-credentials" } }),
        json!({ "claims": { "padding": "x".repeat(20_000) } }),
    ] {
        let token = peer.mint(oidc(bad.clone())).await;
        let shown = bad.to_string().chars().take(100).collect::<String>();
        assert_eq!(me(&app, &token).await, 401, "{shown}");
    }
    // The key that the header names is of another family than the algorithm.
    let kids = peer.tell("mint", oidc(json!({ "alg": "ES256" }))).await["token"].clone();
    let kid = kid(kids.as_str().unwrap());
    let mixed = peer.mint(oidc(json!({ "alg": "RS256", "header": { "kid": kid } }))).await;
    assert_eq!(me(&app, &mixed).await, 401, "another family");
    assert_eq!(users(&app).await, before, "nobody is made of what proves nothing");
    assert!(
        peer.fetched("/oidc/jwks").await <= 2,
        "whatever is shown, keys are fetched twice a minute at most"
    );
}

/// The name of a token's key.
fn kid(token: &str) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn new_keys_are_found_old_ones_end_and_known_ones_hold_while_the_provider_is_away() {
    let peer = Peer::start().await;
    let app = peer.app(&[OIDC], &[]).await;
    let first = peer.mint(oidc(json!({}))).await;
    assert_eq!(me(&app, &first).await, 200);
    peer.tell("rotate", json!({ "issuer": "oidc", "keepOld": false })).await;
    assert_eq!(me(&app, &first).await, 200, "nobody has asked for other keys yet");
    let second = peer.mint(oidc(json!({}))).await;
    assert_eq!(me(&app, &second).await, 200, "a new key is fetched when a token names it");
    assert_eq!(me(&app, &first).await, 401, "the old one is gone");
    peer.tell("away", json!({ "away": true })).await;
    assert_eq!(me(&app, &second).await, 200, "the keys that are known hold");
    let unknown = peer.mint(oidc(json!({ "header": { "kid": "unknown" } }))).await;
    for _ in 0..5 {
        assert_eq!(me(&app, &unknown).await, 401);
    }
    assert_eq!(me(&app, &second).await, 200);
    assert_eq!(peer.fetched("/oidc/jwks").await, 0, "two fetches were made in this minute already");
}

#[tokio::test]
async fn of_many_first_requests_at_once_one_makes_the_user() {
    let peer = Peer::start().await;
    let app = peer.app(&[OIDC], &[]).await;
    let other = app.another().await;
    let claims = json!({ "sub": "crowd", "email": "crowd@example.test", "email_verified": true });
    let token = peer.mint(oidc(json!({ "claims": claims }))).await;
    let before = users(&app).await;
    let urls = [app.url.clone(), other.url.clone()];
    let asked = (0..20).map(|n| {
        let client = tests::client::Client::new(&urls[n % 2]).with_token(&token);
        async move { client.get("/me").await.expect(200)["id"].clone() }
    });
    let ids = futures_util::future::join_all(asked).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(users(&app).await, before + 1);
}

#[tokio::test]
async fn a_browser_and_its_token_are_the_same_person_who_makes_no_other_tokens() {
    let peer = Peer::start().await;
    let providers = [OIDC, ("clerk", "clerk", "/clerk", "x")];
    let party = [("MASTRA_ADMIN_AUTH_CLERK_AUTHORIZED_PARTIES", "http://localhost:3000")];
    let app = peer.app(&providers, &party).await;
    peer.tell("users", person("ann", "ann@example.test", true)).await;
    let browser = Browser::new(&app);
    browser.sign_in("oidc", "ann").await;
    let ann = browser.me().await.expect(200);
    let token = app.nobody().with_token(&peer.mint(oidc(json!({ "claims": { "sub": "ann" } }))).await);
    assert_eq!(token.get("/me").await.expect(200)["id"], ann["id"]);
    token.post("/teams", json!({ "name": "Acme", "slug": "acme" })).await.expect(201);
    assert_eq!(token.post("/me/tokens", json!({ "name": "immortal" })).await.status, 403);
    assert_eq!(token.post("/auth/logout", json!({})).await.status, 403);
    let actor = token.get("/teams/acme/audit").await.expect(200)["items"][0]["actor"].clone();
    assert_eq!(actor, format!("user:{}", ann["id"].as_str().unwrap()));

    // Clerk's session tokens have no audience: the origin they were made for is asked for.
    assert_eq!(me(&app, &peer.mint(json!({ "issuer": "clerk" })).await).await, 200);
    for bad in [
        json!({ "azp": "https://evil.test" }),
        json!({ "azp": null }),
        json!({ "sts": "pending" }),
        json!({ "iss": format!("{}/oidc", peer.base) }),
    ] {
        let token = peer.mint(json!({ "issuer": "clerk", "claims": bad })).await;
        assert_eq!(me(&app, &token).await, 401, "{bad}");
    }
}
