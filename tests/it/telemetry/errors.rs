//! Errors: those that are alike are one group, in whatever store and by whatever told.

use chrono::{DurationRound, TimeDelta, Utc};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{
    ErrorFilter, ErrorPlace, ErrorSource, Errors, Period, Severity, Signals, Span, Status, Telemetry, Tenant,
};
use providers::observability::postgres_signals::PostgresSignals;
use providers::observability::postgres_spans::PostgresSpans;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::clickhouse::ClickHouse;
use uuid::Uuid;

use super::contract::{span, tenant};
use super::logs::line;
use super::open;
use super::store::signals;

fn any() -> ErrorFilter {
    ErrorFilter { limit: 100, ..ErrorFilter::default() }
}

fn failed(trace: u64, ago: i64, message: &str) -> Span {
    let exception = json!({ "exception.type": "PaymentError", "exception.message": message });
    Span {
        status: Status::Error,
        events: vec![json!({ "name": "exception", "attributes": exception })],
        ..span(trace, 1, Utc::now() - TimeDelta::minutes(ago))
    }
}

/// The whole contract.
pub(super) async fn contract(spans: &dyn Telemetry, store: &dyn Signals) {
    let (mine, now) = (tenant(), Utc::now().duration_trunc(TimeDelta::seconds(1)).unwrap());
    let deployments: Vec<_> = (0..3).map(|_| DeploymentId(Uuid::now_v7())).collect();
    let from = |span: Span, n: usize| Span { deployment_id: Some(deployments[n]), ..span };
    let (first, last) = (failed(1, 90, "order 17 has no price"), failed(3, 1, "order 4711 has no price"));
    let told = vec![
        from(first.clone(), 0),
        from(failed(2, 30, "order 18 has no price"), 1),
        // The same trace, one level deeper.
        Span { span_id: span(2, 2, now).span_id, ..from(failed(2, 30, "order 18 has no price"), 1) },
        last.clone(),
        failed(4, 20, "card was refused"),
        span(5, 1, now),
    ];
    spans.write(mine, told.clone()).await.unwrap();
    // Sent again, it is not there twice.
    spans.write(mine, told).await.unwrap();
    let mut plain = line(1, now - TimeDelta::minutes(120));
    plain.severity = Severity::from_name("error");
    plain.message = "disk 7 is full".into();
    let mut thrown = line(2, now);
    thrown.attributes =
        json!({ "exception.type": "PaymentError", "exception.message": "order 1 has no price" })
            .as_object()
            .unwrap()
            .clone();
    store.write_logs(mine, vec![plain, thrown, line(3, now)]).await.unwrap();

    let groups = store.errors(mine, &any()).await.unwrap();
    let shown: Vec<_> =
        groups.iter().map(|it| (it.message.as_str(), it.spans, it.lines, it.traces)).collect();
    assert_eq!(
        shown,
        [("order 4711 has no price", 4, 1, 3), ("card was refused", 1, 0, 1), ("disk 7 is full", 0, 1, 0)]
    );
    let price = &groups[0];
    assert_eq!((price.kind.as_deref(), groups[2].kind.as_deref()), (Some("PaymentError"), None));
    assert_eq!((price.first_seen, price.last_seen), (first.started_at, now));
    assert_eq!((price.trace_id, price.span_id), (Some(last.trace_id), Some(last.span_id)), "its last trace");
    assert_eq!(price.deployments, [deployments[1], deployments[0]], "newest first");
    assert_eq!((groups[2].trace_id, &groups[2].deployments[..]), (None, &[][..]));
    filtered(store, mine, &deployments).await;

    // Page by page, the same.
    let (mut seen, mut after) = (vec![], None);
    while let [group] = &store.errors(mine, &ErrorFilter { after, limit: 1, ..any() }).await.unwrap()[..] {
        after = Some(ErrorPlace { last_seen: group.last_seen, id: group.id });
        seen.push(group.clone());
    }
    assert_eq!(seen, groups);
    for other in [Tenant { project: tenant().project, ..mine }, Tenant { team: tenant().team, ..mine }] {
        assert_eq!(store.errors(other, &any()).await.unwrap(), []);
    }
}

async fn filtered(store: &dyn Errors, mine: Tenant, deployments: &[DeploymentId]) {
    let now = Utc::now();
    let price = store.errors(mine, &any()).await.unwrap()[0].id;
    let hour = Period { from: Some(now - TimeDelta::hours(1)), to: Some(now - TimeDelta::minutes(10)) };
    for (filter, wanted) in [
        (ErrorFilter { source: Some(ErrorSource::Span), ..any() }, vec![(4, 0), (1, 0)]),
        (ErrorFilter { source: Some(ErrorSource::Line), ..any() }, vec![(0, 1), (0, 1)]),
        (ErrorFilter { text: Some("PRICE".into()), ..any() }, vec![(4, 1)]),
        (ErrorFilter { text: Some("payment".into()), ..any() }, vec![(4, 1), (1, 0)]),
        (ErrorFilter { text: Some("%".into()), ..any() }, vec![]),
        (ErrorFilter { group: Some(price), ..any() }, vec![(4, 1)]),
        (ErrorFilter { period: hour, ..any() }, vec![(1, 0), (2, 0)]),
        (ErrorFilter { deployments: Some(deployments[..1].to_vec()), ..any() }, vec![(1, 0)]),
        (ErrorFilter { deployments: Some(deployments[2..].to_vec()), ..any() }, vec![]),
        (ErrorFilter { deployments: Some(vec![]), ..any() }, vec![]),
    ] {
        let groups = store.errors(mine, &filter).await.unwrap();
        let counts: Vec<_> = groups.iter().map(|group| (group.spans, group.lines)).collect();
        assert_eq!(counts, wanted, "{filter:?}");
    }
}

#[tokio::test]
async fn postgresql_keeps_the_contract() {
    let db = signals().await;
    let spans = PostgresSpans::new(db.pool().clone(), 30);
    contract(&spans, &PostgresSignals::new(db.pool().clone(), 30)).await;
}

/// An exporter's way to say it.
fn published(trace: u32, message: &str, deployment: &Value) -> Value {
    let (now, id) = (Utc::now(), format!("{trace:016x}"));
    json!({ "traceId": format!("{trace:032x}"), "spanId": id, "name": "agent run", "spanType": "agent_run",
            "startedAt": now, "endedAt": now, "metadata": { "deploymentId": deployment },
            "errorInfo": { "name": "TypeError", "message": message, "stack": "TypeError\n    at run (/app/index.mjs:1:1)" } })
}

#[tokio::test]
async fn errors_are_listed_with_where_they_came_from() {
    listed(&[]).await;
}

#[tokio::test]
async fn errors_are_listed_out_of_clickhouse() {
    let engine = ClickHouse::some().await;
    listed(&engine.settings()).await;
}

async fn listed(store: &[(&str, &str)]) {
    let app = TestApp::start_with(store).await;
    let (owner, project, sender) = open(&app).await;
    let deployment = project.deployed(&app, &owner).await;
    let spans = [
        published(1, "cannot read 'a' of 7", &json!(null)),
        published(2, "cannot read 'b' of 8", &deployment["id"]),
    ];
    let path = format!("//projects/{}/ai/spans/publish", project.id);
    sender.post(&path, json!({ "spans": spans })).await.expect(200);
    let before = Utc::now() - TimeDelta::days(2);
    let lines = json!({ "logs": [{ "timestamp": Utc::now(), "level": "error", "message": "no more" },
                                 { "timestamp": before, "level": "error", "message": "of old" }] });
    sender.post(&format!("//projects/{}/ai/logs/publish", project.id), lines).await.expect(200);

    let errors = format!("/projects/{}/errors", project.id);
    let all = owner.get(&errors).await.expect(200);
    let [log, group] = &all["items"].as_array().unwrap()[..] else { panic!("{all}") };
    assert_eq!((&log["message"], &log["type"], &log["logs"]), (&json!("no more"), &json!(null), &json!(1)));
    assert_eq!(
        (&group["type"], &group["count"], &group["traces"]),
        (&json!("TypeError"), &json!(2), &json!(2))
    );
    assert_eq!(group["message"], "cannot read 'b' of 8");
    assert_eq!(
        group["example"],
        json!({ "traceId": format!("{:032x}", 2), "spanId": format!("{:016x}", 2) })
    );
    assert_eq!(group["deploymentIds"], json!([deployment["id"]]));
    assert_eq!(group["environmentIds"], json!([project.production]));

    let count = async |query: &str| {
        let answer = owner.get(&format!("{errors}?{query}")).await.expect(200);
        answer["items"].as_array().unwrap().iter().map(|it| it["count"].as_i64().unwrap()).sum::<i64>()
    };
    assert_eq!(count("source=log").await, 1);
    assert_eq!(count(&format!("id={}", group["id"].as_str().unwrap())).await, 2);
    assert_eq!(count(&format!("environmentId={}", project.production)).await, 1);
    assert_eq!(count("to=2020-01-01T00:00:00Z").await, 0);
    // What is older than a day is there for those who ask for it.
    let day = |at: chrono::DateTime<Utc>| at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    assert_eq!(count("source=log&text=of+old").await, 0);
    let earlier = day(before - TimeDelta::minutes(1));
    assert_eq!(count(&format!("source=log&text=of+old&from={earlier}")).await, 1);
    assert_eq!(count(&format!("text=of+old&to={}", day(before + TimeDelta::minutes(1)))).await, 1);
    let page = owner.get(&format!("{errors}?limit=1")).await.expect(200);
    let rest = format!("{errors}?cursor={}", page["nextCursor"].as_str().unwrap());
    assert_eq!(owner.get(&rest).await.expect(200)["items"], json!([group]));
    for (odd, field) in [
        ("limit=0", "limit"),
        ("source=x", "source"),
        ("id=7", "id"),
        ("text=%00", "text"),
        ("cursor=7-7", "cursor"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "to"),
        (&format!("environmentId={}", Uuid::now_v7()), "environmentId"),
    ] {
        let answer = owner.get(&format!("{errors}?{odd}")).await;
        assert_eq!((answer.status, &answer.body["errors"][0]["field"]), (422, &json!(field)), "{odd}");
    }
}
