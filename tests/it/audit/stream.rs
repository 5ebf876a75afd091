//! Events in their order, as a list and live.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::people::join;
use tests::world::team;
use uuid::Uuid;

use super::id_of;

/// Reads a stream until it has told so many events; answers their ids and actions.
async fn follow(client: &Client, last: Option<i64>, count: usize) -> Vec<(i64, Value)> {
    let mut request = client.request(Method::GET, "/events/stream");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.bytes_stream();
    let mut text = String::new();
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let events: Vec<_> = text.split("\n\n").filter_map(event).collect();
        if events.len() >= count {
            return events;
        }
        // Pings do not count: whoever waits in vain is told so.
        let chunk = tokio::time::timeout_at(until, body.next()).await;
        text.push_str(std::str::from_utf8(&chunk.expect("in time").expect("no end").unwrap()).unwrap());
    }
}

fn event(text: &str) -> Option<(i64, Value)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    Some((field("id:")?.parse().unwrap(), serde_json::from_str(field("data:")?).unwrap()))
}

#[tokio::test]
async fn events_are_followed_and_resumed_with_nothing_lost_or_repeated() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let stranger = join(&app, &owner, "stranger@example.org", None).await;
    team(&stranger, "other").await;
    owner.patch("/teams/acme", json!({ "name": "Two" })).await.expect(200);
    app.settle().await;

    let list = owner.get("/events?types=team.created,team.renamed").await.expect(200);
    let actions: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|item| item["action"].as_str().unwrap()).collect();
    assert_eq!(
        actions,
        ["team.created", "team.created", "team.renamed"],
        "acme, lobby, and acme again: {list}"
    );
    let all = owner.get("/events?limit=200").await.expect(200);
    let all: Vec<i64> =
        all["items"].as_array().unwrap().iter().map(|item| item["position"].as_i64().unwrap()).collect();
    assert!(all.is_sorted() && all.len() > 5);
    let page = owner.get("/events?limit=2").await.expect(200);
    let rest =
        owner.get(&format!("/events?after={}", page["nextCursor"].as_str().unwrap())).await.expect(200);
    assert_eq!(rest["items"].as_array().unwrap().len(), all.len() - 2);

    let from_the_first = follow(&owner, None, all.len()).await;
    assert_eq!(from_the_first.iter().map(|(id, _)| *id).collect::<Vec<_>>(), all);
    let resumed = follow(&owner, Some(all[1]), all.len() - 2).await;
    assert_eq!(resumed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), all[2..]);

    // Live, and only what one may audit: the stranger's team never shows, nor does what follows when one may no more.
    let head = *all.last().unwrap();
    let live = tokio::spawn({
        let owner = owner.clone();
        async move { follow(&owner, Some(head), 1).await }
    });
    stranger.patch("/teams/other", json!({ "name": "Theirs" })).await.expect(200);
    owner.patch("/teams/acme", json!({ "name": "Three" })).await.expect(200);
    let live = live.await.unwrap();
    assert_eq!(live[0].1["after"]["name"], "Three", "{live:?}");
    let nothing = join(&app, &owner, "viewer@example.org", Some(("acme", "viewer"))).await;
    assert_eq!(nothing.get("/events").await.expect(200)["items"], json!([]));
    let refused = owner.request(Method::GET, "/events/stream").header("last-event-id", "x");
    assert_eq!(Client::send(refused).await.status, 422);
}

#[tokio::test]
async fn who_resumes_at_an_event_of_others_sees_all_of_his_own_and_nothing_of_theirs() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let stranger = join(&app, &owner, "stranger@example.org", None).await;
    team(&stranger, "other").await;
    let rename = async |by: &Client, team: &str, name: String| -> i64 {
        let done = by.patch(&format!("/teams/{team}"), json!({ "name": name })).await;
        assert_eq!(done.status, 200, "{}", done.text);
        done.headers["x-event-position"].to_str().unwrap().parse().unwrap()
    };
    let (mut own, mut theirs) = (vec![], vec![]);
    for n in 0..4 {
        own.push(rename(&owner, "acme", format!("Acme {n}")).await);
        theirs.push(rename(&stranger, "other", format!("Theirs {n}")).await);
    }
    // The last of all is his own: whoever has come so far has been told everything.
    own.push(rename(&owner, "acme", "Acme, at last".to_owned()).await);
    for from in theirs {
        let left: Vec<i64> = own.iter().copied().filter(|position| *position > from).collect();
        let told = follow(&owner, Some(from), left.len()).await;
        assert_eq!(told.iter().map(|(id, _)| *id).collect::<Vec<_>>(), left, "after {from}");
        assert!(!told.iter().any(|(_, event)| event.to_string().contains("Theirs")), "{told:?}");
        let listed = owner.get(&format!("/events?after={from}&limit=200")).await.expect(200);
        let listed = listed["items"].as_array().unwrap();
        assert_eq!(listed.iter().map(|it| it["position"].as_i64().unwrap()).collect::<Vec<_>>(), left);
        // The id of an event is no place in the log, whosever it is.
        let id: Uuid = sqlx::query_scalar("SELECT event_id FROM events WHERE position = $1")
            .bind(from)
            .fetch_one(app.db.pool())
            .await
            .unwrap();
        let by_id = owner.request(Method::GET, "/events/stream").header("last-event-id", id.to_string());
        assert_eq!(Client::send(by_id).await.status, 422);
    }
}

#[tokio::test]
async fn who_loses_the_right_to_audit_is_told_nothing_more() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let admin = join(&app, &owner, "admin@example.org", Some(("acme", "admin"))).await;
    app.settle().await;
    let response = admin.request(Method::GET, "/events/stream").send().await.unwrap();
    let demoted = format!("/teams/acme/members/{}", id_of(&admin).await);
    owner.patch(&demoted, json!({ "role": "viewer" })).await.expect(200);
    let whole = tokio::time::timeout(Duration::from_secs(5), response.text());
    let text = whole.await.expect("the stream ends").unwrap();
    let ids = |text: &str| -> Vec<i64> {
        text.lines()
            .filter_map(|line| line.strip_prefix("id:"))
            .map(|id| id.trim().parse().unwrap())
            .collect()
    };
    let last = *ids(&text).last().unwrap();
    let hidden = owner.patch("/teams/acme", json!({ "name": "Behind closed doors" })).await;
    let hidden: i64 = hidden.headers["x-event-position"].to_str().unwrap().parse().unwrap();

    // Who comes back is told what he may see now: an id alone says that something was passed over.
    let again = admin.request(Method::GET, "/events/stream").header("last-event-id", last);
    let mut body = again.send().await.unwrap().bytes_stream();
    let mut text = String::new();
    let mut heard = async |what: &dyn Fn(&str) -> bool| {
        let reading = async {
            while !what(&text) {
                let chunk = body.next().await.expect("no end").unwrap();
                text.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(30), reading).await.expect("it is told");
        text.clone()
    };
    heard(&|text| ids(text).iter().any(|id| *id >= hidden)).await;
    owner.patch(&demoted, json!({ "role": "admin" })).await.expect(200);
    owner.patch("/teams/acme", json!({ "name": "In the open" })).await.expect(200);
    let told = heard(&|text| text.contains("In the open")).await;
    // The next event, which he may see, says what the name was before; the hidden one is not told.
    assert!(!told.contains(&format!("\"position\":{hidden},")), "{told}");
    assert!(!told.contains(r#""after":{"name":"Behind closed doors""#), "{told}");
}
