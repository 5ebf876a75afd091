//! Sixteen writers and fifty thousand events, while connections of writers and consumers are cut ten times a second
//! and others hold the log or take back what they appended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use commands::{CommandError, Commands, Context, IdempotencyKey, Receipt, Step};
use domain::ids::{TeamId, UserId};
use domain::team::TeamCommand;
use futures_util::future::join_all;
use projections::feed::Feed;
use projections::verify::verify;
use projections::{log, pool};
use sqlx::PgPool;
use tests::bus::{Bus, context};
use tests::chance::below;
use tests::tape::{append, lone_event};
use uuid::Uuid;

const WRITERS: usize = 16;
const EVENTS: i64 = 50_000;
/// Writers meet at fewer teams than there are writers.
const TEAMS: usize = 10;

/// What a writer was told.
struct Told {
    request: String,
    events: i64,
    receipt: Receipt,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_once_in_order_and_in_the_tables_whatever_is_cut() {
    let bus = Bus::start().await;
    let teams: Vec<TeamId> = (0..TEAMS).map(|_| TeamId(Uuid::now_v7())).collect();
    for (n, id) in teams.iter().enumerate() {
        bus.commands.team(*id, create(&format!("team-{n}")), &context()).await.unwrap();
    }
    let (mut processes, reads) = (Vec::new(), pool::connect(&bus.db.url(), 40).await.unwrap());
    for _ in 0..2 {
        processes.push(Bus::on(pool::connect(&bus.db.url(), 12).await.unwrap()).await.0);
    }
    let feed = Feed::start(reads.clone(), projections::read_models()).await.unwrap();

    let (done, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let disturbers = [
        tokio::spawn(cut(bus.db.pool().clone(), done.clone())),
        tokio::spawn(disturb(bus.db.pool().clone(), done.clone())),
    ];
    let writers = (0..WRITERS).map(|n| {
        let (commands, teams, made) = (processes[n % 2].clone(), teams.clone(), made.clone());
        tokio::spawn(async move { write(n, &commands, &teams, &made).await })
    });
    let told: Vec<Told> = join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
    done.store(true, Ordering::Relaxed);
    let mut cuts = Vec::new();
    for disturber in disturbers {
        cuts.push(disturber.await.unwrap());
    }
    assert!(cuts[0] > 100, "connections were cut: {cuts:?}");
    assert!(cuts[1] > 20, "appends were taken back: {cuts:?}");

    assert_each_once(bus.db.pool(), &told).await;
    let head = log::head(bus.db.pool()).await.unwrap();
    assert!(feed.wait_for(head, Duration::from_secs(120)).await, "{:?}", feed.progress().await);
    for model in projections::read_models() {
        verify(&reads, model.as_ref()).await.unwrap();
    }
    let parked: i64 =
        sqlx::query_scalar("SELECT count(*) FROM parked").fetch_one(bus.db.pool()).await.unwrap();
    assert_eq!(parked, 0, "what the database does to us parks nothing");
}

fn create(slug: &str) -> TeamCommand {
    let owner = UserId(Uuid::from_u128(1));
    TeamCommand::CreateTeam { name: "Acme".parse().unwrap(), slug: slug.parse().unwrap(), owner }
}

/// Commands of one to eight events under keys of their own, asked again with the same key until somebody answers; now
/// and then one that has to be refused.
async fn write(writer: usize, commands: &Commands, teams: &[TeamId], made: &AtomicI64) -> Vec<Told> {
    let mut told = Vec::new();
    while made.load(Ordering::Relaxed) < EVENTS {
        let team = teams[usize::try_from(below(TEAMS as u64)).unwrap()];
        let events = 1 + i64::try_from(below(8)).unwrap();
        let steps: Vec<Step> = (0..events).map(|_| Step::Team(team, rename())).collect();
        let request = Uuid::now_v7().to_string();
        let key = IdempotencyKey {
            scope: format!("writer:{writer}"),
            key: request.clone(),
            request_hash: "h".into(),
        };
        let context = Context { key: Some(key), request_id: request.clone(), ..context() };
        let receipt = insist(commands, &steps, &context).await;
        made.fetch_add(events, Ordering::Relaxed);
        told.push(Told { request, events, receipt });
        if below(10) == 0 {
            refused(commands).await;
        }
        if below(4) == 0 {
            tokio::time::sleep(Duration::from_micros(below(3000))).await;
        }
    }
    told
}

fn rename() -> TeamCommand {
    let slug = format!("t-{}", Uuid::now_v7().simple());
    TeamCommand::RenameTeam { name: None, slug: Some(slug.parse().unwrap()) }
}

async fn insist(commands: &Commands, steps: &[Step], context: &Context) -> Receipt {
    for _ in 0..500 {
        match commands.together(steps, context).await {
            Ok(receipt) => return receipt,
            Err(CommandError::Store(_) | CommandError::Conflict { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    panic!("nobody answers")
}

/// Asks for a name that is taken by then: half of the append is good, and none of it may stay.
async fn refused(commands: &Commands) {
    let (first, second) = (TeamId(Uuid::now_v7()), TeamId(Uuid::now_v7()));
    let slug = format!("r-{}", Uuid::now_v7().simple());
    let steps = [Step::Team(first, create(&slug)), Step::Team(second, create(&slug))];
    assert!(commands.together(&steps, &context()).await.is_err());
}

/// Cuts some of the connections of writers and consumers, ten times a second. Answers how many.
async fn cut(db: PgPool, done: Arc<AtomicBool>) -> i64 {
    let mut cut = 0;
    let mut every = tokio::time::interval(Duration::from_millis(100));
    while !done.load(Ordering::Relaxed) {
        every.tick().await;
        let now: i64 = sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
              WHERE datname = current_database() AND application_name = 'mastra-admin' AND random() < 0.3",
        )
        .fetch_one(&db)
        .await
        .unwrap();
        cut += now;
    }
    cut
}

/// Appends and takes it back, holding the log meanwhile. Answers how often.
async fn disturb(db: PgPool, done: Arc<AtomicBool>) -> i64 {
    let mut times = 0;
    while !done.load(Ordering::Relaxed) {
        let mut tx = db.begin().await.unwrap();
        append(&mut *tx, &[lone_event()]).await;
        tokio::time::sleep(Duration::from_micros(below(5000))).await;
        tx.rollback().await.unwrap();
        times += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    times
}

/// Every command that was answered is in the log once, whole, where its receipt says; nothing else is; positions and
/// the numbers of every stream are without holes and in one order.
async fn assert_each_once(db: &PgPool, told: &[Told]) {
    let mut found: std::collections::HashMap<String, (i64, i64)> = sqlx::query_as::<_, (String, i64, i64)>(
        "SELECT metadata ->> 'request_id', count(*), max(position) FROM events GROUP BY 1",
    )
    .fetch_all(db)
    .await
    .unwrap()
    .into_iter()
    .map(|(request, events, last)| (request, (events, last)))
    .collect();
    for Told { request, events, receipt } in told {
        assert_eq!(found.remove(request), Some((*events, receipt.position)), "{request}");
    }
    assert_eq!(found.len(), TEAMS, "beside them there are the teams' beginnings");
    let events: i64 = told.iter().map(|told| told.events).sum::<i64>() + i64::try_from(TEAMS).unwrap();
    let whole: (i64, i64, i64, bool) = sqlx::query_as(
        "SELECT count(*), min(position), max(position), bool_and(sequence = place) FROM (
             SELECT position, sequence, row_number() OVER (PARTITION BY aggregate_id ORDER BY position) AS place
               FROM events) numbered",
    )
    .fetch_one(db)
    .await
    .unwrap();
    assert_eq!(whole, (events, 1, events, true));
    assert!(events >= EVENTS);
}
