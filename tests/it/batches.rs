//! Batches whose rows the tables refuse together: what is parked, and what is not.

use std::sync::Arc;
use std::time::Duration;

use projections::feed::{Consumer, Feed, FeedOptions};
use projections::rebuild::{Options, rebuild_with};
use projections::verify::verify;
use projections::{parked, pool};
use serde_json::{Value, json};
use sqlx::PgPool;
use tests::bus::Bus;
use tests::tape::{append, event};
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(20);
const QUICK: FeedOptions = FeedOptions { lease: Duration::from_millis(600), poll: Duration::from_millis(20) };

async fn database() -> (Bus, PgPool) {
    let bus = Bus::start().await;
    let pool = pool::connect(&bus.db.url(), 24).await.unwrap();
    (bus, pool)
}

fn team_event(team: &str, sequence: i64, payload: Value) -> Value {
    event("team", team, sequence, payload)
}

fn created(team: &str, slug: &str) -> Value {
    let payload = json!({ "type": "team.created", "name": "T", "slug": slug, "owner": Uuid::now_v7() });
    team_event(team, 1, payload)
}

fn renamed(team: &str, sequence: i64, (old_slug, slug): (&str, &str)) -> Value {
    let payload = json!({ "type": "team.renamed", "name": "T", "slug": slug, "old_slug": old_slug });
    team_event(team, sequence, payload)
}

async fn slugs(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("SELECT slug FROM read.teams ORDER BY id").fetch_all(pool).await.unwrap()
}

fn teams() -> Arc<dyn Consumer> {
    projections::read_models().into_iter().find(|model| model.name() == "teams").unwrap()
}

#[tokio::test]
async fn of_a_batch_that_the_tables_refuse_only_the_event_is_parked_that_is_to_blame() {
    let (_bus, pool) = database().await;
    let ids: Vec<String> = (0..41).map(|_| Uuid::now_v7().to_string()).collect();
    let mut events: Vec<_> =
        ids[..40].iter().enumerate().map(|(n, id)| created(id, &format!("team-{n}"))).collect();
    events.insert(23, created(&ids[40], "team-7"));
    let position = append(&pool, &events).await;
    let feed = Feed::start_with(pool.clone(), vec![teams()], QUICK).await.unwrap();
    assert!(feed.wait_for(position, LONG).await);
    let partition = format!("team/{}", ids[40]);
    let waiting = async || {
        let all = parked::list(&pool, None).await.unwrap();
        all.into_iter().map(|found| (found.partition, found.position)).collect::<Vec<_>>()
    };
    assert_eq!((slugs(&pool).await.len(), waiting().await), (40, vec![(partition.clone(), 24)]));
    let live = slugs(&pool).await;
    verify(&pool, teams().as_ref()).await.unwrap();

    // Filling all at once is refused as well, by the index that is made in the end.
    let built = rebuild_with(&pool, teams().as_ref(), Options::default()).await.unwrap();
    assert_eq!((built.events, built.resumed_at), (41, 0));
    assert_eq!((slugs(&pool).await, waiting().await), (live, vec![(partition, 24)]));
    verify(&pool, teams().as_ref()).await.unwrap();
}

#[tokio::test]
async fn names_that_are_exchanged_in_one_batch_park_nothing() {
    let (_bus, pool) = database().await;
    let [one, other] = [Uuid::now_v7().to_string(), Uuid::now_v7().to_string()];
    let feed = Feed::start_with(pool.clone(), vec![teams()], QUICK).await.unwrap();
    let position = append(&pool, &[created(&one, "a"), created(&other, "b")]).await;
    feed.wake();
    assert!(feed.wait_for(position, LONG).await);
    let exchanged =
        [renamed(&one, 2, ("a", "c")), renamed(&other, 2, ("b", "a")), renamed(&one, 3, ("c", "b"))];
    let position = append(&pool, &exchanged).await;
    feed.wake();
    assert!(feed.wait_for(position, LONG).await);
    assert_eq!(slugs(&pool).await, ["b", "a"]);
    assert_eq!(parked::list(&pool, None).await.unwrap(), vec![]);
    verify(&pool, teams().as_ref()).await.unwrap();
}
