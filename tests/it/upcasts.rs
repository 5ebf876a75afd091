//! Events of earlier versions that say several things today, or nothing: with steps that the product does not have.

use std::time::Duration;

use chrono::Utc;
use domain::envelope::Actor;
use domain::ids::TeamId;
use domain::upcast::{Part, Upcast};
use futures_util::TryStreamExt;
use projections::feed::{Feed, FeedOptions, checkpoints};
use projections::past::{Archive, Extent, Then};
use projections::rebuild::{Options, rebuild_with};
use projections::{parked, pool, read_models};
use serde_json::{Value, json};
use sqlx::PgPool;
use tests::bus::Bus;
use tests::tape::{append, event, until};
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(20);
const QUICK: FeedOptions = FeedOptions { lease: Duration::from_millis(600), poll: Duration::from_millis(20) };
const TEAM: Uuid = Uuid::from_u128(0x7000_8000_0000_0000_0000 + 2);

/// In version 0 one event added many members, and looking at a team was an event.
const STEPS: &[Upcast] = &[
    Upcast {
        event_type: "team.member_added",
        from: "0",
        change: |old| {
            let added = |user: &Value| json!({ "user_id": user, "role": old["role"] });
            let users = old["user_ids"].as_array().cloned().unwrap_or_default();
            users.iter().map(|user| Part::new("team.member_added", "1", added(user))).collect()
        },
    },
    Upcast { event_type: "team.looked_at", from: "0", change: |_| vec![] },
];

fn user(n: u128) -> Uuid {
    Uuid::from_u128(0x7000_8000_0000_0000_1000 + n)
}

fn of_team(sequence: i64, version: &str, payload: Value) -> Value {
    let mut event = event("team", &TEAM.to_string(), sequence, payload);
    event["event_version"] = json!(version);
    event["team_id"] = json!(TEAM);
    event
}

fn created() -> Value {
    of_team(1, "1", json!({ "type": "team.created", "name": "Acme", "slug": "acme", "owner": user(1) }))
}

fn added(sequence: i64, users: &[u128]) -> Value {
    let users: Vec<_> = users.iter().map(|n| user(*n)).collect();
    of_team(sequence, "0", json!({ "type": "team.member_added", "role": "developer", "user_ids": users }))
}

fn looked_at(sequence: i64) -> Value {
    of_team(sequence, "0", json!({ "type": "team.looked_at" }))
}

fn renamed(sequence: i64) -> Value {
    let payload = json!({ "type": "team.renamed", "name": "New", "slug": "acme", "old_slug": "acme" });
    of_team(sequence, "1", payload)
}

async fn start(events: &[Value]) -> (Bus, PgPool, Feed) {
    let bus = Bus::start().await;
    let pool = pool::connect(&bus.db.url(), 24).await.unwrap();
    let position = append(&pool, events).await;
    let feed = Feed::start_upcasting(pool.clone(), read_models(), QUICK, STEPS).await.unwrap();
    assert!(feed.wait_for(position, LONG).await, "{:?}", feed.progress().await);
    (bus, pool, feed)
}

async fn members(pool: &PgPool) -> Vec<Uuid> {
    sqlx::query_scalar("SELECT user_id FROM read.team_members ORDER BY user_id")
        .fetch_all(pool)
        .await
        .unwrap()
}

fn users(of: &[u128]) -> Vec<Uuid> {
    of.iter().map(|n| user(*n)).collect()
}

/// All rows of all read models, as text.
async fn content(pool: &PgPool) -> Vec<String> {
    let mut all = vec![];
    for model in read_models() {
        for table in model.table_names() {
            let query = format!("SELECT '{table} ' || to_jsonb(t)::text FROM read.{table} t ORDER BY 1");
            let rows: Vec<String> = sqlx::query_scalar(&query).fetch(pool).try_collect().await.unwrap();
            all.extend(rows);
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fact_of_a_row_is_taken_in_and_the_row_counts_once() {
    let (_bus, pool, feed) = start(&[created(), added(2, &[2, 3, 4]), looked_at(3)]).await;
    assert_eq!(members(&pool).await, users(&[1, 2, 3, 4]));
    for at in checkpoints(&pool).await.unwrap() {
        assert_eq!(at.position, 3, "{}", at.name);
    }
    let version: i64 = sqlx::query_scalar("SELECT version FROM read.teams").fetch_one(&pool).await.unwrap();
    assert_eq!(version, 2, "it is that of the row, however many facts it has");

    let trail: Vec<(i64, String, Option<Value>)> =
        sqlx::query_as("SELECT position, action, after FROM read.audit_trail ORDER BY position")
            .fetch_all(&pool)
            .await
            .unwrap();
    let [_, (2, two, Some(after)), (3, three, None)] = &trail[..] else { panic!("{trail:?}") };
    assert_eq!((two.as_str(), three.as_str()), ("team.member_added", "team.looked_at"), "as written");
    for n in 1..=3 {
        assert_eq!(after[n.to_string()]["user_id"], json!(user(n + 1)), "{after}");
    }

    // What comes after a row that says nothing is taken in as ever.
    let position = append(&pool, &[looked_at(4), looked_at(5), added(6, &[5])]).await;
    feed.wake();
    assert!(feed.wait_for(position, LONG).await, "{:?}", feed.progress().await);
    assert_eq!(members(&pool).await, users(&[1, 2, 3, 4, 5]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_and_a_view_of_the_past_read_as_the_feed_does() {
    let (_bus, pool, feed) =
        start(&[created(), added(2, &[2, 3]), looked_at(3), added(4, &[4]), renamed(5)]).await;
    feed.stop().await;
    let live = content(&pool).await;
    for memory in [None, Some(1)] {
        for model in read_models() {
            let options = Options { steps: Some(STEPS), afresh: true, memory, ..Options::default() };
            assert_eq!(rebuild_with(&pool, model.as_ref(), options).await.unwrap().events, 5, "one a row");
        }
        assert_eq!(content(&pool).await, live);
    }

    let archive = Archive::upcasting(pool.clone(), STEPS);
    for (position, known) in [(1, 1), (2, 3), (3, 3), (4, 4)] {
        let streams = vec![("team", TEAM.to_string())];
        let extent = Extent { team_id: TeamId(TEAM), project_id: None, streams, all: &[] };
        let view = archive.open(extent, Then { position, at: Utc::now() }).await.unwrap();
        let members: Vec<Uuid> =
            sqlx::query_scalar("SELECT user_id FROM team_members").fetch_all(&view).await.unwrap();
        assert_eq!(members.len(), known, "at {position}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_fact_parks_its_row_and_nothing_of_the_row_is_taken_in() {
    let (_bus, pool, feed) =
        start(&[created(), added(2, &[2]), added(3, &[3, 2, 4]), looked_at(4), renamed(5)]).await;
    assert_eq!(members(&pool).await, users(&[1, 2]), "neither the fact before nor the one after");
    let waiting = parked::list(&pool, None).await.unwrap();
    let [one] = waiting.as_slice() else { panic!("{waiting:?}") };
    assert_eq!(
        (one.consumer.as_str(), one.position, one.events),
        ("teams", 3, 3),
        "the row, and what follows"
    );

    // A rebuild, whose fold has to begin anew batch by batch, comes to the same.
    let teams = super::projections::model("teams");
    let options = Options { steps: Some(STEPS), ..Options::default() };
    rebuild_with(&pool, teams.as_ref(), options).await.unwrap();
    assert_eq!(members(&pool).await, users(&[1, 2]));
    assert_eq!(parked::list(&pool, None).await.unwrap()[0].position, 3);

    // The next try takes in the whole row, once nothing of it is refused.
    sqlx::query("DELETE FROM read.team_members WHERE user_id = $1")
        .bind(user(2))
        .execute(&pool)
        .await
        .unwrap();
    let operator = Actor::Operator("ada".to_owned());
    assert!(parked::ask(&pool, "teams", &one.partition, &operator).await.unwrap());
    until("nothing waits", async || parked::list(&pool, None).await.unwrap().is_empty()).await;
    assert_eq!(members(&pool).await, users(&[1, 2, 3, 4]));
    feed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_no_step_explains_is_parked_and_named() {
    let mut unknown = of_team(2, "1", json!({ "type": "team.vanished" }));
    let id = Uuid::now_v7();
    unknown["event_id"] = json!(id);
    let (_bus, pool, _feed) = start(&[created(), unknown]).await;
    let waiting = parked::list(&pool, None).await.unwrap();
    assert!(!waiting.is_empty());
    for one in waiting {
        assert!(one.error.contains(&id.to_string()) && one.error.contains("team.vanished"), "{}", one.error);
    }
}
