//! Batches of ClickHouse that are under way together: what is in two of them is stored once, also when the engine is killed.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::ports::telemetry::{Span, Telemetry, TraceId};
use futures_util::future::join_all;
use tests::clickhouse::ClickHouse;

use super::contract::{span, tenant};

/// So many rows are a batch of their own.
const MANY: u64 = 2600;

/// Traces of one span each.
fn traces(numbers: std::ops::Range<u64>, at: DateTime<Utc>) -> Vec<Span> {
    numbers.map(|n| span(n, 1, at)).collect()
}

/// How many rows there are, before the engine folds any, and how many different ones.
async fn rows(engine: &ClickHouse) -> String {
    engine.ask("SELECT count(), uniqExact(trace_id) FROM spans").await
}

#[tokio::test]
async fn what_comes_twice_at_the_same_moment_is_stored_once_and_told_so() {
    let engine = ClickHouse::some().await;
    let (store, mine, now) = (engine.store(30), tenant(), Utc::now());
    store.migrate().await.unwrap();
    engine.ask("SYSTEM STOP MERGES spans").await;
    // Each has half of what the one before has, and all come again in another order.
    let mut all = vec![];
    for n in 1..=4 {
        let mut spans = traces(n * MANY / 2..n * MANY / 2 + MANY, now);
        all.push(spans.clone());
        spans.reverse();
        all.push(spans);
    }
    let written = join_all(all.into_iter().map(|spans| store.write(mine, spans))).await;
    let written: Vec<_> = written.into_iter().map(Result::unwrap).collect();
    assert!(written.iter().all(|written| written.stored + written.repeated == MANY), "{written:?}");
    let different = MANY / 2 * 5;
    assert_eq!(written.iter().map(|written| written.stored).sum::<u64>(), different, "{written:?}");
    assert_eq!(rows(&engine).await, format!("{different}\t{different}"));
    let again = store.write(mine, traces(MANY / 2..MANY * 3, now)).await.unwrap();
    assert_eq!((again.stored, again.repeated), (0, different));
    // Some of a trace that is there is new, and some is not.
    let more: Vec<_> = (MANY..MANY * 2).flat_map(|n| [span(n, 1, now), span(n, 2, now)]).collect();
    let written = store.write(mine, more).await.unwrap();
    assert_eq!((written.stored, written.repeated), (MANY, MANY));
}

#[tokio::test]
async fn of_batches_that_a_kill_of_the_engine_cuts_off_nothing_is_lost_that_was_answered_or_stored_twice() {
    let mut engine = ClickHouse::start().await;
    let (store, mine, now) = (engine.store(30), tenant(), Utc::now());
    store.migrate().await.unwrap();
    // Each sends one batch after the other until one is not answered.
    let sending = join_all((1..=6).map(async |sender: u64| {
        let mut first = sender * 1_000_000;
        while store.write(mine, traces(first..first + MANY, now)).await.is_ok() {
            first += MANY;
        }
        first
    }));
    let killed = async {
        while engine.ask("SELECT count() FROM spans").await.parse::<u64>().unwrap() < 5 * MANY {
            tokio::task::yield_now().await;
        }
        engine.kill().await;
    };
    let (ends, ()) = tokio::join!(sending, killed);
    engine.start_again().await;
    let back = async {
        while store.check().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), back).await.expect("it is found again");
    let there = engine.ask("SELECT hex(trace_id) FROM spans").await;
    let there: HashSet<TraceId> = there.lines().map(|id| id.to_lowercase().parse().unwrap()).collect();
    let mut all = vec![];
    for (sender, end) in (1..).zip(ends) {
        let answered = traces(sender * 1_000_000..end, now);
        assert!(answered.iter().all(|span| there.contains(&span.trace_id)), "what was answered is there");
        all.extend([answered, traces(end..end + MANY, now)].concat());
    }
    // Sent again, what was cut off is stored, and nothing else.
    let sent = all.len() as u64;
    let mut stored = there.len() as u64;
    for some in all.chunks(10_000) {
        stored += store.write(mine, some.to_vec()).await.unwrap().stored;
    }
    assert_eq!(stored, sent);
    assert_eq!(rows(&engine).await, format!("{sent}\t{sent}"));
}
