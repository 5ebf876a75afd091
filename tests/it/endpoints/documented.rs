//! What the documentation shows receivers does as it says.

use reqwest::Method;
use serde_json::json;
use tests::app::TestApp;
use tests::client::Client;
use tests::documented::Documented;
use tests::git_host::Signer;

use super::{acme, endpoint, until_delivery};

/// A webhook at a port of loopback where nobody listens yet; the port, its id and its secret.
async fn webhook(owner: &Client) -> (u16, String, String) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/hook");
    let body = json!({ "name": "Bot", "kind": "webhook", "url": url, "events": ["team.closed"] });
    let (id, secret) = endpoint(owner, body).await;
    (port, id, secret)
}

/// It takes what the platform sends, with either secret while one is replaced, and nothing else.
async fn takes_what_is_signed(
    (app, owner): (TestApp, Client),
    mut it: Documented,
    (port, id, secret): (u16, String, String),
) {
    let ping = async || {
        owner.post(&format!("/endpoints/{id}/ping"), json!({})).await.expect(202);
        until_delivery(&app, &owner, &id, "delivered").await
    };
    let delivered = ping().await;
    assert_eq!(delivered["httpStatus"], 204, "{delivered}");
    let (position, about) = (&delivered["position"], format!("endpoint.pinged {id}"));
    assert_eq!(it.says(&about).await, format!("{position} {about}"));
    owner.post(&format!("/endpoints/{id}/rotate"), json!({ "overlapHours": 1 })).await.expect(200);
    assert_eq!(ping().await["httpStatus"], 204, "it has the old secret still");

    let mut signer = Signer::start().await;
    let stranger = Client::new(&format!("http://127.0.0.1:{port}"));
    let body = json!({ "position": 1, "action": "team.closed", "resourceId": "x" }).to_string();
    let other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for (secret, later, changed, status) in [
        (secret.as_str(), 0, "", 204),
        (secret.as_str(), -600, "", 401),
        (secret.as_str(), 600, "", 401),
        (secret.as_str(), 0, " ", 401),
        (other, 0, "", 401),
    ] {
        let mut request = stranger.request(Method::POST, "//hook").header("content-type", "application/json");
        for (name, value) in signer.sign("standard", secret, "msg_1", &body, later).await {
            request = request.header(name, value);
        }
        let answer = Client::send(request.body(format!("{body}{changed}"))).await;
        assert_eq!(answer.status, status, "{later} seconds later, with {secret}");
    }
    let unsigned = stranger.request(Method::POST, "//hook").body(body);
    assert_eq!(Client::send(unsigned).await.status, 401);
}

#[tokio::test]
async fn the_receiver_for_node_takes_what_is_signed_and_nothing_else() {
    let (app, owner) = acme().await;
    let at = webhook(&owner).await;
    let it = Documented::node(at.0, &at.2).await;
    takes_what_is_signed((app, owner), it, at).await;
}

#[tokio::test]
async fn the_receiver_for_python_takes_what_is_signed_and_nothing_else() {
    let (app, owner) = acme().await;
    let at = webhook(&owner).await;
    let it = Documented::python(at.0, &at.2).await;
    takes_what_is_signed((app, owner), it, at).await;
}
