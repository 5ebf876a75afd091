//! What senders get wrong is refused by row, cut to its caps or refused as a whole: never with a 5xx, and never for others.

use std::io::Write;

use chrono::{TimeDelta, Utc};
use flate2::Compression;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use reqwest::Method;
use serde_json::{Map, Value, json};
use tests::app::TestApp;
use tests::client::Client;
use tests::world::project as another_project;

use super::open;

/// A good row, and changes to it that make it another.
fn row(n: u32, changes: Value) -> Value {
    let now = Utc::now();
    let mut row = json!({ "traceId": format!("{n:032x}"), "spanId": format!("{n:016x}"), "name": "row",
                          "spanType": "agent_run", "startedAt": now, "endedAt": now });
    row.as_object_mut().unwrap().extend(changes.as_object().cloned().unwrap_or_else(Map::new));
    row
}

#[tokio::test]
async fn bad_rows_are_refused_and_their_neighbours_stored() {
    let app = TestApp::start().await;
    let (owner, project, sender) = open(&app).await;
    let path = format!("//projects/{}/ai/spans/publish", project.id);
    let ago = |days| Utc::now() - TimeDelta::days(days);
    let bad = [
        json!({ "traceId": "1".repeat(31) }),
        json!({ "traceId": "" }),
        json!({ "traceId": "0".repeat(32) }),
        json!({ "traceId": 7 }),
        json!({ "spanId": "g".repeat(16) }),
        json!({ "parentSpanId": "1" }),
        json!({ "endedAt": ago(1) }),
        json!({ "endedAt": null }),
        json!({ "startedAt": "yesterday" }),
        json!({ "startedAt": "2262-04-12T00:00:00Z", "endedAt": "2262-04-12T00:00:00Z" }),
        json!({ "startedAt": "+262142-01-01T00:00:00Z", "endedAt": "+262142-01-01T00:00:00Z" }),
        json!({ "startedAt": ago(40), "endedAt": ago(40) }),
        json!({ "startedAt": "1969-07-20T00:00:00Z" }),
    ];
    let mut spans: Vec<Value> = bad.iter().map(|changes| row(1, changes.clone())).collect();
    spans.extend([json!("no object"), json!(null), json!([])]);
    let refused = spans.len();
    let many: Map<String, Value> = (0..10_000).map(|n| (format!("k{n}"), json!(n))).collect();
    spans.extend([
        row(
            2,
            json!({ "attributes": { "usage": { "inputTokens": -1, "outputTokens": 1e300, "cost": "NaN" } } }),
        ),
        row(3, json!({ "attributes": many })),
        row(4, json!({ "input": "ä".repeat(200_000), "name": "x".repeat(100_000) })),
        row(5, json!({ "__proto__": { "constructor": 1 }, "metadata": { "nul": "a\u{0}b", "a\u{0}": 1 } })),
        row(6, json!({ "projectId": "00000000-0000-0000-0000-000000000000", "tags": "one" })),
        row(7, json!({ "attributes": "no object", "metadata": [1], "tags": [1, null, {}], "error": "text" })),
    ]);
    let answer = sender.post(&path, json!({ "spans": spans })).await.expect(200);
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(6), &json!(refused)), "{answer}");
    assert_eq!(answer["errors"][0], "traceId must be 32 hexadecimal digits, not all of them zero");
    let root = async |n: u32| {
        let trace = owner.get(&format!("/projects/{}/traces/{n:032x}", project.id)).await.expect(200);
        trace["roots"][0].clone()
    };
    assert_eq!(root(2).await["usage"]["input"], 0);
    assert_eq!(root(3).await["attributes"]["attributes"]["mastra_admin.dropped"], 10_000 - 512);
    let large = root(4).await;
    assert!(large["attributes"]["input"].as_str().unwrap().ends_with("bytes cut)"));
    assert!(large["name"].as_str().unwrap().len() < 600);
    let odd = root(5).await;
    assert_eq!(odd["attributes"]["__proto__"], json!({ "constructor": 1 }));
    assert_eq!(odd["attributes"]["metadata"]["nul"], "a\u{FFFD}b");
    assert_eq!(root(6).await["tags"], json!(["one"]));
    assert_eq!((&root(7).await["tags"], &root(7).await["status"]), (&json!(["1"]), &json!("error")));

    for (body, status) in [("", 400), ("{", 400), ("[]", 422), ("{}", 422), (r#"{"spans":7}"#, 422)] {
        let request = sender.request(Method::POST, &path).body(body);
        assert_eq!(Client::send(request).await.status, status, "{body}");
    }
}

#[tokio::test]
async fn otlp_says_what_it_refused_in_protobuf() {
    let app = TestApp::start().await;
    let (owner, project, sender) = open(&app).await;
    let now = u64::try_from(Utc::now().timestamp_nanos_opt().unwrap()).unwrap();
    let number = |key: &str, number: f64| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::DoubleValue(number)) }),
        ..KeyValue::default()
    };
    let good = Span {
        trace_id: vec![7; 16],
        span_id: vec![7; 8],
        start_time_unix_nano: now,
        end_time_unix_nano: now + 5_000_000,
        attributes: vec![
            number("nan", f64::NAN),
            number("gen_ai.usage.cost", f64::INFINITY),
            number("big", 1e300),
        ],
        ..Span::default()
    };
    let spans = vec![
        good.clone(),
        Span { trace_id: vec![7; 15], ..good.clone() },
        Span { span_id: vec![], ..good.clone() },
        Span { end_time_unix_nano: now - 1, ..good.clone() },
        Span { start_time_unix_nano: 0, ..good.clone() },
        Span { start_time_unix_nano: u64::MAX, end_time_unix_nano: u64::MAX, ..good },
    ];
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }],
    };
    let post = async |kind: &str, packing: &str, body: Vec<u8>| {
        let request = sender.request(Method::POST, "//v1/traces").header("content-type", kind);
        request.header("content-encoding", packing).body(body).send().await.unwrap()
    };
    let body = request.encode_to_vec();
    for packed in [("identity", body.clone()), ("zstd", zstd::encode_all(&body[..], 1).unwrap())] {
        let answer = post("application/x-protobuf", packed.0, packed.1).await;
        assert_eq!(answer.status(), 200);
        let said = ExportTraceServiceResponse::decode(answer.bytes().await.unwrap()).unwrap();
        assert_eq!(said.partial_success.unwrap().rejected_spans, 5);
    }
    let stats = owner.get(&format!("/projects/{}/stats", project.id)).await.expect(200);
    assert_eq!((&stats["traces"], &stats["averageMs"]), (&json!(1), &json!(5.0)));

    let mut bomb = flate2::write::GzEncoder::new(vec![], Compression::fast());
    bomb.write_all(&vec![0; 20 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    for (kind, packing, body, status) in [
        ("application/x-protobuf", "identity", vec![1, 2, 3], 400),
        ("application/json", "identity", b"[]".to_vec(), 422),
        ("application/json", "identity", br#"{"resourceSpans":{}}"#.to_vec(), 422),
        ("application/json", "gzip", b"{}".to_vec(), 400),
        ("application/json", "br", b"{}".to_vec(), 415),
        ("text/plain", "identity", b"{}".to_vec(), 415),
        ("application/json", "gzip", bomb, 413),
        ("application/json", "identity", vec![b' '; 9 << 20], 413),
    ] {
        assert_eq!(post(kind, packing, body).await.status().as_u16(), status, "{kind} {packing}");
    }
}

#[tokio::test]
async fn only_a_token_of_the_project_sends_and_nobody_reads_what_others_sent() {
    let app = TestApp::start().await;
    let (owner, mine, sender) = open(&app).await;
    let theirs = another_project(&owner, "acme", "other", &app.repository("tiny", "other"), json!({})).await;
    let their_sender = theirs.sender(&app, &owner).await;
    let publish = |project: &str| format!("//projects/{project}/ai/spans/publish");
    let body = json!({ "spans": [row(1, json!({}))] });
    assert_eq!(
        their_sender.post(&publish(&mine.id), body.clone()).await.status,
        404,
        "a path of another project"
    );
    assert_eq!(owner.post(&publish(&mine.id), body.clone()).await.status, 403, "a person");
    assert_eq!(app.nobody().post(&publish(&mine.id), body.clone()).await.status, 401);
    assert_eq!(
        sender.get(&format!("/projects/{}/traces", mine.id)).await.status,
        404,
        "to write is not to read"
    );
    sender.post(&publish(&mine.id), body.clone()).await.expect(200);
    let there = format!("/projects/{}/traces/{:032x}", theirs.id, 1);
    assert_eq!(owner.get(&there).await.status, 404);
    // The same ids in both: each has his own.
    their_sender.post(&publish(&theirs.id), body).await.expect(200);
    assert_eq!(owner.get(&there).await.expect(200)["spans"], 1);
    // A dry run stores nothing.
    let dry = json!({ "spans": [row(2, json!({}))] });
    assert_eq!(
        sender.post(&format!("{}?dryRun=true", publish(&mine.id)), dry).await.expect(200)["accepted"],
        1
    );
    assert_eq!(owner.get(&format!("/projects/{}/traces/{:032x}", mine.id, 2)).await.status, 404);
    for (query, status) in [
        ("status=well", 422),
        ("limit=0", 422),
        ("cursor=7", 422),
        ("cursor=999999999999999999-00000000000000000000000000000001", 422),
        ("minDurationMs=-1", 422),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 422),
        ("from=%2B262142-01-01T00:00:00Z", 422),
        ("name=%00", 422),
        (
            "name=%25&tag=%25&model=x&sessionId=y&userId=z&deploymentId=00000000-0000-0000-0000-000000000000",
            200,
        ),
        ("from=0001-01-01T00:00:00Z&to=9999-01-01T00:00:00Z&minDurationMs=4294967295&status=unset", 200),
    ] {
        assert_eq!(
            owner.get(&format!("/projects/{}/traces?{query}", mine.id)).await.status,
            status,
            "{query}"
        );
    }
}
