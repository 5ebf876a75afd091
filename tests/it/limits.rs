//! How often somebody may ask, and who is believed about where a request comes from.

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::{Answer, Client};
use tests::people::join;
use tests::world::team;

async fn denials(app: &TestApp) -> Vec<(Value, Value)> {
    let query = "SELECT payload::jsonb, metadata::jsonb FROM events
                  WHERE event_type = 'access.command_denied' AND payload ->> 'code' = 'rate_limited'
                  ORDER BY position";
    sqlx::query_as(query).fetch_all(app.db.pool()).await.unwrap()
}

fn number(answer: &Answer, name: &str) -> u64 {
    answer.headers[name].to_str().unwrap().parse().unwrap()
}

/// Asks until it is refused; how often it was not, and the refusal.
async fn drain(client: &Client, path: &str) -> (u64, Answer) {
    for n in 0..100 {
        let answer = client.get(path).await;
        if answer.status == 429 {
            return (n, answer);
        }
    }
    panic!("nothing is limited");
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again_and_recorded_once() {
    let app = TestApp::start_with(&[("MASTRA_ADMIN_RATE_USER", "20")]).await;
    let owner = app.owner().await;
    let first = owner.get("/me").await;
    assert_eq!((number(&first, "x-ratelimit-limit"), number(&first, "x-ratelimit-remaining")), (20, 19));
    assert_eq!(number(&first, "x-ratelimit-reset"), 3);
    let (_, refused) = drain(&owner, "/me").await;
    assert_eq!(refused.str("code"), "rate_limited");
    assert!(
        (1..=3).contains(&number(&refused, "retry-after")),
        "a bucket of 20 has room after three seconds"
    );
    assert_eq!(number(&refused, "x-ratelimit-remaining"), 0);
    for _ in 0..20 {
        owner.get("/me").await;
    }
    let recorded = denials(&app).await;
    assert_eq!(recorded.len(), 1, "{recorded:?}");
    let (payload, metadata) = &recorded[0];
    assert_eq!((&payload["status"], &payload["route"]), (&json!(429), &json!("/api/v1/me")));
    assert!(metadata["source_ip"].is_string());
    let metrics = app.nobody().get("//metrics").await.text;
    assert!(metrics.contains("mastra_admin_rate_limited_total{of=\"user\"}"), "{metrics}");
    assert_eq!(app.nobody().get("/auth/providers").await.status, 200, "nobody else is stopped");
}

#[tokio::test]
async fn an_address_a_token_and_a_team_have_buckets_of_their_own() {
    let app =
        TestApp::start_with(&[("MASTRA_ADMIN_RATE_TOKEN", "5"), ("MASTRA_ADMIN_RATE_TEAM", "12")]).await;
    let owner = app.owner().await;
    let made = owner.post("/me/tokens", json!({ "name": "ci" })).await.expect(201);
    let token = app.nobody().with_token(made["plainToken"].as_str().unwrap());
    assert!((5..8).contains(&drain(&token, "/me").await.0));
    assert_eq!(owner.get("/me").await.status, 200, "its owner is another");
    team(&owner, "acme").await;
    let friend = join(&app, &owner, "friend@example.org", Some(("acme", "viewer"))).await;
    drain(&owner, "/teams/acme").await;
    assert_eq!(friend.get("/teams/acme").await.status, 429, "the team's bucket is everybody's");
    assert_eq!(friend.get("/me").await.status, 200);

    let app = TestApp::start_with(&[("MASTRA_ADMIN_RATE_ADDRESS", "10")]).await;
    let nobody = app.nobody();
    drain(&nobody.with_token("ma_made-up"), "/me").await;
    assert_eq!(nobody.get("/auth/providers").await.status, 429, "who is signed in or not");
    for free in ["//api/health", "//api/ready", "//metrics", "//openapi.json"] {
        let answer = nobody.get(free).await;
        assert_eq!((answer.status, answer.headers.get("x-ratelimit-limit")), (200, None), "{free}");
    }
}

#[tokio::test]
async fn a_forwarded_address_is_believed_of_a_trusted_proxy_alone() {
    let from = async |app: &TestApp, address: &str| {
        let request = app.nobody().request(Method::GET, "/auth/providers").header("x-forwarded-for", address);
        Client::send(request).await.status
    };
    let limit = ("MASTRA_ADMIN_RATE_ADDRESS", "10");
    let mut app =
        TestApp::start_with(&[limit, ("MASTRA_ADMIN_TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8")]).await;
    while from(&app, "198.51.100.1").await != 429 {}
    assert_eq!(
        from(&app, "192.0.2.7, 198.51.100.1, 10.0.0.9").await,
        429,
        "what stands to the left is hearsay"
    );
    assert_eq!(from(&app, "198.51.100.2").await, 200);
    while from(&app, "2001:db8::1").await != 429 {}
    assert_eq!(from(&app, "2001:db8::ffff:1").await, 429, "a /64 is one customer");
    assert_eq!(from(&app, "2001:db8:0:1::1").await, 200);

    app.restart_with(&[limit]).await;
    while from(&app, "198.51.100.1").await != 429 {}
    assert_eq!(from(&app, "198.51.100.2").await, 429, "nobody is trusted by default");
}
