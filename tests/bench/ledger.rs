//! Measures the ledger: how long a million events take to be covered and to be verified, and in how much memory.
//!
//! `cargo bench --package tests --bench ledger`; `LEDGER_EVENTS` says how many. Prints one line a figure.

use std::time::{Duration, Instant};

use chrono::Utc;
use projections::ledger::{self, KeyRing};
use tests::bus::Bus;

/// How long a million events may take to be verified.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the figures are what the bench is for")]
async fn main() {
    let events: i64 =
        std::env::var("LEDGER_EVENTS").ok().and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let bus = Bus::start().await;
    let (pool, dir) = (bus.db.pool(), tempfile::tempdir().expect("a temporary directory"));
    fill(pool, events).await;
    let keys = KeyRing::new(dir.path());

    let start = Instant::now();
    while ledger::close(pool, &keys, false, Utc::now()).await.expect("it signs").is_some() {}
    let covered = start.elapsed();
    println!("ledger: {events} events covered in {:.1} s", covered.as_secs_f64());

    let before = resident();
    let start = Instant::now();
    let report = ledger::verify(pool, &keys.public().expect("a key"), None).await.expect("it reads");
    let verified = start.elapsed();
    assert_eq!((report.covered, report.found), (events, 0), "{:?}", report.findings);
    let grown = resident().saturating_sub(before);
    println!(
        "ledger: {events} events verified in {:.1} s (limit {} s for 1,000,000)",
        verified.as_secs_f64(),
        LIMIT.as_secs()
    );
    println!("ledger: memory grown by {} KiB while verifying", grown);

    let mut db = pool.acquire().await.expect("a connection");
    let start = Instant::now();
    for n in 1..=100 {
        ledger::prove(&mut db, n * events / 100).await.expect("it reads").expect("it is covered");
    }
    println!("ledger: one proof in {:.2} ms", start.elapsed().as_secs_f64() * 10.0);
    let allowed = LIMIT.mul_f64((events as f64 / 1e6).max(0.05));
    assert!(verified < allowed, "verifying took {verified:?}, allowed are {allowed:?}");
}

/// Events of the size that real ones have, about 900 bytes of JSON, past the append function: it is not measured.
async fn fill(pool: &sqlx::PgPool, events: i64) {
    sqlx::raw_sql(&format!(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             position, team_id)
         SELECT 'project', gen_random_uuid(), 1, 'project.env_var_set', '1',
                json_build_object('type', 'project.env_var_set', 'key', 'KEY_' || n, 'value', repeat(md5(n::text), 10)),
                json_build_object('actor', 'user:' || gen_random_uuid(), 'request_id', gen_random_uuid(),
                                  'command', 'SetEnvVar', 'source_ip', repeat(md5(n::text), 3),
                                  'user_agent', repeat(md5(n::text), 6), 'app_version', '0.1.0'),
                n, gen_random_uuid()
           FROM generate_series(1, {events}) n;
         ANALYZE events"
    ))
    .execute(pool)
    .await
    .expect("it inserts");
}

/// Resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
