//! What real senders send is what is read back: Mastra's exporters as they were captured, the OpenTelemetry SDK live.

use std::ffi::OsStr;
use std::io::Write;

use flate2::Compression;
use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::client::{Answer, Client};
use tests::python;
use tests::world::Project;

use super::open;

const MASTRA: &str = include_str!("../../fixtures/telemetry/mastra-spans.json");
const OTLP_JSON: &str = include_str!("../../fixtures/telemetry/otlp-traces.json");
const OTLP_PROTOBUF: &[u8] = include_bytes!("../../fixtures/telemetry/otlp-traces.bin");

/// Captures keep their dates: this holds for ten years after they were made.
pub(super) async fn long_memory(extra: &[(&str, &str)]) -> (TestApp, Client, Project, Client) {
    let extra = [extra, &[("MASTRA_ADMIN_TELEMETRY_DAYS", "3650")]].concat();
    let app = TestApp::start_with(&extra).await;
    let (owner, project, sender) = open(&app).await;
    (app, owner, project, sender)
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(vec![], Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// As `@mastra/otel-exporter` sends it.
async fn otlp(sender: &Client, kind: &str, body: &[u8]) -> Answer {
    let request = sender.request(Method::POST, "//v1/traces").header("content-type", kind);
    Client::send(request.header("content-encoding", "gzip").body(gzip(body))).await
}

fn names(nodes: &Value) -> Value {
    let node = |node: &Value| json!({ node["name"].as_str().unwrap(): names(&node["children"]) });
    nodes.as_array().unwrap().iter().map(node).collect()
}

#[tokio::test]
async fn what_mastras_exporter_sends_is_read_back() {
    mastras_exporter(&[]).await;
}

#[tokio::test]
async fn otlp_of_mastra_says_the_same_in_protobuf_and_in_json() {
    otlp_of_mastra(&[]).await;
}

#[tokio::test]
async fn ten_traces_of_the_python_sdk_sent_twice_are_ten_of_100_ms() {
    python_sdk(&[]).await;
}

/// Whatever the telemetry goes to.
pub(super) async fn mastras_exporter(store: &[(&str, &str)]) {
    let (app, owner, project, sender) = long_memory(store).await;
    let path = format!("//projects/{}/ai/spans/publish", project.id);
    let publish = async |body: &str| {
        let request = sender.request(Method::POST, &path).header("content-type", "application/json");
        Client::send(request.body(body.to_owned())).await.expect(200)
    };
    assert_eq!(publish(r#"{"spans":[]}"#).await, json!({ "accepted": 0, "rejected": 0, "errors": [] }));
    // Tried again, as the exporter does: the same.
    for _ in 0..2 {
        assert_eq!(publish(MASTRA).await["accepted"], 21);
    }
    let traces = owner.get(&format!("/projects/{}/traces", project.id)).await.expect(200);
    let shown = |trace: &Value| {
        let text = |key: &str| trace[key].as_str().unwrap_or("-").to_owned();
        (
            text("name"),
            text("status"),
            trace["spans"].as_i64().unwrap(),
            trace["inputTokens"].as_i64().unwrap(),
        )
    };
    let all: Vec<_> = traces["items"].as_array().unwrap().iter().map(shown).collect();
    let row = |name: &str, status: &str, spans, tokens| (name.to_owned(), status.to_owned(), spans, tokens);
    assert_eq!(
        all,
        [
            row("workflow run: 'math-workflow'", "error", 3, 0),
            row("workflow run: 'math-workflow'", "ok", 3, 0),
            row("agent run: 'weather-agent'", "error", 4, 0),
            row("agent run: 'weather-agent'", "ok", 4, 7),
            row("agent run: 'weather-agent'", "ok", 7, 22),
        ]
    );
    let path = format!("/projects/{}/traces/987cc6d9a1d887b1e8053c722fa2c668", project.id);
    let trace = owner.get(&path).await.expect(200);
    assert_eq!(
        names(&trace["roots"]),
        json!([{ "agent run: 'weather-agent'": [{ "llm: 'gpt-4o-mini'": [
            { "step: 0": [{ "inference: 0": [] }, { "tool: 'weather'": [] }] },
            { "step: 1": [{ "inference: 1": [] }] },
        ] }] }])
    );
    let root = &trace["roots"][0];
    assert_eq!(
        (&root["userId"], &root["tags"], &root["durationMs"]),
        (&json!("u1"), &json!(["demo"]), &json!(360.0))
    );
    assert_eq!(root["attributes"]["input"], "What is the weather in Paris?");
    let usage = owner.get(&format!("/projects/{}/usage-by-model", project.id)).await.expect(200);
    let model = &usage["items"][0];
    // 29 in, 11 out: 29 × 0.15 + 11 × 0.60 for a million. Generations and steps repeat them.
    assert_eq!((&model["model"], &model["calls"]), (&json!("gpt-4o-mini"), &json!(4)));
    assert_eq!((&model["usage"]["input"], &model["usage"]["output"]), (&json!(29), &json!(11)));
    assert_eq!(model["costUsd"], "0.000010950000");
    drop(app);
}

pub(super) async fn otlp_of_mastra(store: &[(&str, &str)]) {
    let (app, owner, project, sender) = long_memory(store).await;
    let answer = otlp(&sender, "application/x-protobuf", OTLP_PROTOBUF).await;
    assert_eq!((answer.status, answer.text.len()), (200, 0), "an empty message: nothing was refused");
    assert_eq!(answer.headers["content-type"], "application/x-protobuf");
    assert_eq!(otlp(&sender, "application/json", OTLP_JSON.as_bytes()).await.expect(200), json!({}));
    let traces = owner.get(&format!("/projects/{}/traces", project.id)).await.expect(200);
    let costs = |of: &str| {
        let traces = traces["items"].as_array().unwrap().iter();
        let found = traces.filter(|trace| trace["name"] == of);
        found.map(|trace| trace["costUsd"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // Each of the calls once in protobuf and once in JSON, newest first: failed, 7 + 3 tokens, 22 + 8.
    let calls = ["0.000000000000", "0.000002850000", "0.000008100000"];
    assert_eq!(costs("invoke_agent Weather agent"), [calls, calls].concat());
    let failed = owner.get(&format!("/projects/{}/traces?status=error&name=invoke_agent", project.id)).await;
    let failed = failed.expect(200);
    assert_eq!(failed["items"].as_array().unwrap().len(), 2);
    assert_eq!(failed["items"][0]["statusMessage"], "stub-model: asked to fail");
    let path = format!("/projects/{}/traces/{}", project.id, failed["items"][0]["traceId"].as_str().unwrap());
    let trace = owner.get(&path).await.expect(200);
    let event = &trace["roots"][0]["events"][0];
    assert_eq!(event["attributes"]["exception.message"], "stub-model: asked to fail");
    // The native format said the same of the same ids: all of it is known.
    let path = format!("//projects/{}/ai/spans/publish", project.id);
    sender.post(&path, serde_json::from_str(MASTRA).unwrap()).await.expect(200);
    let after = owner.get(&format!("/projects/{}/traces", project.id)).await.expect(200);
    assert_eq!(after["items"].as_array().unwrap().len(), traces["items"].as_array().unwrap().len());
    drop(app);
}

pub(super) async fn python_sdk(store: &[(&str, &str)]) {
    let app = TestApp::start_with(store).await;
    let (owner, project, sender) = open(&app).await;
    let arguments = [&app.url, sender.token().unwrap()].map(OsStr::new);
    let (_child, said) = python::start("opentelemetry", "send.py", &arguments).await;
    assert_eq!(said, "SUCCESS SUCCESS");
    let get = async |path: &str| owner.get(&format!("/projects/{}/{path}", project.id)).await.expect(200);
    let stats = get("stats").await;
    assert_eq!((&stats["traces"], &stats["averageMs"]), (&json!(10), &json!(100.0)));
    assert_eq!((&stats["errors"], &stats["p99Ms"]), (&json!(1), &json!(100.0)));
    let usage = get("usage-by-model").await;
    // 600 × 0.15 + 400 × 0.075 + 100 × 0.60 for a million, ten times.
    assert_eq!(usage["items"][0]["costUsd"], "0.001800000000");
    assert_eq!((&usage["items"][0]["calls"], &usage["items"][0]["provider"]), (&json!(10), &json!("openai")));
    // Users are told by the roots alone; all sums are of the same calls.
    let costs = get("cost-breakdown").await;
    assert_eq!((&costs["costUsd"], &costs["calls"]), (&json!("0.001800000000"), &json!(10)));
    for (kind, key) in
        [("byModel", json!("gpt-4o-mini-2024-07-18")), ("byUser", json!("u1")), ("byDeployment", json!(null))]
    {
        let share = json!([{ "key": key, "calls": 10, "callsWithoutCost": 0, "inputTokens": 10_000,
                             "outputTokens": 1000, "costUsd": "0.001800000000" }]);
        assert_eq!(costs[kind], share, "{kind}");
    }
    let days = costs["byDay"].as_array().unwrap();
    assert_eq!(
        days.iter().map(|day| day["calls"].as_i64().unwrap()).sum::<i64>(),
        10,
        "a night may fall between"
    );
    assert_eq!(get("cost-breakdown?to=2020-01-01T00:00:00Z").await["calls"], 0);

    let mut cursor = String::new();
    let mut seen = vec![];
    for _ in 0..4 {
        let page = get(&format!("traces?limit=3&userId=u1{cursor}")).await;
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()),
        );
        cursor = format!("&cursor={}", page["nextCursor"].as_str().unwrap_or_default());
    }
    assert_eq!(seen, (0..10).rev().map(|n| format!("request {n}")).collect::<Vec<_>>());
    let failed = get("traces?status=error").await;
    let trace = get(&format!("traces/{}", failed["items"][0]["traceId"].as_str().unwrap())).await;
    let (root, chat) = (&trace["roots"][0], &trace["roots"][0]["children"][0]);
    assert_eq!((&root["service"], &root["kind"]), (&json!("python-sender"), &json!("server")));
    assert_eq!((&chat["kind"], &chat["durationMs"]), (&json!("chat"), &json!(80.0)));
    assert_eq!(chat["price"], "openai/gpt-4o-mini@2024-07-18");
    assert_eq!(chat["attributes"]["nothing"], "NaN");
    assert_eq!(chat["events"][0]["attributes"]["exception.type"], "ValueError");
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let mut app = TestApp::start().await;
    let (owner, project, sender) = open(&app).await;
    let path = format!("//projects/{}/ai/spans/publish", project.id);
    let now = chrono::Utc::now();
    let span = |n: u32| {
        let id = format!("{n:016x}");
        json!({ "traceId": format!("{n:032x}"), "spanId": id, "name": "x", "startedAt": now, "endedAt": now })
    };
    let spans: Vec<Value> = (1..=500).map(span).collect();
    assert_eq!(sender.post(&path, json!({ "spans": spans })).await.expect(200)["accepted"], 500);
    app.kill_and_restart().await;
    let owner = app.nobody().with_token(owner.token().unwrap());
    let stats = owner.get(&format!("/projects/{}/stats", project.id)).await.expect(200);
    assert_eq!(stats["traces"], 500);
}
