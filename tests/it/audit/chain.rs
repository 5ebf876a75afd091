//! From the click down to the deployment.

use std::collections::BTreeSet;

use serde_json::json;
use tests::app::TestApp;
use tests::people::join;
use tests::world::{team, team_and_project};
use uuid::Uuid;

use super::{assign, id_of};

#[tokio::test]
async fn a_deployment_is_traced_back_to_the_click_and_its_log_lines_lead_there() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let project = team_and_project(&app, &owner, "tiny").await;
    let deployment = project.deployed(&app, &owner).await;
    let id = deployment["id"].as_str().unwrap();
    let build = deployment["buildId"].as_str().unwrap();
    app.settle().await;
    let lines = owner.request(reqwest::Method::GET, &format!("/builds/{build}/logs"));
    let lines = tests::client::Client::send(lines.header("accept", "application/x-ndjson")).await.text;
    let line: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert!(line["text"].is_string() && line["seq"] == 1, "{line}");

    // From the deployment's own lines to all that led to it.
    let at = "/teams/acme/audit?action=deployment.activated";
    let activated = owner.get(at).await.expect(200)["items"][0].clone();
    assert_eq!(activated["resourceId"], id);
    let event = activated["eventId"].as_str().unwrap();
    let chain = owner.get(&format!("/causation/{event}")).await.expect(200);
    assert_eq!(chain["eventId"], event);
    assert_eq!(chain["root"], line["correlationId"], "log lines and events have the same first cause");
    let items = chain["items"].as_array().unwrap();
    let of = |action: &str| {
        items.iter().find(|item| item["action"] == action).unwrap_or_else(|| panic!("{action}"))
    };
    assert_eq!(of("build.requested")["eventId"], line["causationId"]);
    assert_eq!(of("build.requested")["parentId"], json!(null), "a person clicked");
    assert_eq!(of("build.started")["parentId"], of("build.requested")["eventId"]);
    assert_eq!(of("deployment.requested")["parentId"], of("build.succeeded")["eventId"]);
    assert_eq!(of("deployment.activated")["parentId"], of("deployment.requested")["eventId"]);
    let known: BTreeSet<&str> = items.iter().map(|item| item["eventId"].as_str().unwrap()).collect();
    assert!(items.iter().all(|item| item["parentId"].as_str().is_none_or(|parent| known.contains(parent))));

    // From any of them, for who may audit the project; for nobody else.
    let same = owner.get(&format!("/causation/{}", line["causationId"].as_str().unwrap())).await.expect(200);
    assert_eq!(same["items"], chain["items"]);
    let admin = join(&app, &owner, "admin@example.org", None).await;
    assign(&app, &id_of(&admin).await, "project:admin", &project.id).await;
    let seen = admin.get(&format!("/causation/{event}")).await.expect(200);
    assert!(seen["items"].as_array().unwrap().iter().all(|item| item["projectId"] == json!(project.id)));
    let viewer = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    assert_eq!(viewer.get(&format!("/causation/{event}")).await.status, 403);
    let stranger = join(&app, &owner, "stranger@example.org", None).await;
    team(&stranger, "other").await;
    assert_eq!(stranger.get(&format!("/causation/{event}")).await.status, 404);
    assert_eq!(owner.get(&format!("/causation/{}", Uuid::now_v7())).await.status, 404);
    assert_eq!(owner.get("/causation/nonsense").await.status, 404);
}

#[tokio::test]
async fn a_chain_ends_at_the_border_of_a_team() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let stranger = join(&app, &owner, "stranger@example.org", None).await;
    // Two callers who call their requests the same.
    for (client, slug) in [(&owner, "mine"), (&stranger, "theirs")] {
        let request = client.request(reqwest::Method::POST, "/teams").header("x-request-id", "the-same");
        let request = request.json(&json!({ "name": slug, "slug": slug }));
        tests::client::Client::send(request).await.expect(201);
    }
    app.settle().await;
    let made = owner.get("/teams/mine/audit?action=team.created").await.expect(200)["items"][0].clone();
    let chain = owner.get(&format!("/causation/{}", made["eventId"].as_str().unwrap())).await.expect(200);
    assert_eq!(chain["root"], "request:the-same");
    let items = chain["items"].as_array().unwrap();
    assert!(!items.is_empty() && items.iter().all(|item| item["teamId"] == made["teamId"]), "{chain}");
}
