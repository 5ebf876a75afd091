//! What goes on after the gate ends when the right to it does.

use std::time::{Duration, Instant};

use reqwest::{Method, Response};
use serde_json::json;
use tests::app::TestApp;
use tests::client::Client;
use tests::people::join;
use tests::world::{Project, team_and_project};

use super::{assign, id_of, in_project};

const PATIENCE: Duration = Duration::from_secs(5);

/// Streams that would not end by themselves, with the output of a server that runs.
async fn open(client: &Client, deployment: &str) -> Vec<Response> {
    let mut streams = vec![];
    for path in ["/events/stream", &format!("/deployments/{deployment}/logs/stream")] {
        let response = client.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{path}");
        streams.push(response);
    }
    streams
}

/// Waits for the ends.
async fn all_end(streams: Vec<Response>, why: &str) {
    let began = Instant::now();
    for stream in streams {
        let path = stream.url().path().to_owned();
        let left = PATIENCE.saturating_sub(began.elapsed());
        assert!(tokio::time::timeout(left, stream.bytes()).await.is_ok(), "{path} goes on after {why}");
    }
}

#[tokio::test]
async fn who_is_removed_signed_out_or_has_his_role_or_token_taken_is_told_nothing_more() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project: Project = team_and_project(&app, &owner, "tiny").await;
    let deployment = project.deployed(&app, &owner).await["id"].as_str().unwrap().to_owned();

    let removed = join(&app, &owner, "removed@example.org", Some(("acme", "admin"))).await;
    let streams = open(&removed, &deployment).await;
    owner.delete(&format!("/teams/acme/members/{}", id_of(&removed).await)).await.expect(200);
    all_end(streams, "a removal").await;
    for path in ["/teams/acme", &format!("/deployments/{deployment}/logs/stream")] {
        assert_eq!(removed.get(path).await.status, 404, "{path}");
    }

    let member = join(&app, &owner, "member@example.org", Some(("acme", "viewer"))).await;
    let given = assign(&owner, &member, "project:admin", in_project(&project)).await.expect(201);
    let events = member.request(Method::GET, "/events/stream").send().await.unwrap();
    owner.delete(&format!("/role-assignments/{}", given["id"].as_str().unwrap())).await.expect(200);
    all_end(vec![events], "a role that was taken back").await;

    let leaver = join(&app, &owner, "leaver@example.org", Some(("acme", "admin"))).await;
    let streams = open(&leaver, &deployment).await;
    leaver.post("/auth/logout", json!({})).await;
    all_end(streams, "a sign-out").await;

    let tokens = format!("/projects/{}/tokens", project.id);
    let made =
        owner.post(&tokens, json!({ "name": "reader", "scopes": ["telemetry:read"] })).await.expect(201);
    let token = app.nobody().with_token(made["plainToken"].as_str().unwrap());
    let path = format!("/deployments/{deployment}/logs/stream");
    let logs = token.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(logs.status().as_u16(), 200);
    owner.delete(&format!("{tokens}/{}", made["token"]["id"].as_str().unwrap())).await.expect(200);
    all_end(vec![logs], "a token that was revoked").await;
}
