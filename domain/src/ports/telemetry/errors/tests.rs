use chrono::DateTime;
use serde_json::{Map, json};

use super::*;
use crate::ports::telemetry::{Counting, RecordId, Severity, Usage};

fn group(kind: &str, message: &str, stack: &str) -> ErrorId {
    Failure::new(kind, message, stack).group
}

#[test]
fn messages_are_alike_that_differ_in_numbers_ids_and_quotes_alone() {
    for (one, other) in [
        ("timeout after 3000 ms", "timeout after 2500.5  ms"),
        ("no user 'ann'", "no user 'it's bob'"),
        ("connect ECONNREFUSED 127.0.0.1:5432", "connect ECONNREFUSED 10.11.12.13:54321"),
        (
            "run 0189aa3e-43c1-4f0f-9a55-0f6d2a1e77b1 failed",
            "run 77aa0000-0000-7000-8000-00000000beef failed",
        ),
        ("request req_8fK2jd9QzL was refused", "request req_Zz0011223344 was refused"),
        ("Unexpected token \"<\" at 7", "Unexpected token \"{\" at 1,024"),
    ] {
        assert_eq!(alike::normal(one), alike::normal(other));
        assert_eq!(group("E", one, ""), group("E", other, ""));
    }
    assert_eq!(alike::normal("can't read 'a' of b"), "can't read <text> of b");
    assert_eq!(alike::normal("größe 7 µm\n\tnot ok"), "größe <n> µm not ok");
    assert_eq!(alike::normal("it's \"open"), "it's \"open", "a quote that does not end");
    assert_ne!(group("E", "not found", ""), group("E", "not allowed", ""));
    assert_ne!(group("A", "not found", ""), group("B", "not found", ""));
    let long = "ä".repeat(4000);
    assert_eq!(alike::normal(&long).len(), 512, "and no letter is cut in two");
}

#[test]
fn it_matters_where_it_was_thrown_and_not_in_which_build() {
    let node = |line: u32, function: &str| {
        format!(
            "TypeError: no\n    at get (node:internal/deps:1:1)\n    at x (/app/node_modules/a/b.js:1:2)\n    \
             at async {function} (file:///srv/{line}/out/mastra.mjs:{line}:9)\n    at /app/other.mjs:1:1"
        )
    };
    assert_eq!(place::thrown(&node(7, "Shop.buy")), "Shop.buy mastra.mjs");
    assert_eq!(group("E", "no", &node(7, "buy")), group("E", "no", &node(812, "buy")));
    assert_ne!(group("E", "no", &node(7, "buy")), group("E", "no", &node(7, "sell")));
    assert_eq!(place::thrown("Error: x\n    at /app/index.mjs:1:2"), " index.mjs");
    assert_eq!(place::thrown("\tat com.acme.Shop.buy(Shop.java:7)"), "com.acme.Shop.buy Shop.java");
    let python = "Traceback (most recent call last):\n  File \"/app/main.py\", line 3, in main\n    buy()\n  \
                  File \"/app/shop.py\", line 9, in buy\n    get()\n  \
                  File \"/usr/lib/python3/site-packages/x.py\", line 1, in get\nValueError: no";
    assert_eq!(place::thrown(python), "buy shop.py");
    assert_eq!(place::thrown("at a (node:x:1:1)"), "a node", "better than none");
    for (above, own, place) in [
        ("at map (native)", "at buy (/app/src/alternative.ts:1:2)", "buy alternative.ts"),
        ("at run (internal/process.js:1:2)", "at pay (/app/src/internal/pay.js:1:2)", "pay pay.js"),
        ("at x (C:\\app\\node_modules\\a\\b.js:1:2)", "at y (C:\\app\\sun.js:1:2)", "y sun.js"),
        ("at Promise (<anonymous>)", "at native (/app/my-node_modules.js:1:2)", "native my-node_modules.js"),
        (
            "at java.base/java.util.Optional.get(Optional.java:7)\nat sun.reflect.Method.invoke0(Native Method)",
            "at com.acme.java.Shop.buy(Shop.java:7)",
            "com.acme.java.Shop.buy Shop.java",
        ),
        (
            "at jdk.internal.A.b(A.java:1)\nat java.util.List.of(List.java:1)",
            "at sunny.A.b(B.java:1)",
            "sunny.A.b B.java",
        ),
    ] {
        assert_eq!(place::thrown(&format!("E: x\n{above}\n{own}")), place);
    }
    for odd in ["", "no stack", "at", "File \"", "at (", "at )", "\u{0}"] {
        place::thrown(odd);
    }
}

fn span() -> Span {
    Span {
        trace_id: format!("{:032x}", 1).parse().unwrap(),
        span_id: format!("{:016x}", 1).parse().unwrap(),
        parent_id: None,
        is_root: true,
        name: "GET /".into(),
        kind: "server".into(),
        status: Status::Unset,
        status_message: None,
        started_at: DateTime::UNIX_EPOCH,
        duration_us: 1,
        service: None,
        deployment_id: None,
        user_id: None,
        session_id: None,
        tags: vec![],
        model: None,
        provider: None,
        usage: Usage::default(),
        counting: Counting::Never,
        cost: None,
        attributes: Map::new(),
        resource: Map::new(),
        events: vec![],
        links: vec![],
    }
}

fn exception(kind: &str, message: &str) -> Value {
    json!({ "name": "exception", "attributes": { "exception.type": kind, "exception.message": message } })
}

#[test]
fn a_span_tells_its_last_exception_or_what_its_status_says_or_its_name() {
    assert_eq!(Failure::of_span(&span()), None);
    let told = |span: Span| Failure::of_span(&span).map(|it| (it.kind, it.message)).unwrap();
    let pair = |kind: &str, message: &str| (kind.to_owned(), message.to_owned());
    let events = vec![json!(7), exception("A", "first"), exception("B", "last"), json!({ "name": "x" })];
    assert_eq!(told(Span { events: events.clone(), ..span() }), pair("B", "last"));
    let failed = Span { status: Status::Error, ..span() };
    assert_eq!(told(failed.clone()), pair("", "GET /"));
    let said = Span { status_message: Some("it broke".into()), ..failed };
    assert_eq!(told(said.clone()), pair("", "it broke"));
    let attributes = json!({ "error.type": "timeout" }).as_object().unwrap().clone();
    assert_eq!(told(Span { attributes, ..said.clone() }), pair("timeout", "it broke"));
    assert_eq!(told(Span { events, ..said }), pair("B", "last"));
    let long = Span { status: Status::Error, status_message: Some("ä".repeat(9000)), ..span() };
    assert_eq!(told(long).1.len(), MESSAGE);
}

#[test]
fn a_line_is_an_error_when_it_matters_as_much_or_tells_an_exception() {
    let line = |level: &str, attributes: Value| LogRecord {
        id: RecordId::try_from(&[1; 16][..]).unwrap(),
        at: DateTime::UNIX_EPOCH,
        place: 0,
        severity: Severity::from_name(level),
        message: "cannot pay".into(),
        trace_id: None,
        span_id: None,
        service: None,
        deployment_id: None,
        attributes: attributes.as_object().unwrap().clone(),
        resource: Map::new(),
    };
    let told = |level, attributes| Failure::of_line(&line(level, attributes)).map(|it| (it.kind, it.message));
    let pair = |kind: &str, message: &str| Some((kind.to_owned(), message.to_owned()));
    assert_eq!(told("warn", json!({ "err": { "message": "no" } })), None);
    assert_eq!(told("error", json!({})), pair("", "cannot pay"));
    assert_eq!(told("info", json!({ "exception.type": "E" })), pair("E", "cannot pay"));
    assert_eq!(told("fatal", json!({ "err": { "type": "E", "msg": "no" } })), pair("E", "no"));
    assert_eq!(told("error", json!({ "error": "no", "err": 7 })), pair("", "cannot pay"));
    // The same exception, told by a line and by a span.
    let attributes = json!({ "exception.type": "E", "exception.message": "no 7" });
    let span = Span { events: vec![exception("E", "no 8")], ..span() };
    assert_eq!(
        Failure::of_line(&line("error", attributes)).unwrap().group,
        Failure::of_span(&span).unwrap().group
    );
}
