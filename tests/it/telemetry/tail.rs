//! Lines as they come.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::world::Project;

use super::open;

/// Somebody who follows.
struct Follower {
    body: BoxStream<'static, reqwest::Result<Vec<u8>>>,
    text: String,
    last: Option<String>,
}

/// What a stream told: the name of the event and its data.
type Told = (String, Value);

impl Follower {
    async fn of(client: &Client, project: &Project, query: &str, last: Option<&str>) -> Self {
        let path = format!("/projects/{}/logs/stream?{query}", project.id);
        let request = client.request(Method::GET, &path);
        let request = match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let body = response.bytes_stream().map(|chunk| chunk.map(|bytes| bytes.to_vec())).boxed();
        Self { body, text: String::new(), last: None }
    }

    async fn next(&mut self) -> Told {
        let until = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let field =
                    |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let told = field("event:")
                    .zip(field("data:"))
                    .map(|(name, data)| (name.to_owned(), serde_json::from_str(data).unwrap()));
                self.last = field("id:").map(str::to_owned).or(self.last.take());
                self.text = rest.to_owned();
                if let Some(told) = told {
                    return told;
                }
            }
            // Pings do not count: whoever waits in vain is told so.
            let chunk = tokio::time::timeout_at(until, self.body.next()).await;
            self.text
                .push_str(std::str::from_utf8(&chunk.expect("in time").expect("no end").unwrap()).unwrap());
        }
    }

    /// The next lines; nothing else is told.
    async fn lines(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.len() < count {
            let (name, data) = self.next().await;
            assert_eq!(name, "log", "{data}");
            lines.push(data["message"].as_str().unwrap().to_owned());
        }
        lines
    }
}

/// Lines by what they say and how many seconds ago they were logged.
async fn send(sender: &Client, project: &Project, lines: &[(&str, i64)]) {
    let lines: Vec<Value> = lines
        .iter()
        .map(|(message, ago)| {
            let at = Utc::now() - TimeDelta::seconds(*ago);
            json!({ "timestamp": at, "level": "warn", "message": message, "logId": message })
        })
        .collect();
    let path = format!("//projects/{}/ai/logs/publish", project.id);
    sender.post(&path, json!({ "logs": lines })).await.expect(200);
}

#[tokio::test]
async fn lines_are_followed_and_resumed_with_nothing_lost_or_repeated() {
    let app = TestApp::start().await;
    let (owner, project, sender) = open(&app).await;
    send(&sender, &project, &[("before", 5)]).await;
    let mut follower = Follower::of(&owner, &project, "", None).await;
    let mut picky = Follower::of(&owner, &project, "level=error&text=b", None).await;

    send(&sender, &project, &[("b", 1), ("c", 0)]).await;
    assert_eq!(follower.lines(2).await, ["b", "c"], "what was there before is not new");
    // A line that was under way for long, and lines that are sent again.
    send(&sender, &project, &[("b", 1), ("late", 40)]).await;
    assert_eq!(follower.lines(1).await, ["late"]);
    // It stands behind more lines than one look reads when nothing is new.
    let names: Vec<String> = (0..500).map(|n| format!("line {n}")).collect();
    let lines: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 10)).collect();
    send(&sender, &project, &lines).await;
    assert_eq!(follower.lines(500).await, names);
    send(&sender, &project, &[("very late", 45)]).await;
    assert_eq!(follower.lines(1).await, ["very late"]);
    let last = follower.last.clone().unwrap();
    drop(follower);

    send(&sender, &project, &[("d", 0)]).await;
    send(&sender, &project, &[("e", 0)]).await;
    let mut follower = Follower::of(&owner, &project, "", Some(&last)).await;
    assert_eq!(follower.lines(2).await, ["d", "e"], "what he missed, and nothing that he had");
    send(&sender, &project, &[("f", 0)]).await;
    assert_eq!(follower.lines(1).await, ["f"]);

    let error = json!({ "timestamp": Utc::now(), "level": "error", "message": "bad" });
    sender.post(&format!("//projects/{}/ai/logs/publish", project.id), json!({ "logs": [error] })).await;
    assert_eq!(picky.lines(1).await, ["bad"], "of all lines this alone was wanted");

    for (query, last) in [("level=loud", None), ("cursor=x", None), ("", Some("7")), ("", Some("1-1-x"))] {
        let path = format!("/projects/{}/logs/stream?{query}", project.id);
        let request = owner.request(Method::GET, &path);
        let request = last.iter().fold(request, |request, last| request.header("last-event-id", *last));
        let status = request.send().await.unwrap().status().as_u16();
        assert!(status == 422 || status == 400, "{query} {last:?}: {status}");
    }
}

#[tokio::test]
async fn where_there_are_too_many_lines_it_is_said_how_many_are_missing() {
    let app = TestApp::start().await;
    let (owner, project, sender) = open(&app).await;
    let mut follower = Follower::of(&owner, &project, "", None).await;
    let names: Vec<String> = (0..1_300).map(|n| format!("line {n}")).collect();
    let lines: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 0)).collect();
    send(&sender, &project, &lines).await;
    let (name, gap) = follower.next().await;
    assert_eq!((name.as_str(), gap), ("gap", json!({ "missed": 300, "orMore": false })));
    assert_eq!(follower.lines(1_000).await, names[300..]);
    send(&sender, &project, &[("after", 0)]).await;
    assert_eq!(follower.lines(1).await, ["after"]);
}
