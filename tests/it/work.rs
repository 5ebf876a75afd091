//! Rows of work: each is done by one worker at a time, and one of a lane at a time.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::ids::WorkId;
use futures_util::future::join_all;
use projections::work::{self, Claimed, Due, NewWork};
use projections::{pool, turns};
use serde_json::json;
use sqlx::PgPool;
use tests::bus::Bus;
use uuid::Uuid;

const LEASE: Duration = Duration::from_secs(15);

async fn database() -> (Bus, PgPool) {
    let bus = Bus::start().await;
    let pool = pool::connect(&bus.db.url(), 20).await.unwrap();
    (bus, pool)
}

async fn enqueue(pool: &PgPool, key: &str, lane: &str) {
    enqueue_later(pool, key, lane, Due::AtOnce).await;
}

async fn enqueue_later(pool: &PgPool, key: &str, lane: &str, due: Due) {
    let mut db = pool.acquire().await.unwrap();
    let row = NewWork {
        id: WorkId(Uuid::now_v7()),
        process: "p".to_owned(),
        key: key.to_owned(),
        lane: lane.to_owned(),
        payload: json!({ "lane": lane }),
        due,
        cause_event: Uuid::now_v7().into(),
        cause_position: 1,
        correlation: "c".to_owned(),
    };
    work::enqueue(&mut db, &row).await.unwrap();
}

async fn claim(pool: &PgPool) -> Option<Claimed> {
    work::claim(pool, "p", "worker", LEASE).await.unwrap()
}

/// Lets time go by, as the rows see it; back when it is negative.
async fn pass(pool: &PgPool, seconds: f64) {
    let pass = "UPDATE work SET run_at = run_at - $1 * interval '1 s', lease_until = lease_until - $1 * interval '1 s'";
    sqlx::query(pass).bind(seconds).execute(pool).await.unwrap();
}

#[tokio::test]
async fn what_is_to_be_done_later_waits_by_the_clock_of_the_database() {
    let (_bus, pool) = database().await;
    enqueue_later(&pool, "later", "a", Due::After(Duration::from_nanos(60_000_000_123))).await;
    assert!(claim(&pool).await.is_none());
    pass(&pool, 55.0).await;
    assert!(claim(&pool).await.is_none());
    pass(&pool, 6.0).await;
    assert_eq!(claim(&pool).await.unwrap().key, "later");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_workers_one_gets_each_row() {
    let (_bus, pool) = database().await;
    for n in 0..200 {
        enqueue(&pool, &n.to_string(), &format!("lane {n}")).await;
    }
    let taken = join_all((0..32).map(|_| async {
        let mut keys = vec![];
        while let Some(claimed) = claim(&pool).await {
            keys.push(claimed.key);
        }
        keys
    }))
    .await
    .concat();
    assert_eq!(taken.len(), 200);
    assert_eq!(taken.into_iter().collect::<BTreeSet<_>>().len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_rows_of_a_lane_never_run_at_once() {
    let (_bus, pool) = database().await;
    for n in 0..120 {
        enqueue(&pool, &n.to_string(), &format!("{}", n % 3)).await;
    }
    let running: [AtomicUsize; 3] = Default::default();
    let done = AtomicUsize::new(0);
    join_all((0..32).map(|_| async {
        while done.load(Ordering::SeqCst) < 120 {
            let Some(claimed) = claim(&pool).await else {
                tokio::task::yield_now().await;
                continue;
            };
            let lane: usize = claimed.payload["lane"].as_str().unwrap().parse().unwrap();
            assert_eq!(running[lane].fetch_add(1, Ordering::SeqCst), 0, "two in lane {lane}");
            let rows = "SELECT count(*) FROM work WHERE state = 'running' AND lane = $1";
            let rows: i64 = sqlx::query_scalar(rows).bind(lane.to_string()).fetch_one(&pool).await.unwrap();
            assert_eq!(rows, 1);
            running[lane].fetch_sub(1, Ordering::SeqCst);
            work::finish(&pool, claimed.id, claimed.fence).await.unwrap();
            done.fetch_add(1, Ordering::SeqCst);
        }
    }))
    .await;
    assert_eq!(done.load(Ordering::SeqCst), 120);
}

#[tokio::test]
async fn work_of_a_silent_worker_is_taken_over_and_the_silent_one_has_no_say() {
    let (_bus, pool) = database().await;
    enqueue(&pool, "a", "lane").await;
    enqueue(&pool, "b", "lane").await;
    let first = claim(&pool).await.unwrap();
    assert!(claim(&pool).await.is_none(), "its lane is taken");
    pass(&pool, 10.0).await;
    assert!(work::heartbeat(&pool, first.id, first.fence, LEASE).await.unwrap());
    pass(&pool, 10.0).await;
    assert!(claim(&pool).await.is_none(), "it was heard of");

    pass(&pool, 10.0).await;
    let second = claim(&pool).await.unwrap();
    assert_eq!((second.key.as_str(), second.attempts), ("a", 2), "it is taken over before its lane goes on");
    assert!(second.fence > first.fence);
    assert!(!work::heartbeat(&pool, first.id, first.fence, LEASE).await.unwrap());
    work::finish(&pool, first.id, first.fence).await.unwrap();
    work::retry(&pool, first.id, first.fence, Duration::ZERO, "old").await.unwrap();
    work::give_up(&pool, first.id, first.fence, "old").await.unwrap();
    assert!(claim(&pool).await.is_none(), "nothing of that was heard");

    work::finish(&pool, second.id, second.fence).await.unwrap();
    assert_eq!(claim(&pool).await.unwrap().key, "b");
}

/// The lease of a worker that is gone would otherwise last until the clock is there again.
#[tokio::test]
async fn a_clock_that_is_put_back_keeps_no_work_from_being_taken_over() {
    let (_bus, pool) = database().await;
    enqueue(&pool, "a", "lane").await;
    let first = claim(&pool).await.unwrap();
    pass(&pool, -3600.0).await;
    let second = claim(&pool).await.unwrap();
    assert_eq!((second.key.as_str(), second.attempts, second.is_taken_over), ("a", 2, true));
    assert!(!work::heartbeat(&pool, first.id, first.fence, LEASE).await.unwrap());
    assert!(claim(&pool).await.is_none(), "it is held now");
}

#[tokio::test]
async fn the_same_key_is_the_same_work() {
    let (_bus, pool) = database().await;
    enqueue(&pool, "a", "1").await;
    enqueue(&pool, "a", "2").await;
    let claimed = claim(&pool).await.unwrap();
    work::finish(&pool, claimed.id, claimed.fence).await.unwrap();
    enqueue(&pool, "a", "3").await;
    assert!(claim(&pool).await.is_none());
}

#[tokio::test]
async fn failed_work_waits_for_its_time_and_knows_why() {
    let (_bus, pool) = database().await;
    enqueue(&pool, "a", "1").await;
    let claimed = claim(&pool).await.unwrap();
    work::retry(&pool, claimed.id, claimed.fence, Duration::from_secs(60), "no disk").await.unwrap();
    pass(&pool, 50.0).await;
    assert!(claim(&pool).await.is_none());
    pass(&pool, 11.0).await;
    let again = claim(&pool).await.unwrap();
    assert_eq!((again.attempts, again.last_error.as_deref()), (2, Some("no disk")));
    work::give_up(&pool, again.id, again.fence, "no disk at all").await.unwrap();
    pass(&pool, 1000.0).await;
    assert!(claim(&pool).await.is_none());
    let counts = work::counts(&pool).await.unwrap();
    assert_eq!((counts[0].state.as_str(), counts[0].rows), ("dead", 1));
}

#[tokio::test]
async fn teams_take_turns_when_many_of_one_wake_at_once() {
    let (bus, pool) = database().await;
    // As far as it is asked.
    for setup in [
        "CREATE TABLE deployments (id uuid PRIMARY KEY, team_id uuid NOT NULL)",
        "GRANT SELECT, INSERT ON deployments TO PUBLIC",
    ] {
        sqlx::query(setup).execute(bus.db.pool()).await.unwrap();
    }
    let [crowd, one] = [Uuid::now_v7(), Uuid::now_v7()];
    let wake = async |team: Uuid, key: &str| {
        let id = Uuid::now_v7();
        let known = sqlx::query("INSERT INTO deployments (id, team_id) VALUES ($1, $2)");
        known.bind(id).bind(team).execute(&pool).await.unwrap();
        let row = NewWork {
            id: WorkId(Uuid::now_v7()),
            process: "p".to_owned(),
            key: key.to_owned(),
            lane: id.to_string(),
            payload: json!({ "deployment_id": id }),
            due: Due::AtOnce,
            cause_event: Uuid::now_v7().into(),
            cause_position: 1,
            correlation: "c".to_owned(),
        };
        work::enqueue(&mut pool.acquire().await.unwrap(), &row).await.unwrap();
    };
    let take = async || turns::claim(&pool, "p", "worker", LEASE).await.unwrap().unwrap();
    for n in 0..100 {
        wake(crowd, &format!("crowd {n}")).await;
    }
    let under_way = [take().await, take().await];
    assert!(under_way.iter().all(|claimed| claimed.key.starts_with("crowd ")));
    wake(one, "one").await;
    assert_eq!(take().await.key, "one", "however many of another team wait");
    wake(one, "another").await;
    for claimed in under_way {
        work::finish(&pool, claimed.id, claimed.fence).await.unwrap();
    }
    // Nothing of the crowd is under way any more, and one of the other team is.
    assert!(take().await.key.starts_with("crowd "));
    let keys = [take().await.key, take().await.key];
    assert!(keys.contains(&"another".to_owned()), "{keys:?}");
}
