//! Both stores are told the same and asked the same: they answer the same.

use chrono::{DateTime, TimeDelta, Utc};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{
    Aggregate, ErrorFilter, ErrorPlace, ErrorSource, LogFilter, LogRecord, MetricKind, MetricQuestion,
    Period, Point, Score, ScoreFilter, ScoreKind, Severity, Signals, Span, SpanFilter, Status, Telemetry,
    Tenant,
};
use providers::observability::postgres_signals::PostgresSignals;
use providers::observability::postgres_spans::PostgresSpans;
use serde_json::{Value, json};
use tests::clickhouse::ClickHouse;
use uuid::Uuid;

use super::contract::{span, tenant};
use super::logs::{self, line};
use super::measurements::{point, question};
use super::scores::{self, score};
use super::store::signals;

/// Numbers that look like chance and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn of<T: Clone>(&mut self, some: &[T]) -> T {
        some[usize::try_from(self.below(some.len() as u64)).unwrap()].clone()
    }
}

struct World {
    mine: Tenant,
    now: DateTime<Utc>,
    deployments: [Option<DeploymentId>; 3],
}

impl World {
    fn ago(&self, dice: &mut Dice) -> DateTime<Utc> {
        let most = dice.of(&[30_000, 600_000, 7_200_000, 5 * 86_400_000]);
        self.now - TimeDelta::milliseconds(dice.below(most).cast_signed())
    }
}

#[tokio::test]
async fn both_stores_say_the_same() {
    let (engine, db) = (ClickHouse::some().await, signals().await);
    let (clickhouse, postgres) = (engine.store(30), PostgresSignals::new(db.pool().clone(), 30));
    let spans = PostgresSpans::new(db.pool().clone(), 30);
    let stores: [&dyn Signals; 2] = [&clickhouse, &postgres];
    let deployments = [None, Some(DeploymentId(Uuid::now_v7())), Some(DeploymentId(Uuid::now_v7()))];
    let world = World { mine: tenant(), now: Utc::now(), deployments };
    let mut dice = Dice(4711);
    lines(&world, stores, &mut dice).await;
    opinions(&world, stores, &mut dice).await;
    numbers(&world, stores, &mut dice).await;
    wrongs(&world, [&clickhouse, &spans], stores, &mut dice).await;
}

async fn lines(world: &World, [one, other]: [&dyn Signals; 2], dice: &mut Dice) {
    let texts = ["GET /api 200", "100% done_", "got\nlost \\ here", "ÄÖ ß", "", "a'b\"c", "Error: not found"];
    let rows: Vec<LogRecord> = (1..400)
        .map(|n| LogRecord {
            place: i32::try_from(dice.below(5)).unwrap(),
            severity: Severity::from_number(dice.below(25).cast_signed()),
            message: dice.of(&texts).to_owned(),
            trace_id: (dice.below(3) == 0).then(|| format!("{:032x}", 7 + n % 3).parse().unwrap()),
            deployment_id: dice.of(&world.deployments),
            attributes: json!({ "n": n, "f": 1.5, "__proto__": null }).as_object().unwrap().clone(),
            ..line(n, world.ago(dice))
        })
        .collect();
    for batch in rows.chunks(50) {
        let batch = [batch, &batch[..7]].concat();
        let written = one.write_logs(world.mine, batch.clone()).await.unwrap();
        assert_eq!(written, other.write_logs(world.mine, batch).await.unwrap());
        assert_eq!(written.repeated, 7);
    }
    for turn in 0..120 {
        let after = rows[usize::try_from(dice.below(399)).unwrap()].place();
        let text = ["get", "%", "_", "\\", "", "'", "ERROR", "t\nl", "Ä", "zzz"];
        let from = world.ago(dice);
        let period =
            Period { from: Some(from), to: Some(from + TimeDelta::hours(dice.below(90).cast_signed())) };
        let maybe = |dice: &mut Dice| dice.below(3) == 0;
        let filter = LogFilter {
            period: if maybe(dice) { period } else { Period::default() },
            least: if maybe(dice) { Severity::from_number(dice.below(25).cast_signed()) } else { None },
            text: maybe(dice).then(|| dice.of(&text).to_owned()),
            trace_id: maybe(dice).then(|| format!("{:032x}", 7).parse().unwrap()),
            deployment_id: dice.of(&world.deployments),
            after: maybe(dice).then_some(after),
            limit: dice.of(&[1, 7, 500]),
        };
        let said = one.logs(world.mine, &filter).await.unwrap();
        assert_eq!(said, other.logs(world.mine, &filter).await.unwrap(), "{turn}: {filter:?}");
        let filter = LogFilter { after: None, ..filter };
        let said = one.logs_around(world.mine, after.id, &filter).await.unwrap();
        assert_eq!(
            said,
            other.logs_around(world.mine, after.id, &filter).await.unwrap(),
            "{turn}: {filter:?}"
        );
    }
    assert_eq!(one.logs(world.mine, &logs::any(1000)).await.unwrap().len(), rows.len());
}

async fn opinions(world: &World, [one, other]: [&dyn Signals; 2], dice: &mut Dice) {
    let rows: Vec<Score> = (1..120)
        .map(|n| Score {
            kind: dice.of(&[ScoreKind::Score, ScoreKind::Feedback]),
            name: dice.of(&["relevance", "it's"]).to_owned(),
            value: dice.of(&[None, Some(-0.25), Some(1e200)]),
            text: dice.of(&[None, Some("up".to_owned()), Some(String::new())]),
            trace_id: (dice.below(3) == 0).then(|| format!("{:032x}", 7 + n % 3).parse().unwrap()),
            deployment_id: dice.of(&world.deployments),
            details: json!({ "a": [1, { "b": null }] }).as_object().unwrap().clone(),
            ..score(n, world.ago(dice))
        })
        .collect();
    let written = one.write_scores(world.mine, rows.clone()).await.unwrap();
    assert_eq!(written, other.write_scores(world.mine, rows.clone()).await.unwrap());
    for _ in 0..40 {
        let after = rows[usize::try_from(dice.below(119)).unwrap()].clone();
        let filter = ScoreFilter {
            kind: dice.of(&[None, Some(ScoreKind::Score), Some(ScoreKind::Feedback)]),
            name: dice.of(&[None, Some("it's".to_owned())]),
            trace_id: (dice.below(3) == 0).then(|| format!("{:032x}", 7).parse().unwrap()),
            after: (dice.below(2) == 0).then_some((after.at, after.id)),
            ..scores::any(dice.of(&[1, 7, 500]))
        };
        let said = one.scores(world.mine, &filter).await.unwrap();
        assert_eq!(said, other.scores(world.mine, &filter).await.unwrap(), "{filter:?}");
    }
}

/// Errors of spans, beside those of the lines that are there.
async fn wrongs(world: &World, spans: [&dyn Telemetry; 2], [one, other]: [&dyn Signals; 2], dice: &mut Dice) {
    let messages =
        ["ÄÖ ß 7", "no 'a' \\ here", "100% done_", "a\nb", "0189aa3e43c14f0f9a550f6d2a1e77b1", "x"];
    let rows: Vec<Span> = (1..300)
        .map(|n| Span {
            status: dice.of(&[Status::Ok, Status::Error]),
            status_message: Some(format!("{} {n}", dice.of(&messages))),
            attributes: dice.of(&[json!({}), json!({ "error.type": "E" })]).as_object().unwrap().clone(),
            deployment_id: dice.of(&world.deployments),
            ..span(1 + dice.below(60), n, world.ago(dice))
        })
        .collect();
    for store in spans {
        store.write(world.mine, rows.clone()).await.unwrap();
    }
    single(world, spans, &rows, dice).await;
    let all = ErrorFilter { limit: 100, ..ErrorFilter::default() };
    let groups = one.errors(world.mine, &all).await.unwrap();
    assert!(groups.len() > 12, "{groups:?}");
    for turn in 0..80 {
        let from = world.ago(dice);
        let period =
            Period { from: Some(from), to: Some(from + TimeDelta::hours(1 + dice.below(90).cast_signed())) };
        let place = dice.of(&groups);
        let filter = ErrorFilter {
            period: dice.of(&[Period::default(), period, Period { to: None, ..period }]),
            source: dice.of(&[None, Some(ErrorSource::Span), Some(ErrorSource::Line)]),
            text: dice.of(&[
                None,
                None,
                Some("NO '".to_owned()),
                Some("_".to_owned()),
                Some("\\".to_owned()),
            ]),
            group: dice.of(&[None, None, Some(place.id)]),
            deployments: dice.of(&[None, None, Some(world.deployments.iter().flatten().copied().collect())]),
            after: dice.of(&[None, Some(ErrorPlace { last_seen: place.last_seen, id: place.id })]),
            limit: dice.of(&[1, 5, 100]),
        };
        let said = one.errors(world.mine, &filter).await.unwrap();
        assert_eq!(said, other.errors(world.mine, &filter).await.unwrap(), "{turn}: {filter:?}");
    }
    assert_eq!(groups, other.errors(world.mine, &all).await.unwrap());
}

async fn single(world: &World, [one, other]: [&dyn Telemetry; 2], rows: &[Span], dice: &mut Dice) {
    for turn in 0..60 {
        let (after, from) = (dice.of(rows).place(), world.ago(dice));
        let period = Period { from: Some(from), to: None };
        let filter = SpanFilter {
            period: dice.of(&[Period::default(), period]),
            status: dice.of(&[None, Some(Status::Error)]),
            name: dice.of(&[None, Some("RUN: '1".to_owned()), Some("%".to_owned())]),
            min_duration_us: dice.of(&[None, Some(100_000), Some(100_001)]),
            deployment_id: dice.of(&world.deployments),
            trace_id: dice.of(&[None, None, Some(after.trace_id)]),
            after: dice.of(&[None, Some(after)]),
            limit: dice.of(&[1, 20, 1000]),
            ..SpanFilter::default()
        };
        let said = one.spans(world.mine, &filter).await.unwrap();
        assert_eq!(said, other.spans(world.mine, &filter).await.unwrap(), "{turn}: {filter:?}");
    }
    let all = SpanFilter { limit: 1000, ..SpanFilter::default() };
    assert_eq!(one.spans(world.mine, &all).await.unwrap().len(), rows.len());
}

/// What senders make of a label.
fn odd_labels() -> Vec<Value> {
    vec![
        json!("/a"),
        json!("/B"),
        json!("Ä"),
        json!(""),
        json!(null),
        json!(true),
        json!(7),
        json!(1.0),
        json!(-0.0),
        json!(1.5e-7),
        json!(1.25e20),
        json!(u64::MAX),
        json!(["a", 1, null]),
        json!({ "bb": "\n\u{1}", "c": { "d": 1e2 }, "a": [] }),
        json!("ä".repeat(600)),
    ]
}

fn told(n: u64, world: &World, dice: &mut Dice) -> Point {
    let kinds = [
        MetricKind::Gauge,
        MetricKind::Delta,
        MetricKind::Cumulative,
        MetricKind::Histogram,
        MetricKind::CumulativeHistogram,
    ];
    let kind = dice.of(&kinds);
    // Halves: their sums are the same in whatever order they are added up.
    let value = f64::from(u32::try_from(dice.below(100)).unwrap()) / 2.0
        - if kind.is_histogram() { 0.0 } else { 10.0 };
    let at = world.ago(dice);
    let plain = Point {
        series: format!("{:032x}", 1 + dice.below(3)).parse().unwrap(),
        started_at: dice.of(&[None, Some(at - TimeDelta::minutes(3)), Some(world.now - TimeDelta::hours(3))]),
        labels: match dice.below(4) {
            0 => Default::default(),
            _ => json!({ "it's": dice.of(&odd_labels()), "k": dice.below(3) }).as_object().unwrap().clone(),
        },
        service: dice.of(&[None, Some("web".to_owned()), Some("Web".to_owned())]),
        deployment_id: dice.of(&world.deployments),
        ..point(n, kind.as_str(), kind, at, value)
    };
    if !kind.is_histogram() {
        return plain;
    }
    let bounds = dice.of(&[vec![], vec![10.0], vec![10.0, 20.0], vec![5.0, 10.0, 20.0]]);
    let buckets: Vec<i64> = (0..=bounds.len()).map(|_| dice.below(9).cast_signed()).collect();
    let ends = dice.of(&[(None, None), (Some(1.0), Some(30.0))]);
    let buckets = if bounds.is_empty() && dice.below(2) == 0 { vec![] } else { buckets };
    let count = if buckets.is_empty() { dice.below(9).cast_signed() } else { buckets.iter().sum() };
    let sum = dice.of(&[plain.sum, plain.sum, None]);
    Point { count, sum, bounds, buckets, min: ends.0, max: ends.1, ..plain }
}

async fn numbers(world: &World, [one, other]: [&dyn Signals; 2], dice: &mut Dice) {
    let rows: Vec<Point> = (1..1500).map(|n| told(n, world, dice)).collect();
    for batch in rows.chunks(200) {
        let batch = [batch, &batch[..9]].concat();
        let written = one.write_points(world.mine, batch.clone()).await.unwrap();
        assert_eq!(written, other.write_points(world.mine, batch).await.unwrap());
    }
    for limit in [2, 100] {
        let names = one.metric_names(world.mine, Period::default(), limit).await.unwrap();
        assert_eq!(names, other.metric_names(world.mine, Period::default(), limit).await.unwrap());
    }
    let aggregates = [
        Aggregate::Rate,
        Aggregate::Sum,
        Aggregate::Count,
        Aggregate::Average,
        Aggregate::Min,
        Aggregate::Max,
        Aggregate::Quantile(0.5),
        Aggregate::Quantile(0.95),
    ];
    let groups: [&[&str]; 6] =
        [&[], &["it's"], &["k", "service"], &["deploymentId", "it's"], &["none"], &["service"]];
    let mut answered = 0;
    for turn in 0..300 {
        let from = world.ago(dice);
        let period =
            Period { from: Some(from), to: Some(from + TimeDelta::minutes(dice.below(3000).cast_signed())) };
        let name = dice.of(&rows).name;
        let question = MetricQuestion {
            group_by: dice.of(&groups).iter().map(|label| (*label).to_owned()).collect(),
            step: dice.of(&[None, Some(60), Some(3600), Some(86_400)]),
            period: dice.of(&[Period::default(), period, Period { to: None, ..period }]),
            deployment_id: dice.of(&world.deployments),
            limit: dice.of(&[3, 5000]),
            ..question(&name, dice.of(&aggregates))
        };
        let said = one.metrics(world.mine, &question).await.unwrap();
        answered += said.samples.len();
        assert_eq!(said, other.metrics(world.mine, &question).await.unwrap(), "{turn}: {question:?}");
    }
    assert!(answered > 1000, "{answered}");
}
