//! Those who want something of the platform meanwhile, and ask until they get it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tests::client::Client;
use tokio::sync::watch;

/// How long anybody waits for an answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// When every build has to be over that was under way when the siege ended.
const CALM: Duration = Duration::from_secs(60);

/// When the siege ended, and how many builds were asked for.
#[derive(Clone, Default)]
pub(crate) struct Calm {
    since: Arc<OnceLock<Instant>>,
    builds: Arc<AtomicUsize>,
}

impl Calm {
    pub(crate) fn begin(&self) {
        self.since.set(Instant::now()).expect("there is one siege");
    }

    /// How long a build that was asked for then has had nobody to disturb it.
    fn lasts(&self, asked: Instant) -> Duration {
        self.since.get().map_or(Duration::ZERO, |since| (*since).max(asked).elapsed())
    }
}

/// Where the server is now. Whoever meets one that is gone looks again.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) url: watch::Receiver<String>,
    pub(crate) token: String,
}

/// What somebody was answered.
pub(crate) struct Answered {
    pub(crate) position: i64,
    pub(crate) body: Value,
}

impl Door {
    /// Asks under a key until somebody answers with this status.
    pub(crate) async fn insist(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        key: &str,
        status: u16,
    ) -> Answered {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let client = Client::new(&self.url.borrow().clone()).with_token(&self.token);
            let request = client.request(method.clone(), path).timeout(Duration::from_secs(10)).json(body);
            match request.header("idempotency-key", key).send().await {
                Ok(answer) if answer.status() == status => {
                    let position =
                        answer.headers().get("x-event-position").map(|text| text.to_str().unwrap());
                    let position = position.map_or(0, |text| text.parse().unwrap());
                    if let Ok(body) = answer.json().await {
                        return Answered { position, body };
                    }
                }
                Ok(answer) if answer.status().is_client_error() => {
                    let status = answer.status();
                    panic!("{path} under {key}: {status} {}", answer.text().await.unwrap_or_default());
                }
                // It is away, or has no database: it is asked again.
                Ok(_) | Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nobody answers {path} under {key}")
    }
}

/// Changes the name of a team so often. What was answered: each name, and the position of its event.
pub(crate) async fn write(door: Door, writer: usize, times: usize) -> Vec<(String, i64)> {
    let mut told = Vec::new();
    for n in 0..times {
        let (name, key) = (format!("writer {writer} was here {n}"), format!("write-{writer}-{n}"));
        let path = format!("/teams/writer-{writer}");
        let answered = door.insist(Method::PATCH, &path, &json!({ "name": name }), &key, 200).await;
        told.push((name, answered.position));
    }
    told
}

/// Builds and deploys one after the other, until all have asked for so many together. The builds.
pub(crate) async fn build(door: Door, project: String, calm: Calm, of_all: usize) -> Vec<String> {
    let mut builds = Vec::new();
    while calm.builds.fetch_add(1, Ordering::Relaxed) < of_all {
        let (path, key) = (format!("/projects/{project}/builds"), format!("{project}-{}", builds.len()));
        let asked = Instant::now();
        let build = door.insist(Method::POST, &path, &json!({}), &key, 202).await.body;
        let build = build["id"].as_str().unwrap().to_owned();
        loop {
            let shown =
                door.insist(Method::GET, &format!("/builds/{build}"), &Value::Null, "", 200).await.body;
            if ["ready", "failed", "cancelled"].contains(&shown["status"].as_str().unwrap()) {
                break;
            }
            assert!(calm.lasts(asked) < CALM, "it does not end: {shown}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        builds.push(build);
    }
    builds
}
