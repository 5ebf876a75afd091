//! The schema: made once, found again, whatever search path the connections have and whatever others do meanwhile.

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

#[tokio::test]
async fn a_start_waits_for_another_server_that_makes_room_for_telemetry() {
    let bus = Bus::start().await;
    let pool = bus.db.pool();
    // The first day changes the row of the table itself, until it is committed.
    let mut other = pool.begin().await.unwrap();
    sqlx::query("SELECT spans_make_day('2030-01-01')").execute(&mut *other).await.unwrap();
    let waits = "SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let committed = async {
        while sqlx::query_scalar::<_, i64>(waits).fetch_one(pool).await.unwrap() == 0 {}
        other.commit().await.unwrap();
    };
    let (started, ()) = tokio::join!(commands::migrate(pool), committed);
    started.unwrap();
}
