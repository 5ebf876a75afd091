//! Query tables made anew from a long log, against what PostgreSQL itself needs to send the same rows of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use domain::team::TeamCommand;
use futures_util::TryStreamExt;
use projections::feed::{Consumer, Feed};
use projections::read_models;
use sqlx::{ConnectOptions, PgPool};
use tests::bus::{Bus, context};
use tokio::process::Command;
use uuid::Uuid;

use crate::measure::{Figure, percentile};

/// Sizes of the log.
const SIZES: [i64; 2] = [10_000, 1_000_000];
/// One more size, by the environment: ten million take half an hour.
const MORE: &str = "BENCH_EVENTS";
/// How often each is measured, up to a million events; the median counts.
const ROUNDS: usize = 3;
/// Events that are written in one transaction.
const CHUNK: i64 = 100_000;

/// What is measured of one read model.
#[derive(Default)]
struct Times {
    /// PostgreSQL sends the events.
    copy: Vec<Duration>,
    /// PostgreSQL writes the finished tables once more, with their indexes.
    write: Vec<Duration>,
    rebuild: Vec<Duration>,
}

/// How late the tables are, and rebuilds of logs of several sizes.
pub(crate) async fn figures() -> Vec<Figure> {
    let more = std::env::var(MORE).ok().map(|size| size.parse().expect("a number of events"));
    let mut figures = vec![commit_to_tables().await];
    for size in SIZES.into_iter().chain(more) {
        figures.extend(rebuild(size).await);
    }
    figures
}

async fn rebuild(size: i64) -> Vec<Figure> {
    let bus = Bus::start().await;
    let pool = bus.db.pool();
    seed(pool, size).await;
    let mut times: BTreeMap<&str, Times> = BTreeMap::new();
    let mut memory = 0.0_f64;
    for _ in 0..if size > 1_000_000 { 1 } else { ROUNDS } {
        for model in read_models() {
            let its = times.entry(model.name()).or_default();
            its.copy.push(copy(pool, model.as_ref()).await);
            let (time, peak) = tool(&bus.db.url(), &["rebuild", model.name()]).await;
            its.rebuild.push(time);
            its.write.push(write(pool, model.as_ref()).await);
            memory = memory.max(peak);
        }
    }
    let (_, _) = tool(&bus.db.url(), &["verify", "builds"]).await;
    let audit = times.remove("audit_trail").expect("it is a read model");
    print_each(size, &times, &audit);
    let at = format!("{size} events");
    let state: Vec<Times> = times.into_values().collect();
    let mut figures = against(&format!("rebuild of the state tables, {at}"), &state, 0.8);
    figures.extend(against(&format!("rebuild of the audit trail, {at}"), &[audit], 0.65));
    figures.push(Figure::limit(&format!("rebuild, {at}, peak memory"), memory, "MiB", 300.0));
    figures
}

/// Time to rebuild from events, against the time to copy them out, and against that and the time in which PostgreSQL
/// writes what comes of it.
fn against(name: &str, times: &[Times], goal: f64) -> Vec<Figure> {
    let sum = |of: fn(&Times) -> &Vec<Duration>| -> f64 {
        times.iter().map(|its| percentile(of(its).clone(), 50)).sum()
    };
    let (copy, write, rebuild) = (sum(|its| &its.copy), sum(|its| &its.write), sum(|its| &its.rebuild));
    let events = format!("binary COPY of the same events: {copy:.0} ms");
    let both = format!("the COPY and the tables written by PostgreSQL: {:.0} ms", copy + write);
    vec![
        Figure::at_least(name.to_owned(), rebuild, "ms", events, copy / rebuild, goal),
        Figure::at_least(
            format!("{name}, with the tables"),
            rebuild,
            "ms",
            both,
            (copy + write) / rebuild,
            goal,
        ),
    ]
}

#[expect(clippy::print_stdout, reason = "the table is what the bench is for")]
fn print_each(size: i64, times: &BTreeMap<&str, Times>, audit: &Times) {
    println!("| read model, {size} events | COPY of its events, ms | its tables written, ms | rebuild, ms |");
    println!("| --- | --- | --- | --- |");
    for (name, its) in times.iter().chain([(&"audit_trail", audit)]) {
        let [copy, write, rebuild] =
            [&its.copy, &its.write, &its.rebuild].map(|times| percentile(times.clone(), 50));
        println!("| {name} | {copy:.0} | {write:.0} | {rebuild:.0} |");
    }
}

/// Writes a log of this length.
async fn seed(pool: &PgPool, size: i64) {
    sqlx::raw_sql(include_str!("seed.sql")).execute(pool).await.expect("it is SQL");
    let projects = (size / 20_000).max(10);
    let mut from = 1;
    while from <= size {
        let to = size.min(from + CHUNK - 1);
        sqlx::query("SELECT bench_seed($1, $2, $3)")
            .bind(from)
            .bind(to)
            .bind(projects)
            .execute(pool)
            .await
            .expect("it writes");
        from = to + 1;
    }
    sqlx::raw_sql("VACUUM ANALYZE events").execute(pool).await.expect("nobody minds");
}

/// How long PostgreSQL needs to send the events that a read model looks at.
async fn copy(pool: &PgPool, model: &dyn Consumer) -> Duration {
    let mut db = pool.connect_options().connect().await.expect("it runs");
    let kinds = match model.kinds() {
        [] => "true".to_owned(),
        kinds => format!("aggregate_type IN ('{}')", kinds.join("', '")),
    };
    let statement = format!(
        "COPY (SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position,
                      event_id, recorded_at, team_id FROM events WHERE {kinds}) TO STDOUT (FORMAT binary)"
    );
    let start = Instant::now();
    let mut rows = db.copy_out_raw(&statement).await.expect("it copies");
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await.expect("it goes on") {
        bytes += row.len();
    }
    assert!(bytes > 0, "nothing was copied");
    start.elapsed()
}

/// How long PostgreSQL needs to write tables that are there already once more, and then their indexes: nobody who
/// rebuilds them does with less.
async fn write(pool: &PgPool, model: &dyn Consumer) -> Duration {
    let mut db = pool.connect_options().connect().await.expect("it runs");
    let begin = "SET maintenance_work_mem = '128MB'; DROP SCHEMA IF EXISTS peer CASCADE; CREATE SCHEMA peer";
    sqlx::raw_sql(begin).execute(&mut db).await.expect("nobody uses it");
    let start = Instant::now();
    for table in model.table_names() {
        let copy = format!("CREATE TABLE peer.{table} AS TABLE read.{table}");
        sqlx::raw_sql(&copy).execute(&mut db).await.expect("it is there");
        let indexes: Vec<String> = sqlx::query_scalar(
            "SELECT replace(pg_get_indexdef(indexrelid), ' ON read.', ' ON peer.') FROM pg_index
              WHERE indrelid = to_regclass($1)",
        )
        .bind(format!("read.{table}"))
        .fetch_all(&mut db)
        .await
        .expect("it answers");
        for index in indexes {
            sqlx::raw_sql(&index).execute(&mut db).await.expect("it was made before");
        }
    }
    let took = start.elapsed();
    sqlx::raw_sql("DROP SCHEMA peer CASCADE").execute(&mut db).await.expect("nobody uses it");
    took
}

/// How long the operator's tool needs, and how much memory it takes, in MiB.
async fn tool(url: &str, arguments: &[&str]) -> (Duration, f64) {
    let start = Instant::now();
    let mut tool = Command::new(tests::app::program("replay-tool"))
        .args(arguments)
        .env("DATABASE_URL", url)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("`cargo build --release --bins` makes it");
    let status = PathBuf::from(format!("/proc/{}/status", tool.id().expect("it runs")));
    let mut peak = 0.0_f64;
    let ended = loop {
        tokio::select! {
            ended = tool.wait() => break ended.expect("it is our child"),
            () = tokio::time::sleep(Duration::from_millis(5)) => {
                let status = std::fs::read_to_string(&status).unwrap_or_default();
                let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
                peak = peak.max(kib.unwrap_or_default() / 1024.0);
            }
        }
    };
    assert!(ended.success(), "{arguments:?} failed");
    (start.elapsed(), peak)
}

/// From the commit of an event to the moment when every query table has it.
async fn commit_to_tables() -> Figure {
    let bus = Bus::start().await;
    let pool = projections::pool::connect(&bus.db.url(), 24).await.expect("it runs");
    let feed = Feed::start(pool, read_models()).await.expect("an empty log is read at once");
    let team = Uuid::now_v7().into();
    let (name, slug) = ("Acme".parse().expect("a name"), "acme".parse().expect("a slug"));
    let create = TeamCommand::CreateTeam { name, slug, owner: Uuid::now_v7().into() };
    bus.commands.team(team, create, &context()).await.expect("it is new");
    let mut times = Vec::new();
    for n in 0..500 {
        let name = Some(format!("Acme {n}").parse().expect("a name"));
        let rename = TeamCommand::RenameTeam { name, slug: None };
        let receipt = bus.commands.team(team, rename, &context()).await.expect("the name is another");
        let start = Instant::now();
        feed.wake();
        assert!(feed.wait_for(receipt.position, Duration::from_secs(10)).await, "it is read");
        times.push(start.elapsed());
    }
    feed.stop().await;
    Figure::limit("commit of an event to every query table, p99", percentile(times, 99), "ms", 20.0)
}
