//! Storing what a git host tells, at a steady rate, while what it told before is worked on; on a database that writes to
//! the disk before it says so.

use std::time::Duration;

use futures_util::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::json;
use sha2::Sha256;
use tests::app::TestApp;
use tests::client::Client;
use tests::github::{GitHub, INSTALLATION, SECRET};
use tests::world::{project, team};
use tokio::time::Instant;

use crate::append::Durable;
use crate::measure::{Figure, percentile};

/// Deliveries a second, and for how long: of an organization whose every push and pull request is told of, a busy hour.
const RATE: u32 = 25;
const SECONDS: u32 = 20;

pub(crate) async fn figures() -> Vec<Figure> {
    let (github, durable) = (GitHub::start().await, Durable::start().await);
    let mut settings = github.settings();
    settings.push(("DATABASE_URL".to_owned(), durable.server.url()));
    let settings: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let mut app = TestApp::start_on(TestApp::database().await, &settings).await;
    let owner = app.owner().await;
    team(&owner, "acme").await;
    let installation = github.connect(&owner, "acme").await;
    let repository = github.repository("acme/agent", "tiny").await;
    let more = json!({ "installationId": installation });
    project(&owner, "acme", "agent", &github.repo_url("acme/agent"), more).await;
    app.settle_in(&durable.pool).await;

    let start = Instant::now() + Duration::from_millis(100);
    let nobody = app.nobody();
    let times = join_all((0..RATE * SECONDS).map(|n| {
        let nobody = nobody.clone();
        tokio::spawn(async move {
            // From when it should begin: what waits for what was slow before it is slow too.
            let at = start + Duration::from_secs(1) * n / RATE;
            tokio::time::sleep_until(at).await;
            deliver(&nobody, repository, n).await;
            at.elapsed()
        })
    }))
    .await;
    let times = times.into_iter().map(|time| time.expect("nobody panics")).collect();
    app.settle_in(&durable.pool).await;
    let query = "SELECT count(*) FROM deliveries WHERE delivery_id LIKE 'bench-%' AND settled_at IS NOT NULL";
    let settled: i64 = sqlx::query_scalar(query).fetch_one(&durable.pool).await.expect("it answers");
    assert_eq!(settled, i64::from(RATE * SECONDS), "each was stored and worked on");
    app.kill().await;
    durable.stop().await;
    let name = format!("delivery of a git host stored and answered, p99 at {RATE} a second");
    vec![Figure::limit(&name, percentile(times, 99), "ms", 50.0)]
}

/// A push to a branch that nobody follows, of twenty commits as GitHub words them: some 20 KiB.
async fn deliver(client: &Client, repository: i64, n: u32) {
    let commit = |k: u32| {
        json!({
            "id": format!("{n:020x}{k:020x}"), "message": "What changed, and why it had to. ".repeat(12),
            "added": ["src/mastra/agents/weather.ts"], "removed": [], "modified": ["package.json", "src/index.ts"],
            "author": { "name": "Somebody", "email": "somebody@example.org", "username": "somebody" },
        })
    };
    let body = json!({
        "ref": format!("refs/heads/topic/{n}"), "after": format!("{n:040x}"), "deleted": false,
        "repository": { "id": repository, "full_name": "acme/agent" },
        "installation": { "id": INSTALLATION }, "sender": { "login": "somebody" },
        "commits": (0..20).map(commit).collect::<Vec<_>>(),
    })
    .to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(body.as_bytes());
    let request = client
        .request(Method::POST, "//api/webhooks/github")
        .header("x-github-event", "push")
        .header("x-github-delivery", format!("bench-{n}"))
        .header("x-hub-signature-256", format!("sha256={}", hex::encode(mac.finalize().into_bytes())))
        .body(body);
    let answer = Client::send(request).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
}
