//! Lines of servers: what senders said is what is read back, once, newest first.

use std::ffi::OsStr;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{
    Keeping, LogFilter, LogRecord, LogRecords, Period, RecordId, Severity, Written,
};
use providers::observability::postgres_signals::PostgresSignals;
use reqwest::Method;
use serde_json::{Map, Value, json};
use tests::app::TestApp;
use tests::client::{Answer, Client};
use tests::python;
use uuid::Uuid;

use super::contract::tenant;
use super::open;
use super::senders::{gzip, long_memory};
use super::store::signals;

const MASTRA: &str = include_str!("../../fixtures/telemetry/mastra-logs.json");
const OTLP_JSON: &str = include_str!("../../fixtures/telemetry/otlp-logs.json");
const OTLP_PROTOBUF: &[u8] = include_bytes!("../../fixtures/telemetry/otlp-logs.bin");

fn id(n: u64) -> RecordId {
    format!("{n:032x}").parse().unwrap()
}

pub(super) fn line(n: u64, at: DateTime<Utc>) -> LogRecord {
    LogRecord {
        id: id(n),
        at: at.duration_trunc(TimeDelta::microseconds(1)).unwrap(),
        place: 1,
        severity: Severity::from_number(9),
        message: format!("line {n}"),
        trace_id: None,
        span_id: None,
        service: None,
        deployment_id: None,
        attributes: Map::new(),
        resource: Map::new(),
    }
}

pub(super) fn any(limit: i64) -> LogFilter {
    LogFilter { limit, ..LogFilter::default() }
}

/// What every store of lines promises.
pub(super) async fn contract(store: &dyn LogRecords) {
    let (mine, now) = (tenant(), Utc::now());
    let full = LogRecord {
        trace_id: Some(format!("{:032x}", 7).parse().unwrap()),
        span_id: Some(format!("{:016x}", 7).parse().unwrap()),
        severity: Severity::from_number(24),
        service: Some("mini-mastra".into()),
        deployment_id: Some(DeploymentId(Uuid::now_v7())),
        attributes: json!({ "__proto__": { "a": [1, null] } }).as_object().unwrap().clone(),
        resource: json!({ "service.name": "mini-mastra" }).as_object().unwrap().clone(),
        message: "100% of APPLES_".into(),
        ..line(1, now)
    };
    assert_eq!(store.write_logs(mine, vec![]).await.unwrap(), Written::default());
    let written = store.write_logs(mine, vec![full.clone(), full.clone()]).await.unwrap();
    assert_eq!(written, Written { stored: 1, repeated: 1 });
    let other_words = LogRecord { message: "later".into(), ..full.clone() };
    assert_eq!(store.write_logs(mine, vec![other_words]).await.unwrap().repeated, 1);
    assert_eq!(store.logs(mine, &any(10)).await.unwrap(), std::slice::from_ref(&full));
    for other in [
        domain::ports::telemetry::Tenant { project: tenant().project, ..mine },
        domain::ports::telemetry::Tenant { team: tenant().team, ..mine },
    ] {
        assert_eq!(store.logs(other, &any(10)).await.unwrap(), []);
        assert_eq!(store.logs_around(other, full.id, &any(10)).await.unwrap(), []);
    }

    // Filters: all must hold.
    let quiet = LogRecord { severity: None, ..line(2, now - TimeDelta::days(1)) };
    store.write_logs(mine, vec![quiet.clone()]).await.unwrap();
    let found = async |filter: LogFilter| store.logs(mine, &filter).await.unwrap().len();
    let level = |name| LogFilter { least: Severity::from_name(name), ..any(10) };
    assert_eq!((found(level("fatal")).await, found(level("trace")).await), (1, 1), "none is below all");
    let text = |text: &str| LogFilter { text: Some(text.into()), ..any(10) };
    assert_eq!((found(text("apples_")).await, found(text("100%o")).await, found(text("")).await), (1, 0, 2));
    let odd = LogRecord { message: "C:\\new\n'it?' \"a_b\"".into(), ..line(3, now) };
    store.write_logs(mine, vec![odd]).await.unwrap();
    for (part, times) in
        [("C:\\N", 1), ("W\n'IT?'", 1), ("\"a_b\"", 1), ("a%b", 0), ("a.b", 0), ("\\", 1), ("c", 1)]
    {
        assert_eq!(found(text(part)).await, times, "{part}");
    }
    assert_eq!(found(LogFilter { trace_id: full.trace_id, ..any(10) }).await, 1);
    assert_eq!(found(LogFilter { deployment_id: full.deployment_id, ..any(10) }).await, 1);
    assert_eq!(found(LogFilter { deployment_id: Some(DeploymentId(Uuid::now_v7())), ..any(10) }).await, 0);
    let period = Period { from: Some(quiet.at), to: Some(full.at) };
    assert_eq!(found(LogFilter { period, ..any(10) }).await, 1, "the end is outside");

    pages(store).await;
}

/// Over days and within one moment; and what is around a line.
async fn pages(store: &dyn LogRecords) {
    let (mine, now) = (tenant(), Utc::now());
    let at = |n: u64| now - TimeDelta::hours(i64::try_from(n / 10).unwrap() * 5);
    let lines: Vec<LogRecord> =
        (1..=99).map(|n| LogRecord { place: i32::try_from(n % 10).unwrap(), ..line(n, at(n)) }).collect();
    store.write_logs(mine, lines.clone()).await.unwrap();
    let mut newest_first = lines;
    newest_first.sort_by_key(|line| std::cmp::Reverse((line.at, line.place, line.id)));
    let (mut seen, mut after) = (vec![], None);
    loop {
        let page = store.logs(mine, &LogFilter { after, ..any(7) }).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.place());
        seen.extend(page);
    }
    assert_eq!(seen, newest_first);
    let around = store.logs_around(mine, newest_first[40].id, &any(5)).await.unwrap();
    assert_eq!(around, newest_first[35..=45]);
    assert_eq!(store.logs_around(mine, newest_first[0].id, &any(5)).await.unwrap(), newest_first[..=5]);
    assert_eq!(store.logs_around(mine, id(1000), &any(5)).await.unwrap(), []);
    let near = |from, to| LogFilter { period: Period { from, to }, ..any(100) };
    let (from, to) = (Some(newest_first[60].at), Some(newest_first[20].at));
    let part: Vec<_> =
        newest_first.iter().filter(|it| Some(it.at) >= from && Some(it.at) < to).cloned().collect();
    assert!(part.len() > 20);
    assert_eq!(store.logs(mine, &near(from, to)).await.unwrap(), part);
    assert_eq!(store.logs_around(mine, newest_first[40].id, &near(from, to)).await.unwrap(), part);
}

#[tokio::test]
async fn postgresql_keeps_the_contract_and_days_come_and_go() {
    let db = signals().await;
    let store = PostgresSignals::new(db.pool().clone(), 30);
    contract(&store).await;

    let (mine, now) = (tenant(), Utc::now());
    let old = now - TimeDelta::days(30) + TimeDelta::hours(1);
    store.write_logs(mine, vec![line(1, old), line(2, now)]).await.unwrap();
    store.keep_house(now + TimeDelta::days(2)).await.unwrap();
    assert_eq!(store.logs(mine, &any(10)).await.unwrap(), [line(2, now)]);
    // A day that is known here, and that another server has dropped.
    let other = PostgresSignals::new(db.pool().clone(), 90);
    other.write_logs(mine, vec![line(3, old)]).await.unwrap();
    store.keep_house(now + TimeDelta::days(2)).await.unwrap();
    assert_eq!(other.write_logs(mine, vec![line(3, old)]).await.unwrap().stored, 1);
}

fn messages(answer: &Value) -> Vec<&str> {
    answer["items"].as_array().unwrap().iter().map(|it| it["message"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn lines_of_mastra_are_read_back_from_its_exporter_and_from_otlp() {
    of_mastra(&[]).await;
}

#[tokio::test]
async fn lines_of_the_python_sdk_sent_twice_are_there_once() {
    of_python_sdk(&[]).await;
}

/// Whatever the telemetry goes to.
pub(super) async fn of_mastra(store: &[(&str, &str)]) {
    let (app, owner, project, sender) = long_memory(store).await;
    let path = format!("//projects/{}/ai/logs/publish", project.id);
    let nothing = sender.post(&path, json!({ "logs": [] })).await.expect(200);
    assert_eq!(nothing, json!({ "accepted": 0, "rejected": 0, "errors": [] }));
    for _ in 0..2 {
        let body: Value = serde_json::from_str(MASTRA).unwrap();
        assert_eq!(sender.post(&path, body).await.expect(200)["accepted"], 6);
    }
    let get =
        async |query: &str| owner.get(&format!("/projects/{}/logs?{query}", project.id)).await.expect(200);
    let all = get("").await;
    assert_eq!(all["items"].as_array().unwrap().len(), 6);
    assert!(messages(&all)[0].starts_with("Error executing step workflow.math-workflow.step.describe"));
    let failed = get("level=error&traceId=19fd1a7e732742e45b1aecbb77484789").await;
    let failed = &failed["items"][0];
    assert_eq!((&failed["message"], &failed["level"]), (&json!("Error in agent stream"), &json!("error")));
    assert_eq!((&failed["service"], &failed["severity"]), (&json!("mini-mastra"), &json!(17)));
    assert_eq!(failed["attributes"]["data"]["error"]["message"], "stub-model: asked to fail");
    assert_eq!(messages(&get("text=NO%20MEMORY").await).len(), 1);

    let otlp = async |kind: &str, body: &[u8]| -> Answer {
        let request = sender.request(Method::POST, "//v1/logs").header("content-type", kind);
        Client::send(request.header("content-encoding", "gzip").body(gzip(body))).await
    };
    for _ in 0..2 {
        let answer = otlp("application/x-protobuf", OTLP_PROTOBUF).await;
        assert_eq!((answer.status, answer.text.len()), (200, 0), "nothing was refused");
        assert_eq!(otlp("application/json", OTLP_JSON.as_bytes()).await.expect(200), json!({}));
    }
    let of_otlp = get("text=Error%20in%20agent").await;
    assert_eq!(messages(&of_otlp), ["Error in agent stream"; 3], "of each of the three formats, once");
    assert_eq!(of_otlp["items"][0]["attributes"]["mastra.log.provider"], "openai");
    drop(app);
}

pub(super) async fn of_python_sdk(store: &[(&str, &str)]) {
    let app = TestApp::start_with(store).await;
    let (owner, project, sender) = open(&app).await;
    let arguments = [&app.url, sender.token().unwrap()].map(OsStr::new);
    let (_child, said) = python::start("opentelemetry", "send_logs.py", &arguments).await;
    let trace = said.strip_prefix("SUCCESS SUCCESS ").expect(&said);
    let get =
        async |query: &str| owner.get(&format!("/projects/{}/logs?{query}", project.id)).await.expect(200);
    let all = get("").await;
    let failed = r#"{"times":3,"what":"failed"}"#;
    // What was said twice is there twice, what was sent twice once.
    let wanted = [failed, "all of it in a trace", "tick", "tick", "the beginning"];
    assert_eq!(messages(&all), wanted);
    assert_eq!(all["items"][0]["attributes"]["log.body"], json!({ "what": "failed", "times": 3 }));
    assert_eq!((&all["items"][0]["level"], &all["items"][0]["severity"]), (&json!("error"), &json!(18)));
    assert_eq!(messages(&get(&format!("traceId={trace}")).await), wanted[1..2]);
    assert_eq!(messages(&get("level=info&text=BEGINNING").await), wanted[4..]);

    let (mut cursor, mut seen) = (String::new(), vec![]);
    for _ in 0..3 {
        let page = get(&format!("limit=2{cursor}")).await;
        seen.extend(messages(&page).into_iter().map(str::to_owned));
        cursor = format!("&cursor={}", page["nextCursor"].as_str().unwrap_or_default());
    }
    assert_eq!(seen, wanted);
    let around = get(&format!("limit=1&around={}", all["items"][2]["id"].as_str().unwrap())).await;
    assert_eq!(messages(&around), wanted[1..4]);

    // An answer of 200 means that they are on disk.
    let mut app = app;
    app.kill_and_restart().await;
    let owner = app.nobody().with_token(owner.token().unwrap());
    let again = owner.get(&format!("/projects/{}/logs", project.id)).await.expect(200);
    assert_eq!(messages(&again), wanted);
}

#[tokio::test]
async fn bad_lines_are_refused_and_their_neighbours_stored() {
    bad(&[]).await;
}

/// Whatever the telemetry goes to.
#[expect(clippy::too_many_lines, reason = "a list of what senders get wrong")]
pub(super) async fn bad(store: &[(&str, &str)]) {
    let app = TestApp::start_with(store).await;
    let (owner, project, sender) = open(&app).await;
    let path = format!("//projects/{}/ai/logs/publish", project.id);
    let now = Utc::now();
    let line = |message: &str, changes: Value| {
        let mut line = json!({ "timestamp": now, "level": "warn", "message": message });
        line.as_object_mut().unwrap().extend(changes.as_object().cloned().unwrap_or_default());
        line
    };
    let mut bad: Vec<Value> = [
        json!({ "traceId": "1".repeat(31) }),
        json!({ "traceId": 7 }),
        json!({ "spanId": "g".repeat(16) }),
        json!({ "timestamp": null }),
        json!({ "timestamp": "yesterday" }),
        json!({ "timestamp": "2262-04-12T00:00:00Z" }),
        json!({ "timestamp": "+262142-01-01T00:00:00Z" }),
        json!({ "timestamp": now - TimeDelta::days(40) }),
        json!({ "timestamp": i64::MAX }),
        json!({ "timestamp": -1 }),
    ]
    .map(|changes| line("bad", changes))
    .into();
    bad.extend([json!("no object"), json!(null), json!([])]);
    let refused = bad.len();
    let many: Map<String, Value> = (0..10_000).map(|n| (format!("k{n}"), json!(n))).collect();
    bad.extend([
        line("many", json!({ "data": many, "logId": "many" })),
        line(&"ä".repeat(1 << 20), json!({ "level": "loud", "traceId": "0".repeat(32), "logId": 7 })),
        line(
            "odd",
            json!({ "__proto__": { "constructor": 1 }, "metadata": { "nul": "a\u{0}b" }, "spanId": "" }),
        ),
        line("", json!({ "message": { "no": "text" }, "timestamp": now.timestamp_millis() })),
    ]);
    let answer = sender.post(&path, json!({ "logs": bad })).await.expect(200);
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(4), &json!(refused)), "{answer}");
    assert_eq!(answer["errors"][0], "a line: traceId must be 32 hexadecimal digits, not all of them zero");
    let all = owner.get(&format!("/projects/{}/logs", project.id)).await.expect(200);
    let of = |begin: &str| {
        let mut items = all["items"].as_array().unwrap().iter();
        items.find(|it| it["message"].as_str().unwrap().starts_with(begin)).unwrap().clone()
    };
    assert_eq!(of("many")["attributes"]["data"]["mastra_admin.dropped"], 10_000 - 512);
    let large = of("ä");
    assert!(large["message"].as_str().unwrap().ends_with("bytes cut)"));
    assert_eq!((&large["level"], &large["traceId"]), (&json!(null), &json!(null)));
    assert_eq!(of("odd")["attributes"]["__proto__"], json!({ "constructor": 1 }));
    assert_eq!(of("odd")["attributes"]["metadata"]["nul"], "a\u{FFFD}b");
    assert_eq!(of("{")["message"], r#"{"no":"text"}"#);

    for (body, status) in [("", 400), ("{", 400), ("[]", 422), ("{}", 422), (r#"{"logs":7}"#, 422)] {
        let request = sender.request(Method::POST, &path).body(body);
        assert_eq!(Client::send(request).await.status, status, "{body}");
    }
    let body = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [
        { "body": { "stringValue": "without a time" } },
        { "timeUnixNano": u64::MAX.to_string(), "traceId": "abc" },
        { "observedTimeUnixNano": now.timestamp_nanos_opt().unwrap().to_string(), "severityNumber": 99,
          "body": { "doubleValue": "NaN" } },
    ] }] }] });
    let said = Client::send(sender.request(Method::POST, "//v1/logs").json(&body)).await.expect(200);
    assert_eq!(said["partialSuccess"]["rejectedLogRecords"], "2");
    // A dry run stores nothing; another project's token leads nowhere.
    let one = json!({ "logs": [line("dry", json!({}))] });
    assert_eq!(sender.post(&format!("{path}?dryRun=true"), one.clone()).await.expect(200)["accepted"], 1);
    let theirs = tests::world::project(&owner, "acme", "o", &app.repository("tiny", "o"), json!({})).await;
    assert_eq!(theirs.sender(&app, &owner).await.post(&path, one).await.status, 404);
    let all = owner.get(&format!("/projects/{}/logs?limit=200", project.id)).await.expect(200);
    assert_eq!(all["items"].as_array().unwrap().len(), 5);
    for (query, status) in [
        ("level=loud", 422),
        ("limit=0", 422),
        ("limit=201", 422),
        ("cursor=1-2", 422),
        ("cursor=999999999999999999-1-00000000000000000000000000000001", 422),
        ("around=7", 422),
        ("around=00000000000000000000000000000001", 422),
        ("traceId=7", 422),
        ("text=%00", 422),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 422),
        ("text=%25&level=WARNING&from=0001-01-01T00:00:00Z&to=9999-01-01T00:00:00Z", 200),
    ] {
        let path = format!("/projects/{}/logs?{query}", project.id);
        assert_eq!(owner.get(&path).await.status, status, "{query}");
    }
}
