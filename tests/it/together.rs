//! Several commands in one append: all or none.

use commands::{CommandError, Context, IdempotencyKey, Mode, Step, StepError};
use domain::ids::{TeamId, UserId};
use domain::team::{MemberRole, RESTORABLE, TeamCommand, TeamError};
use futures_util::future::join_all;
use tests::bus::{Bus, context};
use uuid::Uuid;

fn create(slug: &str) -> TeamCommand {
    let owner = UserId(Uuid::from_u128(1));
    TeamCommand::CreateTeam { name: "Acme".parse().unwrap(), slug: slug.parse().unwrap(), owner }
}

fn rename(slug: &str) -> TeamCommand {
    TeamCommand::RenameTeam { name: None, slug: Some(slug.parse().unwrap()) }
}

fn team() -> TeamId {
    TeamId(Uuid::now_v7())
}

async fn log(bus: &Bus) -> Vec<(i64, String, i64)> {
    sqlx::query_as("SELECT position, event_type, sequence FROM events ORDER BY position")
        .fetch_all(bus.db.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_name_changes_hands_in_one_append() {
    let bus = Bus::start().await;
    let (a, b) = (team(), team());
    bus.commands.team(a, create("acme"), &context()).await.unwrap();
    // A slug goes on to nobody by a rename; by the end of its team it does.
    let kept = [Step::Team(a, rename("old")), Step::Team(b, create("acme"))];
    let refused = bus.commands.together(&kept, &context()).await.unwrap_err();
    assert!(matches!(refused, CommandError::NameTaken { .. }), "{refused:?}");
    let at = context().at;
    let (close, purge) = (TeamCommand::CloseTeam { at }, TeamCommand::PurgeTeam { at: at + RESTORABLE });
    let steps = [Step::Team(a, close), Step::Team(a, purge), Step::Team(b, create("acme"))];
    let receipt = bus.commands.together(&steps, &context()).await.unwrap();
    assert_eq!((receipt.aggregate_id, receipt.version, receipt.position), (b.to_string(), 1, 4));
    let taken = bus.commands.team(team(), create("acme"), &context()).await.unwrap_err();
    assert!(matches!(taken, CommandError::NameTaken { .. }));
    // What is remembered of both is as the log has it.
    bus.commands.team(a, rename("older"), &context()).await.unwrap_err();
    bus.commands.team(b, rename("newer"), &context()).await.unwrap();
    assert_eq!(log(&bus).await.len(), 5);
}

#[tokio::test]
async fn a_step_sees_what_those_before_it_did() {
    let bus = Bus::start().await;
    let id = team();
    let steps = [Step::Team(id, create("a")), Step::Team(id, rename("b")), Step::Team(id, rename("a"))];
    assert_eq!(bus.commands.together(&steps, &context()).await.unwrap().version, 3);
    let sequences: Vec<i64> = log(&bus).await.into_iter().map(|(_, _, sequence)| sequence).collect();
    assert_eq!(sequences, [1, 2, 3]);
    let names: Vec<String> =
        sqlx::query_scalar("SELECT key FROM claims ORDER BY key").fetch_all(bus.db.pool()).await.unwrap();
    assert_eq!(names, ["a", "b"]);
}

#[tokio::test]
async fn one_refusal_and_nothing_of_it_is_stored() {
    let bus = Bus::start().await;
    let (a, b) = (team(), team());
    let last_owner = TeamCommand::RemoveMember { user_id: UserId(Uuid::from_u128(1)), by: MemberRole::Owner };
    let steps = [Step::Team(a, create("a")), Step::Team(b, create("b")), Step::Team(b, last_owner)];
    let refused = bus.commands.together(&steps, &context()).await.unwrap_err();
    assert!(matches!(refused, CommandError::Refused(StepError::Team(TeamError::LastOwner))), "{refused:?}");
    let twice = [Step::Team(a, create("same")), Step::Team(b, create("same"))];
    let taken = bus.commands.together(&twice, &context()).await.unwrap_err();
    assert!(matches!(taken, CommandError::NameTaken { .. }), "{taken:?}");
    assert!(log(&bus).await.is_empty());
    bus.commands.team(a, create("a"), &context()).await.unwrap();
}

#[tokio::test]
async fn it_happens_once_under_one_key_and_a_dry_run_shows_all_of_it() {
    let bus = Bus::start().await;
    let key = IdempotencyKey { scope: "user:1".into(), key: "k".into(), request_hash: "h".into() };
    let keyed = Context { key: Some(key), ..context() };
    let steps = [Step::Team(team(), create("a")), Step::Team(team(), create("b"))];
    let dry = Context { mode: Mode::DryRun, ..keyed.clone() };
    let Err(CommandError::DryRun(events)) = bus.commands.together(&steps, &dry).await else {
        panic!("a dry run shows events")
    };
    assert_eq!(events.len(), 2);
    let first = bus.commands.together(&steps, &keyed).await.unwrap();
    let again = bus.commands.together(&steps, &keyed).await.unwrap();
    assert!(again.repeated);
    assert_eq!((first.aggregate_id, first.position), (again.aggregate_id, again.position));
    assert_eq!(log(&bus).await.len(), 2);
}

#[tokio::test]
async fn crossing_orders_do_not_wait_in_a_circle() {
    let bus = Bus::start().await;
    let (a, b) = (team(), team());
    bus.commands.team(a, create("a"), &context()).await.unwrap();
    bus.commands.team(b, create("b"), &context()).await.unwrap();
    let (other, _) = Bus::connect(&bus.db).await;
    let answers = join_all((0..40).map(|n| {
        let commands = if n % 4 < 2 { bus.commands.clone() } else { other.clone() };
        async move {
            let (one, two) =
                (Step::Team(a, rename(&format!("a-{n}"))), Step::Team(b, rename(&format!("b-{n}"))));
            let steps = if n % 2 == 0 { [one, two] } else { [two, one] };
            commands.together(&steps, &context()).await
        }
    }))
    .await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(log(&bus).await.len(), 82);
}
