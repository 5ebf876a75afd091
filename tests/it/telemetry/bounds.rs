//! What one asks or sends of ClickHouse concerns nobody else: a row that it refuses, a question that takes too much memory.

use chrono::Utc;
use domain::ports::telemetry::{Span, Telemetry, TelemetryError, Tenant, Written};
use futures_util::future::join_all;
use serde_json::json;
use tests::app::TestApp;
use tests::clickhouse::ClickHouse;

use super::contract::{span, tenant};
use super::{one_trace, open};

#[tokio::test]
async fn a_row_that_the_engine_refuses_concerns_its_sender_alone() {
    let engine = ClickHouse::some().await;
    let (store, now) = (engine.store(30), Utc::now());
    store.write(tenant(), vec![span(1, 1, now)]).await.unwrap();
    engine.ask("SYSTEM STOP MERGES spans").await;
    // Those that come in the same tenth of a second are put into one insert.
    let together = async |batches: &[(Tenant, Vec<Span>)]| {
        let writes = batches.iter().map(|(tenant, spans)| store.write(*tenant, spans.clone()));
        join_all(writes).await
    };
    let parts = async |batches: &[(Tenant, Vec<Span>)]| {
        let projects: Vec<String> =
            batches.iter().map(|(tenant, _)| format!("'{}'", tenant.project)).collect();
        let of = projects.join(", ");
        engine.ask(&format!("SELECT uniqExact(_part), count() FROM spans WHERE project_id IN ({of})")).await
    };
    let of_two = |first: u64| vec![span(first, 1, now), span(first, 2, now)];
    let good: Vec<_> = (0..8).map(|_| (tenant(), of_two(1))).collect();
    let stored = Written { stored: 2, repeated: 0 };
    for written in together(&good).await {
        assert_eq!(written.unwrap(), stored);
    }
    assert_eq!(parts(&good).await, "1\t16", "one insert");

    engine.ask("ALTER TABLE spans ADD CONSTRAINT good CHECK name != 'bad'").await;
    let bad = |trace| Span { name: "bad".into(), ..span(trace, 1, now) };
    let alone = store.write(tenant(), vec![bad(1)]).await;
    assert!(matches!(alone, Err(TelemetryError::Refused(_))), "{alone:?}");
    let mut batches: Vec<_> = (0..8).map(|_| (tenant(), of_two(1))).collect();
    batches[3].1.push(bad(9));
    // Of the same project: others, and one that the refused batch has, too.
    let mine = batches[3].0;
    batches.push((mine, of_two(2)));
    batches.push((mine, vec![span(1, 1, now)]));
    let mut written = together(&batches).await;
    let one = written.pop().unwrap();
    assert_eq!(
        one.unwrap(),
        Written { stored: 1, repeated: 0 },
        "what was refused with another is not known"
    );
    let refused = written.remove(3);
    assert!(matches!(refused, Err(TelemetryError::Refused(_))), "{refused:?}");
    for written in written {
        assert_eq!(written.unwrap(), stored);
    }
    assert_eq!(parts(&batches).await, "9\t17", "each good one by itself, once the whole was refused");
    assert_eq!(store.trace(mine, span(1, 1, now).trace_id, 9).await.unwrap(), [span(1, 1, now)]);
    assert_eq!(engine.ask("SELECT count() FROM spans WHERE name = 'bad'").await, "0");
}

#[tokio::test]
async fn a_question_that_takes_too_much_memory_is_told_so_and_others_are_answered() {
    let engine = ClickHouse::start().await;
    // The wide question takes more than 200 MiB, the narrow one less than 32.
    let bound = [&engine.settings()[..], &[("MASTRA_ADMIN_CLICKHOUSE_QUESTION_MIB", "96")]].concat();
    let app = TestApp::start_with(&bound).await;
    let (owner, project, _) = open(&app).await;
    let team = owner.get("/teams/acme").await.expect(200)["id"].as_str().unwrap().to_owned();
    let stats = format!("/projects/{}/stats", project.id);
    assert_eq!(owner.get(&stats).await.expect(200)["traces"], 0);
    // A million traces, and no two that took as long.
    engine
        .ask(&format!(
            "INSERT INTO spans (team_id, project_id, trace_id, span_id, is_root, name, kind, status, started_at,
                                duration_us, expires_on)
             SELECT '{team}', '{}', toFixedString(unhex(lower(hex(sipHash128(number, 1)))), 16),
                    toFixedString(unhex(lower(hex(sipHash64(number)))), 8), true, 'x', 'x', 'ok',
                    now64(6) - toIntervalMillisecond(number), number, today() + 40 FROM numbers(1000000)",
            project.id
        ))
        .await;
    let refused = owner.get(&stats).await;
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (503, &json!("telemetry_too_wide")),
        "{}",
        refused.text
    );
    assert!(refused.headers.contains_key("retry-after") && refused.text.contains("a shorter period"));
    assert!(!refused.text.contains("Exception"), "{}", refused.text);

    // It is the question: what asks for less is answered, and rows are stored.
    let trace = one_trace(&app, &owner, &project).await;
    let path = format!("/projects/{}/traces/{trace}", project.id);
    assert_eq!(owner.get(&path).await.expect(200)["spans"], 1);
    let minute = (Utc::now() - chrono::TimeDelta::seconds(20)).format("%FT%TZ");
    assert!(owner.get(&format!("{stats}?from={minute}")).await.expect(200)["traces"].as_i64().unwrap() > 1);
    assert!(app.log().contains("MEMORY_LIMIT_EXCEEDED"), "operators see why: {}", app.end_of_log());
    // Where questions may take more, it is answered.
    let wide = engine.store(30);
    let mine = Tenant { team: team.parse().unwrap(), project: project.id.parse().unwrap() };
    assert_eq!(wide.stats(mine, Default::default()).await.unwrap().traces, 1_000_001);
}

#[tokio::test]
async fn a_question_that_takes_postgresql_too_long_is_told_so() {
    let app = TestApp::start().await;
    let (owner, project, _) = open(&app).await;
    let trace = one_trace(&app, &owner, &project).await;
    // As a question that has much to read, it gets nowhere in ten seconds.
    let mut other = app.db.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE spans").execute(&mut *other).await.unwrap();
    let refused = owner.get(&format!("/projects/{}/stats", project.id)).await;
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (503, &json!("telemetry_too_wide")),
        "{}",
        refused.text
    );
    assert!(refused.headers.contains_key("retry-after"));
    drop(other);
    let path = format!("/projects/{}/traces/{trace}", project.id);
    assert_eq!(owner.get(&path).await.expect(200)["spans"], 1);
}
