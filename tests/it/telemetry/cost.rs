//! The same call costs the same, whatever its sender speaks.

use chrono::{TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tests::app::TestApp;
use tests::client::Client;

use super::open;

fn flat(attributes: &Value) -> Value {
    let pair = |(key, value): (&String, &Value)| {
        let value = match value {
            Value::String(text) => json!({ "stringValue": text }),
            Value::Number(number) if number.is_f64() => json!({ "doubleValue": number }),
            other => json!({ "intValue": other.to_string() }),
        };
        json!({ "key": key, "value": value })
    };
    attributes.as_object().unwrap().iter().map(pair).collect()
}

fn otlp(spans: &[(u32, u32, Value)]) -> Value {
    let now = Utc::now() - TimeDelta::minutes(1);
    let nanos = now.timestamp_nanos_opt().unwrap().to_string();
    let span = |(trace, number, attributes): &(u32, u32, Value)| {
        let parent = if *number > 1 { format!("{:016x}", number - 1) } else { String::new() };
        json!({
            "traceId": format!("{trace:032x}"), "spanId": format!("{number:016x}"), "parentSpanId": parent,
            "name": format!("span {number}"), "kind": 3, "startTimeUnixNano": nanos, "endTimeUnixNano": nanos,
            "attributes": flat(attributes),
        })
    };
    let spans: Vec<Value> = spans.iter().map(span).collect();
    json!({ "resourceSpans": [{ "resource": {}, "scopeSpans": [{ "spans": spans }] }] })
}

/// One call: 1,000 tokens in, 600 of them cached, 100 out, 40 of them reasoning; each with what repeats it above.
fn spellings() -> Vec<(&'static str, Vec<Value>)> {
    let gen_ai = json!({
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100,
        "gen_ai.usage.cache_read.input_tokens": 600, "gen_ai.usage.reasoning.output_tokens": 40,
    });
    let mut agent = gen_ai.clone();
    agent["gen_ai.operation.name"] = "invoke_agent".into();
    let deprecated = json!({
        "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o-mini", "gen_ai.usage.prompt_tokens": 1000,
        "gen_ai.usage.completion_tokens": 100, "gen_ai.usage.cache_read_input_tokens": 600,
    });
    let inference = |kind: &str| {
        json!({ "openinference.span.kind": kind, "llm.model_name": "gpt-4o-mini-2024-07-18", "llm.provider": "openai",
                "llm.token_count.prompt": 1000, "llm.token_count.completion": 100,
                "llm.token_count.prompt_details.cache_read": 600 })
    };
    let ai_sdk = |operation: &str| {
        json!({ "ai.operationId": operation, "ai.model.id": "gpt-4o-mini", "ai.model.provider": "openai.responses",
                "ai.usage.promptTokens": 1000, "ai.usage.completionTokens": 100, "ai.usage.cachedInputTokens": 600 })
    };
    vec![
        ("OpenTelemetry", vec![agent, gen_ai]),
        ("deprecated", vec![deprecated]),
        ("OpenInference", vec![inference("AGENT"), inference("LLM")]),
        ("AI SDK", vec![ai_sdk("ai.streamText"), ai_sdk("ai.streamText.doStream")]),
        ("AI SDK, the sum alone", vec![ai_sdk("ai.generateText")]),
    ]
}

fn mastra() -> Value {
    let now = Utc::now() - TimeDelta::minutes(1);
    let usage = json!({ "inputTokens": 1000, "outputTokens": 100,
                        "inputDetails": { "cacheRead": 600, "text": 400 }, "outputDetails": { "reasoning": 40 } });
    let kinds = ["agent_run", "model_generation", "model_step", "model_inference"];
    let span = |(n, kind): (usize, &&str)| {
        json!({ "traceId": format!("{:032x}", 99), "spanId": format!("{:016x}", n + 1), "spanType": kind,
                "parentSpanId": (n > 0).then(|| format!("{n:016x}")), "name": kind, "startedAt": now, "endedAt": now,
                "attributes": { "model": "gpt-4o-mini", "provider": "openai", "usage": usage } })
    };
    json!({ "spans": kinds.iter().enumerate().map(span).collect::<Vec<_>>() })
}

#[tokio::test]
async fn the_same_call_costs_the_same_in_every_spelling() {
    let app = TestApp::start().await;
    let (owner, project, sender) = open(&app).await;
    for (trace, (_, spans)) in (1..).zip(spellings()) {
        let numbered = (1..).zip(spans).map(|(number, span)| (trace, number, span)).collect::<Vec<_>>();
        assert_eq!(sender.post("//v1/traces", otlp(&numbered)).await.expect(200), json!({}));
    }
    sender.post(&format!("//projects/{}/ai/spans/publish", project.id), mastra()).await.expect(200);
    let traces = owner.get(&format!("/projects/{}/traces", project.id)).await.expect(200);
    let traces = traces["items"].as_array().unwrap();
    assert_eq!(traces.len(), 6);
    for trace in traces {
        let shown = (&trace["costUsd"], &trace["inputTokens"], &trace["outputTokens"]);
        // 400 × 0.15 + 600 × 0.075 + 100 × 0.60 for a million.
        assert_eq!(shown, (&json!("0.000165000000"), &json!(1000), &json!(100)), "{trace}");
    }
    let usage = owner.get(&format!("/projects/{}/usage-by-model", project.id)).await.expect(200);
    let calls: i64 = usage["items"].as_array().unwrap().iter().map(|it| it["calls"].as_i64().unwrap()).sum();
    assert_eq!(calls, 6);
    for model in usage["items"].as_array().unwrap() {
        assert_eq!((&model["provider"], &model["callsWithoutCost"]), (&json!("openai"), &json!(0)));
    }
}

#[tokio::test]
async fn what_the_sender_says_it_cost_comes_first_and_nonsense_does_not() {
    let app = TestApp::start().await;
    let (owner, project, sender) = open(&app).await;
    let call = |model: &str, more: Value| {
        let mut said = json!({ "gen_ai.operation.name": "chat", "gen_ai.request.model": model,
                               "gen_ai.usage.input_tokens": 1000 });
        said.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_else(Map::new));
        said
    };
    let cases = [
        (call("gpt-4o-mini", json!({ "gen_ai.usage.cost": 0.25, "llm.cost.total": 9.5 })), "0.250000000000"),
        (call("stub-1", json!({ "llm.cost.total": 0.000_001_5 })), "0.000001500000"),
        (call("gpt-4o-mini", json!({ "gen_ai.usage.cost": 1e300 })), "0.000150000000"),
        (call("gpt-4o-mini", json!({ "gen_ai.usage.cost": -1.5 })), "0.000150000000"),
        (call("gpt-4o-mini", json!({ "gen_ai.usage.output_tokens": -5 })), "0.000150000000"),
        (call("stub-1", json!({})), "0.000000000000"),
    ];
    for (trace, (said, _)) in (1..).zip(&cases) {
        Client::send(sender.request(Method::POST, "//v1/traces").json(&otlp(&[(trace, 1, said.clone())])))
            .await
            .expect(200);
    }
    for (trace, (said, cost)) in (1..).zip(&cases) {
        let path = format!("/projects/{}/traces/{trace:032x}", project.id);
        let shown = &owner.get(&path).await.expect(200)["roots"][0]["costUsd"];
        let unknown = said["gen_ai.request.model"] == "stub-1" && said.get("llm.cost.total").is_none();
        assert_eq!(shown, &if unknown { Value::Null } else { json!(cost) }, "{said}");
    }
}
