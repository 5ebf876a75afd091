//! What programs for Node send with packages as npm has them is what is read back: the OpenTelemetry SDK, and Mastra's
//! exporter for OpenTelemetry.

use serde_json::{Value, json};
use tests::app::TestApp;
use tests::clickhouse::ClickHouse;
use tests::client::Client;
use tests::node;
use tests::world::Project;

use super::open;

async fn get(owner: &Client, project: &Project, path: &str) -> Value {
    owner.get(&format!("/projects/{}/{path}", project.id)).await.expect(200)
}

#[tokio::test]
async fn what_the_node_sdk_sends_in_protobuf_and_in_json_is_read_back_once() {
    sdk(&[]).await;
}

#[tokio::test]
async fn what_the_node_sdk_sends_is_read_back_out_of_clickhouse() {
    let engine = ClickHouse::some().await;
    sdk(&engine.settings()).await;
}

async fn sdk(store: &[(&str, &str)]) {
    let app = TestApp::start_with(store).await;
    let (owner, project, sender) = open(&app).await;
    let told = node::run("opentelemetry-node", "send.mjs", &[&app.url, sender.token().unwrap()]).await;
    assert_eq!(told, "0", "nothing was refused");

    let stats = get(&owner, &project, "stats").await;
    assert_eq!((&stats["traces"], &stats["averageMs"]), (&json!(10), &json!(100.0)));
    assert_eq!(
        (&stats["errors"], &stats["minMs"], &stats["p99Ms"]),
        (&json!(1), &json!(100.0), &json!(100.0))
    );
    // 600 × 0.15 + 400 × 0.075 + 100 × 0.60 for a million, ten times.
    let usage = get(&owner, &project, "usage-by-model").await;
    assert_eq!(
        (&usage["items"][0]["calls"], &usage["items"][0]["costUsd"]),
        (&json!(10), &json!("0.001800000000"))
    );
    let failed = get(&owner, &project, "traces?status=error&userId=u1").await;
    let [failed] = &failed["items"].as_array().unwrap()[..] else { panic!("{failed}") };
    assert_eq!((&failed["name"], &failed["spans"]), (&json!("request 9"), &json!(2)));
    let trace = get(&owner, &project, &format!("traces/{}", failed["traceId"].as_str().unwrap())).await;
    let (root, chat) = (&trace["roots"][0], &trace["roots"][0]["children"][0]);
    assert_eq!((&root["service"], &root["kind"]), (&json!("node-sender"), &json!("server")));
    assert_eq!((&chat["kind"], &chat["durationMs"]), (&json!("chat"), &json!(80.0)));
    let said = &chat["attributes"];
    assert_eq!((&said["list"], &said["half"]), (&json!(["a", "b"]), &json!(0.5)));
    assert_eq!(said["big"].as_f64(), Some(9_007_199_254_740_992.0));
    assert_eq!(chat["events"][0]["attributes"]["exception.type"], "TypeError");

    let lines = get(&owner, &project, "logs").await;
    let lines: Vec<_> =
        lines["items"].as_array().unwrap().iter().map(|it| (&it["level"], &it["message"])).collect();
    let [error, warn, info] = &lines[..] else { panic!("each once: {lines:?}") };
    assert_eq!(
        (*info, *error),
        ((&json!("info"), &json!("the beginning")), (&json!("error"), &json!("it broke")))
    );
    let what: Value = serde_json::from_str(warn.1.as_str().unwrap()).unwrap();
    assert_eq!(what, json!({ "what": "failed", "times": 3 }));

    for kind in ["cumulative", "delta"] {
        for (question, wanted) in [
            (format!("name={kind}.counter&agg=sum"), 21.0),
            (format!("name={kind}.histogram&agg=avg"), 7.0),
            (format!("name={kind}.histogram&agg=count"), 3.0),
            (format!("name={kind}.histogram&agg=max"), 9.0),
        ] {
            let answer = get(&owner, &project, &format!("metrics?{question}")).await;
            assert_eq!(answer["items"][0]["value"], json!(wanted), "{question}: {answer}");
        }
    }

    // The exception of the span, and that of the line; the root that failed because of the first says so by itself.
    let errors = get(&owner, &project, "errors").await;
    let mut kinds: Vec<_> = errors["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["type"].as_str(), it["count"].as_i64().unwrap()))
        .collect();
    kinds.sort_unstable();
    assert_eq!(kinds, [(None, 1), (Some("RangeError"), 1), (Some("TypeError"), 1)]);
}

#[tokio::test]
async fn what_mastras_exporter_for_opentelemetry_sends_is_read_back() {
    let app = TestApp::start().await;
    let (owner, project, sender) = open(&app).await;
    let headers = format!("authorization=Bearer%20{}", sender.token().unwrap());
    for protocol in ["http/protobuf", "http/json"] {
        let said = node::mastra_agent(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &app.url),
            ("OTEL_EXPORTER_OTLP_HEADERS", &headers),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_SERVICE_NAME", protocol),
        ])
        .await;
        assert_eq!(said, "Tool said: {\"city\":\"Paris\",\"celsius\":21} | stub-model: asked to fail");
    }
    let traces = get(&owner, &project, "traces?name=invoke_agent").await;
    let shown = |trace: &Value| {
        (trace["status"].as_str().unwrap().to_owned(), trace["outputTokens"].as_i64().unwrap())
    };
    let all: Vec<_> = traces["items"].as_array().unwrap().iter().map(shown).collect();
    let [first, second, third, fourth] = &all[..] else { panic!("two runs of two: {traces}") };
    assert_eq!(
        (&first.0, &third.0, first, second),
        (&"error".to_owned(), &"error".to_owned(), third, fourth)
    );
    assert!(second.1 > 0 && second.0 != "error", "{traces}");
    let answered = traces["items"][1]["traceId"].as_str().unwrap();
    let trace = get(&owner, &project, &format!("traces/{answered}")).await;
    let flat = trace["roots"].to_string();
    assert!(flat.contains("\"service\":\"http/json\"") && flat.contains("execute_tool"), "{flat}");
    let usage = get(&owner, &project, "usage-by-model").await;
    assert_eq!(usage["items"][0]["model"], "stub-1", "{usage}");

    let errors = get(&owner, &project, "errors?text=asked+to+fail&source=span").await;
    assert!(errors["items"][0]["traces"].as_i64().unwrap() == 2, "{errors}");
}
