use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::DeploymentCommand::*;
use super::DeploymentEvent::*;
use super::*;
use crate::ids::{ProjectId, TeamId};
use crate::ports::artifacts::Artifact;

fn given(events: Vec<DeploymentEvent>) -> AggregateTestExecutor<Deployment> {
    TestFramework::<Deployment>::with(()).given(events)
}

fn request(build: u128) -> DeploymentCommand {
    RequestDeployment {
        team_id: TeamId(Uuid::from_u128(1)),
        project_id: ProjectId(Uuid::from_u128(2)),
        environment_id: EnvironmentId(Uuid::from_u128(3)),
        build_id: BuildId(Uuid::from_u128(build)),
        artifact: Artifact { sha256: "ab".repeat(32), bytes: 1 },
        node_version: "22.13.0".into(),
        env_vars: vec![],
        kind: DeploymentKind::Deploy,
    }
}

fn requested() -> DeploymentEvent {
    DeploymentRequested {
        team_id: TeamId(Uuid::from_u128(1)),
        project_id: ProjectId(Uuid::from_u128(2)),
        environment_id: EnvironmentId(Uuid::from_u128(3)),
        build_id: BuildId(Uuid::from_u128(4)),
        artifact: Artifact { sha256: "ab".repeat(32), bytes: 1 },
        node_version: "22.13.0".into(),
        env_vars: vec![],
        kind: DeploymentKind::Deploy,
    }
}

fn start(fence: i64) -> DeploymentCommand {
    StartDeployment { fence, runner: "local".into() }
}

fn starting(fence: i64) -> DeploymentEvent {
    DeploymentStarting { fence, runner: "local".into() }
}

fn activate(fence: i64) -> DeploymentCommand {
    ActivateDeployment { fence, addresses: at(&[4111]) }
}

fn activated() -> DeploymentEvent {
    DeploymentActivated { address: at(&[4111])[0], addresses: vec![] }
}

fn at(ports: &[u16]) -> Vec<SocketAddr> {
    ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect()
}

fn change(fence: i64, ports: &[u16]) -> DeploymentCommand {
    ChangeReplicas { fence, addresses: at(ports), message: None }
}

fn changed(ports: &[u16]) -> DeploymentEvent {
    DeploymentReplicasChanged { addresses: at(ports), message: None }
}

fn running() -> Vec<DeploymentEvent> {
    vec![requested(), starting(1), activated()]
}

fn crash(up_seconds: u64) -> DeploymentCommand {
    ReportCrash { fence: 1, exit_code: Some(1), message: "rc 1".into(), up_seconds }
}

fn crashed(crashes: u32) -> DeploymentEvent {
    DeploymentCrashed { exit_code: Some(1), message: "rc 1".into(), crashes }
}

fn fail(fence: i64) -> DeploymentCommand {
    FailDeployment { fence, code: FailureCode::NeverReady, message: "silent".into(), exit_code: None }
}

fn failed() -> DeploymentEvent {
    DeploymentFailed { code: FailureCode::NeverReady, message: "silent".into(), exit_code: None }
}

fn other() -> DeploymentId {
    DeploymentId(Uuid::from_u128(9))
}

#[test]
fn a_deployment_is_requested_once() {
    given(vec![]).when(request(4)).then_expect_events(vec![requested()]);
    given(vec![requested()]).when(request(4)).then_expect_events(vec![]);
    given(vec![requested()]).when(request(5)).then_expect_error(DeploymentError::Exists);
    for command in [start(1), activate(1), StopDeployment, fail(1), crash(1)] {
        given(vec![]).when(command).then_expect_error(DeploymentError::Unknown);
    }
}

#[test]
fn it_starts_becomes_active_and_says_each_once() {
    given(vec![requested()]).when(start(1)).then_expect_events(vec![starting(1)]);
    given(vec![requested(), starting(1)]).when(start(1)).then_expect_events(vec![]);
    given(vec![requested(), starting(1)]).when(activate(1)).then_expect_events(vec![activated()]);
    given(running()).when(activate(1)).then_expect_events(vec![]);
    given(vec![requested()]).when(activate(1)).then_expect_error(DeploymentError::NotStarted);
}

#[test]
fn its_servers_come_and_go_while_it_serves() {
    let several = || DeploymentActivated { address: at(&[1])[0], addresses: at(&[1, 2, 3]) };
    let activate = ActivateDeployment { fence: 1, addresses: at(&[1, 2, 3]) };
    given(vec![requested(), starting(1)]).when(activate).then_expect_events(vec![several()]);
    let serving = |more: Vec<DeploymentEvent>| {
        let history = vec![requested(), starting(1), several()];
        history.into_iter().chain(more).collect::<Vec<_>>()
    };
    given(serving(vec![])).when(change(1, &[1, 3])).then_expect_events(vec![changed(&[1, 3])]);
    given(serving(vec![])).when(change(1, &[1, 2, 3])).then_expect_events(vec![]);
    given(serving(vec![changed(&[1, 3])])).when(change(1, &[1, 3])).then_expect_events(vec![]);
    given(running()).when(change(1, &[4111])).then_expect_events(vec![]);
    given(running()).when(change(1, &[])).then_expect_error(DeploymentError::NoAddress);
    for history in [vec![requested(), starting(1)], serving(vec![DeploymentSlept {}])] {
        given(history).when(change(1, &[1])).then_expect_error(DeploymentError::NotStarted);
    }
    given(serving(vec![failed()])).when(change(1, &[1])).then_expect_error(DeploymentError::AlreadyOver);
    let again = serving(vec![starting(2)]);
    given(again).when(change(1, &[1])).then_expect_error(DeploymentError::StaleFence);
}

#[test]
fn a_running_one_is_started_again_after_a_restart_of_the_platform() {
    given(running()).when(start(2)).then_expect_events(vec![starting(2)]);
}

#[test]
fn a_worker_that_lost_its_lease_changes_nothing() {
    for command in [start(1), activate(1), fail(1), crash(1)] {
        given(vec![requested(), starting(2)]).when(command).then_expect_error(DeploymentError::StaleFence);
    }
}

#[test]
fn crashes_in_a_row_end_it_and_a_steady_time_forgives() {
    given(running()).when(crash(1)).then_expect_events(vec![crashed(1)]);
    let mut fourth = running();
    fourth.extend([crashed(4), starting(1), activated()]);
    given(fourth.clone()).when(crash(1)).then_expect_events(vec![DeploymentFailed {
        code: FailureCode::CrashLoop,
        message: "it crashed 5 times in a row; the last time: rc 1".into(),
        exit_code: Some(1),
    }]);
    given(fourth).when(crash(60)).then_expect_events(vec![crashed(1)]);
    given(vec![requested(), starting(1)]).when(crash(1)).then_expect_error(DeploymentError::NotStarted);
}

#[test]
fn it_ends_once() {
    given(running()).when(StopDeployment).then_expect_events(vec![DeploymentStopped {}]);
    given(running())
        .when(SupersedeDeployment { by: other() })
        .then_expect_events(vec![DeploymentSuperseded { by: other() }]);
    given(vec![requested(), starting(1)]).when(fail(1)).then_expect_events(vec![failed()]);
    let over = || vec![requested(), starting(1), failed()];
    given(over()).when(StopDeployment).then_expect_events(vec![]);
    given(over()).when(SupersedeDeployment { by: other() }).then_expect_events(vec![]);
    for command in [start(2), activate(1), fail(1)] {
        given(over()).when(command).then_expect_error(DeploymentError::AlreadyOver);
    }
    given(vec![requested()]).when(fail(1)).then_expect_error(DeploymentError::NotStarted);
}

#[test]
fn what_served_and_failed_is_rolled_back_once() {
    let back = || RollBackDeployment { to: other(), code: FailureCode::NeverReady, message: "silent".into() };
    let rolled_back =
        || DeploymentRolledBack { to: other(), code: FailureCode::NeverReady, message: "silent".into() };
    let after = |more: Vec<DeploymentEvent>| running().into_iter().chain(more).collect::<Vec<_>>();
    given(after(vec![failed()])).when(back()).then_expect_events(vec![rolled_back()]);
    given(after(vec![failed(), rolled_back()])).when(back()).then_expect_events(vec![]);
    given(after(vec![failed(), rolled_back()]))
        .when(start(2))
        .then_expect_error(DeploymentError::AlreadyOver);
    given(vec![]).when(back()).then_expect_error(DeploymentError::Unknown);
    for history in [running(), after(vec![DeploymentStopped {}]), vec![requested(), starting(1), failed()]] {
        given(history).when(back()).then_expect_error(DeploymentError::NothingToGoBackFrom);
    }
}

#[test]
fn it_sleeps_while_it_serves_and_a_worker_wakes_it() {
    let slept = || running().into_iter().chain([DeploymentSlept {}]).collect::<Vec<_>>();
    given(running()).when(SleepDeployment).then_expect_events(vec![DeploymentSlept {}]);
    given(slept()).when(SleepDeployment).then_expect_events(vec![]);
    given(slept()).when(crash(1)).then_expect_events(vec![]);
    given(slept()).when(activate(1)).then_expect_error(DeploymentError::NotStarted);
    given(slept()).when(start(2)).then_expect_events(vec![starting(2)]);
    given(slept()).when(StopDeployment).then_expect_events(vec![DeploymentStopped {}]);
    given(vec![requested()]).when(SleepDeployment).then_expect_error(DeploymentError::NotStarted);
    given(vec![requested(), starting(1)])
        .when(SleepDeployment)
        .then_expect_error(DeploymentError::NotStarted);
}

#[test]
fn a_report_with_a_token_that_nobody_was_given_is_refused() {
    let fail =
        FailDeployment { fence: 2, code: FailureCode::NeverReady, message: "no".into(), exit_code: None };
    let crash = ReportCrash { fence: 2, exit_code: None, message: "no".into(), up_seconds: 1 };
    let asleep = || [running(), vec![DeploymentSlept {}]].concat();
    for command in [activate(2), change(2, &[1]), fail, crash] {
        for held in [vec![requested(), starting(1)], running(), asleep()] {
            given(held).when(command.clone()).then_expect_error(DeploymentError::UnknownFence);
        }
    }
    given(running()).when(start(2)).then_expect_events(vec![starting(2)]);
}
