//! Results of builds and deployments in Slack and by mail.

use std::time::Duration;

use serde_json::{Value, json};
use tests::app::{OWNER, TestApp};
use tests::client::Client;
use tests::people::join;
use tests::receiver::Receiver;
use tests::world::{Project, project};

use super::{acme, deliveries, endpoint, until_delivery};

/// A build that fails: there is no such branch.
async fn fail(app: &TestApp, owner: &Client, project: &Project) {
    let path = format!("/projects/{}/builds", project.id);
    let build = owner.post(&path, json!({ "branch": "nowhere" })).await.expect(202);
    app.until_status(owner, &format!("/builds/{}", build["id"].as_str().unwrap()), &["failed"]).await;
}

/// What was said in one line.
fn text(said: &Value) -> &str {
    said["text"].as_str().unwrap()
}

#[tokio::test]
async fn slack_is_told_how_builds_and_deployments_ended() {
    let (app, owner) = acme().await;
    let repository = app.repository("tiny", "tiny");
    let (loud, bad) = (Receiver::start().await, Receiver::start().await);
    let url = |it: &Receiver| format!("{}/services/T0/B0/secret", it.url);
    let slack = |it: &Receiver, events: Value| json!({ "name": "Chat", "kind": "slack", "url": url(it), "events": events });
    let (id, secret) = endpoint(&owner, slack(&loud, json!([]))).await;
    assert_eq!(secret, "", "Slack wants no signature");
    endpoint(&owner, slack(&bad, json!(["build.failed", "deployment.failed", "deployment.rolled_back"])))
        .await;
    let shown = owner.get(&format!("/endpoints/{id}")).await.expect(200);
    assert_eq!(shown["url"], "https://127.0.0.1/…", "whoever has the address may post");
    let project = project(&owner, "acme", "agent", &repository, json!({})).await;
    project.deployed(&app, &owner).await;
    fail(&app, &owner, &project).await;
    let said = loud.until(&app, 3).await;
    app.settle().await;
    let said: Vec<Value> = said.iter().map(|got| got.json()).collect();
    let lines: Vec<&str> = said.iter().map(text).collect();
    let place = "agent (Production)";
    for what in ["Built", "Deployed", "The build failed"] {
        assert!(lines.contains(&format!("{what}: {place}").as_str()), "{what}: {lines:?}");
    }
    assert!(said.iter().all(|it| it["blocks"][0]["type"] == "section"), "{said:?}");
    let failed = said.iter().find(|it| text(it).starts_with("The build failed")).unwrap();
    let more = failed["blocks"][1]["text"]["text"].as_str().unwrap();
    assert!(more.contains("*Branch:* nowhere") && more.contains("/api/v1/builds/"), "{more}");
    assert!(loud.got().iter().all(|got| !got.headers.contains_key("webhook-signature")));
    assert_eq!((loud.got().len(), bad.got().len()), (3, 1), "each result once, to who wants it");
    owner.post(&format!("/endpoints/{id}/ping"), json!({})).await.expect(202);
    assert!(text(&loud.until(&app, 4).await[3].json()).starts_with("This is a test"));
}

#[tokio::test]
async fn mail_goes_to_members_for_as_long_as_they_are_members() {
    let (app, owner) = acme().await;
    let ann = join(&app, &owner, "ann@example.org", Some(("acme", "viewer"))).await;
    let stranger = join(&app, &owner, "eve@example.org", None).await;
    let mut ids = Vec::new();
    for who in [&owner, &ann, &stranger] {
        ids.push(who.get("/me").await.expect(200)["id"].clone());
    }
    let mail = |to: Value| json!({ "name": "Mail", "kind": "email", "to": to, "events": ["build.failed"] });
    let refused = owner.post("/teams/acme/endpoints", mail(json!([ids[2]]))).await.expect(422);
    assert_eq!(refused["errors"][0]["field"], "to");
    let (id, _) = endpoint(&owner, mail(json!([ids[0], ids[1]]))).await;
    let repository = app.repository("tiny", "tiny");
    let project = project(&owner, "acme", "agent", &repository, json!({})).await;
    fail(&app, &owner, &project).await;
    let mails = |to: &str| {
        let all = std::fs::read_dir(app.dir.path().join("mail")).unwrap();
        let all = all.map(|mail| std::fs::read_to_string(mail.unwrap().path()).unwrap());
        all.filter(|mail| mail.contains(to) && mail.contains("The build failed: agent (Production)")).count()
    };
    until_delivery(&app, &owner, &id, "delivered").await;
    assert_eq!((mails(OWNER), mails("ann@example.org"), mails("eve@example.org")), (1, 1, 0));
    owner.delete(&format!("/teams/acme/members/{}", ids[1].as_str().unwrap())).await.expect(200);
    fail(&app, &owner, &project).await;
    app.wait_until("it is mailed", Duration::from_secs(60), async || mails(OWNER) == 2).await;
    app.settle().await;
    assert_eq!(deliveries(&owner, &id).await.len(), 2);
    assert_eq!(mails("ann@example.org"), 1, "who has left gets nothing more");
}
