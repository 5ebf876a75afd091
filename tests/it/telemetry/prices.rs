//! What a million tokens cost here is what a table says that others keep: PyPI `litellm`.

use std::collections::BTreeMap;

use chrono::Utc;
use domain::ports::telemetry::Usage;
use domain::pricing::{PICOS, of_call};
use serde_json::{Value, json};
use tests::python::Oracle;

/// Of which it says nothing any more.
const GONE: [&str; 6] = [
    "claude-3-5-haiku",
    "claude-3-7-sonnet",
    "claude-opus-4",
    "claude-opus-4-1",
    "claude-sonnet-4",
    "gpt-4o-audio-preview",
];

const MILLION: i64 = 1_000_000;

/// A million of each sort of tokens, and nothing else.
fn sorts() -> [(&'static str, Usage); 6] {
    let none = Usage::default();
    [
        ("input", Usage { input: MILLION, ..none }),
        ("cacheRead", Usage { input: MILLION, cache_read: MILLION, ..none }),
        ("cacheWrite", Usage { input: MILLION, cache_write: MILLION, ..none }),
        ("output", Usage { output: MILLION, reasoning: MILLION / 2, ..none }),
        ("audioInput", Usage { input: MILLION, audio_input: MILLION, ..none }),
        ("audioOutput", Usage { output: MILLION, audio_output: MILLION, ..none }),
    ]
}

#[tokio::test]
async fn every_model_costs_what_others_say_that_it_costs() {
    let table = include_str!("../../../domain/src/pricing/prices.json");
    let table: Value = serde_json::from_str(table).unwrap();
    let said = |of: &Value, name| of[name].as_str().unwrap().to_owned();
    let prices = table["prices"].as_array().unwrap().iter();
    let models: BTreeMap<_, _> = prices.map(|it| (said(it, "model"), said(it, "source"))).collect();
    let mut others = Oracle::start("prices", "prices.py").await;
    let (mut gone, mut compared) = (vec![], 0);
    for (model, source) in &models {
        let answer = others.ask(&json!({ "source": source, "model": model })).await;
        let Value::Object(theirs) = serde_json::from_str(&answer).unwrap() else {
            gone.push(model.as_str());
            continue;
        };
        for (sort, usage) in sorts() {
            let like = if sort.ends_with("utput") { "output" } else { "input" };
            let dollars: f64 = theirs.get(sort).unwrap_or(&theirs[like]).as_str().unwrap().parse().unwrap();
            let ours = of_call(Some(model), None, &usage, Utc::now()).unwrap();
            assert_eq!(ours.picos, (dollars * PICOS as f64).round() as i64, "{model}: {sort}");
            assert!(ours.price.starts_with(&format!("{source}/{model}@")), "{}", ours.price);
            compared += 1;
        }
    }
    assert_eq!(gone, GONE);
    assert!(compared > 500, "{compared}");
}
