//! Events that a consumer cannot take in: what waits, what goes on, and how operators resolve it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::envelope::Actor;
use domain::fact::Recorded;
use projections::feed::{self, Consumer, Feed, FeedOptions, Progress, checkpoints};
use projections::parked::{self, RetryError};
use projections::rebuild::{Options, rebuild_with};
use projections::verify::verify;
use projections::{log, pool};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use tests::bus::Bus;
use tests::tape::{Tape, append, event, lone_event, until};
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(20);
const QUICK: FeedOptions = FeedOptions { lease: Duration::from_millis(600), poll: Duration::from_millis(20) };

async fn database() -> (Bus, PgPool) {
    let bus = Bus::start().await;
    let pool = pool::connect(&bus.db.url(), 24).await.unwrap();
    (bus, pool)
}

async fn start(pool: &PgPool, tape: &Tape) -> Feed {
    let copy = Tape { poison: tape.poison.clone(), trouble: tape.trouble.clone(), ..Tape::new() };
    Feed::start_with(pool.clone(), vec![Arc::new(copy)], QUICK).await.unwrap()
}

fn of_stream(id: &str, sequence: i64) -> Value {
    event("user", id, sequence, json!({ "type": "user.password_changed" }))
}

fn of_team(team: Uuid, aggregate_id: Uuid, sequence: i64) -> Value {
    let mut event = of_stream(&aggregate_id.to_string(), sequence);
    event["team_id"] = json!(team);
    event
}

fn ada() -> Actor {
    Actor::Operator("ada".to_owned())
}

async fn noted(pool: &PgPool) -> Vec<i64> {
    sqlx::query_scalar("SELECT position FROM read.tape ORDER BY position").fetch_all(pool).await.unwrap()
}

async fn progress(feed: &Feed) -> Progress {
    feed.progress().await.unwrap().remove(0)
}

/// The kinds of operations in the log, in order.
async fn operations(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("SELECT event_type FROM events WHERE aggregate_type = 'operation' ORDER BY position")
        .fetch_all(pool)
        .await
        .unwrap()
}

/// Two streams; the second event of the first (position 2) is poison, its third (4) comes behind.
async fn poisoned(pool: &PgPool, tape: &Tape) -> (Feed, String) {
    let (one, other) = (Uuid::now_v7().to_string(), Uuid::now_v7().to_string());
    tape.poison.store(2, Ordering::SeqCst);
    let events =
        [of_stream(&one, 1), of_stream(&one, 2), of_stream(&other, 1), of_stream(&one, 3), lone_event()];
    let position = append(pool, &events).await;
    let feed = start(pool, tape).await;
    assert!(feed.wait_for(position, LONG).await, "everything else goes on");
    (feed, format!("user/{one}"))
}

#[tokio::test]
async fn a_refused_event_parks_its_stream_in_order_and_nothing_else() {
    let (_bus, pool) = database().await;
    let tape = Tape::new();
    let (feed, partition) = poisoned(&pool, &tape).await;
    assert_eq!(noted(&pool).await, [1, 3, 5]);
    let waiting = parked::list(&pool, None).await.unwrap();
    let [one] = waiting.as_slice() else { panic!("{waiting:?}") };
    assert_eq!((one.consumer.as_str(), &one.partition, one.position), ("tape", &partition, 2));
    assert_eq!((one.events, one.attempts), (2, 1));
    assert!(one.error.contains("division by zero"), "{}", one.error);
    let events = parked::events(&pool, "tape", &partition).await.unwrap();
    assert_eq!(events.iter().map(|event| event.position).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(events[1].error, None, "it only waits");
    let now = progress(&feed).await;
    assert_eq!((now.stalled, now.parked, now.lag), (None, 2, 0));

    // What comes later waits as well, also after a new start.
    feed.stop().await;
    let feed = start(&pool, &tape).await;
    let id = partition.strip_prefix("user/").unwrap();
    let position = append(&pool, &[of_stream(id, 4), lone_event()]).await;
    assert!(feed.wait_for(position, LONG).await);
    assert_eq!(noted(&pool).await, [1, 3, 5, 7]);
    assert_eq!(progress(&feed).await.parked, 3);
}

#[tokio::test]
async fn another_try_takes_in_what_waits_in_order_and_what_follows_goes_on() {
    let (_bus, pool) = database().await;
    let tape = Tape::new();
    let (feed, partition) = poisoned(&pool, &tape).await;
    let again = parked::retry(&pool, &tape, &partition, &ada()).await.unwrap();
    assert_eq!((again.taken, again.left), (0, 2), "nothing has changed");
    assert!(again.error.unwrap().contains("division by zero"));
    assert_eq!(parked::list(&pool, None).await.unwrap()[0].attempts, 2);

    tape.poison.store(4, Ordering::SeqCst);
    let half = parked::retry(&pool, &tape, &partition, &ada()).await.unwrap();
    assert_eq!((half.taken, half.left), (1, 1));
    assert_eq!(parked::list(&pool, None).await.unwrap()[0].position, 4);
    tape.poison.store(0, Ordering::SeqCst);
    let whole = parked::retry(&pool, &tape, &partition, &ada()).await.unwrap();
    assert_eq!((whole.taken, whole.left, whole.error), (1, 0, None));
    assert_eq!(operations(&pool).await, ["ops.dead_letter_retried"; 3]);

    let id = partition.strip_prefix("user/").unwrap();
    let position = append(&pool, &[of_stream(id, 4)]).await;
    assert!(feed.wait_for(position, LONG).await);
    assert_eq!(
        noted(&pool).await,
        (1..=position).collect::<Vec<_>>(),
        "nothing is missing, nothing is double"
    );
    let nothing = parked::retry(&pool, &tape, &partition, &ada()).await.unwrap_err();
    assert!(matches!(nothing, RetryError::Nothing(_)), "{nothing}");
}

#[tokio::test]
async fn an_event_of_a_team_parks_the_team_for_who_joins_its_streams() {
    let (_bus, pool) = database().await;
    let tape = Tape::new();
    tape.poison.store(1, Ordering::SeqCst);
    let (team, other) = (Uuid::now_v7(), Uuid::now_v7());
    let (a, b, c) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let position = append(&pool, &[of_team(team, a, 1), of_team(team, b, 1), of_team(other, c, 1)]).await;
    let feed = start(&pool, &tape).await;
    assert!(feed.wait_for(position, LONG).await);
    assert_eq!(noted(&pool).await, [3]);
    let waiting = parked::list(&pool, None).await.unwrap();
    assert_eq!((waiting[0].partition.as_str(), waiting[0].events), (format!("team/{team}").as_str(), 2));
}

#[tokio::test]
async fn an_event_that_cannot_be_read_parks_its_stream_by_its_id() {
    let (_bus, pool) = database().await;
    let unknown = event("weather", "1", 1, json!({ "type": "weather.changed" }));
    let id = unknown["event_id"].as_str().unwrap().to_owned();
    let later = event("weather", "1", 2, json!({ "type": "weather.changed" }));
    let position = append(&pool, &[lone_event(), unknown, later, lone_event()]).await;
    let feed = start(&pool, &Tape::new()).await;
    assert!(feed.wait_for(position, LONG).await);
    assert_eq!(noted(&pool).await, [1, 4]);
    let waiting = parked::list(&pool, None).await.unwrap();
    assert_eq!((waiting[0].partition.as_str(), waiting[0].events), ("weather/1", 2));
    assert!(waiting[0].error.contains(&id) && waiting[0].error.contains("weather.changed"), "{waiting:?}");
}

#[tokio::test]
async fn what_the_database_does_to_us_parks_nothing() {
    let (_bus, pool) = database().await;
    let tape = Tape::new();
    let feed = start(&pool, &tape).await;
    // Serialization, deadlock, lock and statement timeout, shutdown, disk full, out of memory, lost connection.
    for (state, position) in
        ["40001", "40P01", "55P03", "57014", "57P01", "53100", "53200", "08006"].iter().zip(1..)
    {
        *tape.trouble.lock().unwrap() = state;
        append(&pool, &[lone_event()]).await;
        feed.wake();
        until("it has stalled", async || progress(&feed).await.stalled.is_some()).await;
        *tape.trouble.lock().unwrap() = "";
        assert!(feed.wait_for(position, LONG).await, "{state} passes");
    }
    assert_eq!(parked::list(&pool, None).await.unwrap(), vec![]);
    assert_eq!(noted(&pool).await.len(), 8);
}

#[tokio::test]
async fn a_connection_that_is_cut_in_the_middle_parks_nothing() {
    let (bus, pool) = database().await;
    let feed = start(&pool, &Tape::new()).await;
    let mut lock = pool.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE read.tape IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    append(&pool, &[lone_event(), lone_event()]).await;
    feed.wake();
    until("the feed waits for the lock and is cut", async || {
        let cut: Vec<bool> = sqlx::query_scalar(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_all(bus.db.pool())
        .await
        .unwrap();
        !cut.is_empty()
    })
    .await;
    lock.rollback().await.unwrap();
    assert!(feed.wait_for(2, LONG).await);
    assert_eq!(noted(&pool).await, [1, 2]);
    assert_eq!(parked::list(&pool, None).await.unwrap(), vec![]);
}

#[tokio::test]
async fn a_rebuild_takes_in_what_it_can_and_parks_the_rest() {
    let (_bus, pool) = database().await;
    let tape = Tape::new();
    let (feed, partition) = poisoned(&pool, &tape).await;
    let proof = verify(&pool, &tape).await.unwrap();
    assert_eq!(
        (proof.parked.len(), proof.parked[0].events, proof.rows),
        (1, 2, 3),
        "no nonsense is reported"
    );
    rebuild_with(&pool, &tape, Options::default()).await.unwrap();
    assert_eq!(parked::list(&pool, None).await.unwrap()[0].partition, partition, "it is refused again");
    assert_eq!(noted(&pool).await, [1, 3, 5]);

    tape.poison.store(0, Ordering::SeqCst);
    rebuild_with(&pool, &tape, Options::default()).await.unwrap();
    assert_eq!(parked::list(&pool, None).await.unwrap(), vec![]);
    assert_eq!(Tape::read(&pool).await, (5, 0));
    let proof = verify(&pool, &tape).await.unwrap();
    assert_eq!((proof.parked.len(), proof.skipped), (0, 0));
    let position = append(&pool, &[lone_event()]).await;
    feed.wake();
    assert!(feed.wait_for(position, LONG).await);
}

#[tokio::test]
async fn a_skipped_event_stays_out_until_a_rebuild_is_to_take_it_in() {
    let (_bus, pool) = database().await;
    let tape = Tape::new();
    let (_feed, partition) = poisoned(&pool, &tape).await;
    let bad = parked::list(&pool, None).await.unwrap()[0].event_id;
    parked::skip(&pool, "tape", bad, "written by a bug", &ada()).await.unwrap();
    let waiting = parked::list(&pool, None).await.unwrap();
    assert_eq!((waiting[0].position, waiting[0].events), (4, 1), "what waits behind it waits on");
    parked::retry(&pool, &tape, &partition, &ada()).await.unwrap();
    assert_eq!(noted(&pool).await[..4], [1, 3, 4, 5]);
    assert_eq!(operations(&pool).await, ["ops.dead_letter_skipped", "ops.dead_letter_retried"]);
    let reason: Value =
        sqlx::query_scalar("SELECT payload FROM events WHERE event_type = 'ops.dead_letter_skipped'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!((&reason["reason"], &reason["position"]), (&json!("written by a bug"), &json!(2)));

    tape.poison.store(0, Ordering::SeqCst);
    rebuild_with(&pool, &tape, Options::default()).await.unwrap();
    assert!(!noted(&pool).await.contains(&2), "what an operator has decided stays");
    assert_eq!(verify(&pool, &tape).await.unwrap().skipped, 1);
    rebuild_with(&pool, &tape, Options { with_skipped: true, ..Options::default() }).await.unwrap();
    assert!(noted(&pool).await.contains(&2));
}

/// A process: it has no tables of its own, and no tool has its code.
struct Chore {
    poison: Arc<AtomicI64>,
}

#[async_trait]
impl Consumer for Chore {
    fn name(&self) -> &'static str {
        "chore"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static str {
        ""
    }

    fn table_names(&self) -> &'static [&'static str] {
        &[]
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        let divisor = i64::from(recorded.position != self.poison.load(Ordering::SeqCst));
        let chore = "INSERT INTO public.chores (position) SELECT $1 / $2";
        sqlx::query(chore).bind(recorded.position).bind(divisor).execute(db).await.map(drop)
    }
}

#[tokio::test]
async fn for_a_process_the_server_that_reads_for_it_tries_again() {
    let (bus, pool) = database().await;
    sqlx::raw_sql(
        "CREATE TABLE chores (position bigint PRIMARY KEY); GRANT ALL ON chores TO mastra_admin_app",
    )
    .execute(bus.db.pool())
    .await
    .unwrap();
    let poison = Arc::new(AtomicI64::new(1));
    let chore = Arc::new(Chore { poison: poison.clone() });
    append(&pool, &[lone_event(), lone_event()]).await;
    let feed = Feed::start_with(pool.clone(), vec![chore], QUICK).await.unwrap();
    let is_parked = async || !parked::list(&pool, None).await.unwrap().is_empty();
    until("it is parked", is_parked).await;
    let partition = parked::list(&pool, None).await.unwrap().remove(0).partition;
    assert!(!parked::ask(&pool, "chore", "user/nobody", &ada()).await.unwrap());

    poison.store(0, Ordering::SeqCst);
    assert!(parked::ask(&pool, "chore", &partition, &ada()).await.unwrap());
    until("it is done", async || !is_parked().await).await;
    let done = "SELECT count(*) FROM chores WHERE position <= 2";
    assert_eq!(sqlx::query_scalar::<_, i64>(done).fetch_one(&pool).await.unwrap(), 2);
    assert_eq!(operations(&pool).await, ["ops.dead_letter_retried"]);
    let actor: String = sqlx::query_scalar("SELECT metadata ->> 'actor' FROM events WHERE position = 3")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(actor, "operator:ada");
    feed.stop().await;
}

#[tokio::test]
async fn a_paused_consumer_stands_still_at_once_and_goes_on_where_it_was() {
    let (_bus, pool) = database().await;
    let feed = start(&pool, &Tape::new()).await;
    let position = append(&pool, &[lone_event()]).await;
    assert!(feed.wait_for(position, LONG).await);
    assert!(feed::pause(&pool, "tape", &ada()).await.unwrap());
    assert!(!feed::pause(&pool, "tape", &ada()).await.unwrap(), "asked twice, it is no news");
    append(&pool, &[lone_event()]).await;
    feed.wake();
    until("the feed knows", async || !progress(&feed).await.is_here).await;
    let paused = progress(&feed).await;
    assert!(paused.is_paused && paused.stalled.is_none(), "{paused:?}");
    assert_eq!(noted(&pool).await, [1]);
    assert!(!feed.wait_for(3, LONG).await, "nobody waits for it, but it has not caught up");

    assert!(feed::resume(&pool, "tape", &ada()).await.unwrap());
    let head = log::head(&pool).await.unwrap();
    until("it goes on", async || checkpoints(&pool).await.unwrap()[0].position == head).await;
    assert_eq!(Tape::read(&pool).await, (head, 0));
    assert_eq!(operations(&pool).await, ["ops.consumer_paused", "ops.consumer_resumed"]);
    assert!(feed::pause(&pool, "weather", &ada()).await.is_err());
}

#[tokio::test]
async fn a_consumer_that_is_set_to_the_end_never_sees_what_lies_between() {
    let (_bus, pool) = database().await;
    let feed = start(&pool, &Tape::new()).await;
    feed.stop().await;
    append(&pool, &[lone_event(), lone_event()]).await;
    assert_eq!(feed::reset_to_head(&pool, "tape", &ada()).await.unwrap(), (0, 2));
    let feed = start(&pool, &Tape::new()).await;
    assert!(feed.wait_for(3, LONG).await);
    assert_eq!(noted(&pool).await, [3], "but what tells of it");
    assert_eq!(operations(&pool).await, ["ops.consumer_reset"]);
}
