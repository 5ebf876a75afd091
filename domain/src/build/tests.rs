use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::BuildCommand::*;
use super::BuildEvent::*;
use super::*;
use crate::ids::{EnvironmentId, TeamId};
use crate::ports::artifacts::Artifact;
use crate::ports::runner::BuildFailure;

fn given(events: Vec<BuildEvent>) -> AggregateTestExecutor<Build> {
    TestFramework::<Build>::with(()).given(events)
}

fn project(n: u128) -> ProjectId {
    ProjectId(Uuid::from_u128(n))
}

fn sha(c: &str) -> CommitSha {
    c.repeat(40).parse().unwrap()
}

fn request(n: u128) -> BuildCommand {
    RequestBuild {
        team_id: TeamId(Uuid::from_u128(1)),
        project_id: project(n),
        environment_id: EnvironmentId(Uuid::from_u128(3)),
        branch: "main".parse().unwrap(),
        commit: None,
        deploy: true,
    }
}

fn requested() -> BuildEvent {
    BuildRequested {
        team_id: TeamId(Uuid::from_u128(1)),
        project_id: project(2),
        environment_id: EnvironmentId(Uuid::from_u128(3)),
        branch: "main".parse().unwrap(),
        commit: None,
        deploy: true,
    }
}

fn started(fence: i64) -> BuildEvent {
    BuildStarted { fence, runner: "local".into() }
}

fn start(fence: i64) -> BuildCommand {
    StartBuild { fence, runner: "local".into() }
}

fn artifact() -> Artifact {
    Artifact { sha256: "ab".repeat(32), bytes: 1 }
}

fn succeed(fence: i64) -> BuildCommand {
    let (warnings, env_refs) = (vec![], vec![]);
    SucceedBuild { fence, artifact: artifact(), node_version: "22.13.0".into(), warnings, env_refs }
}

fn succeeded() -> BuildEvent {
    BuildSucceeded {
        artifact: artifact(),
        node_version: "22.13.0".into(),
        warnings: vec![],
        env_refs: vec![],
    }
}

fn failure() -> BuildFailure {
    BuildFailure {
        code: FailureCode::BuildFailed,
        phase: Phase::Building,
        message: "rc 1".into(),
        exit_code: Some(1),
    }
}

#[test]
fn a_build_is_requested_once() {
    given(vec![]).when(request(2)).then_expect_events(vec![requested()]);
    given(vec![requested()]).when(request(2)).then_expect_events(vec![]);
    given(vec![requested()]).when(request(7)).then_expect_error(BuildError::Exists);
    for command in [start(1), succeed(1), CancelBuild] {
        given(vec![]).when(command).then_expect_error(BuildError::Unknown);
    }
}

#[test]
fn a_worker_takes_it_once_and_a_later_one_takes_it_over() {
    given(vec![requested()]).when(start(1)).then_expect_events(vec![started(1)]);
    given(vec![requested(), started(1)]).when(start(1)).then_expect_events(vec![]);
    given(vec![requested(), started(1)]).when(start(2)).then_expect_events(vec![started(2)]);
    given(vec![requested(), started(2)]).when(start(1)).then_expect_error(BuildError::StaleFence);
}

#[test]
fn a_worker_that_lost_its_lease_changes_nothing() {
    for command in [
        succeed(1),
        FailBuild { fence: 1, failure: failure() },
        EnterBuildPhase { fence: 1, phase: Phase::Building },
        ResolveBuildCommit { fence: 1, commit: sha("a") },
        ConfirmBuildCancelled { fence: 1 },
    ] {
        given(vec![requested(), started(2)]).when(command).then_expect_error(BuildError::StaleFence);
    }
}

#[test]
fn phases_and_commit_are_said_once() {
    let start = || vec![requested(), started(1)];
    let enter = || EnterBuildPhase { fence: 1, phase: Phase::Cloning };
    given(start()).when(enter()).then_expect_events(vec![BuildPhaseEntered { phase: Phase::Cloning }]);
    given(vec![requested(), started(1), BuildPhaseEntered { phase: Phase::Cloning }])
        .when(enter())
        .then_expect_events(vec![]);
    let resolve = || ResolveBuildCommit { fence: 1, commit: sha("a") };
    given(start()).when(resolve()).then_expect_events(vec![BuildCommitResolved { commit: sha("a") }]);
    given(vec![requested(), started(1), BuildCommitResolved { commit: sha("a") }])
        .when(resolve())
        .then_expect_events(vec![]);
    given(vec![requested()]).when(enter()).then_expect_error(BuildError::NotStarted);
}

#[test]
fn a_build_ends_once() {
    let start = || vec![requested(), started(1)];
    given(start()).when(succeed(1)).then_expect_events(vec![succeeded()]);
    given(start())
        .when(FailBuild { fence: 1, failure: failure() })
        .then_expect_events(vec![BuildFailed { failure: failure() }]);
    given(vec![requested(), started(1), succeeded()])
        .when(FailBuild { fence: 1, failure: failure() })
        .then_expect_error(BuildError::AlreadyFinished);
    given(vec![requested(), started(1), succeeded()])
        .when(CancelBuild)
        .then_expect_error(BuildError::AlreadyFinished);
    given(vec![requested()]).when(succeed(1)).then_expect_error(BuildError::NotStarted);
}

#[test]
fn a_queued_build_is_cancelled_at_once_and_a_running_one_by_its_worker() {
    given(vec![requested()])
        .when(CancelBuild)
        .then_expect_events(vec![BuildCancelRequested {}, BuildCancelled {}]);
    let running = || vec![requested(), started(1)];
    let asked = || vec![requested(), started(1), BuildCancelRequested {}];
    given(running()).when(CancelBuild).then_expect_events(vec![BuildCancelRequested {}]);
    given(asked()).when(CancelBuild).then_expect_events(vec![]);
    given(asked()).when(ConfirmBuildCancelled { fence: 1 }).then_expect_events(vec![BuildCancelled {}]);
    given(asked()).when(succeed(1)).then_expect_events(vec![BuildCancelled {}]);
    given(vec![requested(), started(1), BuildCancelRequested {}, BuildCancelled {}])
        .when(CancelBuild)
        .then_expect_events(vec![]);
}
