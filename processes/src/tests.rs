use chrono::DateTime;
use domain::build::{BuildEvent, Source};
use domain::deployment::DeploymentEvent;
use domain::envelope::Metadata;
use domain::fact::Fact;
use domain::ids::{BuildId, DeploymentId, EnvironmentId, EventId, ProjectId, TeamId};
use domain::team::TeamEvent;
use domain::upcast::Present;

use super::*;

const LIMITS: Limits = Limits { total: 2, team: 2, project: 2 };
const SETTINGS: BuildSettings = BuildSettings { limits: LIMITS, queue_timeout: Duration::from_secs(3600) };
const RUN_BUILD: run_build::RunBuild = run_build::RunBuild { limits: LIMITS };

fn recorded(fact: Fact, sequence: i64) -> Recorded {
    Recorded {
        position: 7,
        event_id: EventId(Uuid::from_u128(1)),
        at: DateTime::UNIX_EPOCH,
        team_id: None,
        aggregate_type: String::new(),
        aggregate_id: String::new(),
        sequence,
        event_type: String::new(),
        payload: "null".into(),
        metadata: Metadata::default(),
        facts: Present::Written(fact),
    }
}

fn on(process: &dyn Process, recorded: &Recorded) -> Option<Job> {
    process.on(recorded, &recorded.facts[0])
}

fn build_requested(n: u128) -> Recorded {
    let event = BuildEvent::BuildRequested {
        team_id: TeamId(Uuid::from_u128(1)),
        project_id: ProjectId(Uuid::from_u128(2)),
        environment_id: EnvironmentId(Uuid::from_u128(3)),
        environment_type: None,
        branch: "main".parse().unwrap(),
        commit: None,
        source: Source::Repository,
        deploy: true,
        trigger: None,
    };
    recorded(Fact::Build(BuildId(Uuid::from_u128(n)), event), 1)
}

fn deployment(event: DeploymentEvent, sequence: i64) -> Recorded {
    recorded(Fact::Deployment(DeploymentId(Uuid::from_u128(9)), event), sequence)
}

fn crashed(crashes: u32) -> DeploymentEvent {
    DeploymentEvent::DeploymentCrashed { exit_code: Some(1), message: "m".into(), crashes }
}

#[test]
fn builds_of_one_environment_share_a_lane_and_have_keys_of_their_own() {
    let (a, b) = (on(&RUN_BUILD, &build_requested(5)), on(&RUN_BUILD, &build_requested(6)));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.lane, b.lane);
    assert_ne!(a.key, b.key);
}

#[test]
fn the_same_fact_asks_for_the_same_work() {
    for process in all(SETTINGS) {
        assert_eq!(
            on(&*process, &build_requested(5)),
            on(&*process, &build_requested(5)),
            "{}",
            process.name()
        );
    }
}

#[test]
fn crashes_are_answered_later_and_later() {
    let delay = |crashes, sequence| {
        on(&run_deployment::RunDeployment, &deployment(crashed(crashes), sequence)).unwrap().due
    };
    assert_eq!(delay(1, 4), Due::After(Duration::from_secs(2)));
    assert_eq!(delay(3, 10), Due::After(Duration::from_secs(8)));
    let first = on(&run_deployment::RunDeployment, &deployment(crashed(1), 4)).unwrap();
    let second = on(&run_deployment::RunDeployment, &deployment(crashed(2), 7)).unwrap();
    assert_ne!(first.key, second.key, "each crash is work of its own");
    assert_eq!(first.lane, second.lane, "but never at the same time");
}

#[test]
fn only_what_may_have_requests_under_way_is_drained() {
    let drain = |event| {
        let job = on(&retire_deployment::RetireDeployment, &deployment(event, 3)).unwrap();
        job.payload["drain"].as_bool().unwrap()
    };
    assert!(drain(DeploymentEvent::DeploymentStopped {}));
    assert!(!drain(DeploymentEvent::DeploymentFailed {
        code: domain::build::FailureCode::NeverReady,
        message: "m".into(),
        exit_code: None,
    }));
    assert_eq!(on(&retire_deployment::RetireDeployment, &deployment(crashed(1), 3)), None);
}

#[test]
fn a_team_is_never_stopped_and_started_at_once_and_each_time_is_work_of_its_own() {
    let team = |event, position| {
        let recorded = recorded(Fact::Team(TeamId(Uuid::from_u128(1)), event), 1);
        Recorded { position, ..recorded }
    };
    let until = DateTime::UNIX_EPOCH + chrono::TimeDelta::days(30);
    let (closed, later) =
        (team(TeamEvent::TeamClosed { until }, 7), team(TeamEvent::TeamClosed { until }, 9));
    let stop = on(&leave_nothing::LeaveNothing, &closed).unwrap();
    let start = on(&start_again::StartAgain, &team(TeamEvent::TeamReopened {}, 8)).unwrap();
    assert_eq!(stop.lane, start.lane);
    assert_ne!(stop.key, on(&leave_nothing::LeaveNothing, &later).unwrap().key);
    let purge = on(&purge_team::PurgeTeam, &closed).unwrap();
    assert_eq!(purge.due, Due::At(until));
    assert_ne!(purge.key, on(&purge_team::PurgeTeam, &later).unwrap().key);
}

#[test]
fn names_are_unique() {
    let names: std::collections::BTreeSet<_> = all(SETTINGS).iter().map(|process| process.name()).collect();
    assert_eq!(names.len(), all(SETTINGS).len());
}

/// Asks for work under the key that the fact has.
struct Keyed;

#[async_trait]
impl Process for Keyed {
    fn name(&self) -> &'static str {
        "keyed"
    }

    fn concurrency(&self) -> usize {
        1
    }

    fn on(&self, _recorded: &Recorded, fact: &Fact) -> Option<Job> {
        let Fact::Build(id, _) = fact else { return None };
        let (key, payload) = (id.to_string(), serde_json::Value::Null);
        Some(Job { lane: key.clone(), key, payload, due: Due::AtOnce })
    }

    async fn run(&self, _: &Work, _: &World) -> Result<(), JobError> {
        Ok(())
    }

    async fn give_up(&self, _: &Work, _: &World, _: &str) -> Result<(), JobError> {
        Ok(())
    }
}

#[test]
fn each_fact_of_an_event_asks_for_its_work_and_for_the_same_once() {
    let intake = Intake(Arc::new(Keyed));
    let facts = [5, 6, 5].map(|n| build_requested(n).facts[0].clone());
    let event = |facts: &[Fact]| Recorded { facts: Present::Upcast(facts.to_vec()), ..build_requested(5) };
    let [a, b, again] = intake.work(&event(&facts)).try_into().unwrap();
    assert_ne!((a.id, &a.key), (b.id, &b.key));
    assert_eq!((a.id, &a.key), (again.id, &again.key), "stored once");
    assert!(intake.wants(&event(&[deployment(crashed(1), 1).facts[0].clone(), facts[0].clone()])));
    assert!(!intake.wants(&event(&[])), "what says nothing asks for nothing");
}

#[test]
fn a_build_that_ended_while_it_waited_leaves_the_queue_to_its_heir() {
    let id = BuildId(Uuid::from_u128(5));
    let needless = |event| RUN_BUILD.needless(&Fact::Build(id, event));
    let by = BuildId(Uuid::from_u128(6));
    let heir = needless(BuildEvent::BuildSuperseded { by }).unwrap();
    assert_eq!(heir, Needless { key: id.to_string(), heir: Some(by.to_string()) });
    assert_eq!(needless(BuildEvent::BuildCancelled {}).unwrap().heir, None);
    assert_eq!(needless(BuildEvent::BuildStarted { fence: 1, runner: "local".into() }), None);
}

#[test]
fn the_wait_after_a_try_is_another_one() {
    let process = expire_build::ExpireBuild { after: Duration::from_secs(60) };
    let failure = domain::ports::runner::BuildFailure {
        code: domain::build::FailureCode::PlatformError,
        phase: domain::build::Phase::Cloning,
        message: "m".into(),
        exit_code: None,
    };
    let requeued = BuildEvent::BuildRequeued { fence: 7, failure };
    let again = recorded(Fact::Build(BuildId(Uuid::from_u128(5)), requeued), 3);
    let (first, second) = (on(&process, &build_requested(5)).unwrap(), on(&process, &again).unwrap());
    assert_eq!(
        (first.due, second.due),
        (Due::After(Duration::from_secs(60)), Due::After(Duration::from_secs(60)))
    );
    assert_eq!((&first.payload["fence"], &second.payload["fence"]), (&0.into(), &7.into()));
    assert_ne!(first.key, second.key);
}

#[test]
fn pauses_between_tries_grow_and_are_bounded() {
    let seconds: Vec<_> =
        (1..=RUN_BUILD.tries()).map(|attempts| RUN_BUILD.pause(attempts).as_secs()).collect();
    assert_eq!(seconds, [2, 8, 32, 128, 512]);
}

fn previewed(expires_at: i64) -> Recorded {
    let environment = serde_json::json!({
        "id": EnvironmentId(Uuid::from_u128(3)), "name": "PR 12", "slug": "pr-12", "kind": "preview",
        "pull_request": {
            "number": 12, "branch": "topic", "head": "a".repeat(40), "is_fork": true,
            "expires_at": DateTime::from_timestamp(expires_at, 0),
        },
    });
    let environment = serde_json::from_value(environment).unwrap();
    let event = domain::project::ProjectEvent::ProjectEnvironmentCreated { environment };
    recorded(Fact::Project(ProjectId(Uuid::from_u128(2)), event), 1)
}

#[test]
fn the_time_of_a_preview_begins_with_its_event_and_what_is_shown_of_a_project_is_in_one_lane() {
    let timer = on(&expire_preview::ExpirePreview, &previewed(3600)).unwrap();
    assert_eq!(timer.due, Due::At(DateTime::from_timestamp(3600, 0).unwrap()));
    let shown = on(&show_environment::ShowEnvironment, &previewed(3600)).unwrap();
    assert_eq!(shown.lane, format!("show_environment:{}", Uuid::from_u128(2)));
    // Which project that is of is found out first.
    let build = on(&show_environment::ShowEnvironment, &build_requested(1)).unwrap();
    assert_ne!(build.lane, shown.lane);
    assert_eq!(on(&build_preview::BuildPreview, &previewed(3600)), None, "a fork waits");
    assert_eq!(on(&find_missed_pushes::LookAtBranches, &previewed(3600)), None);
}
