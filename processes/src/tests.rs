use chrono::DateTime;
use domain::build::BuildEvent;
use domain::deployment::DeploymentEvent;
use domain::envelope::Metadata;
use domain::fact::Fact;
use domain::ids::{BuildId, DeploymentId, EnvironmentId, EventId, ProjectId, TeamId};
use domain::upcast::Present;

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
    let (a, b) =
        (on(&run_build::RunBuild, &build_requested(5)), on(&run_build::RunBuild, &build_requested(6)));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.lane, b.lane);
    assert_ne!(a.key, b.key);
}

#[test]
fn the_same_fact_asks_for_the_same_work() {
    for process in all() {
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
        on(&run_deployment::RunDeployment, &deployment(crashed(crashes), sequence)).unwrap().delay
    };
    assert_eq!(delay(1, 4), Duration::from_secs(2));
    assert_eq!(delay(3, 10), Duration::from_secs(8));
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
fn names_are_unique() {
    let names: std::collections::BTreeSet<_> = all().iter().map(|process| process.name()).collect();
    assert_eq!(names.len(), all().len());
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
        Some(Job { lane: key.clone(), key, payload, delay: Duration::ZERO })
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
