//! Measurements of servers: 5, 7 and 9 are 5 at least, 7 on average, 9 at most and 21 together, however they are sent and
//! however often.

use std::ffi::OsStr;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use domain::ports::telemetry::{
    Aggregate, Measurements, MetricAnswer, MetricKind, MetricQuestion, MetricSample, Period, Point, RecordId,
    Tenant, Written,
};
use providers::observability::postgres_signals::PostgresSignals;
use reqwest::Method;
use serde_json::{Map, Value, json};
use tests::app::TestApp;
use tests::clickhouse::ClickHouse;
use tests::client::Client;
use tests::python;

use super::contract::tenant;
use super::open;
use super::parts;
use super::senders::long_memory;
use super::store::signals;

const MASTRA: &str = include_str!("../../fixtures/telemetry/mastra-metrics.json");

fn id(n: u64) -> RecordId {
    format!("{n:032x}").parse().unwrap()
}

pub(super) fn point(n: u64, name: &str, kind: MetricKind, at: DateTime<Utc>, value: f64) -> Point {
    Point {
        id: id(n),
        name: name.into(),
        kind,
        unit: Some("ms".into()),
        at: at.duration_trunc(TimeDelta::microseconds(1)).unwrap(),
        started_at: None,
        series: id(1),
        count: 1,
        sum: Some(value),
        min: Some(value),
        max: Some(value),
        bounds: vec![],
        buckets: vec![],
        labels: Map::new(),
        context: Map::new(),
        service: None,
        deployment_id: None,
        trace_id: None,
        span_id: None,
    }
}

pub(super) fn question(name: &str, aggregate: Aggregate) -> MetricQuestion {
    MetricQuestion {
        name: name.into(),
        aggregate,
        group_by: vec![],
        step: None,
        period: Period::default(),
        seconds: 10.0,
        deployment_id: None,
        limit: 100,
    }
}

/// The number that answers a question.
pub(super) async fn one(store: &dyn Measurements, mine: Tenant, question: MetricQuestion) -> f64 {
    let samples = store.metrics(mine, &question).await.unwrap().samples;
    let [sample] = &samples[..] else { panic!("{samples:?}") };
    sample.value
}

async fn values(store: &dyn Measurements, mine: Tenant, name: &str) -> [f64; 7] {
    let mut values = [0.0; 7];
    for (value, aggregate) in values.iter_mut().zip([
        Aggregate::Min,
        Aggregate::Average,
        Aggregate::Max,
        Aggregate::Sum,
        Aggregate::Count,
        Aggregate::Rate,
        Aggregate::Quantile(0.5),
    ]) {
        *value = one(store, mine, question(name, aggregate)).await;
    }
    values
}

/// What every store of measurements promises.
#[expect(clippy::too_many_lines, reason = "one story, told from its beginning to its end")]
pub(super) async fn contract(store: &dyn Measurements) {
    let (mine, now) = (tenant(), Utc::now());
    let at = |seconds: i64| now - TimeDelta::seconds(seconds);
    let three = |first: u64, name: &str, kind, values: [f64; 3]| {
        let point = |(n, value)| point(first + n, name, kind, at(30 - 10 * i64::try_from(n).unwrap()), value);
        (0..).zip(values).map(point).collect::<Vec<_>>()
    };
    for n in 0..2 {
        let some =
            store.write_points(mine, three(100, "once", MetricKind::Gauge, [5.0, 7.0, 9.0])).await.unwrap();
        assert_eq!(some, Written { stored: 3 * (1 - n), repeated: 3 * n });
        store.write_points(mine, three(1, "gauge", MetricKind::Gauge, [5.0, 7.0, 9.0])).await.unwrap();
        store.write_points(mine, three(4, "delta", MetricKind::Delta, [5.0, 7.0, 9.0])).await.unwrap();
        store.write_points(mine, three(7, "all", MetricKind::Cumulative, [5.0, 12.0, 21.0])).await.unwrap();
    }
    for name in ["gauge", "delta", "all"] {
        assert_eq!(values(store, mine, name).await, [5.0, 7.0, 9.0, 21.0, 3.0, 2.1, 7.0], "{name}");
    }
    // The period begins after the first: what it told is known, and no part of what is new.
    let late = Period { from: Some(at(25)), to: None };
    assert_eq!(
        one(store, mine, MetricQuestion { period: late, ..question("all", Aggregate::Sum) }).await,
        16.0
    );
    // A sender that began anew: what it tells first is new, too.
    store.write_points(mine, vec![point(10, "all", MetricKind::Cumulative, at(5), 2.0)]).await.unwrap();
    assert_eq!(one(store, mine, question("all", Aggregate::Sum)).await, 23.0);

    // Histograms that tell everything again each time.
    let histogram = |n: u64, seconds, buckets: [i64; 3], sum| Point {
        count: buckets.iter().sum(),
        min: Some(1.0),
        max: Some(30.0),
        bounds: vec![10.0, 20.0],
        buckets: buckets.to_vec(),
        ..point(n, "took", MetricKind::CumulativeHistogram, at(seconds), sum)
    };
    store.write_points(mine, vec![histogram(11, 30, [50, 0, 0], 100.0)]).await.unwrap();
    store.write_points(mine, vec![histogram(12, 20, [50, 49, 1], 1000.0)]).await.unwrap();
    let took = |aggregate| question("took", aggregate);
    assert_eq!(one(store, mine, took(Aggregate::Count)).await, 100.0);
    assert_eq!(one(store, mine, took(Aggregate::Average)).await, 10.0);
    assert_eq!(one(store, mine, took(Aggregate::Quantile(0.5))).await, 10.0);
    assert!(one(store, mine, took(Aggregate::Quantile(0.95))).await > 19.0);
    let late = MetricQuestion { period: late, ..took(Aggregate::Count) };
    assert_eq!(one(store, mine, late.clone()).await, 50.0);
    let late = MetricQuestion { aggregate: Aggregate::Quantile(0.01), ..late };
    assert!(one(store, mine, late).await > 10.0, "the first fifty were told before");

    // Steps and groups.
    let labelled = |n: u64, seconds, route: Option<&str>| {
        let labels = route.map(|route| ("route".to_owned(), json!(route))).into_iter().collect();
        Point { labels, ..point(n, "routed", MetricKind::Gauge, at(seconds), 1.0) }
    };
    let hour = i64::from(3600);
    let routed =
        vec![labelled(20, 2 * hour, Some("/a")), labelled(21, 2 * hour, None), labelled(22, 0, Some("/a"))];
    store.write_points(mine, routed).await.unwrap();
    let group_by = vec!["route".to_owned(), "service".to_owned()];
    let steps = MetricQuestion { group_by, step: Some(3600), ..question("routed", Aggregate::Sum) };
    let samples = store.metrics(mine, &steps).await.unwrap().samples;
    let hours = |at: DateTime<Utc>| at.duration_trunc(TimeDelta::hours(1)).unwrap();
    let sample = |at, route: Option<&str>| MetricSample {
        at: Some(hours(at)),
        group: vec![route.map(str::to_owned), None],
        value: 1.0,
        count: 1,
    };
    assert_eq!(
        samples,
        [sample(at(2 * hour), Some("/a")), sample(at(2 * hour), None), sample(now, Some("/a"))]
    );

    let names = store.metric_names(mine, Period::default(), 10).await.unwrap();
    let named: Vec<_> = names.iter().map(|it| (&*it.name, it.kind.as_str(), it.labels.len())).collect();
    let wanted = [
        ("all", "cumulative", 0),
        ("delta", "delta", 0),
        ("gauge", "gauge", 0),
        ("once", "gauge", 0),
        ("routed", "gauge", 1),
        ("took", "cumulative_histogram", 0),
    ];
    assert_eq!(named, wanted);
    assert_eq!(store.metric_names(mine, Period::default(), 2).await.unwrap().len(), 2);
    for other in [Tenant { project: tenant().project, ..mine }, Tenant { team: tenant().team, ..mine }] {
        assert_eq!(store.metric_names(other, Period::default(), 10).await.unwrap(), []);
        assert_eq!(
            store.metrics(other, &question("gauge", Aggregate::Sum)).await.unwrap(),
            MetricAnswer::default()
        );
    }
    assert_eq!(store.write_points(mine, vec![]).await.unwrap(), Written::default());
    parts::partial_steps(store).await;
    parts::what_is_left_out_is_told(store).await;
    parts::a_sum_that_is_not_said_is_not_nothing(store).await;
}

#[tokio::test]
async fn postgresql_keeps_the_contract() {
    let db = signals().await;
    contract(&PostgresSignals::new(db.pool().clone(), 30)).await;
}

/// The number of a project, asked for over HTTP.
pub(super) async fn number(owner: &Client, project: &str, query: &str) -> Value {
    let answer = owner.get(&format!("/projects/{project}/metrics?{query}")).await.expect(200);
    let items = answer["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{query}: {answer}");
    items[0]["value"].clone()
}

#[tokio::test]
async fn five_seven_and_nine_of_the_python_sdk_are_21_however_they_are_told() {
    of_python_sdk(&[]).await;
}

#[tokio::test]
async fn measurements_of_mastra_are_read_back() {
    of_mastra(&[]).await;
}

/// Whatever the telemetry goes to.
pub(super) async fn of_python_sdk(store: &[(&str, &str)]) {
    let app = TestApp::start_with(store).await;
    let (owner, project, sender) = open(&app).await;
    let arguments = [&app.url, sender.token().unwrap()].map(OsStr::new);
    let (_child, said) = python::start("opentelemetry", "send_metrics.py", &arguments).await;
    assert_eq!(said, "SUCCESS");
    for kind in ["cumulative", "delta"] {
        for (agg, wanted) in [("min", 5.0), ("avg", 7.0), ("max", 9.0), ("sum", 21.0), ("count", 3.0)] {
            for name in ["gauge", "counter", "histogram"] {
                // Two routes of the counter each tell what they alone count.
                let query = format!("name={kind}.{name}&agg={agg}");
                assert_eq!(number(&owner, &project.id, &query).await, json!(wanted), "{query}");
            }
        }
        let p99 = number(&owner, &project.id, &format!("name={kind}.histogram&agg=p99")).await;
        assert!((5.0..=9.0).contains(&p99.as_f64().unwrap()), "{p99}");
    }
    let path =
        format!("/projects/{}/metrics?name=delta.counter&agg=sum&groupBy=route&step=86400", project.id);
    let grouped = owner.get(&path).await.expect(200);
    let groups: Vec<_> =
        grouped["items"].as_array().unwrap().iter().map(|it| (&it["group"]["route"], &it["value"])).collect();
    assert!(groups.contains(&(&json!("/b"), &json!(9.0))), "{grouped}");
    let names = owner.get(&format!("/projects/{}/metrics/names", project.id)).await.expect(200);
    assert_eq!(names["items"].as_array().unwrap().len(), 6);
    assert_eq!(
        (&names["items"][0]["kind"], &names["items"][0]["labels"]),
        (&json!("cumulative"), &json!(["route"]))
    );
}

pub(super) async fn of_mastra(store: &[(&str, &str)]) {
    let (app, owner, project, sender) = long_memory(store).await;
    let path = format!("//projects/{}/ai/metrics/publish", project.id);
    let nothing = sender.post(&path, json!({ "metrics": [] })).await.expect(200);
    assert_eq!(nothing, json!({ "accepted": 0, "rejected": 0, "errors": [] }));
    for _ in 0..2 {
        let body: Value = serde_json::from_str(MASTRA).unwrap();
        assert_eq!(sender.post(&path, body).await.expect(200)["accepted"], 17);
    }
    let of = |name: &str, rest: &str| {
        format!("name={name}&from=2026-11-21T00:00:00Z&to=2026-11-22T00:00:00Z&{rest}")
    };
    let tokens = of("mastra_model_total_input_tokens", "agg=sum");
    assert_eq!(number(&owner, &project.id, &tokens).await, json!(29.0));
    let failed = of("mastra_agent_duration_ms", "agg=max&groupBy=status,entityName");
    let failed = owner.get(&format!("/projects/{}/metrics?{failed}", project.id)).await.expect(200);
    let wanted = json!([
        { "at": null, "group": { "status": "error", "entityName": "Weather agent" }, "value": 17.0, "count": 1 },
        { "at": null, "group": { "status": "ok", "entityName": "Weather agent" }, "value": 360.0, "count": 2 },
    ]);
    assert_eq!(failed["items"], wanted);
    let model = of("mastra_model_total_input_tokens", "agg=count&groupBy=model");
    let model = owner.get(&format!("/projects/{}/metrics?{model}", project.id)).await.expect(200);
    assert_eq!(model["items"][0]["group"], json!({ "model": "gpt-4o-mini" }));
    drop(app);
}

#[tokio::test]
async fn a_histogram_without_a_sum_is_in_no_sum_and_no_average() {
    let engine = ClickHouse::some().await;
    for store in [&[][..], &engine.settings()] {
        let app = TestApp::start_with(store).await;
        let (owner, project, sender) = open(&app).await;
        let send = async |seconds: i64, sum: Value| {
            let at = Utc::now() - TimeDelta::seconds(seconds);
            let mut point = json!({ "timeUnixNano": at.timestamp_nanos_opt().unwrap().to_string(), "count": "2",
                                    "bucketCounts": ["2", "0"], "explicitBounds": [10], "min": 0 });
            point.as_object_mut().unwrap().extend(sum.as_object().cloned().unwrap());
            let body = json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [
                { "name": "took", "histogram": { "dataPoints": [point], "aggregationTemporality": 1 } },
            ] }] }] });
            let request = sender.request(Method::POST, "//v1/metrics").json(&body);
            assert_eq!(Client::send(request).await.expect(200), json!({}));
        };
        let of = async |agg: &str| number(&owner, &project.id, &format!("name=took&agg={agg}")).await;
        send(9, json!({})).await;
        for agg in ["sum", "avg"] {
            let path = format!("/projects/{}/metrics?name=took&agg={agg}", project.id);
            assert_eq!(owner.get(&path).await.expect(200)["items"], json!([]), "{agg}: nobody has said it");
        }
        assert_eq!((of("count").await, of("p50").await), (json!(2.0), json!(5.0)));
        send(8, json!({ "sum": 12 })).await;
        for (agg, wanted) in [("sum", 12.0), ("avg", 6.0), ("count", 4.0), ("p50", 5.0), ("min", 0.0)] {
            assert_eq!(of(agg).await, json!(wanted), "{agg}");
        }
    }
}

#[tokio::test]
async fn bad_measurements_are_refused_and_their_neighbours_stored() {
    bad(&[]).await;
}

/// Whatever the telemetry goes to.
#[expect(clippy::too_many_lines, reason = "a list of what senders get wrong")]
pub(super) async fn bad(store: &[(&str, &str)]) {
    let app = TestApp::start_with(store).await;
    let (owner, project, sender) = open(&app).await;
    let path = format!("//projects/{}/ai/metrics/publish", project.id);
    let now = Utc::now();
    let value = |changes: Value| {
        let mut value = json!({ "timestamp": now, "name": "good", "value": 1, "labels": {} });
        value.as_object_mut().unwrap().extend(changes.as_object().cloned().unwrap_or_default());
        value
    };
    let mut rows: Vec<Value> = [
        json!({ "value": "NaN" }),
        json!({ "value": null }),
        json!({ "value": 1e300 }),
        json!({ "name": " " }),
        json!({ "name": 7 }),
        json!({ "timestamp": "2262-04-12T00:00:00Z" }),
        json!({ "timestamp": "+262142-01-01T00:00:00Z" }),
        json!({ "timestamp": now - TimeDelta::days(40) }),
        json!({ "traceId": "1".repeat(31) }),
    ]
    .map(value)
    .into();
    rows.extend([json!("no object"), json!(null)]);
    let refused = rows.len();
    let many: Map<String, Value> = (0..10_000).map(|n| (format!("k{n}"), json!(n))).collect();
    rows.extend([
        value(json!({ "labels": many, "__proto__": { "a": 1 } })),
        value(json!({ "labels": { "large": "ä".repeat(1 << 20), "nul": "a\u{0}" } })),
        value(json!({ "value": 1e200, "metricId": "largest" })),
        value(json!({ "value": 1e200, "metricId": "as large" })),
    ]);
    let answer = sender.post(&path, json!({ "metrics": rows })).await.expect(200);
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(4), &json!(refused)), "{answer}");
    assert_eq!(answer["errors"][0], "measurement of good: its value is no number");
    assert_eq!(number(&owner, &project.id, "name=good&agg=sum").await, json!(2e200 + 2.0));

    let nanos = now.timestamp_nanos_opt().unwrap().to_string();
    let points =
        |points: Value| json!({ "dataPoints": points, "aggregationTemporality": 2, "isMonotonic": true });
    let body = json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [
        { "name": "otlp", "sum": points(json!([
            { "timeUnixNano": nanos, "asDouble": "NaN" },
            { "timeUnixNano": nanos, "asDouble": "Infinity", "attributes": [{ "key": "a", "value": {} }] },
            { "timeUnixNano": "0", "asInt": "1" },
            { "timeUnixNano": nanos, "startTimeUnixNano": nanos, "asInt": "7" },
            { "timeUnixNano": nanos, "flags": 1 },
        ])) },
        { "name": "no temporality", "sum": { "dataPoints": [{ "timeUnixNano": nanos, "asInt": 1 }] } },
        { "name": "h", "histogram": points(json!([
            { "timeUnixNano": nanos, "count": "3", "bucketCounts": ["1"], "explicitBounds": [1] },
            { "timeUnixNano": nanos, "count": "3", "bucketCounts": ["1", "2"], "explicitBounds": [1] },
        ])) },
        { "name": "e", "exponentialHistogram": points(json!([{}, {}])) },
    ] }] }] });
    let said = Client::send(sender.request(Method::POST, "//v1/metrics").json(&body)).await.expect(200);
    assert_eq!(said["partialSuccess"]["rejectedDataPoints"], "7", "{said}");
    assert_eq!(number(&owner, &project.id, "name=otlp&agg=sum").await, json!(7.0));
    for (query, status) in [
        ("", 422),
        ("name=", 422),
        ("name=%00", 422),
        ("name=x&agg=median", 422),
        ("name=x&step=0", 422),
        ("name=x&step=2678401", 422),
        ("name=x&groupBy=a,,b", 422),
        ("name=x&groupBy=a,b,c,d,e", 422),
        ("name=x&from=%2B262142-01-01T00:00:00Z", 422),
        ("name=x&from=0000-01-01T00:00:00Z&to=9999-01-01T00:00:00Z&step=1&agg=p99&groupBy=a", 200),
        ("name=h&from=0001-01-01T00:00:00Z&agg=p99&groupBy=deploymentId,service,a,b", 200),
    ] {
        let path = format!("/projects/{}/metrics?{query}", project.id);
        assert_eq!(owner.get(&path).await.status, status, "{query}");
    }
}
