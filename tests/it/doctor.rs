//! `replay-tool doctor`: says what is wrong with a log, and nothing of one that is whole.

use std::process::Output;

use commands::{Context, IdempotencyKey};
use domain::ids::{TeamId, UserId};
use domain::team::TeamCommand;
use tests::bus::{Bus, context};
use tokio::process::Command;
use uuid::Uuid;

/// A log of two teams, one renamed, with a receipt.
async fn log() -> Bus {
    let bus = Bus::start().await;
    let key = IdempotencyKey { scope: "user:1".into(), key: "k".into(), request_hash: "h".into() };
    for slug in ["acme", "beta"] {
        let id = TeamId(Uuid::now_v7());
        let owner = UserId(Uuid::from_u128(1));
        let create =
            TeamCommand::CreateTeam { name: "Acme".parse().unwrap(), slug: slug.parse().unwrap(), owner };
        bus.commands.team(id, create, &context()).await.unwrap();
        let slug = format!("{slug}-2").parse().unwrap();
        let keyed = Context { key: (slug == "acme-2".parse().unwrap()).then(|| key.clone()), ..context() };
        bus.commands
            .team(id, TeamCommand::RenameTeam { name: None, slug: Some(slug) }, &keyed)
            .await
            .unwrap();
    }
    bus
}

async fn doctor(bus: &Bus) -> Output {
    let mut tool = Command::new(tests::app::program("replay-tool"));
    tool.arg("doctor").env("DATABASE_URL", bus.db.url()).output().await.unwrap()
}

#[tokio::test]
async fn a_whole_log_is_well() {
    let bus = log().await;
    let output = doctor(&bus).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for good in [
        "1 to 4, each once",
        "4 names, each taken by its event",
        "1 receipts, each of its event",
        "the role mastra_admin_app can only append by function",
    ] {
        assert!(said.contains(good), "{said}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    for (harm, named) in [
        ("DELETE FROM events WHERE position = 2", "there is no event at position 2"),
        ("UPDATE events SET sequence = 7 WHERE position = 4", "is number 2 of team"),
        ("ALTER TABLE events DISABLE TRIGGER events_are_never_changed", "events_are_never_changed"),
        ("DELETE FROM claims WHERE key = 'acme-2'", "a team.slug of"),
        ("INSERT INTO claims VALUES ('team.slug', 'nobodys', 'x')", "is taken by no event"),
        ("UPDATE idempotency_keys SET version = 9", "1 of 1 receipts are of no event"),
        ("INSERT INTO consumers (name, version, position) VALUES ('x', 1, 99)", "x is at position 99"),
    ] {
        let bus = log().await;
        let harm = format!("BEGIN; SET LOCAL session_replication_role = replica; {harm}; COMMIT");
        sqlx::raw_sql(&harm).execute(bus.db.pool()).await.unwrap();
        let output = doctor(&bus).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{harm}: {said}");
        assert!(said.contains(named), "{harm}: {said}");
    }
}
