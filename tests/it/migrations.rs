//! The schema: made once, found again, whatever search path the connections have.

use tests::bus::{Bus, context};

use domain::ids::{TeamId, UserId};
use domain::team::{Team, TeamCommand};
use uuid::Uuid;

#[tokio::test]
async fn a_second_start_finds_the_log_of_the_first() {
    let bus = Bus::start().await;
    let id = TeamId(Uuid::now_v7());
    let owner = UserId(Uuid::now_v7());
    let create = TeamCommand::CreateTeam { name: "A".parse().unwrap(), slug: "a".parse().unwrap(), owner };
    bus.commands.team(id, create, &context()).await.unwrap();
    let pool = projections::pool::connect(&bus.db.url(), 5).await.unwrap();
    projections::rebuild::prepare(&pool, &projections::read_models()).await.unwrap();
    commands::migrate(&pool).await.unwrap();
    let logs: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE tablename = 'events'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(logs, 1);
    let (again, _) = Bus::connect(&bus.db).await;
    assert_eq!(again.load::<Team>(id).await.unwrap().version, 1);
}
