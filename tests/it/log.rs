//! The log: gapless positions, names, idempotency keys, conflicts.

use commands::{CommandError, Context, Expected, IdempotencyKey, Mode};
use domain::claim::ClaimScope;
use domain::ids::{TeamId, UserId};
use domain::team::{MemberRole, RESTORABLE, TeamCommand, TeamError};
use futures_util::future::join_all;
use sqlx::Row;
use tests::bus::{Bus, context};
use uuid::Uuid;

fn team() -> TeamId {
    TeamId(Uuid::now_v7())
}

fn create(slug: &str) -> TeamCommand {
    let owner = UserId(Uuid::from_u128(1));
    TeamCommand::CreateTeam { name: "Acme".parse().unwrap(), slug: slug.parse().unwrap(), owner }
}

fn rename(slug: &str) -> TeamCommand {
    TeamCommand::RenameTeam { name: None, slug: Some(slug.parse().unwrap()) }
}

fn keyed(key: &str, hash: &str) -> Context {
    let key = IdempotencyKey { scope: "user:1".into(), key: key.into(), request_hash: hash.into() };
    Context { key: Some(key), ..context() }
}

async fn positions(bus: &Bus) -> Vec<i64> {
    sqlx::query_scalar("SELECT position FROM events ORDER BY position")
        .fetch_all(bus.db.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn positions_are_gapless_across_writers_and_processes() {
    let bus = Bus::start().await;
    let (other, _) = Bus::connect(&bus.db).await;
    let teams = (0..60).map(|n| {
        let commands = if n % 2 == 0 { bus.commands.clone() } else { other.clone() };
        async move {
            // Every third one is refused: its name is taken by a neighbour.
            let slug = format!("team-{}", n - n % 3 % 2);
            commands.team(team(), create(&slug), &context()).await
        }
    });
    let answers = join_all(teams).await;
    let good = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(good, 40);
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(CommandError::NameTaken { .. }))));
    assert_eq!(positions(&bus).await, (1..=40).collect::<Vec<i64>>());
    let head: i64 =
        sqlx::query_scalar("SELECT position FROM log_head").fetch_one(bus.db.pool()).await.unwrap();
    assert_eq!(head, 40);
}

#[tokio::test]
async fn one_of_many_racers_gets_a_name() {
    let bus = Bus::start().await;
    let answers = join_all((0..32).map(|_| {
        let commands = bus.commands.clone();
        async move { commands.team(team(), create("acme"), &context()).await }
    }))
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for answer in answers.into_iter().filter_map(Result::err) {
        assert!(
            matches!(&answer, CommandError::NameTaken { scope: ClaimScope::TeamSlug, key } if key == "acme"),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn what_conflicts_in_a_batch_is_told_so_and_shifts_nobody() {
    let bus = Bus::start().await;
    // Remembers the teams as they were.
    let (stale, _) = Bus::on(bus.db.pool().clone()).await;
    let teams: Vec<TeamId> = (0..8).map(|_| team()).collect();
    for (n, id) in teams.iter().enumerate() {
        stale.team(*id, create(&format!("team-{n}")), &context()).await.unwrap();
    }
    for id in &teams[..4] {
        let rename = TeamCommand::RenameTeam { name: Some("Other".parse().unwrap()), slug: None };
        bus.commands.team(*id, rename, &context()).await.unwrap();
    }
    let answers = join_all(teams.iter().enumerate().map(|(n, id)| {
        let rename = TeamCommand::RenameTeam { name: Some(format!("Last {n}").parse().unwrap()), slug: None };
        let stale = stale.clone();
        async move { stale.team(*id, rename, &context()).await.unwrap() }
    }))
    .await;
    for (n, receipt) in answers.iter().enumerate() {
        let (sequence, position): (i64, i64) = sqlx::query_as(
            "SELECT sequence, position FROM events WHERE aggregate_id = $1 ORDER BY sequence DESC LIMIT 1",
        )
        .bind(teams[n].to_string())
        .fetch_one(bus.db.pool())
        .await
        .unwrap();
        assert_eq!((receipt.version, receipt.position), (sequence, position), "team {n}");
        assert_eq!(receipt.version, if n < 4 { 3 } else { 2 }, "team {n}");
    }
}

#[tokio::test]
async fn a_name_stays_after_a_rename_and_is_free_after_a_delete() {
    let bus = Bus::start().await;
    let (first, second) = (team(), team());
    bus.commands.team(first, create("a"), &context()).await.unwrap();
    bus.commands.team(first, rename("b"), &context()).await.unwrap();
    bus.commands.team(second, create("c"), &context()).await.unwrap();
    for name in ["a", "b"] {
        let taken = bus.commands.team(second, rename(name), &context()).await.unwrap_err();
        assert!(matches!(taken, CommandError::NameTaken { .. }), "{name}");
    }
    let at = context().at;
    bus.commands.team(first, TeamCommand::CloseTeam { at }, &context()).await.unwrap();
    let taken = bus.commands.team(second, rename("b"), &context()).await.unwrap_err();
    assert!(matches!(taken, CommandError::NameTaken { .. }), "as long as it can be reopened");
    let purge = TeamCommand::PurgeTeam { at: at + RESTORABLE };
    bus.commands.team(first, purge, &context()).await.unwrap();
    bus.commands.team(second, rename("b"), &context()).await.unwrap();
    let names: Vec<(String, String)> =
        sqlx::query_as("SELECT key, owner FROM claims ORDER BY key").fetch_all(bus.db.pool()).await.unwrap();
    let (first, second) = (first.to_string(), second.to_string());
    assert_eq!(names, [("a".into(), first), ("b".into(), second.clone()), ("c".into(), second)]);
}

#[tokio::test]
async fn a_repeated_key_gets_the_first_receipt_even_when_it_would_now_be_refused() {
    let bus = Bus::start().await;
    let id = team();
    let first = bus.commands.team(id, create("acme"), &keyed("k", "h")).await.unwrap();
    let close = TeamCommand::CloseTeam { at: context().at };
    bus.commands.team(id, close, &context()).await.unwrap();
    let again = bus.commands.team(team(), create("acme"), &keyed("k", "h")).await.unwrap();
    assert!(again.repeated);
    assert_eq!((again.aggregate_id, again.position), (first.aggregate_id, first.position));
    let reused = bus.commands.team(team(), create("other"), &keyed("k", "h2")).await.unwrap_err();
    assert!(matches!(reused, CommandError::KeyReused));
    assert_eq!(positions(&bus).await.len(), 2);
}

#[tokio::test]
async fn racers_with_one_key_do_it_once() {
    let bus = Bus::start().await;
    let answers = join_all((0..16).map(|_| {
        let commands = bus.commands.clone();
        async move { commands.team(team(), create("acme"), &keyed("k", "h")).await }
    }))
    .await;
    let ids: std::collections::BTreeSet<String> =
        answers.into_iter().map(|answer| answer.unwrap().aggregate_id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(positions(&bus).await, [1]);
}

#[tokio::test]
async fn racers_on_one_aggregate_are_put_in_order() {
    let bus = Bus::start().await;
    let id = team();
    bus.commands.team(id, create("acme"), &context()).await.unwrap();
    let answers = join_all((0..8).map(|n| {
        let commands = bus.commands.clone();
        async move { commands.team(id, rename(&format!("acme-{n}")), &context()).await }
    }))
    .await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let sequences: Vec<i64> = sqlx::query_scalar("SELECT sequence FROM events ORDER BY position")
        .fetch_all(bus.db.pool())
        .await
        .unwrap();
    assert_eq!(sequences, (1..=9).collect::<Vec<i64>>());
}

#[tokio::test]
async fn an_expected_version_is_held_to() {
    let bus = Bus::start().await;
    let id = team();
    bus.commands.team(id, create("acme"), &context()).await.unwrap();
    bus.commands.team(id, rename("b"), &context()).await.unwrap();
    let late = Context { expected: Expected::Exactly(1), ..context() };
    let error = bus.commands.team(id, rename("c"), &late).await.unwrap_err();
    assert!(matches!(error, CommandError::Conflict { expected: 1, actual: 2, .. }));
    let now = Context { expected: Expected::Exactly(2), ..context() };
    assert_eq!(bus.commands.team(id, rename("c"), &now).await.unwrap().version, 3);
    let new = Context { expected: Expected::New, ..context() };
    let error = bus.commands.team(id, create("d"), &new).await.unwrap_err();
    assert!(matches!(error, CommandError::Conflict { expected: 0, actual: 3, .. }), "{error:?}");
    assert_eq!(bus.commands.team(team(), create("d"), &new).await.unwrap().version, 1);
    assert_eq!(
        bus.commands.team(id, rename("e"), &context()).await.unwrap().version,
        4,
        "it is known as it is"
    );
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_appends_nothing() {
    let bus = Bus::start().await;
    let dry = || Context { mode: Mode::DryRun, ..keyed("k", "h") };
    let id = team();
    let Err(CommandError::DryRun(events)) = bus.commands.team(id, create("acme"), &dry()).await else {
        panic!("a dry run shows events")
    };
    assert_eq!(events[0].event_type, "team.created");
    bus.commands.team(id, create("acme"), &context()).await.unwrap();
    let taken = bus.commands.team(team(), create("acme"), &dry()).await.unwrap_err();
    assert!(matches!(taken, CommandError::NameTaken { .. }));
    let by = MemberRole::Owner;
    let refused = TeamCommand::RemoveMember { user_id: UserId(Uuid::from_u128(1)), by };
    let error = bus.commands.team(id, refused, &dry()).await.unwrap_err();
    assert!(matches!(error, CommandError::Refused(TeamError::LastOwner)));
    assert_eq!(positions(&bus).await, [1]);
}

#[tokio::test]
async fn asking_twice_appends_nothing_and_answers_the_same_place() {
    let bus = Bus::start().await;
    let id = team();
    let first = bus.commands.team(id, create("acme"), &context()).await.unwrap();
    let again = bus.commands.team(id, create("acme"), &context()).await.unwrap();
    assert_eq!((again.version, again.position), (first.version, first.position));
    assert_eq!(positions(&bus).await, [1]);
}

#[tokio::test]
async fn nobody_changes_the_log() {
    let bus = Bus::start().await;
    bus.commands.team(team(), create("acme"), &context()).await.unwrap();
    for attack in ["UPDATE events SET payload = '{}'", "DELETE FROM events", "TRUNCATE events"] {
        let error = sqlx::query(attack).execute(bus.db.pool()).await.unwrap_err().to_string();
        assert!(error.contains("append-only"), "{attack}: {error}");
    }
}

#[tokio::test]
async fn an_event_says_who_why_and_when() {
    let bus = Bus::start().await;
    let context = Context {
        source_ip: Some("192.0.2.7".into()),
        user_agent: Some("curl".into()),
        team_id: Some(TeamId(Uuid::from_u128(9))),
        ..context()
    };
    bus.commands.team(team(), create("acme"), &context).await.unwrap();
    let row = sqlx::query("SELECT metadata, team_id, recorded_at FROM events")
        .fetch_one(bus.db.pool())
        .await
        .unwrap();
    let metadata: serde_json::Value = row.get("metadata");
    assert_eq!(metadata["actor"], "system");
    assert_eq!(metadata["command"], "CreateTeam");
    assert_eq!(metadata["causation"], format!("request:{}", context.request_id));
    assert_eq!(row.get::<Uuid, _>("team_id"), Uuid::from_u128(9));
    let text = metadata.to_string();
    assert!(!text.contains("192.0.2.7") && !text.contains("curl"), "personal data is sealed: {text}");
}

#[tokio::test]
async fn the_appender_tells_the_head_after_every_batch() {
    let bus = Bus::start().await;
    bus.commands.team(team(), create("a"), &context()).await.unwrap();
    bus.commands.team(team(), create("b"), &context()).await.unwrap();
    let told = bus.appended.lock().unwrap().clone();
    assert_eq!(told.first(), Some(&1));
}
