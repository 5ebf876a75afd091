use chrono::DateTime;
use domain::build::BuildEvent;
use domain::deployment::DeploymentEvent;
use domain::envelope::Metadata;
use domain::fact::Fact;
use domain::ids::{BuildId, DeploymentId, EnvironmentId, EventId, ProjectId, TeamId};

use super::*;

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
        fact,
    }
}

fn build_requested(n: u128) -> Recorded {
    let event = BuildEvent::BuildRequested {
        team_id: TeamId(Uuid::from_u128(1)),
        project_id: ProjectId(Uuid::from_u128(2)),
        environment_id: EnvironmentId(Uuid::from_u128(3)),
        branch: "main".parse().unwrap(),
        commit: None,
        deploy: true,
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
    let (a, b) = (run_build::RunBuild.on(&build_requested(5)), run_build::RunBuild.on(&build_requested(6)));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.lane, b.lane);
    assert_ne!(a.key, b.key);
}

#[test]
fn the_same_fact_asks_for_the_same_work() {
    for process in all() {
        assert_eq!(process.on(&build_requested(5)), process.on(&build_requested(5)), "{}", process.name());
    }
}

#[test]
fn crashes_are_answered_later_and_later() {
    let delay = |crashes, sequence| {
        run_deployment::RunDeployment.on(&deployment(crashed(crashes), sequence)).unwrap().delay
    };
    assert_eq!(delay(1, 4), Duration::from_secs(2));
    assert_eq!(delay(3, 10), Duration::from_secs(8));
    let first = run_deployment::RunDeployment.on(&deployment(crashed(1), 4)).unwrap();
    let second = run_deployment::RunDeployment.on(&deployment(crashed(2), 7)).unwrap();
    assert_ne!(first.key, second.key, "each crash is work of its own");
    assert_eq!(first.lane, second.lane, "but never at the same time");
}

#[test]
fn only_what_may_have_requests_under_way_is_drained() {
    let drain = |event| {
        let job = retire_deployment::RetireDeployment.on(&deployment(event, 3)).unwrap();
        job.payload["drain"].as_bool().unwrap()
    };
    assert!(drain(DeploymentEvent::DeploymentStopped {}));
    assert!(!drain(DeploymentEvent::DeploymentFailed {
        code: domain::build::FailureCode::NeverReady,
        message: "m".into(),
        exit_code: None,
    }));
    assert_eq!(retire_deployment::RetireDeployment.on(&deployment(crashed(1), 3)), None);
}

#[test]
fn names_are_unique() {
    let names: std::collections::BTreeSet<_> = all().iter().map(|process| process.name()).collect();
    assert_eq!(names.len(), all().len());
}
