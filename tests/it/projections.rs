//! The read side: every event goes through, a rebuild gives the same, differences are found, work is done once.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::ids::{EventId, TeamId, UserId};
use domain::team::TeamCommand;
use futures_util::future::join_all;
use projections::feed::Feed;
use projections::rebuild::{RebuildError, rebuild, verify};
use projections::work::{self, NewWork};
use serde_json::{Value, json};
use sqlx::PgPool;
use tests::bus::{Bus, context};
use uuid::Uuid;

async fn pool(bus: &Bus) -> PgPool {
    projections::pool::connect(&bus.db.url(), 20).await.unwrap()
}

fn create(slug: &str) -> TeamCommand {
    let owner = UserId(Uuid::from_u128(1));
    TeamCommand::CreateTeam { name: "Acme".parse().unwrap(), slug: slug.parse().unwrap(), owner }
}

/// A log with some teams, and read models that have applied it.
async fn filled() -> (Bus, PgPool, Feed) {
    let bus = Bus::start().await;
    let pool = pool(&bus).await;
    let feed = Feed::start(pool.clone(), projections::read_models()).await.unwrap();
    for n in 0..20 {
        let id = TeamId(Uuid::now_v7());
        bus.commands.team(id, create(&format!("team-{n}")), &context()).await.unwrap();
    }
    feed.wake();
    assert!(feed.wait_for(20, Duration::from_secs(20)).await);
    (bus, pool, feed)
}

async fn rows(pool: &PgPool, query: &str) -> i64 {
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn every_event_ever_released_goes_through_every_read_model() {
    let bus = Bus::start().await;
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../domain/golden");
    for entry in std::fs::read_dir(golden).unwrap() {
        let golden: Value = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        sqlx::query(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             VALUES ($1, $2, 1, $3, $4, $5, '{}')",
        )
        .bind(golden["aggregate_type"].as_str().unwrap())
        // Each in a stream of its own: that one event does not trip over another is not what this is about.
        .bind(Uuid::now_v7().to_string())
        .bind(golden["event_type"].as_str().unwrap())
        .bind(golden["event_version"].as_str().unwrap())
        .bind(&golden["payload"])
        .execute(bus.db.pool())
        .await
        .unwrap();
    }
    let pool = pool(&bus).await;
    let feed = Feed::start(pool.clone(), projections::read_models()).await.unwrap();
    let head = projections::log::head(&pool).await.unwrap();
    assert!(head > 50);
    assert!(feed.wait_for(head, Duration::from_secs(20)).await, "{:?}", feed.progress().await);
    for model in projections::read_models() {
        assert_eq!(verify(&pool, &*model).await.unwrap().position, head, "{}", model.name());
    }
}

#[tokio::test]
async fn a_rebuild_gives_the_same_while_readers_read_and_writers_write() {
    let (bus, pool, feed) = filled().await;
    let reader = {
        let pool = pool.clone();
        tokio::spawn(async move {
            for _ in 0..200 {
                assert!(
                    rows(&pool, "SELECT count(*) FROM teams").await >= 20,
                    "a reader never sees an empty table"
                );
            }
        })
    };
    let writers = async {
        for n in 20..40 {
            let id = TeamId(Uuid::now_v7());
            bus.commands.team(id, create(&format!("team-{n}")), &context()).await.unwrap();
            feed.wake();
        }
    };
    let rebuilds = async {
        for model in projections::read_models() {
            rebuild(&pool, &*model).await.unwrap();
        }
    };
    tokio::join!(writers, rebuilds);
    reader.await.unwrap();
    assert!(feed.wait_for(40, Duration::from_secs(30)).await, "{:?}", feed.progress().await);
    for model in projections::read_models() {
        verify(&pool, &*model).await.unwrap();
    }
    assert_eq!(rows(&pool, "SELECT count(*) FROM teams").await, 40);
}

#[tokio::test]
async fn a_changed_a_missing_and_an_added_row_are_found() {
    let (_bus, pool, _feed) = filled().await;
    let teams = projections::read_models().into_iter().find(|model| model.name() == "teams").unwrap();
    for (attack, repair) in [
        (
            "UPDATE teams SET name = 'Evil' WHERE slug = 'team-3'",
            "UPDATE teams SET name = 'Acme' WHERE slug = 'team-3'",
        ),
        ("DELETE FROM team_members WHERE team_id IN (SELECT id FROM teams WHERE slug = 'team-4')", ""),
    ] {
        sqlx::query(attack).execute(&pool).await.unwrap();
        let Err(RebuildError::Different(found)) = verify(&pool, &*teams).await else {
            panic!("{attack} was not found")
        };
        assert_eq!(found.position, 20);
        assert!(found.table.starts_with("team"), "{found}");
        if repair.is_empty() {
            rebuild(&pool, &*teams).await.unwrap();
        } else {
            sqlx::query(repair).execute(&pool).await.unwrap();
        }
        verify(&pool, &*teams).await.unwrap();
    }
    let added = "INSERT INTO team_members (team_id, user_id, role, created_at)
                 SELECT id, gen_random_uuid(), 'owner', now() FROM teams LIMIT 1";
    sqlx::query(added).execute(&pool).await.unwrap();
    let Err(RebuildError::Different(found)) = verify(&pool, &*teams).await else {
        panic!("it was not found")
    };
    assert_eq!((found.table.as_str(), found.rebuilt.as_str()), ("team_members", "nothing"));
}

#[tokio::test]
async fn a_second_server_takes_over_what_the_first_lets_go() {
    let (bus, pool, first) = filled().await;
    let second = Feed::start(pool.clone(), projections::read_models()).await.unwrap();
    first.stop().await;
    let id = TeamId(Uuid::now_v7());
    bus.commands.team(id, create("after"), &context()).await.unwrap();
    assert!(second.wait_for(21, Duration::from_secs(20)).await, "{:?}", second.progress().await);
    assert_eq!(rows(&pool, "SELECT count(*) FROM teams").await, 21, "each event was applied once");
}

#[tokio::test]
async fn who_lost_the_fence_changes_nothing() {
    let (bus, pool, feed) = filled().await;
    // Another process has taken every consumer over, far into the future.
    sqlx::query("UPDATE consumers SET fence = fence + 1, lease_owner = 'other', lease_until = now() + interval '1 day'")
        .execute(&pool)
        .await
        .unwrap();
    bus.commands.team(TeamId(Uuid::now_v7()), create("after"), &context()).await.unwrap();
    feed.wake();
    assert!(!feed.wait_for(21, Duration::from_secs(3)).await);
    assert_eq!(rows(&pool, "SELECT count(*) FROM teams").await, 20);
    assert_eq!(rows(&pool, "SELECT max(position) FROM consumers").await, 20);
}

fn new_work(n: u128, lane: &str, at: DateTime<Utc>) -> NewWork {
    NewWork {
        id: Uuid::from_u128(n).into(),
        process: "p".into(),
        key: n.to_string(),
        lane: lane.into(),
        payload: json!({ "n": n.to_string() }),
        run_at: at,
        cause_event: EventId(Uuid::from_u128(n)),
        cause_position: 1,
        correlation: "c".into(),
    }
}

const LEASE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn racing_workers_take_each_work_once_and_lanes_never_overlap() {
    let bus = Bus::start().await;
    let pool = pool(&bus).await;
    let now = Utc::now();
    let mut db = pool.acquire().await.unwrap();
    for n in 0..40 {
        let work = new_work(n, &format!("lane-{}", n % 4), now);
        work::enqueue(&mut db, &work).await.unwrap();
        work::enqueue(&mut db, &work).await.unwrap();
    }
    drop(db);
    assert_eq!(rows(&pool, "SELECT count(*) FROM work").await, 40, "the same work is stored once");
    let done = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    join_all((0..16).map(|worker| {
        let (pool, done) = (pool.clone(), done.clone());
        async move {
            for _ in 0..200 {
                let claimed = work::claim(&pool, "p", &worker.to_string(), now, LEASE).await.unwrap();
                let Some(claimed) = claimed else { continue };
                let overlap =
                    "SELECT count(*) FROM (SELECT lane FROM work WHERE state = 'running' GROUP BY lane
                                HAVING count(*) > 1) x";
                assert_eq!(rows(&pool, overlap).await, 0, "a lane has one worker");
                assert!(done.lock().unwrap().insert(claimed.key), "taken twice");
                work::finish(&pool, claimed.id, claimed.fence, now).await.unwrap();
            }
        }
    }))
    .await;
    assert_eq!(done.lock().unwrap().len(), 40);
}

#[tokio::test]
async fn a_silent_workers_work_is_taken_over_and_its_late_word_is_not_heard() {
    let bus = Bus::start().await;
    let pool = pool(&bus).await;
    let now = Utc::now();
    let mut db = pool.acquire().await.unwrap();
    work::enqueue(&mut db, &new_work(1, "a", now)).await.unwrap();
    drop(db);
    let first = work::claim(&pool, "p", "first", now, LEASE).await.unwrap().unwrap();
    assert!(work::claim(&pool, "p", "second", now, LEASE).await.unwrap().is_none());
    let later = now + LEASE * 2;
    let second = work::claim(&pool, "p", "second", later, LEASE).await.unwrap().unwrap();
    assert!(second.fence > first.fence && second.attempts == 2);
    assert!(!work::heartbeat(&pool, first.id, first.fence, later + LEASE).await.unwrap());
    work::finish(&pool, first.id, first.fence, later).await.unwrap();
    assert_eq!(rows(&pool, "SELECT count(*) FROM work WHERE state = 'running'").await, 1);
    work::retry(&pool, second.id, second.fence, later + LEASE, "later").await.unwrap();
    assert!(work::claim(&pool, "p", "third", later, LEASE).await.unwrap().is_none(), "its time has not come");
    let third = work::claim(&pool, "p", "third", later + LEASE, LEASE).await.unwrap().unwrap();
    assert_eq!(third.last_error.as_deref(), Some("later"));
}
