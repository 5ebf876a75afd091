//! The feed: order, leases, fences, waiting, and what stops it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use projections::feed::{Feed, FeedOptions, Progress, checkpoints, is_settled};
use projections::{log, pool};
use sqlx::PgPool;
use tests::bus::Bus;
use tests::tape::{Tape, append, lone_event, until};

const LONG: Duration = Duration::from_secs(20);

/// Looks so often that no test waits for it.
const QUICK: FeedOptions = FeedOptions { lease: Duration::from_millis(600), poll: Duration::from_millis(20) };

/// Never looks by itself: whoever is not woken sleeps.
const DEAF: FeedOptions = FeedOptions { lease: Duration::from_secs(60), poll: Duration::from_secs(3600) };

async fn database() -> (Bus, PgPool) {
    let bus = Bus::start().await;
    let pool = pool::connect(&bus.db.url(), 16).await.unwrap();
    (bus, pool)
}

async fn feed(pool: &PgPool, tape: Tape, options: FeedOptions) -> Feed {
    Feed::start_with(pool.clone(), vec![Arc::new(tape)], options).await.unwrap()
}

async fn tape_of(feed: &Feed) -> Progress {
    feed.progress().await.unwrap().into_iter().find(|consumer| consumer.name == "tape").unwrap()
}

async fn is_here(feed: &Feed) -> bool {
    tape_of(feed).await.is_here
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_is_taken_in_once_and_in_order_while_many_append() {
    let (_bus, pool) = database().await;
    let feed = feed(&pool, Tape::new(), DEAF).await;
    join_all((0..8).map(|_| async {
        for _ in 0..40 {
            append(&pool, &[lone_event(), lone_event()]).await;
            feed.wake();
        }
    }))
    .await;
    assert!(feed.wait_for(640, LONG).await);
    assert_eq!(Tape::read(&pool).await, (640, 0));
    assert!(is_settled(&pool).await.unwrap());
}

#[tokio::test]
async fn a_long_log_is_caught_up_with_batch_after_batch() {
    let (_bus, pool) = database().await;
    let events: Vec<_> = (0..1203).map(|_| lone_event()).collect();
    append(&pool, &events).await;
    let feed = feed(&pool, Tape::new(), DEAF).await;
    assert!(feed.wait_for(1203, LONG).await);
    assert_eq!(Tape::read(&pool).await, (1203, 0));
}

#[tokio::test]
async fn an_append_of_another_process_wakes() {
    let (bus, pool) = database().await;
    let feed = feed(&pool, Tape::new(), DEAF).await;
    until("the feed listens", async || {
        let listening: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_activity
                             WHERE datname = current_database() AND query LIKE 'LISTEN%' AND state = 'idle')",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        listening
    })
    .await;
    // The appender of the bus notifies through the database alone: nobody here calls `wake`.
    let (commands, _) = Bus::connect(&bus.db).await;
    let create = domain::team::TeamCommand::CreateTeam {
        name: "Acme".parse().unwrap(),
        slug: "acme".parse().unwrap(),
        owner: uuid::Uuid::now_v7().into(),
    };
    let receipt = commands.team(uuid::Uuid::now_v7().into(), create, &tests::bus::context()).await.unwrap();
    assert!(feed.wait_for(receipt.position, LONG).await);
}

#[tokio::test]
async fn what_is_appended_unnoticed_is_found_by_looking() {
    let (_bus, pool) = database().await;
    let feed = feed(&pool, Tape::new(), QUICK).await;
    let position = append(&pool, &[lone_event()]).await;
    assert!(feed.wait_for(position, LONG).await);
}

#[tokio::test]
async fn of_two_processes_one_reads_and_the_other_takes_over_when_it_stops() {
    let (_bus, pool) = database().await;
    let first = feed(&pool, Tape::new(), QUICK).await;
    until("the first reads", async || is_here(&first).await).await;
    let second = feed(&pool, Tape::new(), QUICK).await;
    let position = append(&pool, &[lone_event(), lone_event()]).await;
    assert!(second.wait_for(position, LONG).await, "whoever reads, both know");
    assert!(is_here(&first).await && !is_here(&second).await);

    first.stop().await;
    until("the second reads", async || is_here(&second).await).await;
    let position = append(&pool, &[lone_event()]).await;
    assert!(second.wait_for(position, LONG).await);
    assert_eq!(Tape::read(&pool).await, (3, 0));
}

#[tokio::test]
async fn the_lease_of_a_process_that_was_killed_runs_out() {
    let (_bus, pool) = database().await;
    feed(&pool, Tape::new(), QUICK).await.stop().await;
    sqlx::query(
        "UPDATE consumers SET lease_owner = 'killed', lease_until = clock_timestamp() + interval '300 ms',
                              fence = fence + 1",
    )
    .execute(&pool)
    .await
    .unwrap();
    let feed = feed(&pool, Tape::new(), QUICK).await;
    let position = append(&pool, &[lone_event()]).await;
    assert!(feed.wait_for(position, LONG).await);
    assert!(is_here(&feed).await);
}

#[tokio::test]
async fn a_holder_with_an_old_fence_changes_nothing() {
    let (_bus, pool) = database().await;
    let sleeper = feed(&pool, Tape::new(), DEAF).await;
    assert!(sleeper.wait_for(append_and_wake(&pool, &sleeper).await, LONG).await);

    // While it slept its lease ran out, and another took over.
    sqlx::query(
        "UPDATE consumers SET lease_owner = 'other', lease_until = clock_timestamp() + interval '1 hour',
                              fence = fence + 1",
    )
    .execute(&pool)
    .await
    .unwrap();
    append_and_wake(&pool, &sleeper).await;
    until("it knows that it has lost the lease", async || !is_here(&sleeper).await).await;
    assert_eq!(Tape::read(&pool).await, (1, 0));
    assert_eq!(checkpoints(&pool).await.unwrap()[0].position, 1);
    assert!(!sleeper.wait_for(2, Duration::from_millis(100)).await);
}

async fn append_and_wake(pool: &PgPool, feed: &Feed) -> i64 {
    let position = append(pool, &[lone_event()]).await;
    feed.wake();
    position
}

#[tokio::test]
async fn nobody_waits_longer_than_he_wants() {
    let (_bus, pool) = database().await;
    let feed = feed(&pool, Tape::new(), QUICK).await;
    assert!(feed.wait_for(0, Duration::ZERO).await);
    assert!(!feed.wait_for(1, Duration::from_millis(50)).await);
}

#[tokio::test]
async fn a_hole_in_the_log_stops_who_would_lose_what_is_missing() {
    let (bus, pool) = database().await;
    append(&pool, &[lone_event(), lone_event(), lone_event()]).await;
    let lose =
        "BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM events WHERE position = 2; COMMIT";
    sqlx::raw_sql(lose).execute(bus.db.pool()).await.unwrap();
    let feed = feed(&pool, Tape::new(), QUICK).await;
    until("it has stalled", async || tape_of(&feed).await.stalled.is_some()).await;
    let stalled = tape_of(&feed).await;
    let stall = stalled.stalled.unwrap();
    assert_eq!((stalled.position, stall.position), (1, Some(2)));
    assert!(stall.reason.contains("no event at position 2"), "{}", stall.reason);
}

#[tokio::test]
async fn tables_of_another_version_are_built_anew_at_the_start() {
    let (_bus, pool) = database().await;
    let old = feed(&pool, Tape::new(), QUICK).await;
    let position = append(&pool, &[lone_event(), lone_event()]).await;
    assert!(old.wait_for(position, LONG).await);
    old.stop().await;
    sqlx::query("DELETE FROM tape").execute(&pool).await.unwrap();

    let new = feed(&pool, Tape { version: 2, ..Tape::new() }, QUICK).await;
    assert_eq!(Tape::read(&pool).await, (2, 0), "before anything is read from them");
    assert_eq!(checkpoints(&pool).await.unwrap()[0].version, 2);
    let position = append(&pool, &[lone_event()]).await;
    assert!(new.wait_for(position, LONG).await);
    assert_eq!(log::head(&pool).await.unwrap(), 3);
}

#[tokio::test]
async fn a_server_of_another_version_leaves_the_tables_alone() {
    let (_bus, pool) = database().await;
    let old = feed(&pool, Tape::new(), QUICK).await;
    let _new = feed(&pool, Tape { version: 2, ..Tape::new() }, DEAF).await;
    append(&pool, &[lone_event()]).await;
    until("the old one says so", async || tape_of(&old).await.stalled.is_some()).await;
    assert!(!is_here(&old).await);
}
