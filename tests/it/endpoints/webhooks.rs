//! What a webhook gets: events as the API shows them, signed, once more when it did not take them.

use std::time::Duration;

use serde_json::json;
use tests::receiver::{Receiver, Reply, verdicts};

use super::{acme, deliveries, rename, until_delivery, webhook};

#[tokio::test]
async fn an_event_arrives_signed_and_as_the_api_shows_it() {
    let (app, owner) = acme().await;
    rename(&owner, "Before").await;
    let receiver = Receiver::start().await;
    let (id, secret) = webhook(&owner, &receiver, &[]).await;
    rename(&owner, "After").await;
    let got = receiver.until(&app, 1).await.remove(0);
    assert_eq!(got.path, "/hook");
    let shown = owner.get("/events?types=team.renamed&limit=200").await.expect(200);
    let renamed = shown["items"].as_array().unwrap().last().unwrap();
    assert_eq!(&got.json(), renamed, "nothing of before, and the same as the API shows");
    assert_eq!(got.id(), renamed["eventId"].as_str().unwrap());
    let other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let judged = verdicts(&[(&secret, &got), (other, &got)]).await;
    assert_eq!(judged[0], "ok");
    assert!(judged[1].contains("WebhookVerificationError"), "{judged:?}");
    let sent = until_delivery(&app, &owner, &id, "delivered").await;
    assert_eq!(
        (&sent["httpStatus"], &sent["answer"], &sent["attempts"]),
        (&json!(200), &json!("ok"), &json!(1))
    );
    assert_eq!((&sent["cause"], &sent["type"]), (&json!("event"), &json!("team.renamed")));
    app.settle().await;
    assert_eq!(receiver.got().len(), 1, "what happens to itself it is not told");
}

#[tokio::test]
async fn only_what_it_wants_to_hear_of_arrives() {
    let (app, owner) = acme().await;
    let receiver = Receiver::start().await;
    webhook(&owner, &receiver, &[]).await;
    let narrow = Receiver::start().await;
    webhook(&owner, &narrow, &["project.*"]).await;
    rename(&owner, "Other").await;
    let repository = app.repository("tiny", "tiny");
    let mut project = json!({ "name": "A", "slug": "a", "repoUrl": repository });
    let first = owner.post("/teams/acme/projects", project.clone()).await.expect(201);
    let of_one = Receiver::start().await;
    let url = format!("{}/", of_one.url);
    let body = json!({ "name": "One", "kind": "webhook", "url": url, "projects": [first["id"]] });
    super::endpoint(&owner, body).await;
    project["slug"] = json!("b");
    owner.post("/teams/acme/projects", project).await.expect(201);
    let change = json!({ "name": "Renamed" });
    owner.patch(&format!("/projects/{}", first["id"].as_str().unwrap()), change).await.expect(200);
    let heard = of_one.until(&app, 1).await;
    app.settle().await;
    assert_eq!(heard[0].json()["action"], "project.settings_changed");
    assert_eq!(of_one.got().len(), 1);
    let kinds: Vec<_> = narrow.got().iter().map(|got| got.json()["resource"].clone()).collect();
    assert!(kinds.len() >= 3 && kinds.iter().all(|kind| kind == "project"), "{kinds:?}");
    assert!(receiver.got().iter().any(|got| got.json()["action"] == "team.renamed"));
}

#[tokio::test]
async fn while_a_secret_is_replaced_both_verify_and_afterwards_the_new_one_alone() {
    let (app, owner) = acme().await;
    let receiver = Receiver::start().await;
    let (id, old) = webhook(&owner, &receiver, &["team.renamed"]).await;
    let rotate = format!("/endpoints/{id}/rotate");
    let rotated = owner.post(&rotate, json!({ "overlapHours": 1 })).await.expect(200);
    let new = rotated["secret"].as_str().unwrap();
    assert!(rotated["endpoint"]["oldSecretUntil"].is_string(), "{rotated}");
    rename(&owner, "Both").await;
    let both = receiver.until(&app, 1).await.remove(0);
    assert_eq!(verdicts(&[(&old, &both), (new, &both)]).await, ["ok", "ok"]);
    let last = owner.post(&rotate, json!({ "overlapHours": 0 })).await.expect(200);
    rename(&owner, "New").await;
    let alone = receiver.until(&app, 2).await.remove(1);
    let judged = verdicts(&[(last["secret"].as_str().unwrap(), &alone), (new, &alone), (&old, &alone)]).await;
    assert_eq!(judged.iter().map(|it| it == "ok").collect::<Vec<_>>(), [true, false, false], "{judged:?}");
    // No secret is to be seen anywhere else.
    for path in ["/teams/acme/endpoints", "/events?limit=200", "/teams/acme/audit?limit=200"] {
        let text = owner.get(path).await.text;
        assert!(!text.contains("whsec_") && !text.contains(&old["whsec_".len()..]), "{path}");
    }
    let log: Vec<String> =
        sqlx::query_scalar("SELECT payload::text FROM events WHERE aggregate_type = 'endpoint'")
            .fetch_all(app.db.pool())
            .await
            .unwrap();
    assert!(log.iter().all(|event| !event.contains("whsec_") && !event.contains("127.0.0.1")), "{log:?}");
}

#[tokio::test]
async fn what_is_not_taken_is_sent_again_with_the_same_id_until_it_is() {
    let (app, owner) = acme().await;
    let receiver = Receiver::start().await;
    let (id, secret) = webhook(&owner, &receiver, &["team.renamed"]).await;
    receiver.answers_once(Reply::Status(500, "x".repeat(5000)));
    receiver.answers_once(Reply::Status(404, String::new()));
    receiver.answers_once(Reply::Elsewhere(format!("{}/elsewhere", receiver.url)));
    rename(&owner, "Again").await;
    for (tries, why) in [(1, "500"), (2, "404"), (3, "redirects are not followed")] {
        receiver.until(&app, tries).await;
        let mut waiting = json!(null);
        app.wait_until("it was tried", Duration::from_secs(30), async || {
            waiting = deliveries(&owner, &id).await.remove(0);
            waiting["attempts"] == tries && !waiting["nextAttemptAt"].is_null()
        })
        .await;
        assert!(waiting["error"].as_str().unwrap().contains(why), "{waiting}");
        assert!(waiting["answer"].as_str().unwrap().len() <= 1024);
        assert_eq!(waiting["status"], "pending");
        app.hasten("send_delivery").await;
    }
    let sent = until_delivery(&app, &owner, &id, "delivered").await;
    assert_eq!((&sent["attempts"], &sent["error"]), (&json!(4), &json!(null)));
    let got = receiver.got();
    assert_eq!(got.len(), 4);
    assert!(got.iter().all(|it| it.path == "/hook" && it.id() == got[0].id() && it.text == got[0].text));
    let asked: Vec<_> = got.iter().map(|it| (secret.as_str(), it)).collect();
    assert_eq!(verdicts(&asked).await, ["ok"; 4]);
}

#[tokio::test]
async fn who_is_silent_or_slow_hinders_nobody_else() {
    let (app, owner) = acme().await;
    let (silent, quick) = (Receiver::start().await, Receiver::start().await);
    silent.answers(Reply::Silence);
    let (slow, _) = webhook(&owner, &silent, &["team.renamed"]).await;
    webhook(&owner, &quick, &["team.renamed"]).await;
    for n in 0..30 {
        rename(&owner, &format!("N{n}")).await;
    }
    let waiting = "SELECT count(*) FILTER (WHERE state = 'running'), count(*) FROM work
                    WHERE process = 'send_delivery' AND state IN ('ready', 'running') AND payload ->> 'endpoint' = $1";
    app.wait_until("the quick one has all", Duration::from_secs(30), async || quick.got().len() == 30).await;
    let (running, open): (i64, i64) =
        sqlx::query_as(waiting).bind(&slow).fetch_one(app.db.pool()).await.unwrap();
    assert!(running <= 4 && open == 30, "{running} of {open} are under way");
}

#[tokio::test]
async fn loopback_is_refused_unless_the_operator_allows_it() {
    let app = tests::app::TestApp::start().await;
    let owner = app.owner().await;
    tests::world::team(&owner, "acme").await;
    for (url, why) in [
        ("http://127.0.0.1:9/", "https"),
        ("https://127.0.0.1/", "private"),
        ("https://2130706433/", "private"),
        ("https://[::ffff:127.0.0.1]/", "private"),
        ("https://169.254.169.254/", "private"),
        ("http://example.org/", "https"),
        ("https://a:b@example.org/", "address"),
        ("gopher://example.org/", "address"),
    ] {
        let body = json!({ "name": "In", "kind": "webhook", "url": url });
        let refused = owner.post("/teams/acme/endpoints", body).await;
        let problem = refused.expect(422);
        assert_eq!(problem["errors"][0]["field"], "url", "{problem}");
        assert!(problem["errors"][0]["message"].as_str().unwrap().contains(why), "{url}: {problem}");
    }
    // A name is known when it is asked for: nothing is connected, and it says so.
    let receiver = Receiver::start().await;
    let port = receiver.url.rsplit(':').next().unwrap();
    let body = json!({ "name": "In", "kind": "webhook", "url": format!("https://localhost:{port}/") });
    let made = owner.post("/teams/acme/endpoints", body).await.expect(201);
    let id = made["endpoint"]["id"].as_str().unwrap();
    owner.post(&format!("/endpoints/{id}/ping"), json!({})).await.expect(202);
    let failed = until_delivery(&app, &owner, id, "failed").await;
    assert!(failed["error"].as_str().unwrap().contains("not allowed"), "{failed}");
    assert!(receiver.got().is_empty());
}
