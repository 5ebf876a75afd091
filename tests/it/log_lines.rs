//! Lines of output: numbered without holes, masked, capped with a count, and kept while the store is away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::ids::{BuildId, DeploymentId, ProjectId, TeamId};
use domain::ports::logs::LogStream::{Platform, Stderr, Stdout};
use domain::ports::logs::{LogLine, LogOrigin, LogSource, Logs, Output, say};
use domain::secret::Secret;
use futures_util::future::join_all;
use providers::observability::postgres::{Cap, Limits, PostgresLogs};
use sqlx::PgPool;
use tests::postgres::{Template, TestDb, cluster};
use tokio::time::timeout;
use uuid::Uuid;

static TEMPLATE: Template = Template::new("log_lines");

async fn database() -> TestDb {
    TestDb::create(&TEMPLATE, async |pool| {
        let sql = include_str!("../../migrations/postgres/0002_log_lines.sql");
        sqlx::raw_sql(sql).execute(pool).await.expect("the migration applies");
    })
    .await
}

fn build() -> LogSource {
    LogSource::Build(BuildId(Uuid::now_v7()))
}

fn deployment() -> LogSource {
    LogSource::Deployment(DeploymentId(Uuid::now_v7()))
}

async fn open(logs: &PostgresLogs, source: LogSource, mask: &[&str]) -> Arc<dyn Output> {
    let origin = LogOrigin { source, project: ProjectId(Uuid::now_v7()), team: TeamId(Uuid::now_v7()) };
    logs.open(origin, mask.iter().map(|value| Secret::new(*value)).collect())
        .await
        .expect("the store is there")
}

async fn read(logs: &PostgresLogs, source: LogSource) -> Vec<LogLine> {
    let lines = logs.read(source, 0, 1_000_000).await.expect("the store is there");
    let numbers: Vec<i64> = lines.iter().map(|line| line.seq).collect();
    assert_eq!(numbers, (1..=lines.len() as i64).collect::<Vec<_>>(), "numbered from 1 without holes");
    lines
}

async fn texts(logs: &PostgresLogs, source: LogSource) -> Vec<String> {
    read(logs, source).await.into_iter().map(|line| line.text).collect()
}

/// Follows the source until it is as it should be.
async fn until(logs: &PostgresLogs, source: LogSource, good: impl Fn(&[String]) -> bool) -> Vec<String> {
    let mut head = logs.follow(source);
    let wait = async {
        loop {
            let texts = texts(logs, source).await;
            if good(&texts) {
                return texts;
            }
            head.changed().await.expect("the store outlives its followers");
        }
    };
    timeout(Duration::from_secs(20), wait).await.expect("a follower is woken when there is more")
}

fn write_lines(output: &dyn Output, numbers: std::ops::Range<u32>) {
    for n in numbers {
        output.write(Stdout, format!("line {n}\n").as_bytes());
    }
}

fn numbered(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|n| format!("line {n}")).collect()
}

/// Cuts every connection, and refuses new ones or not.
async fn cut_off(name: &str, refuse_new: bool) {
    let allow = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {}", !refuse_new);
    let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    cluster().await.run(&[allow, cut]).await.expect("the cluster itself stays");
}

async fn name_of(pool: &PgPool) -> String {
    sqlx::query_scalar("SELECT current_database()").fetch_one(pool).await.expect("the store is there")
}

#[tokio::test]
async fn lines_are_stored_in_order_with_stream_and_time() {
    let db = database().await;
    let logs = PostgresLogs::start(db.pool().clone());
    let source = build();
    let output = open(&logs, source, &[]).await;
    let before = chrono::Utc::now() - chrono::Duration::seconds(1);
    say(&*output, "cloning");
    output.write(Stdout, b"out one\r\nout t");
    output.write(Stderr, b"err \0 \x1b[31mred\x1b[0m\n");
    output.write(Stdout, b"wo\n\nno end");
    output.flush().await;

    let lines = read(&logs, source).await;
    let shown: Vec<_> = lines.iter().map(|line| (line.stream, line.text.as_str())).collect();
    let expected = [
        (Platform, "cloning"),
        (Stdout, "out one"),
        (Stderr, "err \u{FFFD} \x1b[31mred\x1b[0m"),
        (Stdout, "out two"),
        (Stdout, ""),
        (Stdout, "no end"),
    ];
    assert_eq!(shown, expected);
    assert!(lines.iter().all(|line| line.at > before && line.at <= chrono::Utc::now()));
    assert!(lines.is_sorted_by_key(|line| line.at));
    assert_eq!(logs.read(source, 1, 2).await.unwrap(), lines[1..3]);
    assert_eq!(logs.read(source, 6, 10).await.unwrap(), []);
    assert_eq!(logs.read(source, 0, -1).await.unwrap(), []);
    assert_eq!(texts(&logs, build()).await, [""; 0]);
}

#[tokio::test]
async fn no_secret_is_stored_and_nothing_harmless_is_held_back_for_long() {
    let db = database().await;
    let logs = PostgresLogs::start(db.pool().clone());
    let source = deployment();
    let output = open(&logs, source, &["hunter2", "first line\nsecond line"]).await;
    output.write(Stdout, b"a hun");
    output.write(Stderr, b"ter2\n"); // of another stream: no secret
    output.write(Stdout, b"ter2 b aHVudGVyMg==\n");
    output.write(Platform, b"token=hunter2\n");
    output.write(Stdout, b"first line\n"); // held back until it is clear that nothing follows
    let texts = until(&logs, source, |texts| texts.len() == 4).await;
    assert_eq!(texts, ["ter2", "a *** b ***", "token=***", "***"]);
}

#[tokio::test]
async fn numbers_go_on_after_a_reopening_here_and_in_another_process() {
    let db = database().await;
    let logs = PostgresLogs::start(db.pool().clone());
    let source = build();
    for n in 0..20 {
        let output = open(&logs, source, &[]).await;
        write_lines(&*output, n..n + 1);
        if n % 3 == 0 {
            output.flush().await;
        }
    }
    until(&logs, source, |texts| texts.len() == 20).await;
    let restarted = PostgresLogs::start(db.pool().clone());
    let output = open(&restarted, source, &[]).await;
    write_lines(&*output, 20..30);
    output.flush().await;
    assert_eq!(texts(&logs, source).await, numbered(0..30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_of_one_source_leave_no_hole() {
    let db = database().await;
    let processes = [PostgresLogs::start(db.pool().clone()), PostgresLogs::start(db.pool().clone())];
    let source = deployment();
    let writers = (0..6_u32).map(|writer| {
        let logs = processes[writer as usize % 2].clone();
        tokio::spawn(async move {
            let output = open(&logs, source, &[]).await;
            for n in 0..100 {
                output.write(Stdout, format!("{writer} {n:03}\n").as_bytes());
                if n % 10 == 0 {
                    output.flush().await;
                }
            }
            output.flush().await;
        })
    });
    assert!(join_all(writers).await.iter().all(Result::is_ok));
    let texts = texts(&processes[0], source).await;
    assert_eq!(texts.len(), 600);
    for writer in 0..6 {
        let own: Vec<_> = texts.iter().filter(|text| text.starts_with(&format!("{writer} "))).collect();
        assert_eq!(own.len(), 100);
        assert!(own.is_sorted());
    }
}

#[tokio::test]
async fn a_build_that_says_too_much_ends_in_one_counted_line() {
    let db = database().await;
    let cap = Cap { lines: 10, bytes: 1000, per: None };
    let limits = Limits { build: cap, ..Limits::default() };
    let logs = PostgresLogs::start_with(db.pool().clone(), limits);
    let source = build();
    let output = open(&logs, source, &[]).await;
    write_lines(&*output, 0..35);
    until(&logs, source, |texts| texts.len() == 11).await;
    assert_eq!(texts(&logs, source).await[10], "… output truncated");
    output.flush().await;
    output.flush().await;
    let with_count =
        |count| [numbered(0..10), vec![format!("… output truncated: {count} lines dropped")]].concat();
    assert_eq!(texts(&logs, source).await, with_count(25));

    write_lines(&*output, 35..36);
    drop(output);
    let deadline = Instant::now() + Duration::from_secs(20);
    while texts(&logs, source).await != with_count(26) {
        assert!(Instant::now() < deadline, "a dropped output stores its count");
    }
    let restarted = PostgresLogs::start_with(db.pool().clone(), limits);
    let output = open(&restarted, source, &[]).await;
    write_lines(&*output, 36..40);
    say(&*output, "failed");
    output.flush().await;
    assert_eq!(texts(&logs, source).await, [with_count(30), vec!["failed".to_owned()]].concat());
}

#[tokio::test]
async fn bytes_are_capped_too() {
    let db = database().await;
    let cap = Cap { lines: 1000, bytes: 10_000, per: None };
    let logs = PostgresLogs::start_with(db.pool().clone(), Limits { build: cap, ..Limits::default() });
    let source = build();
    let output = open(&logs, source, &[]).await;
    for length in [4000, 4000, 4000, 1] {
        output.write(Stdout, ("x".repeat(length) + "\n").as_bytes());
    }
    output.flush().await;
    let texts = texts(&logs, source).await;
    assert_eq!(texts[2..], ["… output truncated: 2 lines dropped"]);
}

#[tokio::test]
async fn a_server_that_says_too_much_is_heard_again_after_a_while() {
    let db = database().await;
    let cap = Cap { lines: 10, bytes: 1000, per: Some(Duration::from_millis(300)) };
    let logs = PostgresLogs::start_with(db.pool().clone(), Limits { deployment: cap, ..Limits::default() });
    let source = deployment();
    let output = open(&logs, source, &[]).await;
    write_lines(&*output, 0..25);
    let texts = until(&logs, source, |texts| texts.len() == 11).await; // nothing more is written meanwhile
    assert_eq!(texts[..10], numbered(0..10));
    assert_eq!(texts[10], "… output truncated: 15 lines dropped");
    write_lines(&*output, 25..30);
    let texts = until(&logs, source, |texts| texts.len() == 16).await;
    assert_eq!(texts[11..], numbered(25..30));
}

#[tokio::test]
async fn followers_are_woken_by_this_process_and_by_others() {
    let db = database().await;
    let (writing, elsewhere) =
        (PostgresLogs::start(db.pool().clone()), PostgresLogs::start(db.pool().clone()));
    let source = deployment();
    let (mut near, mut far) = (writing.follow(source), elsewhere.follow(source));
    let output = open(&writing, source, &[]).await;
    for n in 1..4 {
        say(&*output, "line");
        for head in [&mut near, &mut far] {
            timeout(Duration::from_secs(20), head.wait_for(|last| *last == n)).await.unwrap().unwrap();
        }
        assert_eq!(read(&elsewhere, source).await.len() as i64, n);
    }
    let late = elsewhere.follow(source);
    assert_eq!(*late.borrow(), 3);
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_when_connections_are_cut() {
    let db = database().await;
    let name = name_of(db.pool()).await;
    let logs = PostgresLogs::start(db.pool().clone());
    let source = build();
    let output = open(&logs, source, &[]).await;
    for n in 0..40 {
        write_lines(&*output, n * 50..n * 50 + 50);
        cut_off(&name, false).await;
    }
    output.flush().await;
    assert_eq!(texts(&logs, source).await, numbered(0..2000));
}

#[tokio::test]
async fn lines_wait_within_bounds_while_the_store_is_away() {
    let db = database().await;
    let name = name_of(db.pool()).await;
    let limits = Limits { queue: 20_000, ..Limits::default() };
    let logs = PostgresLogs::start_with(db.pool().clone(), limits);
    let (patient, chatty) = (build(), build());
    let outputs = [open(&logs, patient, &[]).await, open(&logs, chatty, &[]).await];
    cut_off(&name, true).await;
    write_lines(&*outputs[0], 0..100);
    write_lines(&*outputs[1], 0..1000);
    assert!(logs.read(patient, 0, 1).await.is_err(), "the store is away");
    cut_off(&name, false).await;
    join_all(outputs.iter().map(|output| output.flush())).await;

    assert_eq!(texts(&logs, patient).await, numbered(0..100));
    let texts = texts(&logs, chatty).await;
    let kept = texts.len() as u32 - 1;
    assert!(kept > 100 && kept < 1000);
    assert_eq!(texts[..kept as usize], numbered(0..kept));
    let expected = format!("… {} lines lost: the log store did not take them in time", 1000 - kept);
    assert_eq!(texts[kept as usize], expected);
    write_lines(&*outputs[1], 0..1);
    until(&logs, chatty, |texts| texts.last().is_some_and(|text| text == "line 0")).await;
}

#[tokio::test]
async fn what_dropped_outputs_said_last_is_stored_before_the_end() {
    let db = database().await;
    let logs = PostgresLogs::start(db.pool().clone());
    let sources: Vec<_> = (0..30).map(|_| deployment()).collect();
    for source in &sources {
        open(&logs, *source, &[]).await.write(Stderr, b"bye\nno end");
    }
    logs.drain().await;
    for source in sources {
        assert_eq!(texts(&logs, source).await, ["bye", "no end"]);
    }
}

#[tokio::test]
async fn flush_does_not_wait_for_a_store_that_is_closed_for_good() {
    let db = database().await;
    let logs = PostgresLogs::start(db.pool().clone());
    let output = open(&logs, build(), &[]).await;
    db.pool().close().await;
    say(&*output, "lost");
    timeout(Duration::from_secs(20), output.flush()).await.unwrap();
}

#[tokio::test]
async fn a_line_is_readable_soon() {
    let db = database().await;
    let logs = PostgresLogs::start(db.pool().clone());
    let source = deployment();
    let output = open(&logs, source, &["hunter2"]).await;
    let mut head = logs.follow(source);
    let mut times = Vec::new();
    for n in 1..=200 {
        let begun = Instant::now();
        say(&*output, "line");
        head.wait_for(|last| *last == n).await.unwrap();
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    println!("written to readable: p50 {:?}, p99 {:?}", times[100], times[198]);
    let begun = Instant::now();
    write_lines(&*output, 0..20_000);
    let taken = begun.elapsed();
    output.flush().await;
    println!("20,000 lines: taken in {taken:?}, stored in {:?}", begun.elapsed());
    assert!(times[100] < Duration::from_secs(1));
}
