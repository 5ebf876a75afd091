//! Lines, measurements and scores in ClickHouse: the contracts, what two servers write at the same moment, days, what is read,
//! and a kill of the engine.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::ports::telemetry::{
    Aggregate, Keeping, LogFilter, LogRecord, LogRecords, Measurements, MetricKind, Period, Point, Scores,
};
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::clickhouse::{ClickHouse, PASSWORD};

use super::contract::tenant;
use super::logs::line;
use super::measurements::{number, one, point, question};
use super::scores::score;
use super::{errors, logs, measurements, open, scores};

const TABLES: [&str; 3] = ["log_records", "metric_points", "scores"];

#[tokio::test]
async fn clickhouse_keeps_the_contract_of_all_signals() {
    let engine = ClickHouse::some().await;
    let store = engine.store(30);
    logs::contract(&store).await;
    measurements::contract(&store).await;
    scores::contract(&store).await;
    errors::contract(&store, &store).await;
}

#[tokio::test]
async fn what_two_servers_wrote_at_the_same_moment_is_there_once_and_as_it_came_first() {
    let engine = ClickHouse::some().await;
    let (store, mine, now) = (engine.store(30), tenant(), Utc::now());
    let lines: Vec<LogRecord> = (1..=9).map(|n| line(n, now)).collect();
    store.write_logs(mine, lines.clone()).await.unwrap();
    let told = |n: u64, name: &str, kind, value| {
        point(n, name, kind, now + TimeDelta::seconds(n.cast_signed()), value)
    };
    let all = [5.0, 12.0, 21.0]
        .into_iter()
        .zip(1..)
        .map(|(value, n)| told(n, "all", MetricKind::Cumulative, value));
    let each =
        [5.0, 7.0, 9.0].into_iter().zip(4..).map(|(value, n)| told(n, "each", MetricKind::Delta, value));
    store.write_points(mine, all.chain(each).collect()).await.unwrap();
    let given = vec![score(1, now), score(2, now)];
    store.write_scores(mine, given.clone()).await.unwrap();
    // Neither knew of the other; nothing has merged them yet.
    for (table, column, value) in [
        ("log_records", "message", "'line later'"),
        ("metric_points", "unit", "'later'"),
        ("scores", "comment", "'later'"),
    ] {
        let columns = engine.columns(table, &[column]).await;
        engine.ask(&format!("SYSTEM STOP MERGES {table}")).await;
        let again =
            format!("INSERT INTO {table} ({columns}, {column}) SELECT {columns}, {value} FROM {table}");
        engine.ask(&again).await;
    }
    assert_eq!(engine.ask("SELECT count() FROM log_records").await, "18");
    let filter = LogFilter { text: Some("LINE".into()), ..logs::any(100) };
    let mut shown = store.logs(mine, &filter).await.unwrap();
    shown.reverse();
    assert_eq!(shown, lines);
    let later = LogFilter { text: Some("later".into()), ..logs::any(100) };
    assert_eq!(store.logs(mine, &later).await.unwrap(), []);
    for (aggregate, wanted) in [(Aggregate::Sum, 21.0), (Aggregate::Count, 3.0), (Aggregate::Average, 7.0)] {
        for name in ["all", "each"] {
            assert_eq!(one(&store, mine, question(name, aggregate)).await, wanted, "{name} {aggregate:?}");
        }
    }
    let names = store.metric_names(mine, Period::default(), 10).await.unwrap();
    assert_eq!(names[0].unit.as_deref(), Some("ms"));
    let mut shown = store.scores(mine, &scores::any(100)).await.unwrap();
    shown.reverse();
    assert_eq!(shown, given);
    for table in TABLES {
        engine.ask(&format!("SYSTEM START MERGES {table}")).await;
        engine.ask(&format!("OPTIMIZE TABLE {table} FINAL")).await;
    }
    let counts = engine.ask(
        "SELECT (SELECT count() FROM log_records), (SELECT count() FROM metric_points), count() FROM scores",
    );
    assert_eq!(counts.await, "9\t6\t2");
}

#[tokio::test]
async fn days_go_when_their_time_is_over_and_others_stay() {
    let engine = ClickHouse::some().await;
    let (store, mine, now) = (engine.store(30), tenant(), Utc::now());
    let old = now - TimeDelta::days(30) + TimeDelta::hours(1);
    assert!(store.window(now).contains(&old) && !store.window(now).contains(&(now + TimeDelta::days(2))));
    let write = async |n: u64, at: DateTime<Utc>| {
        let lines = store.write_logs(mine, vec![line(n, at)]).await.unwrap();
        let points = store.write_points(mine, vec![point(n, "x", MetricKind::Gauge, at, 1.0)]).await.unwrap();
        let scores = store.write_scores(mine, vec![score(n, at)]).await.unwrap();
        [lines, points, scores].map(|written| written.stored)
    };
    let counts = async || {
        let lines = store.logs(mine, &logs::any(10)).await.unwrap().len();
        let points = store.metrics(mine, &question("x", Aggregate::Count)).await.unwrap().samples;
        (
            lines,
            points.first().map(|sample| sample.count),
            store.scores(mine, &scores::any(10)).await.unwrap().len(),
        )
    };
    assert_eq!((write(1, old).await, write(2, now).await), ([1; 3], [1; 3]));
    store.keep_house(now).await.unwrap();
    assert_eq!(counts().await, (2, Some(2), 2));
    store.keep_house(now + TimeDelta::days(2)).await.unwrap();
    assert_eq!(counts().await, (1, Some(1), 1));
    // What was dropped is no repeat; what stayed is.
    assert_eq!((write(1, old).await, write(2, now).await), ([1; 3], [0; 3]));
    for table in TABLES {
        let day = engine.ask(&format!("SELECT max(expires_on) = toDate(max(at)) + 30 FROM {table}")).await;
        assert_eq!(day, "1", "the engine drops by itself what no server drops");
    }
}

#[tokio::test]
async fn lists_and_searches_read_what_they_show() {
    let engine = ClickHouse::some().await;
    let (store, mine, now) = (engine.store(30), tenant(), Utc::now());
    let rare = LogRecord { message: "the Needle-4711 is here".into(), ..line(1, now - TimeDelta::days(9)) };
    store.write_logs(mine, vec![rare.clone()]).await.unwrap();
    // A quarter of a million lines of another project and of this one, over 25 days.
    for project in [mine.project, tenant().project] {
        let rows = format!(
            "INSERT INTO log_records (team_id, project_id, id, at, place, severity, message, trace_id, span_id, attributes,
             resource, expires_on)
             SELECT '{}', '{project}', toFixedString(unhex(lower(hex(sipHash128(number, 1)))), 16),
                    now64(6) - toIntervalMillisecond(number * 8600), 1, 9, concat('request ', toString(sipHash64(number)), ' took ',
                    toString(number % 977), ' ms'), '', '', '{{}}', '{{}}', today() + 40 FROM numbers(250000)",
            mine.team
        );
        engine.ask(&rows).await;
    }
    let read = async |condition: &str| {
        let sql = format!(
            "EXPLAIN ESTIMATE SELECT at, id FROM log_records FINAL WHERE team_id = '{}' AND project_id = '{}' AND {condition}
             SETTINGS do_not_merge_across_partitions_select_final = 1 FORMAT TSV",
            mine.team, mine.project
        );
        let said = engine.ask(&sql).await;
        said.lines().map(|line| line.split('\t').nth(3).unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    let hour = (now - TimeDelta::hours(1)).timestamp_micros();
    let last_hour = read(&format!("at >= fromUnixTimestamp64Micro({hour}, 'UTC')")).await;
    assert!((1..=20_000).contains(&last_hour), "{last_hour} rows for the last hour");
    let id = "\\x00".repeat(15) + "\\x01";
    let one_line = read(&format!("id IN ('{id}')")).await;
    assert!((1..=20_000).contains(&one_line), "{one_line} rows for one line");
    let words = read("lowerUTF8(message) LIKE lowerUTF8('%NEEDLE-4711%')").await;
    assert!((1..=50_000).contains(&words), "{words} of 250,000 rows for a rare word");
    assert!(
        read("lowerUTF8(message) LIKE lowerUTF8('%took%')").await > 200_000,
        "all of them, for what all say"
    );

    let newest = store.logs(mine, &logs::any(50)).await.unwrap();
    assert_eq!(newest.len(), 50);
    assert!(newest.is_sorted_by(|a, b| a.at > b.at), "newest first");
    let filter = LogFilter { text: Some("needle-4711".into()), ..logs::any(50) };
    assert_eq!(store.logs(mine, &filter).await.unwrap(), [rare]);
}

#[tokio::test]
async fn what_real_senders_send_besides_spans_is_what_is_read_back() {
    let engine = ClickHouse::start().await;
    logs::of_mastra(&engine.settings()).await;
    logs::of_python_sdk(&engine.settings()).await;
    measurements::of_mastra(&engine.settings()).await;
    measurements::of_python_sdk(&engine.settings()).await;
    scores::of_mastra_and_others(&engine.settings()).await;
}

#[tokio::test]
async fn bad_rows_are_refused_and_odd_questions_answered() {
    let engine = ClickHouse::start().await;
    logs::bad(&engine.settings()).await;
    measurements::bad(&engine.settings()).await;
}

#[tokio::test]
async fn signals_that_were_answered_survive_a_kill_of_the_engine_and_none_is_there_twice() {
    let mut engine = ClickHouse::start().await;
    let app = TestApp::start_with(&super::clickhouse::without_spool(&engine)).await;
    let (owner, project, sender) = open(&app).await;
    let now = Utc::now();
    let publish = async |what: &str, rows: Vec<Value>| {
        sender.post(&format!("//projects/{}/ai/{what}/publish", project.id), json!({ what: rows })).await
    };
    // A batch of each: lines, 5, 7 and 9, scores.
    let send = async |batch: u32| {
        let of = |n: u32| format!("{batch}-{n}");
        let lines =
            (0..9).map(|n| json!({ "logId": of(n), "timestamp": now, "level": "info", "message": of(n) }));
        let values = [5, 7, 9].into_iter().zip(0..);
        let values = values
            .map(|(value, n)| json!({ "metricId": of(n), "timestamp": now, "name": "v", "value": value }));
        let scores =
            (0..2).map(|n| json!({ "scoreId": of(n), "timestamp": now, "scorerId": "s", "score": 1 }));
        for (what, rows) in
            [("logs", lines.collect()), ("metrics", values.collect()), ("scores", scores.collect())]
        {
            let answer = publish(what, rows).await;
            if answer.status != 200 {
                return Err(answer);
            }
        }
        Ok(())
    };
    let mut stored = 0;
    let sending = async {
        loop {
            match send(stored).await {
                Ok(()) => stored += 1,
                Err(refused) => return refused,
            }
        }
    };
    let killed = async {
        let some = async || engine.ask("SELECT count() >= 6 FROM scores").await == "1";
        app.wait_until("some is stored", Duration::from_secs(60), some).await;
        engine.kill().await;
    };
    let (refused, ()) = tokio::join!(sending, killed);
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("unavailable")));
    assert!(refused.headers.contains_key("retry-after"));
    assert!(stored >= 2, "{stored}");
    for path in ["logs", "scores", "metrics?name=v", "metrics/names"] {
        let asked = owner.get(&format!("/projects/{}/{path}", project.id)).await;
        assert_eq!((asked.status, asked.headers.contains_key("retry-after")), (503, true), "{path}");
    }

    engine.start_again().await;
    let back = async || app.nobody().get("//api/ready").await.expect(200)["telemetry"]["connected"] == true;
    app.wait_until("it is found again", Duration::from_secs(30), back).await;
    // What had no answer is stored or not; all of it sent again is there once.
    for batch in 0..=stored {
        send(batch).await.unwrap_or_else(|answer| panic!("{}", answer.text));
    }
    let batches = stored + 1;
    let sum = |agg: &str| format!("name=v&agg={agg}");
    for (agg, wanted) in [("min", 5), ("avg", 7), ("max", 9), ("sum", 21 * batches), ("count", 3 * batches)] {
        assert_eq!(number(&owner, &project.id, &sum(agg)).await, json!(f64::from(wanted)), "{agg}");
    }
    let rows = engine.ask("SELECT (SELECT count() FROM log_records), count() FROM scores").await;
    assert_eq!(rows, format!("{}\t{}", 9 * batches, 2 * batches));
    // Nothing of it is in PostgreSQL.
    for table in TABLES {
        let rows: i64 = sqlx::query_scalar(&format!("SELECT count(*) FROM {table}"))
            .fetch_one(app.db.pool())
            .await
            .unwrap();
        assert_eq!(rows, 0, "{table}");
    }
    assert!(!app.log().contains(PASSWORD));
}

#[tokio::test]
async fn a_histogram_of_a_sender_that_began_anew_is_not_compared_with_the_one_before() {
    let engine = ClickHouse::some().await;
    let (store, mine, now) = (engine.store(30), tenant(), Utc::now());
    let told = |n: u64, seconds, bounds: &[f64], buckets: &[i64]| Point {
        count: buckets.iter().sum(),
        bounds: bounds.to_vec(),
        buckets: buckets.to_vec(),
        ..point(n, "took", MetricKind::CumulativeHistogram, now - TimeDelta::seconds(seconds), 1.0)
    };
    store
        .write_points(mine, vec![told(1, 30, &[10.0], &[5, 5]), told(2, 20, &[10.0], &[1, 0])])
        .await
        .unwrap();
    store.write_points(mine, vec![told(3, 10, &[20.0], &[1, 1])]).await.unwrap();
    assert_eq!(one(&store, mine, question("took", Aggregate::Count)).await, 12.0);
}
