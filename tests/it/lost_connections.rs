//! What becomes of an append whose connection is lost, and how often PostgreSQL is asked for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use commands::{CommandError, Commands, Context, Expected, IdempotencyKey};
use domain::ids::{TeamId, UserId};
use domain::team::TeamCommand;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tests::bus::{Bus, context};
use tests::wire::{Cut, Wire};
use uuid::Uuid;

fn create(slug: &str) -> TeamCommand {
    let owner = UserId(Uuid::from_u128(1));
    TeamCommand::CreateTeam { name: "Acme".parse().unwrap(), slug: slug.parse().unwrap(), owner }
}

fn rename(slug: &str) -> TeamCommand {
    TeamCommand::RenameTeam { name: None, slug: Some(slug.parse().unwrap()) }
}

/// A command that takes no name: one event of one stream, which goes by values when it is alone.
fn call(name: &str) -> TeamCommand {
    TeamCommand::RenameTeam { name: Some(name.parse().unwrap()), slug: None }
}

/// A bus whose connections go over the wire.
async fn bus_behind(wire: &Wire, bus: &Bus) -> (Commands, PgPool) {
    let pool = PgPoolOptions::new()
        .test_before_acquire(false)
        // One at a time, so that a statement is prepared once.
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(2))
        .connect_with(wire.options(&bus.db))
        .await
        .unwrap();
    (Bus::on(pool.clone()).await.0, pool)
}

async fn events(bus: &Bus) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(bus.db.pool()).await.unwrap()
}

#[tokio::test]
async fn a_command_costs_one_round_trip_and_two_with_what_is_not_known_yet() {
    let bus = Bus::start().await;
    let wire = Wire::start().await;
    let (commands, _pool) = bus_behind(&wire, &bus).await;
    const TIMES: u64 = 20;
    let round = std::cell::Cell::new(0);
    // What so many commands cost, with all that goes on beside them: the notification of other processes, at most
    // one a command.
    let cost = async |slug: &str, key: bool| {
        round.set(round.get() + 1);
        let before = wire.round_trips();
        for n in 0..TIMES {
            let key = key.then(|| IdempotencyKey {
                scope: "user:1".into(),
                key: format!("{}-{n}", round.get()),
                request_hash: "h".into(),
            });
            let command = rename(&slug.replace('#', &n.to_string()));
            let context = Context { key, ..context() };
            commands.team(TeamId(Uuid::from_u128(7)), command, &context).await.unwrap();
        }
        wire.round_trips() - before
    };
    commands.team(TeamId(Uuid::from_u128(7)), create("a"), &context()).await.unwrap();
    cost("warm-#", true).await; // connections are opened, statements prepared
    cost("same", true).await;
    cost("same", false).await;
    let b = cost("b-#", false).await;
    assert!(b <= 2 * TIMES, "{b}");
    assert!(cost("c-#", true).await <= 2 * TIMES);
    cost("same", false).await;
    // Nothing to do: the log is asked whether that is still so, and with a key whether it was done before.
    assert!(cost("same", false).await <= TIMES + 1);
    assert!(cost("same", true).await <= 2 * TIMES + 1);
}

#[tokio::test]
async fn an_append_whose_answer_is_lost_is_known_to_have_happened() {
    for cut in [Cut::Before, Cut::After] {
        let bus = Bus::start().await;
        let wire = Wire::start().await;
        let (commands, _pool) = bus_behind(&wire, &bus).await;
        let id = TeamId(Uuid::now_v7());
        commands.team(id, create("first"), &context()).await.unwrap();
        wire.cut(cut, "team.renamed");
        let renaming = tokio::spawn({
            let commands = commands.clone();
            async move { commands.team(id, rename("second"), &context()).await }
        });
        wire.sprung().await;
        // PostgreSQL ends every connection; the silent one hears of it when the wire is gone.
        drop(wire);
        let answer = tokio::time::timeout(Duration::from_secs(20), renaming).await.unwrap().unwrap();
        // The wire is cut for good: it cannot be known, and that is what is said. What is in the log is in it once.
        assert!(answer.is_err(), "{cut:?}: {answer:?}");
        assert_eq!(events(&bus).await, if cut == Cut::After { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_lone_event_is_sent_again_and_is_there_once() {
    for cut in [Cut::Before, Cut::After] {
        let bus = Bus::start().await;
        let wire = Wire::start().await;
        let (commands, _pool) = bus_behind(&wire, &bus).await;
        let id = TeamId(Uuid::now_v7());
        commands.team(id, create("first"), &context()).await.unwrap();
        commands.team(id, call("Second"), &context()).await.unwrap();
        wire.cut(cut, "Third");
        let calling = tokio::spawn({
            let commands = commands.clone();
            async move { commands.team(id, call("Third"), &context()).await }
        });
        wire.sprung().await;
        wire.hang_up();
        let receipt = tokio::time::timeout(Duration::from_secs(20), calling).await.unwrap().unwrap().unwrap();
        assert_eq!((receipt.version, receipt.position), (3, 3), "{cut:?}");
        assert_eq!(events(&bus).await, 3, "{cut:?}");
    }
}

#[tokio::test]
async fn a_lone_event_of_who_is_behind_is_judged_as_any() {
    let bus = Bus::start().await;
    let (other, _) = Bus::connect(&bus.db).await;
    let id = TeamId(Uuid::now_v7());
    bus.commands.team(id, create("first"), &context()).await.unwrap();
    other.team(id, call("Second"), &context()).await.unwrap();
    // What this one knows is old: it hears so, looks, and says it again.
    let receipt = bus.commands.team(id, call("Third"), &context()).await.unwrap();
    assert_eq!((receipt.version, receipt.position), (3, 3));
    let held = Context { expected: Expected::Exactly(2), ..context() };
    let refused = other.team(id, call("Fourth"), &held).await.unwrap_err();
    assert!(matches!(refused, CommandError::Conflict { expected: 2, actual: 3, .. }), "{refused:?}");
}

#[tokio::test]
async fn every_append_happens_once_while_backends_are_killed() {
    let bus = Bus::start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let killer = tokio::spawn(kill_backends(bus.db.pool().clone(), stop.clone()));
    let writers = (0..16).map(|writer| {
        let commands = bus.commands.clone();
        tokio::spawn(async move {
            let id = TeamId(Uuid::now_v7());
            let mut done = 0;
            for n in 0..60 {
                let command = if n == 0 {
                    create(&format!("team-{writer}"))
                } else if n % 2 == 0 {
                    rename(&format!("team-{writer}-{n}"))
                } else {
                    call(&format!("Team {writer} {n}"))
                };
                // Without a key, so that only what the appender itself knows keeps it from happening twice.
                match commands.team(id, command, &context()).await {
                    Ok(_) => done += 1,
                    Err(error) => panic!("writer {writer}, command {n}: {error:?}"),
                }
            }
            done
        })
    });
    let mut done = 0;
    for writer in futures_util::future::join_all(writers).await {
        done += writer.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    let killed = killer.await.unwrap();
    assert!(killed > 3, "the test is about killed backends: {killed}");
    let (events, head, gaps): (i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), max(position), count(*) FILTER (WHERE position <> number)
           FROM (SELECT position, row_number() OVER (ORDER BY position) AS number FROM events) numbered",
    )
    .fetch_one(bus.db.pool())
    .await
    .unwrap();
    assert_eq!((events, head, gaps), (done, done, 0));
    let broken: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT sequence, row_number() OVER (PARTITION BY aggregate_id ORDER BY position) AS n
                                 FROM events) s WHERE sequence <> n",
    )
    .fetch_one(bus.db.pool())
    .await
    .unwrap();
    assert_eq!(broken, 0, "sequences follow each other in every stream");
}

/// Kills the appender's backends every few milliseconds, in the midst of what they do, but none before something was
/// appended since: on a busy machine no try would come to its end. Answers how many.
async fn kill_backends(pool: PgPool, stop: Arc<AtomicBool>) -> i64 {
    let (mut killed, mut head) = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        let (now, at): (i64, i64) = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)), (SELECT position FROM log_head)
               FROM pg_stat_activity
              WHERE datname = current_database() AND query LIKE 'SELECT append%' AND pid <> pg_backend_pid()
                AND (SELECT position FROM log_head) > $1",
        )
        .bind(head)
        .fetch_one(&pool)
        .await
        .unwrap_or_default();
        if now > 0 {
            (killed, head) = (killed + now, at);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    killed
}
