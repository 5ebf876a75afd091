//! Costs are reckoned again with the prices of this release, in either store: what its sender has said stays, and so does what
//! has no price; who is killed in the middle leaves no row half done.

use std::process::{Output, Stdio};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::ports::telemetry::{Cost, Counting, Period, Rating, Span, Telemetry, Tenant, Usage};
use providers::observability::clickhouse::ClickHouseRating;
use providers::observability::postgres_spans::{PostgresRating, PostgresSpans};
use serde_json::{Value, json};
use tests::app::{TestApp, program};
use tests::clickhouse::ClickHouse;
use tests::client::Client;
use tests::world::{self, Project};
use tokio::process::Command;

use super::contract::{self, span};
use super::senders::long_memory;

/// What o3 cost before June 10, 2025, and from then on.
const BEFORE: &str = "openai/o3@2025-04-16";
const SINCE: &str = "openai/o3@2025-06-10";
/// A thousand tokens of input by these prices.
const DEAR: i64 = 10_000_000_000;
const CHEAP: i64 = 2_000_000_000;

/// The operator's tool on this platform and its store of telemetry.
fn tool(app: &TestApp, store: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut tool = Command::new(program("replay-tool"));
    tool.args(["telemetry", "rerate", "--actor", "ada"]).args(arguments);
    tool.env("DATABASE_URL", app.db.url()).env_remove("CLICKHOUSE_URL");
    tool.envs(store.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    tool
}

/// What it answers with `--json`, a value a line.
async fn said(app: &TestApp, store: &[(&str, &str)], arguments: &[&str]) -> Vec<Value> {
    let output = tool(app, store, arguments).arg("--json").output().await.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn refused(mut tool: Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = tool.output().await.unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

async fn tenant(owner: &Client, project: &Project) -> Tenant {
    let team = owner.get("/teams/acme").await.expect(200)["id"].clone();
    Tenant { team: serde_json::from_value(team).unwrap(), project: project.id.parse().unwrap() }
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A call of a thousand tokens, on a day of the new price.
fn call(n: u64, model: &str, cost: Option<(i64, &str)>) -> Span {
    Span {
        model: Some(model.into()),
        provider: Some("openai".into()),
        usage: Usage { input: 1000, ..Usage::default() },
        counting: Counting::Call,
        cost: cost.map(|(picos, price)| Cost { picos, price: price.into() }),
        ..span(n, 1, at("2025-07-01T12:00:00Z") + TimeDelta::milliseconds(n.cast_signed()))
    }
}

/// As a release kept them that did not know the price of June: which of them change is told by their numbers, 1 to 3.
fn calls() -> Vec<Span> {
    let asked = json!({ "gen_ai.request.model": "o3" }).as_object().unwrap().clone();
    vec![
        call(1, "o3", Some((DEAR, BEFORE))),
        Span { started_at: at("2025-07-02T23:59:59.999999Z"), ..call(2, "o3", None) },
        Span { attributes: asked, ..call(3, "stub-1", None) },
        call(4, "o3", Some((7, "explicit"))),
        call(5, "stub-1", None),
        call(6, "o3", Some((CHEAP, SINCE))),
        // Before June: that was its price.
        Span { started_at: at("2025-06-09T23:59:59.999999Z"), ..call(7, "o3", Some((DEAR, BEFORE))) },
        // A step, which repeats the others.
        Span { counting: Counting::Never, ..call(8, "o3", None) },
        // Out of the period.
        Span { started_at: at("2025-07-03T00:00:00Z"), ..call(9, "o3", Some((DEAR, BEFORE))) },
    ]
}

/// What each of them costs, as its trace shows it.
async fn shown(owner: &Client, project: &Project) -> Vec<String> {
    let mut all = vec![];
    for n in 1..=9 {
        let trace = owner.get(&format!("/projects/{}/traces/{n:032x}", project.id)).await.expect(200);
        all.push(trace["roots"][0]["costUsd"].as_str().unwrap_or("-").to_owned());
    }
    all
}

async fn sums(owner: &Client, project: &Project) -> Value {
    let get = async |path: &str| owner.get(&format!("/projects/{}/{path}", project.id)).await.expect(200);
    let (usage, costs) = (get("usage-by-model").await, get("cost-breakdown").await);
    let of_o3 = usage["items"].as_array().unwrap().iter().find(|it| it["model"] == "o3").unwrap().clone();
    let traces = get("traces?limit=50").await;
    let first = traces["items"].as_array().unwrap().iter().find(|it| it["traceId"] == format!("{:032x}", 1));
    json!([costs["costUsd"], of_o3["costUsd"], of_o3["callsWithoutCost"], first.unwrap()["costUsd"]])
}

async fn operations(app: &TestApp) -> Vec<(String, String, Value)> {
    sqlx::query_as(
        "SELECT event_type, metadata ->> 'actor', payload::jsonb FROM events
          WHERE aggregate_type = 'operation' AND event_type LIKE 'ops.telemetry_%' ORDER BY position",
    )
    .fetch_all(app.db.pool())
    .await
    .unwrap()
}

/// Whatever the telemetry goes to.
async fn reckons_again(settings: &[(&str, &str)], open: impl Fn(&TestApp) -> Box<dyn Telemetry>) {
    let (app, owner, project, _) = long_memory(settings).await;
    let url = app.repository("tiny", "other");
    let other = world::project(&owner, "acme", "other", &url, json!({})).await;
    let (store, mine) = (open(&app), tenant(&owner, &project).await);
    let others = tenant(&owner, &other).await;
    store.write(mine, calls()).await.unwrap();
    store.write(others, vec![call(1, "o3", Some((DEAR, BEFORE)))]).await.unwrap();
    let before = shown(&owner, &project).await;
    let [dear, cheap] = ["0.010000000000", "0.002000000000"];
    assert_eq!(before, [dear, "-", "-", "0.000000000007", "-", cheap, dear, "-", dear]);
    assert_eq!(sums(&owner, &project).await, json!(["0.032000000007", "0.032000000007", 1, dear]));

    let of_mine = ["--project", &project.id, "--from", "2025-06-01", "--to", "2025-07-03T00:00:00Z"];
    let dry = said(&app, settings, &[&of_mine[..], &["--dry-run"]].concat()).await;
    let row = |model: &str, was: Value, before: &str| {
        json!({ "projectId": project.id, "model": model, "priceBefore": was, "priceAfter": SINCE, "rows": 1,
                "costBeforeUsd": before, "costAfterUsd": cheap, "dryRun": true })
    };
    let nothing = "0.000000000000";
    assert_eq!(
        dry[..3],
        [
            row("o3", Value::Null, nothing),
            row("o3", json!(BEFORE), dear),
            row("stub-1", Value::Null, nothing)
        ]
    );
    let all = &dry[3];
    assert_eq!((&all["rows"], &all["calls"], &all["dryRun"]), (&json!(3), &json!(6), &json!(true)));
    assert_eq!((&all["costBeforeUsd"], &all["costAfterUsd"]), (&json!(dear), &json!("0.006000000000")));
    assert_eq!((all["store"].as_str(), shown(&owner, &project).await), (Some(store.name()), before));
    assert_eq!(operations(&app).await, [], "nothing was done");

    let done = said(&app, settings, &of_mine).await;
    let as_dry = done.iter().cloned().map(|mut line| {
        line["dryRun"] = json!(true);
        line
    });
    assert_eq!(as_dry.collect::<Vec<_>>(), dry, "the same numbers");
    let after = shown(&owner, &project).await;
    assert_eq!(after, [cheap, cheap, cheap, "0.000000000007", "-", cheap, dear, "-", dear]);
    assert_eq!(sums(&owner, &project).await, json!(["0.028000000007", "0.026000000007", 0, cheap]));
    let log = operations(&app).await;
    let kinds: Vec<_> = log.iter().map(|(kind, actor, _)| (&**kind, &**actor)).collect();
    assert_eq!(
        kinds,
        [("ops.telemetry_rerate_begun", "operator:ada"), ("ops.telemetry_rerated", "operator:ada")]
    );
    let told = &log[1].2;
    assert_eq!((&told["project_id"], &told["rows"]), (&json!(project.id), &json!(3)));
    assert_eq!(
        (&told["from"], &told["to"]),
        (&json!("2025-06-01T00:00:00Z"), &json!("2025-07-03T00:00:00Z"))
    );
    assert_eq!((&told["cost_before_usd"], &told["cost_after_usd"]), (&json!(dear), &json!("0.006000000000")));

    // Again: nothing is left to do, and nothing to tell. What its sender sends again is known.
    assert_eq!(said(&app, settings, &of_mine).await[0]["rows"], 0);
    assert_eq!(operations(&app).await.len(), 2);
    assert_eq!(store.write(mine, calls()).await.unwrap().stored, 0);
    assert_eq!(shown(&owner, &project).await, after);
    // All projects, all days: the other's, and the one that was out of the period.
    assert_eq!(said(&app, settings, &["--all"]).await.pop().unwrap()["rows"], 2);
    assert_eq!(shown(&owner, &project).await[8], cheap);
    assert_eq!(
        store.trace(others, span(1, 1, Utc::now()).trace_id, 9).await.unwrap()[0]
            .cost
            .as_ref()
            .unwrap()
            .picos,
        CHEAP
    );
    assert_eq!(said(&app, settings, &["--all"]).await.len(), 1);
}

#[tokio::test]
async fn costs_are_reckoned_again_in_postgresql() {
    reckons_again(&[], |app| Box::new(PostgresSpans::new(app.db.pool().clone(), 3650))).await;
}

#[tokio::test]
async fn costs_are_reckoned_again_in_clickhouse() {
    let engine = ClickHouse::start().await;
    reckons_again(&engine.settings(), |_| Box::new(engine.store(3650))).await;
    engine.ask("OPTIMIZE TABLE spans FINAL").await;
    let rows = engine.ask("SELECT count(), uniqExact(project_id, trace_id) FROM spans").await;
    assert_eq!(rows, "10\t10", "what was before goes when parts are merged");
}

/// Killed in the middle of many, and run again; `changed` answers how many rows have the new price.
async fn killed_in_the_middle(
    settings: &[(&str, &str)],
    open: impl Fn(&TestApp) -> Box<dyn Telemetry>,
    changed: impl AsyncFn(&TestApp) -> u64,
) {
    const ALL: u64 = 40_000;
    let (app, owner, project, sender) = long_memory(settings).await;
    let (store, mine) = (open(&app), tenant(&owner, &project).await);
    for first in (1..=ALL).step_by(5000) {
        let some = (first..first + 5000).map(|n| call(n, "o3", Some((DEAR, BEFORE)))).collect();
        store.write(mine, some).await.unwrap();
    }
    let mut run = tool(&app, settings, &["--all"]).stdout(Stdio::null()).spawn().unwrap();
    app.wait_until("some are changed", Duration::from_secs(60), async || changed(&app).await > 0).await;
    // Nobody who sends waits for it.
    let now = Utc::now();
    let path = format!("//projects/{}/ai/spans/publish", project.id);
    let new = json!({ "traceId": "f".repeat(32), "spanId": "f".repeat(16), "name": "x", "startedAt": now, "endedAt": now });
    sender.post(&path, json!({ "spans": [new] })).await.expect(200);
    run.kill().await.unwrap();
    let some = async || {
        let before = changed(&app).await;
        // The engine may still be at the statement that it was given.
        tokio::task::yield_now().await;
        (before == changed(&app).await).then_some(before)
    };
    let mut done = some().await;
    while done.is_none() {
        done = some().await;
    }
    let done = done.unwrap();
    assert!(done < ALL, "killed in the middle: {done}");
    let kinds = async || operations(&app).await.into_iter().map(|(kind, ..)| kind).collect::<Vec<_>>();
    assert_eq!(kinds().await, ["ops.telemetry_rerate_begun"]);

    let rest = said(&app, settings, &["--all"]).await.pop().unwrap();
    assert!(rest["rows"].as_u64().unwrap() <= ALL - done, "{rest}: what was done is not done again");
    assert_eq!(changed(&app).await, ALL);
    assert_eq!(kinds().await, ["ops.telemetry_rerate_begun", "ops.telemetry_rerated"]);
    let usage = owner.get(&format!("/projects/{}/usage-by-model", project.id)).await.expect(200);
    let of_o3 = &usage["items"][0];
    assert_eq!((&of_o3["calls"], &of_o3["costUsd"]), (&json!(ALL), &json!("80.000000000000")));
}

#[tokio::test]
async fn who_is_killed_in_the_middle_goes_on_in_postgresql() {
    let changed = async |app: &TestApp| {
        let sql = "SELECT count(*) FROM spans WHERE price = $1 AND cost_picos = $2";
        let rows: i64 =
            sqlx::query_scalar(sql).bind(SINCE).bind(CHEAP).fetch_one(app.db.pool()).await.unwrap();
        rows.unsigned_abs()
    };
    killed_in_the_middle(&[], |app| Box::new(PostgresSpans::new(app.db.pool().clone(), 3650)), changed).await;
}

#[tokio::test]
async fn who_is_killed_in_the_middle_goes_on_in_clickhouse() {
    let engine = ClickHouse::start().await;
    let changed = async |_: &TestApp| {
        let sql = format!(
            "SELECT count() FROM spans FINAL WHERE price = '{SINCE}' AND cost = toDecimal128('0.002', 12)"
        );
        engine.ask(&sql).await.parse().unwrap()
    };
    killed_in_the_middle(&engine.settings(), |_| Box::new(engine.store(3650)), changed).await;
}

#[tokio::test]
async fn what_cannot_be_reckoned_again_is_told_in_a_sentence() {
    let engine = ClickHouse::start().await;
    let app = TestApp::start().await;
    app.owner().await;
    let nobody = "0198a4f0-0000-7000-8000-000000000001";
    let url = engine.settings();
    for (store, arguments, code, why) in [
        (&[][..], &[][..], 2, "--project"),
        (&[], &["--all", "--project", nobody], 2, "--all"),
        (&[], &["--all", "--from", "yesterday"], 2, "2026-01-31"),
        (&[], &["--all", "--from", "2025-07-02", "--to", "2025-07-02"], 1, "--to must come after --from"),
        (&[], &["--project", nobody], 1, "there is no project"),
        (&[("CLICKHOUSE_URL", "nowhere")], &["--all"], 1, "CLICKHOUSE_URL must be http://HOST:PORT"),
        (&url, &["--all", "--dry-run"], 1, "mastra-admin migrate"),
    ] {
        let (status, text) = refused(tool(&app, store, arguments)).await;
        assert!(status == Some(code) && text.contains(why), "{arguments:?}: {status:?} {text}");
        assert!(!text.contains(tests::clickhouse::PASSWORD), "{text}");
    }
    // One at a time.
    let mut other = app.db.pool().acquire().await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(5570926163358164049)").execute(&mut *other).await.unwrap();
    let (status, text) = refused(tool(&app, &[], &["--all"])).await;
    assert!(status == Some(1) && text.contains("another run"), "{text}");
    assert!(tool(&app, &[], &["--all", "--dry-run"]).output().await.unwrap().status.success());
}

#[tokio::test]
async fn the_model_that_was_asked_is_found_in_every_spelling() {
    let (engine, database) = (ClickHouse::some().await, TestApp::database().await);
    let told = [
        json!({ "gen_ai.request.model": "o3", "ai.model.id": "another" }),
        json!({ "gen_ai.request.model": "", "ai.model.id": "o3" }),
        json!({ "llm.request.model": "o3" }),
        json!({ "attributes": { "model": "o3" }, "model": "another" }),
        json!({ "metadata": { "modelMetadata": { "modelId": "o3" } }, "attributes": 7 }),
        json!({ "model": "another" }),
    ];
    let spans = told
        .iter()
        .zip(1..)
        .map(|(told, n)| Span { attributes: told.as_object().unwrap().clone(), ..call(n, "stub-1", None) });
    let (spans, mine) = (spans.collect::<Vec<_>>(), contract::tenant());
    let in_postgres = PostgresSpans::new(database.pool().clone(), 1000);
    in_postgres.write(mine, spans.clone()).await.unwrap();
    engine.store(1000).write(mine, spans.clone()).await.unwrap();
    let of_postgres = PostgresRating::new(database.pool().clone());
    let of_clickhouse = ClickHouseRating::open(&engine.target()).await.unwrap();
    let day = spans[0].started_at.date_naive();
    for rating in [&of_postgres as &dyn Rating, &of_clickhouse] {
        let calls = rating.calls(mine, day, Period::default(), None, 10).await.unwrap();
        let asked: Vec<_> = calls.iter().map(|call| call.asked_model.as_deref().unwrap_or("-")).collect();
        assert_eq!(asked, ["o3", "o3", "o3", "o3", "o3", "-"], "{}", rating.name());
    }
}
