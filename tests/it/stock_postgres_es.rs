//! The log's tables are those of stock postgres-es: its framework reads what we write and writes what we read.

use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{CqrsFramework, EventStore};
use domain::ids::{TeamId, UserId};
use domain::team::{Team, TeamCommand};
use postgres_es::PostgresEventRepository;
use tests::bus::{Bus, context};
use uuid::Uuid;

fn create(slug: &str) -> TeamCommand {
    let owner = UserId(Uuid::from_u128(1));
    TeamCommand::CreateTeam { name: "Acme".parse().unwrap(), slug: slug.parse().unwrap(), owner }
}

fn rename(slug: &str) -> TeamCommand {
    TeamCommand::RenameTeam { name: None, slug: Some(slug.parse().unwrap()) }
}

fn stock(bus: &Bus) -> PersistedEventStore<PostgresEventRepository, Team> {
    PersistedEventStore::new_event_store(PostgresEventRepository::new(bus.db.pool().clone()))
}

#[tokio::test]
async fn stock_reads_what_we_write() {
    let bus = Bus::start().await;
    let id = TeamId(Uuid::now_v7());
    bus.commands.team(id, create("acme"), &context()).await.unwrap();
    bus.commands.team(id, rename("b"), &context()).await.unwrap();
    let events = stock(&bus).load_events(&id.to_string()).await.unwrap();
    let sequences: Vec<usize> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, [1, 2]);
    assert_eq!(events[0].metadata["command"], "CreateTeam");
}

#[tokio::test]
async fn we_read_what_stock_writes_and_positions_stay_gapless() {
    let bus = Bus::start().await;
    let framework = CqrsFramework::new(stock(&bus), vec![], ());
    let ids: Vec<TeamId> = (0..8).map(|_| TeamId(Uuid::now_v7())).collect();
    let writers = ids.iter().enumerate().map(|(n, id)| {
        let (framework, id) = (&framework, id.to_string());
        async move { framework.execute(&id, create(&format!("stock-{n}"))).await }
    });
    for answer in futures_util::future::join_all(writers).await {
        answer.unwrap();
    }
    let receipt = bus.commands.team(ids[0], rename("ours"), &context()).await.unwrap();
    assert_eq!((receipt.version, receipt.position), (2, 9));
    framework.execute(&ids[0].to_string(), rename("theirs")).await.unwrap();
    let loaded = bus.commands.load::<Team>(ids[0]).await.unwrap();
    assert_eq!((loaded.version, loaded.position), (3, 10));
}

#[tokio::test]
async fn the_stock_framework_drives_our_store() {
    let bus = Bus::start().await;
    let id = TeamId(Uuid::now_v7()).to_string();
    let framework = CqrsFramework::<Team, _>::new(bus.store(), vec![], ());
    framework.execute(&id, create("acme")).await.unwrap();
    framework.execute(&id, rename("b")).await.unwrap();
    assert!(
        framework.execute(&TeamId(Uuid::now_v7()).to_string(), create("b")).await.is_err(),
        "names are held to"
    );
    let events = EventStore::<Team>::load_events(&bus.store(), &id).await.unwrap();
    assert_eq!(events.len(), 2);
}
