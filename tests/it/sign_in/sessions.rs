//! Sessions end: unused, too old, by their owner, and with whoever they belong to.

use serde_json::json;
use tests::app::TestApp;
use tests::oidc::{Browser, Peer, person};

#[tokio::test]
async fn a_session_ends_when_it_is_not_used_and_when_it_is_too_old() {
    let app = TestApp::start().await;
    let (idle, old, used) = (app.owner().await, app.owner().await, app.owner().await);
    let id = async |client: &tests::client::Client| {
        let list = client.get("/auth/sessions").await.expect(200);
        let items = list["items"].as_array().unwrap().clone();
        items.into_iter().find(|one| one["current"] == true).unwrap()["id"].as_str().unwrap().to_owned()
    };
    for (client, change) in [
        (&idle, "last_seen_at = now() - interval '7 days 1 minute'"),
        (&old, "expires_at = now() - interval '1 second'"),
        (&used, "last_seen_at = now() - interval '6 days'"),
    ] {
        let query = format!("UPDATE sessions SET {change} WHERE id = $1::uuid");
        sqlx::query(&query).bind(id(client).await).execute(app.db.pool()).await.unwrap();
    }
    // No command did it: servers believe for a moment what they have read.
    let moment = std::time::Duration::from_secs(10);
    for over in [&idle, &old] {
        app.wait_until("it is over", moment, async || over.get("/me").await.status == 401).await;
    }
    let seen = "SELECT bool_or(last_seen_at > now() - interval '1 minute') FROM sessions WHERE id = $1::uuid";
    app.wait_until("using it keeps it", moment, async || {
        assert_eq!(used.get("/me").await.status, 200);
        sqlx::query_scalar(seen).bind(id(&used).await).fetch_one(app.db.pool()).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn who_came_through_a_provider_changes_things_with_the_csrf_token_and_can_be_erased() {
    let peer = Peer::start().await;
    let app = peer.app(&[("oidc", "oidc", "/oidc", "web")], &[]).await;
    peer.tell("users", person("ann", "ann@example.test", true)).await;
    let browser = Browser::new(&app);
    browser.sign_in("oidc", "ann").await;
    let me = browser.me().await.expect(200);
    let cookie = format!("__Host-mastra_session={}", browser.cookie("__Host-mastra_session").unwrap());
    let nobody = app.nobody();
    let send = async |method: reqwest::Method, path: &str, body: serde_json::Value, token: &str| {
        let request = nobody.request(method, path).header("cookie", &cookie).header("x-csrf-token", token);
        tests::client::Client::send(request.json(&body)).await
    };
    let csrf = me["csrfToken"].as_str().unwrap();
    let (post, delete) = (reqwest::Method::POST, reqwest::Method::DELETE);
    assert_eq!(send(post.clone(), "/teams", json!({ "name": "A", "slug": "a" }), "").await.status, 403);
    assert_eq!(send(post.clone(), "/auth/totp", json!({}), csrf).await.expect(409)["code"], "no_password");

    let age = "UPDATE sessions SET created_at = created_at - interval '11 minutes'";
    sqlx::query(age).execute(app.db.pool()).await.unwrap();
    let refused = send(delete.clone(), "/me", json!({}), csrf).await;
    assert_eq!((refused.status, refused.str("code").as_str()), (403, "sign_in_again"));
    let again = Browser::new(&app);
    again.sign_in("oidc", "ann").await;
    let cookie = format!("__Host-mastra_session={}", again.cookie("__Host-mastra_session").unwrap());
    let csrf = again.me().await.expect(200)["csrfToken"].clone();
    let request = nobody.request(delete, "/me").header("cookie", &cookie);
    let request = request.header("x-csrf-token", csrf.as_str().unwrap()).json(&json!({}));
    tests::client::Client::send(request).await.expect(200);
    assert_eq!(browser.me().await.status, 401, "every session has ended");

    // The identity is free: whoever comes with it is somebody new.
    let anew = Browser::new(&app);
    assert_eq!(anew.sign_in("oidc", "ann").await.status, 302);
    assert_ne!(anew.me().await.expect(200)["id"], me["id"]);
}
