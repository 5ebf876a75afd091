//! What lasts: three days of tries, what is gone, what is replayed, and a platform that is killed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tests::app::TestApp;
use tests::receiver::{Receiver, Reply, verdicts};

use super::{acme, deliveries, rename, until_delivery, webhook};

#[tokio::test]
async fn one_that_is_gone_is_disabled_at_once_and_its_owner_told() {
    let (app, owner) = acme().await;
    let receiver = Receiver::start().await;
    let (id, _) = webhook(&owner, &receiver, &["team.renamed"]).await;
    receiver.answers(Reply::Status(410, "gone".to_owned()));
    rename(&owner, "Gone").await;
    let failed = until_delivery(&app, &owner, &id, "failed").await;
    assert_eq!((&failed["httpStatus"], &failed["attempts"]), (&json!(410), &json!(1)));
    app.settle().await;
    let shown = owner.get(&format!("/endpoints/{id}")).await.expect(200);
    assert_eq!((&shown["enabled"], &shown["disabledReason"]), (&json!(false), &json!("gone")));
    let mails = std::fs::read_dir(app.dir.path().join("mail")).unwrap();
    let mails: Vec<String> =
        mails.map(|mail| std::fs::read_to_string(mail.unwrap().path()).unwrap()).collect();
    assert!(mails.iter().any(|mail| mail.contains("Nothing is sent to Bot any more")), "{mails:?}");
    rename(&owner, "Unheard").await;
    app.settle().await;
    assert_eq!((receiver.got().len(), deliveries(&owner, &id).await.len()), (1, 1));
    // What was missed is replayed once it works again.
    receiver.answers(Reply::Status(200, String::new()));
    let missed = json!({ "after": shown["disabledAt"] });
    let refused = owner.post(&format!("/endpoints/{id}/replay"), missed.clone()).await;
    assert_eq!(refused.expect(409)["code"], "endpoint_disabled");
    owner.patch(&format!("/endpoints/{id}"), json!({ "enabled": true })).await.expect(200);
    owner.post(&format!("/endpoints/{id}/replay"), missed).await.expect(202);
    let heard = receiver.until(&app, 2).await.remove(1).json();
    assert_eq!(heard["after"]["name"], "Unheard");
}

#[tokio::test]
async fn after_three_days_it_is_a_dead_letter_which_can_be_sent_again() {
    let (app, owner) = acme().await;
    let receiver = Receiver::start().await;
    let (id, secret) = webhook(&owner, &receiver, &["team.renamed"]).await;
    receiver.answers(Reply::Status(503, "away".to_owned()));
    rename(&owner, "First").await;
    let tries = "SELECT attempts FROM work WHERE process = 'send_delivery' AND state = 'ready'";
    for n in 1..24 {
        app.wait_until("it waits for another try", Duration::from_secs(30), async || {
            sqlx::query_scalar::<_, i32>(tries).fetch_optional(app.db.pool()).await.unwrap() == Some(n)
        })
        .await;
        if n == 2 {
            // Something else has arrived meanwhile: it is not failing.
            receiver.answers_once(Reply::Status(200, String::new()));
            owner.post(&format!("/endpoints/{id}/ping"), json!({})).await.expect(202);
            until_delivery(&app, &owner, &id, "delivered").await;
        }
        app.hasten("send_delivery").await;
    }
    app.settle().await;
    let all = deliveries(&owner, &id).await;
    let dead = all.iter().find(|it| it["cause"] == "event").unwrap();
    assert_eq!((&dead["status"], &dead["attempts"]), (&json!("failed"), &json!(24)), "{dead}");
    assert_eq!((&dead["httpStatus"], &dead["answer"]), (&json!(503), &json!("away")));
    assert_eq!(owner.get(&format!("/endpoints/{id}")).await.expect(200)["enabled"], true);
    let failed = owner.get(&format!("/endpoints/{id}/deliveries?status=failed")).await.expect(200);
    assert_eq!(failed["items"].as_array().unwrap().len(), 1);
    receiver.answers(Reply::Status(200, String::new()));
    let again = format!("/endpoints/{id}/deliveries/{}/redeliver", dead["id"].as_str().unwrap());
    owner.post(&again, json!({})).await.expect(202);
    let sent = until_delivery(&app, &owner, &id, "delivered").await;
    assert_eq!((&sent["cause"], &sent["eventId"]), (&json!("redelivery"), &dead["eventId"]));
    let got = receiver.got();
    let last = got.last().unwrap();
    assert_eq!(last.id(), dead["eventId"].as_str().unwrap());
    assert_eq!(verdicts(&[(&secret, last)]).await, ["ok"]);
}

#[tokio::test]
async fn one_at_which_nothing_arrives_for_three_days_is_disabled() {
    let (app, owner) = acme().await;
    let receiver = Receiver::start().await;
    let (id, _) = webhook(&owner, &receiver, &["team.renamed"]).await;
    receiver.answers(Reply::Status(503, String::new()));
    rename(&owner, "Lost").await;
    receiver.until(&app, 1).await;
    let late =
        "UPDATE work SET attempts = 24, run_at = now() WHERE process = 'send_delivery' AND state = 'ready'";
    app.wait_until("it waits for another try", Duration::from_secs(30), async || {
        sqlx::query(late).execute(app.db.pool()).await.unwrap().rows_affected() == 1
    })
    .await;
    app.settle().await;
    let shown = owner.get(&format!("/endpoints/{id}")).await.expect(200);
    assert_eq!((&shown["enabled"], &shown["disabledReason"]), (&json!(false), &json!("failing")));
    assert_eq!(deliveries(&owner, &id).await[0]["status"], "failed");
    let waiting =
        "SELECT count(*) FROM work WHERE process = 'send_delivery' AND state IN ('ready', 'running')";
    assert_eq!(sqlx::query_scalar::<_, i64>(waiting).fetch_one(app.db.pool()).await.unwrap(), 0);
}

#[tokio::test]
async fn the_past_is_replayed_by_position_and_by_time() {
    let (app, owner) = acme().await;
    for n in 0..4 {
        rename(&owner, &format!("N{n}")).await;
    }
    app.settle().await;
    let past = owner.get("/events?types=team.renamed").await.expect(200);
    let past = past["items"].as_array().unwrap();
    let receiver = Receiver::start().await;
    let (id, _) = webhook(&owner, &receiver, &["team.renamed"]).await;
    let replay = format!("/endpoints/{id}/replay");
    let range = json!({ "after": past[0]["position"], "upto": past[2]["position"] });
    owner.post(&replay, range).await.expect(202);
    receiver.until(&app, 2).await;
    app.settle().await;
    let ids = |from: usize| -> Vec<String> {
        let mut ids: Vec<_> = receiver.got()[from..].iter().map(|got| got.id().to_owned()).collect();
        ids.sort();
        ids
    };
    let of =
        |some: &[Value]| some.iter().map(|it| it["eventId"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(0), of(&past[1..3]));
    owner.post(&replay, json!({ "from": past[2]["at"], "to": past[3]["at"] })).await.expect(202);
    receiver.until(&app, 4).await;
    app.settle().await;
    assert_eq!(ids(2), of(&past[2..4]));
    for (range, field) in [
        (json!({}), "from"),
        (json!({ "after": 5, "upto": 5 }), "upto"),
        (json!({ "after": -1 }), "after"),
        (json!({ "after": 1, "from": "2026-01-01T00:00:00Z" }), "after"),
    ] {
        let refused = owner.post(&replay, range).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], field, "{refused}");
    }
}

#[tokio::test]
async fn nothing_is_lost_when_the_platform_is_killed() {
    let (mut app, mut owner) = acme().await;
    let receiver = Receiver::start().await;
    webhook(&owner, &receiver, &["team.renamed"]).await;
    let mut sent = 0;
    for round in 0..3 {
        for n in 0..20 {
            rename(&owner, &format!("Round {round} {n}")).await;
            sent += 1;
        }
        // Some are under way, and some not even stored.
        receiver.answers_once(Reply::Silence);
        app.kill_and_restart().await;
        owner = owner.at(&app.url);
    }
    // What a killed server had in hand is taken over once its lease is over.
    let over = "UPDATE work SET lease_until = now() - interval '1 second' WHERE state = 'running'";
    sqlx::query(over).execute(app.db.pool()).await.unwrap();
    app.settle().await;
    let mut came = BTreeMap::<String, String>::new();
    for got in receiver.got() {
        let before = came.insert(got.id().to_owned(), got.text.clone());
        assert!(before.is_none_or(|before| before == got.text), "the same id is the same message");
    }
    let told = "SELECT event_id::text FROM events WHERE event_type = 'team.renamed' ORDER BY event_id::text";
    let told: Vec<String> = sqlx::query_scalar(told).fetch_all(app.db.pool()).await.unwrap();
    assert_eq!(told.len(), sent);
    assert_eq!(came.into_keys().collect::<Vec<_>>(), told);
}

/// Seconds until what waits is tried, soonest first.
async fn pauses(app: &TestApp, count: usize, at_least: f64) -> Vec<f64> {
    let waiting = "SELECT extract(epoch FROM run_at - now())::float8 FROM work
                    WHERE process = 'send_delivery' AND state = 'ready' AND attempts > 0 ORDER BY run_at";
    let mut pauses = vec![];
    app.wait_until("they wait for another try", Duration::from_secs(30), async || {
        pauses = sqlx::query_scalar(waiting).fetch_all(app.db.pool()).await.unwrap();
        pauses.len() == count && pauses.iter().all(|pause| *pause >= at_least)
    })
    .await;
    pauses
}

#[tokio::test]
async fn who_asks_to_be_left_alone_is_left_alone_but_not_for_ever() {
    let (app, owner) = acme().await;
    let receiver = Receiver::start().await;
    let (id, _) = webhook(&owner, &receiver, &["team.renamed"]).await;
    // Only those who are too busy are believed.
    receiver.answers(Reply::Later(500, "7200"));
    rename(&owner, "First").await;
    assert!(pauses(&app, 1, 0.0).await[0] < 7.0);
    receiver.answers(Reply::Later(429, "120"));
    app.hasten("send_delivery").await;
    assert!(pauses(&app, 1, 100.0).await[0] <= 120.0);
    receiver.answers(Reply::Later(503, "999999"));
    app.hasten("send_delivery").await;
    assert!(pauses(&app, 1, 3000.0).await[0] <= 3600.0);
    // What else there is to say is said meanwhile.
    receiver.answers(Reply::Status(200, String::new()));
    rename(&owner, "Second").await;
    until_delivery(&app, &owner, &id, "delivered").await;
    app.hasten("send_delivery").await;
    app.wait_until("both have arrived", Duration::from_secs(30), async || {
        deliveries(&owner, &id).await.iter().all(|it| it["status"] == "delivered")
    })
    .await;
}
