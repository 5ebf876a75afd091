//! What every telemetry store promises, as one test: a provider is held to it by a line that calls it.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use domain::ids::{DeploymentId, ProjectId, TeamId};
use domain::ports::telemetry::{
    Cost, Counting, Filter, Period, Place, Span, SpanId, Status, Telemetry, Tenant, TraceId, Usage, Written,
};
use serde_json::json;
use uuid::Uuid;

/// Some project.
pub(super) fn tenant() -> Tenant {
    Tenant { team: TeamId(Uuid::now_v7()), project: ProjectId(Uuid::now_v7()) }
}

fn trace_id(n: u64) -> TraceId {
    format!("{n:032x}").parse().unwrap()
}

fn span_id(n: u64) -> SpanId {
    format!("{n:016x}").parse().unwrap()
}

/// A root of 100 ms, or what is below the first one.
pub(super) fn span(trace: u64, span: u64, at: DateTime<Utc>) -> Span {
    Span {
        trace_id: trace_id(trace),
        span_id: span_id(span),
        parent_id: (span != 1).then(|| span_id(1)),
        is_root: span == 1,
        name: format!("agent run: '{trace}'"),
        kind: "agent_run".into(),
        status: Status::Ok,
        status_message: None,
        started_at: at.duration_trunc(TimeDelta::microseconds(1)).unwrap(),
        duration_us: 100_000,
        service: Some("mini-mastra".into()),
        deployment_id: None,
        user_id: None,
        session_id: None,
        tags: vec![],
        model: None,
        provider: None,
        usage: Usage::default(),
        counting: Counting::Never,
        cost: None,
        attributes: serde_json::Map::new(),
        resource: serde_json::Map::new(),
        events: vec![],
        links: vec![],
    }
}

fn call(trace: u64, number: u64, at: DateTime<Utc>, picos: Option<i64>) -> Span {
    Span {
        model: Some("gpt-4o-mini".into()),
        provider: Some("openai".into()),
        usage: Usage { input: 11, output: 5, cache_read: 1, ..Usage::default() },
        counting: Counting::Call,
        cost: picos.map(|picos| Cost { picos, price: "openai/gpt-4o-mini@2024-07-18".into() }),
        ..span(trace, number, at)
    }
}

fn any() -> Filter {
    Filter { limit: 100, ..Filter::default() }
}

/// The whole contract.
pub(super) async fn all(store: &dyn Telemetry) {
    once_and_unchanged(store).await;
    ten_traces_sent_twice_are_ten(store).await;
    tenants_never_meet(store).await;
    sums_count_once(store).await;
    filters_and_pages(store).await;
    together(store).await;
    everything_comes_back(store).await;
}

async fn once_and_unchanged(store: &dyn Telemetry) {
    let (mine, now) = (tenant(), Utc::now());
    let first = span(1, 1, now);
    let later = Span { name: "another".into(), status: Status::Error, ..first.clone() };
    let written = store.write(mine, vec![first.clone(), first.clone()]).await.unwrap();
    assert_eq!(written, Written { stored: 1, repeated: 1 });
    let again = store.write(mine, vec![later, span(1, 2, now)]).await.unwrap();
    assert_eq!(again, Written { stored: 1, repeated: 1 });
    assert_eq!(store.trace(mine, trace_id(1), 100).await.unwrap(), [first, span(1, 2, now)]);
    assert_eq!(store.trace(mine, trace_id(1), 1).await.unwrap().len(), 1);
    assert_eq!(store.write(mine, vec![]).await.unwrap(), Written::default());
}

async fn ten_traces_sent_twice_are_ten(store: &dyn Telemetry) {
    let (mine, now) = (tenant(), Utc::now());
    for _ in 0..2 {
        store.write(mine, (1..=10).map(|n| span(n, 1, now)).collect()).await.unwrap();
    }
    let stats = store.stats(mine, Period::default()).await.unwrap();
    assert_eq!((stats.traces, stats.average_us, stats.min_us, stats.max_us), (10, 100_000, 100_000, 100_000));
    assert_eq!(store.traces(mine, &any()).await.unwrap().len(), 10);

    let mine = tenant();
    let of = |n: u64, duration_us| Span { duration_us, ..span(n, 1, now) };
    store.write(mine, vec![of(1, 5), of(2, 7), Span { status: Status::Error, ..of(3, 9) }]).await.unwrap();
    let stats = store.stats(mine, Period::default()).await.unwrap();
    assert_eq!((stats.min_us, stats.average_us, stats.p50_us, stats.max_us), (5, 7, 7, 9));
    assert_eq!((stats.p95_us, stats.p99_us, stats.traces, stats.errors), (9, 9, 3, 1));
    let before = Period { from: None, to: Some(now - TimeDelta::hours(1)) };
    assert_eq!(store.stats(mine, before).await.unwrap(), Default::default());
}

async fn tenants_never_meet(store: &dyn Telemetry) {
    let (mine, now) = (tenant(), Utc::now());
    let (of_team, of_project) =
        (Tenant { project: tenant().project, ..mine }, Tenant { team: tenant().team, ..mine });
    store.write(mine, vec![call(1, 1, now, Some(7))]).await.unwrap();
    for other in [of_team, of_project] {
        assert_eq!(store.trace(other, trace_id(1), 100).await.unwrap(), []);
        assert_eq!(store.who_has(&[other], trace_id(1)).await.unwrap(), None);
        assert_eq!(store.traces(other, &any()).await.unwrap(), []);
        assert_eq!(store.usage(other, Period::default()).await.unwrap(), []);
        assert_eq!(store.stats(other, Period::default()).await.unwrap().traces, 0);
    }
    // The same ids elsewhere are other spans.
    assert_eq!(store.write(of_team, vec![span(1, 1, now)]).await.unwrap().stored, 1);
    // Of several, the oldest project.
    for those in [[mine, of_team], [of_team, mine]] {
        assert_eq!(store.who_has(&those, trace_id(1)).await.unwrap(), Some(mine));
    }
    assert_eq!(store.who_has(&[of_project, of_team], trace_id(1)).await.unwrap(), Some(of_team));
    assert_eq!(store.who_has(&[], trace_id(1)).await.unwrap(), None);
}

/// generation (a sum) → step (repeats) → call, in any order of arrival; and a sum below which nothing was sent.
async fn sums_count_once(store: &dyn Telemetry) {
    let (mine, now) = (tenant(), Utc::now());
    let below = |parent, span: Span| Span { parent_id: Some(span_id(parent)), ..span };
    let sum =
        |trace, number| Span { counting: Counting::UnlessBelow, ..call(trace, number, now, Some(1000)) };
    let step = Span { counting: Counting::Never, cost: None, ..call(1, 3, now, None) };
    let parts = [
        span(1, 1, now),
        sum(1, 2),
        below(2, step),
        below(3, call(1, 4, now, Some(600))),
        below(3, call(1, 5, now, None)),
        span(2, 1, now),
        sum(2, 2),
    ];
    for part in parts {
        store.write(mine, vec![part]).await.unwrap();
    }
    let usage = store.usage(mine, Period::default()).await.unwrap();
    let [usage] = &usage[..] else { panic!("one model: {usage:?}") };
    assert_eq!((usage.calls, usage.calls_without_cost, usage.cost_picos), (3, 1, 1600));
    assert_eq!((usage.usage.input, usage.usage.output, usage.usage.cache_read), (33, 15, 3));
    let traces = store.traces(mine, &any()).await.unwrap();
    let shown: Vec<_> =
        traces.iter().map(|t| (t.spans, t.input_tokens, t.output_tokens, t.cost_picos)).collect();
    assert_eq!(shown, [(2, 11, 5, 1000), (5, 22, 10, 600)]);
}

async fn filters_and_pages(store: &dyn Telemetry) {
    let (mine, now) = (tenant(), Utc::now());
    let deployment = DeploymentId(Uuid::now_v7());
    let ago = |n: u64| now - TimeDelta::minutes(i64::try_from(n).unwrap());
    let mut spans: Vec<Span> = (1..=5).map(|n| span(n, 1, ago(n))).collect();
    spans[1].status = Status::Error;
    spans[2].duration_us = 5_000_000;
    spans[3].deployment_id = Some(deployment);
    spans[4].tags = vec!["demo".into(), "x%".into()];
    let said = Span { user_id: Some("u1".into()), session_id: Some("s1".into()), ..call(1, 2, ago(1), None) };
    spans.push(said);
    // A second program in the same trace, and a part that came before its root.
    spans.push(Span { is_root: true, ..span(1, 3, ago(1)) });
    store.write(mine, spans).await.unwrap();
    let found = async |filter: Filter| {
        let traces = store.traces(mine, &Filter { limit: 100, ..filter }).await.unwrap();
        traces.iter().map(|trace| trace.trace_id).collect::<Vec<_>>()
    };
    let text = |text: &str| Some(text.to_owned());
    let none = Filter::default();
    assert_eq!(found(none.clone()).await, [1, 2, 3, 4, 5].map(trace_id), "newest first, each once");
    for (n, filter) in [
        (2, Filter { status: Some(Status::Error), ..none.clone() }),
        (3, Filter { min_duration_us: Some(5_000_000), ..none.clone() }),
        (4, Filter { deployment_id: Some(deployment), ..none.clone() }),
        (5, Filter { tag: text("demo"), ..none.clone() }),
        (5, Filter { tag: text("x%"), ..none.clone() }),
        (1, Filter { user_id: text("u1"), model: text("gpt-4o-mini"), ..none.clone() }),
        (1, Filter { session_id: text("s1"), ..none.clone() }),
        (3, Filter { name: text("RUN: '3"), ..none.clone() }),
        (4, Filter { period: Period { from: Some(ago(4)), to: Some(ago(3)) }, ..none.clone() }),
    ] {
        let seen = format!("{filter:?}");
        assert_eq!(found(filter).await, [trace_id(n)], "{seen}");
    }
    assert_eq!(found(Filter { name: text("%"), ..none.clone() }).await, []);
    let mut seen = vec![];
    let mut after = None;
    loop {
        let page = store.traces(mine, &Filter { after, limit: 2, ..none.clone() }).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(Place { started_at: last.started_at, trace_id: last.trace_id });
        seen.extend(page.iter().map(|trace| trace.trace_id));
    }
    assert_eq!(seen, [1, 2, 3, 4, 5].map(trace_id), "page by page the same");
}

/// The same spans from many senders at once, in different orders: none waits for ever, each is stored once.
async fn together(store: &dyn Telemetry) {
    let (mine, now) = (tenant(), Utc::now());
    let batch = |turn: u64| {
        let mut spans: Vec<Span> = (1..=50).map(|n| span(n, 1, now)).collect();
        spans.rotate_left(usize::try_from(turn * 7 % 50).unwrap());
        spans
    };
    let writes = (0..12).map(|turn| store.write(mine, batch(turn)));
    let written = futures_util::future::join_all(writes).await;
    assert_eq!(written.into_iter().map(|written| written.unwrap().stored).sum::<u64>(), 50);
}

async fn everything_comes_back(store: &dyn Telemetry) {
    let (mine, now) = (tenant(), Utc::now());
    let object = |value: serde_json::Value| value.as_object().unwrap().clone();
    let full = Span {
        parent_id: Some(span_id(9)),
        is_root: true,
        status: Status::Error,
        status_message: Some("asked to fail".into()),
        deployment_id: Some(DeploymentId(Uuid::now_v7())),
        user_id: Some("u1".into()),
        session_id: Some("thread-1".into()),
        tags: vec!["demo".into()],
        usage: Usage {
            input: 1,
            output: 2,
            cache_read: 3,
            cache_write: 4,
            audio_input: 5,
            reasoning: 6,
            audio_output: i64::MAX,
        },
        attributes: object(json!({ "__proto__": { "a": [1, 2.5, null, "ä"] }, "big": 1e300 })),
        resource: object(json!({ "service.name": "x" })),
        events: vec![json!({ "name": "exception" })],
        links: vec![json!({ "traceId": "00" })],
        ..call(1, 1, now, Some(i64::MAX))
    };
    store.write(mine, vec![full.clone()]).await.unwrap();
    assert_eq!(store.trace(mine, trace_id(1), 10).await.unwrap(), [full]);
    // Sums of what nobody can have used.
    let again: Vec<Span> = (2..5).map(|n| call(n, 1, now, Some(i64::MAX))).collect();
    let again = again.into_iter().map(|it| Span { usage: Usage { input: i64::MAX, ..it.usage }, ..it });
    store.write(mine, again.collect()).await.unwrap();
    let usage = store.usage(mine, Period::default()).await.unwrap();
    assert_eq!(usage[0].cost_picos, 4 * i128::from(i64::MAX));
}
