//! Where teams are told what happens: what arrives is verified by the library of Standard Webhooks, on a platform that is
//! really killed, with time moved in the database.

mod documented;
mod lasting;
mod managing;
mod results;
mod webhooks;

use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::receiver::Receiver;
use tests::world::team;

/// Loopback is allowed, as an operator allows a network of his own.
const ALLOWED: (&str, &str) = ("MASTRA_ADMIN_OUTBOUND_ALLOW", "127.0.0.0/8");

/// A platform with a team.
async fn acme() -> (TestApp, Client) {
    let app = TestApp::start_with(&[ALLOWED]).await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    (app, owner)
}

/// An endpoint; answers its id and its secret.
async fn endpoint(client: &Client, body: Value) -> (String, String) {
    let made = client.post("/teams/acme/endpoints", body).await.expect(201);
    let secret = made["secret"].as_str().unwrap_or_default().to_owned();
    (made["endpoint"]["id"].as_str().unwrap().to_owned(), secret)
}

/// A webhook that hears these events.
async fn webhook(client: &Client, receiver: &Receiver, events: &[&str]) -> (String, String) {
    let url = format!("{}/hook", receiver.url);
    let body = json!({ "name": "Bot", "kind": "webhook", "url": url, "events": events });
    endpoint(client, body).await
}

/// An event of the team that nothing else leads to.
async fn rename(client: &Client, name: &str) {
    client.patch("/teams/acme", json!({ "name": name })).await.expect(200);
}

/// The deliveries of an endpoint, newest first.
async fn deliveries(client: &Client, endpoint: &str) -> Vec<Value> {
    let page = client.get(&format!("/endpoints/{endpoint}/deliveries?limit=200")).await.expect(200);
    page["items"].as_array().unwrap().clone()
}

/// The newest delivery of an endpoint, once it has this status.
async fn until_delivery(app: &TestApp, client: &Client, endpoint: &str, status: &str) -> Value {
    let mut found = Value::Null;
    let what = format!("the newest delivery is {status}");
    app.wait_until(&what, std::time::Duration::from_secs(30), async || {
        found = deliveries(client, endpoint).await.into_iter().next().unwrap_or_default();
        found["status"] == status
    })
    .await;
    found
}
