//! What is read for an answer out of two million spans of thirty days.

use chrono::{TimeDelta, Utc};
use tests::app::TestApp;
use tests::clickhouse::ClickHouse;
use tests::client::Client;
use tests::world::Project;

use super::World;
use crate::measure::Figure;

/// Spans, an eighth of which are roots.
const SPANS: u64 = 2_000_000;
const DAYS: u64 = 30;
/// Rows.
const LIMIT: f64 = 20_000.0;

pub(super) async fn figures() -> Vec<Figure> {
    let engine = ClickHouse::start().await;
    let app = TestApp::start_with(&engine.settings()).await;
    let World { owner, projects } = World::of(&app, 1).await;
    let (project, _) = &projects[0];
    // The schema is there with the first question.
    owner.get(&format!("/projects/{}/traces?limit=1", project.id)).await.expect(200);
    fill(&engine, &owner, project).await;
    let from = (Utc::now() - TimeDelta::hours(1)).format("%FT%TZ");
    let newest = format!("/projects/{}/traces?limit=50", project.id);
    let last_hour = format!("/projects/{}/stats?from={from}", project.id);
    let mut figures = Vec::new();
    for (name, path, field) in
        [("50 newest root spans", &newest, "items"), ("last hour p95", &last_hour, "p95Ms")]
    {
        let before = engine.rows_read().await;
        let answer = owner.get(path).await.expect(200);
        assert!(!answer[field].is_null(), "{answer}");
        let read = (engine.rows_read().await - before) as f64;
        assert!(read > 0.0, "somebody has to read something");
        figures.push(Figure::limit(
            &format!("rows read for \"{name}\" of {SPANS} spans, ClickHouse"),
            read,
            "rows",
            LIMIT,
        ));
    }
    figures
}

/// Writes them, a trace of eight spans every ten seconds.
async fn fill(engine: &ClickHouse, owner: &Client, project: &Project) {
    let team = owner.get("/teams/acme").await.expect(200)["id"].as_str().expect("an id").to_owned();
    let apart = DAYS * 86_400 * 1_000_000 / (SPANS / 8);
    let id = &project.id;
    engine
        .ask(&format!(
            "INSERT INTO spans (team_id, project_id, trace_id, span_id, parent_id, is_root, name, kind, status, started_at,
                                duration_us, counting, attributes, resource, events, links, expires_on)
             SELECT toUUID('{team}'), toUUID('{id}'), reinterpretAsFixedString(sipHash128(intDiv(number, 8))),
                    reinterpretAsFixedString(sipHash64(number)),
                    if(number % 8 = 0, toFixedString('', 8), reinterpretAsFixedString(sipHash64(number - number % 8))),
                    number % 8 = 0, if(number % 8 = 0, 'agent run', 'llm generation'), 'internal',
                    if(number % 500 = 0, 'error', 'ok'), now64(6) - toIntervalMicrosecond(intDiv(number, 8) * {apart}),
                    1000 + sipHash64(number) % 5000000, if(number % 8 = 0, 0, 1), '{{}}', '{{}}', '[]', '[]',
                    today() + {DAYS}
               FROM numbers({SPANS})
             SETTINGS max_partitions_per_insert_block = 0, max_insert_threads = 1"
        ))
        .await;
    assert_eq!(engine.ask("SELECT count() FROM spans").await, SPANS.to_string());
}
