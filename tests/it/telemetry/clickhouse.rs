//! The store in ClickHouse: it keeps the contract, shows once what was written twice, and survives its engine.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use domain::ports::telemetry::{Filter, Period, Span, Telemetry, TelemetryError};
use serde_json::{Value, json};
use tests::app::{TestApp, program};
use tests::clickhouse::{ClickHouse, PASSWORD};
use tests::client::Client;
use tests::world::Project;
use tokio::process::Command;

use super::contract::{self, span, tenant};
use super::{open, senders};

#[tokio::test]
async fn clickhouse_keeps_the_contract() {
    let engine = ClickHouse::some().await;
    contract::all(&engine.store(30)).await;
}

#[tokio::test]
async fn what_two_servers_wrote_at_the_same_moment_is_shown_once_and_as_it_came_first() {
    let engine = ClickHouse::some().await;
    let (store, mine, now) = (engine.store(30), tenant(), Utc::now());
    let spans: Vec<Span> = (1..=9).flat_map(|trace| (1..=3).map(move |n| span(trace, n, now))).collect();
    store.write(mine, spans.clone()).await.unwrap();
    // Neither knew of the other; nothing has merged them yet.
    let columns = engine.columns("spans", &["name"]).await;
    engine.ask("SYSTEM STOP MERGES spans").await;
    engine.ask(&format!("INSERT INTO spans ({columns}, name) SELECT {columns}, 'later' FROM spans")).await;
    assert_eq!(engine.ask("SELECT count() FROM spans").await, "54");
    let id = spans[0].trace_id;
    assert_eq!(store.trace(mine, id, 100).await.unwrap(), spans[..3]);
    let traces = store.traces(mine, &Filter { limit: 100, ..Filter::default() }).await.unwrap();
    assert_eq!(traces.iter().map(|trace| trace.spans).collect::<Vec<_>>(), [3; 9]);
    assert_eq!(
        store
            .traces(mine, &Filter { name: Some("later".into()), limit: 9, ..Filter::default() })
            .await
            .unwrap(),
        []
    );
    assert_eq!(store.stats(mine, Period::default()).await.unwrap().traces, 9);
    engine.ask("SYSTEM START MERGES spans").await;
    engine.ask("OPTIMIZE TABLE spans FINAL").await;
    assert_eq!(engine.ask("SELECT count(), uniqExact(name) FROM spans").await, "27\t9");
}

#[tokio::test]
async fn days_go_when_their_time_is_over_and_others_stay() {
    let engine = ClickHouse::some().await;
    let (store, mine, now) = (engine.store(30), tenant(), Utc::now());
    // More days at once than the engine takes unless it is told to.
    let long = engine.store(3650);
    let late = |day: u64| span(1000 + day, 1, now - TimeDelta::days(100 + day.cast_signed()));
    let late: Vec<Span> = (0..110).map(late).collect();
    // On a slow disk it does not get through at once; what is stored is not stored again.
    let mut tries = 0;
    while let Err(error) = long.write(mine, late.clone()).await {
        tries += 1;
        assert!(tries < 20, "{error:?}");
    }
    assert_eq!(store.stats(mine, Period::default()).await.unwrap().traces, 110);
    let old = now - TimeDelta::days(30) + TimeDelta::hours(1);
    assert!(store.window(now).contains(&old) && !store.window(now).contains(&(now + TimeDelta::days(2))));
    store.write(mine, vec![span(1, 1, old), span(2, 1, now)]).await.unwrap();
    store.keep_house(now).await.unwrap();
    assert_eq!(store.stats(mine, Period::default()).await.unwrap().traces, 2);
    store.keep_house(now + TimeDelta::days(2)).await.unwrap();
    assert_eq!(store.stats(mine, Period::default()).await.unwrap().traces, 1);
    // What was dropped is no repeat.
    assert_eq!(store.write(mine, vec![span(1, 1, old)]).await.unwrap().stored, 1);
    let day = engine.ask("SELECT max(expires_on) = toDate(max(started_at)) + 30 FROM spans").await;
    assert_eq!(day, "1", "the engine drops by itself what no server drops");
}

#[tokio::test]
async fn the_newest_traces_and_the_last_hour_read_what_they_show() {
    let engine = ClickHouse::some().await;
    let (store, mine, now) = (engine.store(30), tenant(), Utc::now());
    store.write(mine, vec![span(1, 1, now)]).await.unwrap();
    // A quarter of a million spans of another project and of this one, over 25 days.
    let rows = |project: &str| {
        format!(
            "INSERT INTO spans (team_id, project_id, trace_id, span_id, is_root, name, kind, status, started_at, duration_us,
             expires_on)
             SELECT '{}', '{project}', toFixedString(unhex(lower(hex(sipHash128(intDiv(number, 10), 1)))), 16),
                    toFixedString(unhex(lower(hex(sipHash64(number)))), 8), number % 10 = 0, 'x', 'x', 'ok',
                    now64(6) - toIntervalSecond(intDiv(number, 10) * 86), number % 1000, today() + 40 FROM numbers(250000)",
            mine.team
        )
    };
    for project in [mine.project, tenant().project] {
        engine.ask(&rows(&project.to_string())).await;
    }
    let read = async |condition: &str| {
        let sql = format!(
            "EXPLAIN ESTIMATE SELECT count() FROM spans FINAL WHERE team_id = '{}' AND project_id = '{}' AND {condition}
             SETTINGS do_not_merge_across_partitions_select_final = 1 FORMAT TSV",
            mine.team, mine.project
        );
        let said = engine.ask(&sql).await;
        said.split('\t').nth(3).unwrap_or_else(|| panic!("{said}")).parse::<u64>().unwrap()
    };
    let hour = (now - TimeDelta::hours(1)).timestamp_micros();
    let last_hour =
        read(&format!("NOT below AND started_at >= fromUnixTimestamp64Micro({hour}, 'UTC')")).await;
    assert!((1..=20_000).contains(&last_hour), "{last_hour} rows for the last hour");
    let id = "\\x00".repeat(15) + "\\x01";
    let one_trace = read(&format!("trace_id IN ('{id}')")).await;
    assert!((1..=20_000).contains(&one_trace), "{one_trace} rows for one trace");
    let newest = store.traces(mine, &Filter { limit: 50, ..Filter::default() }).await.unwrap();
    assert_eq!(newest.len(), 50);
    assert!(newest.is_sorted_by(|a, b| a.started_at > b.started_at), "newest first");
    let filled = newest.iter().filter(|trace| trace.name == "x");
    assert!(filled.clone().count() >= 49 && filled.clone().all(|trace| trace.spans == 10), "{newest:?}");
}

#[tokio::test]
async fn the_schema_is_made_once_and_never_behind_anybodys_back() {
    let engine = ClickHouse::some().await;
    let (first, second) = (engine.store(30), engine.store(30));
    let (one, other) = tokio::join!(first.migrate(), second.migrate());
    one.and(other).unwrap();
    engine.store(30).migrate().await.unwrap();
    let made =
        async || engine.ask("SELECT version, name FROM schema_migrations FINAL ORDER BY version").await;
    let all = "1\tspans\n2\tsignals\n5\terrors\n6\trollups\n7\tunknown_sums";
    assert_eq!(made().await, all);
    // One that an earlier release has made.
    engine.ask("ALTER TABLE schema_migrations DELETE WHERE version >= 2 SETTINGS mutations_sync = 2").await;
    for table in ["log_records", "metric_points", "scores"] {
        engine.ask(&format!("DROP TABLE {table} SYNC")).await;
    }
    engine.store(30).migrate().await.unwrap();
    assert_eq!((made().await.as_str(), engine.ask("SELECT count() FROM scores").await.as_str()), (all, "0"));
    let refused = async |what: &str| {
        let error = engine.store(30).migrate().await.unwrap_err();
        let TelemetryError::Store(cause) = error else { panic!("{error}") };
        assert!(cause.to_string().contains(what), "{cause}");
    };
    engine.ask("INSERT INTO schema_migrations (version, name, checksum) VALUES (9, 'later', 'x')").await;
    refused("newer release").await;
    engine.ask("TRUNCATE TABLE schema_migrations").await;
    engine.ask("INSERT INTO schema_migrations (version, name, checksum) VALUES (1, 'spans', 'x')").await;
    refused("not the one applied").await;
}

#[tokio::test]
async fn what_real_senders_send_to_clickhouse_is_what_is_read_back() {
    let engine = ClickHouse::start().await;
    senders::mastras_exporter(&engine.settings()).await;
    senders::otlp_of_mastra(&engine.settings()).await;
    senders::python_sdk(&engine.settings()).await;
}

/// Settings of a platform that keeps nothing while the engine is away.
pub(super) fn without_spool(engine: &ClickHouse) -> Vec<(&str, &str)> {
    [&engine.settings()[..], &[("MASTRA_ADMIN_TELEMETRY_SPOOL_MIB", "0")]].concat()
}

/// So many traces, sent now.
async fn send(sender: &Client, project: &Project, traces: std::ops::Range<u32>) -> tests::client::Answer {
    let now = Utc::now();
    let span = |n: u32| {
        let (trace, span) = (format!("{n:032x}"), format!("{n:016x}"));
        json!({ "traceId": trace, "spanId": span, "name": "x", "startedAt": now, "endedAt": now })
    };
    let spans: Vec<Value> = traces.map(span).collect();
    sender.post(&format!("//projects/{}/ai/spans/publish", project.id), json!({ "spans": spans })).await
}

async fn traces(owner: &Client, project: &Project) -> Value {
    owner.get(&format!("/projects/{}/stats", project.id)).await.expect(200)["traces"].clone()
}

#[tokio::test]
async fn what_was_answered_survives_a_kill_of_the_engine_and_nothing_is_answered_without_it() {
    let mut engine = ClickHouse::start().await;
    let app = TestApp::start_with(&without_spool(&engine)).await;
    let (owner, project, sender) = open(&app).await;
    // In the middle of many batches: each is answered or not.
    let (mut first, mut stored) = (1, 0);
    let sending = async {
        loop {
            let answer = send(&sender, &project, first..first + 50).await;
            if answer.status != 200 {
                return answer;
            }
            (first, stored) = (first + 50, stored + 50);
        }
    };
    let killed = async {
        // What is stored may not be answered yet: of four, three are.
        let some = async || engine.ask("SELECT count() >= 200 FROM spans").await == "1";
        app.wait_until("some is stored", Duration::from_secs(60), some).await;
        engine.kill().await;
    };
    let (refused, ()) = tokio::join!(sending, killed);
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("unavailable")));
    assert!(refused.headers.contains_key("retry-after"));
    assert!(stored >= 150, "{stored}");
    let asked = owner.get(&format!("/projects/{}/traces", project.id)).await;
    assert_eq!((asked.status, asked.headers.contains_key("retry-after")), (503, true));
    let ready = app.nobody().get("//api/ready").await.expect(200);
    assert_eq!(
        (&ready["telemetry"]["store"], &ready["telemetry"]["connected"]),
        (&json!("clickhouse"), &json!(false))
    );
    assert_eq!(ready["status"], "degraded");

    engine.start_again().await;
    let back = async || app.nobody().get("//api/ready").await.expect(200)["telemetry"]["connected"] == true;
    app.wait_until("it is found again", Duration::from_secs(30), back).await;
    // The batch without an answer is stored or not; sent again, it is stored. So is what was stored before: once.
    send(&sender, &project, first..first + 50).await.expect(200);
    send(&sender, &project, 1..101).await.expect(200);
    assert_eq!(traces(&owner, &project).await, json!(stored + 50));
    assert_eq!(engine.ask("SELECT count() = uniqExact(trace_id) FROM spans").await, "1");
    assert!(!app.log().contains(PASSWORD));
}

#[tokio::test]
async fn a_server_comes_up_without_the_engine_and_says_so() {
    let mut engine = ClickHouse::start().await;
    engine.kill().await;
    let app = TestApp::start_with(&without_spool(&engine)).await;
    assert!(app.log().contains("cannot be used yet"), "{}", app.end_of_log());
    let (owner, project, sender) = open(&app).await;
    assert_eq!(send(&sender, &project, 1..2).await.status, 503);
    let ready = app.nobody().get("//api/ready").await.expect(200);
    assert_eq!(ready["telemetry"]["connected"], false);
    engine.start_again().await;
    let stored = async || send(&sender, &project, 1..3).await.status == 200;
    app.wait_until("it is found", Duration::from_secs(30), stored).await;
    assert_eq!(traces(&owner, &project).await, json!(2));
    assert!(!app.log().contains(PASSWORD));
}

#[tokio::test]
async fn what_postgresql_has_of_before_goes_when_its_time_is_over() {
    let mut app = TestApp::start().await;
    for make in ["spans_make_day('2020-01-01')", "signals_make_day('log_records', '2020-01-01')"] {
        sqlx::query(&format!("SELECT {make}")).execute(app.db.pool()).await.unwrap();
    }
    let engine = ClickHouse::start().await;
    app.restart_with(&engine.settings()).await;
    let gone = async || {
        let sql =
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'telemetry' AND tablename LIKE '%20200101'";
        sqlx::query_scalar::<_, i64>(sql).fetch_one(app.db.pool()).await.unwrap() == 0
    };
    app.wait_until("days of 2020 are dropped", Duration::from_secs(30), gone).await;
}

#[tokio::test]
async fn migrate_and_check_speak_of_clickhouse_and_keep_its_password() {
    let mut engine = ClickHouse::start().await;
    let (db, dir) = (TestApp::database().await, tempfile::tempdir().unwrap());
    let run = async |word: &str, settings: &[(&str, &str)]| {
        let mut command = Command::new(program("mastra-admin"));
        command.arg(word).arg("--data-dir").arg(dir.path()).env("DATABASE_URL", db.url());
        let done = command.envs(settings.iter().copied()).output().await.unwrap();
        let said = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8(said).unwrap())
    };
    let (ok, said) = run("migrate", &engine.settings()).await;
    assert!(ok, "{said}");
    assert_eq!(engine.ask("SELECT count() FROM spans").await, "0");
    let (_, said) = run("check", &engine.settings()).await;
    assert!(said.contains("ok      telemetry: ClickHouse 2"), "{said}");
    let wrong = format!("http://telemetry:{PASSWORD}x@{}", engine.url.strip_prefix("http://").unwrap());
    let (ok, said) = run("migrate", &[("CLICKHOUSE_URL", &wrong)]).await;
    assert!(!ok && said.contains("Authentication failed") && !said.contains(PASSWORD), "{said}");
    engine.kill().await;
    let (ok, said) = run("migrate", &engine.settings()).await;
    assert!(!ok && said.contains("ClickHouse at http://127.0.0.1:") && !said.contains(PASSWORD), "{said}");
    let (ok, said) = run("migrate", &[("CLICKHOUSE_URL", "tcp://somewhere:9000")]).await;
    assert!(!ok && said.contains("CLICKHOUSE_URL"), "{said}");
}
