//! The audit trail with a million rows: how long people wait for ten kinds of questions, and what an export takes.

use std::time::Instant;

use futures_util::StreamExt;
use reqwest::Method;
use sqlx::Row;
use tests::app::TestApp;
use tests::client::Client;
use tests::trail::{self, BUSY, SOMEBODY};
use tests::world::team;
use uuid::Uuid;

use crate::measure::{Figure, forget_peak, memory, percentile};

const ROWS: i64 = 1_000_000;
/// How often each question is asked.
const TIMES: usize = 40;
/// Milliseconds that nobody should wait longer.
const LIMIT: f64 = 500.0;

pub(crate) async fn figures() -> Vec<Figure> {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let id: Uuid = team(&owner, "acme").await["id"].as_str().expect("an id").parse().expect("a uuid");
    app.settle().await;
    trail::fill(app.db.pool(), id, ROWS).await;
    let row = sqlx::query("SELECT md5('project7')::uuid::text AS project").fetch_one(app.db.pool()).await;
    let project: String = row.expect("it is a function").get("project");
    let mut figures = Vec::new();
    for (name, query) in [
        ("audit of 1,000,000 rows, newest, p95", String::new()),
        ("audit, by the busiest actor, p95", format!("actor={BUSY}")),
        ("audit, by one of many actors and a word, p95", format!("actor={SOMEBODY}&q=token")),
        ("audit, by a rare action, p95", "action=team.deleted".to_owned()),
        ("audit, of one thing, p95", format!("resource=project&resourceId={project}")),
        ("audit, an hour of last year, p95", "from=2025-02-01T00:00:00Z&to=2025-02-01T01:00:00Z".to_owned()),
        ("audit, denials, p95", "outcome=denied".to_owned()),
        ("audit, a common word, p95", "q=api".to_owned()),
        ("audit, common words that never meet, p95", "q=openai%20anthropic".to_owned()),
        ("audit, the middle of a name in one project, p95", format!("projectId={project}&q=nthropic")),
    ] {
        figures.push(Figure::limit(name, ask(&owner, &query).await, "ms", LIMIT));
    }
    figures.push(export(&app, &owner).await);
    figures
}

async fn ask(owner: &Client, query: &str) -> f64 {
    let mut times = Vec::new();
    let mut cursor = String::new();
    for _ in 0..TIMES {
        let start = Instant::now();
        let page = owner.get(&format!("/teams/acme/audit?{query}{cursor}")).await.expect(200);
        times.push(start.elapsed());
        // On and on through its pages, and from the first again.
        cursor = page["nextCursor"].as_str().map_or_else(String::new, |next| format!("&cursor={next}"));
    }
    percentile(times, 95)
}

/// What the server's memory grows by while the whole trail is taken away.
async fn export(app: &TestApp, owner: &Client) -> Figure {
    let before = forget_peak(app.pid());
    let answer = owner.request(Method::GET, "/teams/acme/audit/export").send().await.expect("it answers");
    let mut body = answer.bytes_stream();
    let mut rows = 0;
    while let Some(chunk) = body.next().await {
        rows += chunk.expect("it is whole").iter().filter(|byte| **byte == b'\n').count();
    }
    assert!(rows > 500_000, "{rows} rows");
    let more = memory(app.pid(), "VmHWM:") - before;
    Figure::limit("audit, export of 600,000 rows, more memory", more, "MiB", 32.0)
}
