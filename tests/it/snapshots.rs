//! Snapshots: written after the fact, used by the code that wrote them alone, and never believed against the log.

use commands::Store;
use domain::fact::Stored;
use domain::ids::{TeamId, UserId};
use domain::team::{Team, TeamCommand};
use serde_json::{Value, json};
use tests::bus::{Bus, context};
use tests::tape::until;
use uuid::Uuid;

/// A team that was renamed so often that a snapshot is kept.
async fn long_lived(bus: &Bus) -> TeamId {
    let id = TeamId(Uuid::now_v7());
    let owner = UserId(Uuid::from_u128(1));
    let create =
        TeamCommand::CreateTeam { name: "Acme".parse().unwrap(), slug: "slug-0".parse().unwrap(), owner };
    bus.commands.team(id, create, &context()).await.unwrap();
    for n in 1..=120 {
        let slug = format!("slug-{n}").parse().unwrap();
        let rename = TeamCommand::RenameTeam { name: None, slug: Some(slug) };
        bus.commands.team(id, rename, &context()).await.unwrap();
    }
    until("a snapshot is kept", async || snapshot(bus).await.is_some()).await;
    id
}

/// Version and state of the one snapshot.
async fn snapshot(bus: &Bus) -> Option<(i64, Value)> {
    sqlx::query_as("SELECT sequence, state FROM snapshots").fetch_optional(bus.db.pool()).await.unwrap()
}

/// As another process reads it, which remembers nothing.
async fn read(bus: &Bus, id: TeamId) -> (i64, Value) {
    let (other, _) = Bus::connect(&bus.db).await;
    let store: Store = other.store().clone();
    let team = store.load::<Team>(id).await.unwrap();
    (team.version, serde_json::to_value(team.aggregate).unwrap())
}

async fn run(bus: &Bus, statement: &str) {
    sqlx::raw_sql(statement).execute(bus.db.pool()).await.unwrap();
}

#[tokio::test]
async fn a_long_stream_is_read_from_its_snapshot_on() {
    let bus = Bus::start().await;
    let id = long_lived(&bus).await;
    let (version, _) = snapshot(&bus).await.unwrap();
    assert_eq!(version, 100);
    let whole = read(&bus, id).await;
    assert_eq!(whole.0, 121);
    // What the snapshot says is what is read, so it is used; and the events after it come on top.
    run(&bus, r#"UPDATE snapshots SET state = jsonb_set(state::jsonb, '{life}', '"Deleted"')::json"#).await;
    let read = read(&bus, id).await;
    assert_eq!((read.0, &read.1["life"], &read.1["names"]), (121, &json!("Deleted"), &whole.1["names"]));
}

#[tokio::test]
async fn snapshots_of_other_code_of_another_log_or_of_nonsense_are_not_believed() {
    let bus = Bus::start().await;
    let id = long_lived(&bus).await;
    let whole = read(&bus, id).await;
    let poison = r#"UPDATE snapshots SET state = jsonb_set(state::jsonb, '{life}', '"Deleted"')::json"#;
    for disbelief in [
        "state_version = state_version - 1",
        "state_version = state_version + 2",
        "event_id = gen_random_uuid()",
        "sequence = 100000",
        r#"state = '{"nonsense": 1}'"#,
    ] {
        let version = Team::STATE_VERSION;
        run(&bus, &format!("UPDATE snapshots SET state_version = {version}, sequence = 100")).await;
        run(&bus, "UPDATE snapshots s SET event_id = e.event_id FROM events e WHERE e.sequence = 100").await;
        run(&bus, poison).await;
        run(&bus, &format!("UPDATE snapshots SET {disbelief}")).await;
        assert_eq!(read(&bus, id).await, whole, "{disbelief}");
    }
}

#[tokio::test]
async fn newer_code_writes_its_own_snapshot_over_an_older_one() {
    let bus = Bus::start().await;
    let id = long_lived(&bus).await;
    run(&bus, "UPDATE snapshots SET state_version = 0, sequence = 1").await;
    assert_eq!(read(&bus, id).await.0, 121);
    until("it is written anew", async || snapshot(&bus).await.unwrap().0 == 121).await;
}
