use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::BuildCommand::*;
use super::BuildEvent::*;
use super::*;
use crate::ids::{EnvironmentId, TeamId};
use crate::ports::artifacts::Artifact;
use crate::ports::runner::BuildFailure;
use crate::project::EnvironmentType;

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
        environment_type: EnvironmentType::Preview,
        branch: "main".parse().unwrap(),
        commit: None,
        source: Source::Repository,
        deploy: true,
        trigger: None,
    }
}

fn requested() -> BuildEvent {
    BuildRequested {
        team_id: TeamId(Uuid::from_u128(1)),
        project_id: project(2),
        environment_id: EnvironmentId(Uuid::from_u128(3)),
        environment_type: Some(EnvironmentType::Preview),
        branch: "main".parse().unwrap(),
        commit: None,
        source: Source::Repository,
        deploy: true,
        trigger: None,
    }
}

fn started(fence: i64) -> BuildEvent {
    BuildStarted { fence, runner: "local".into() }
}

fn start(fence: i64) -> BuildCommand {
    StartBuild { fence, runner: "local".into() }
}

/// What a runner might tell.
const PEAK: Option<Peak> = Some(Peak {
    memory_mib: Some(512),
    disk_mib: None,
    pids: Some(34),
    cpu_seconds: Some(3),
    wall_seconds: Some(7),
});

fn artifact() -> Artifact {
    Artifact { sha256: "ab".repeat(32), bytes: 1 }
}

fn succeed(fence: i64) -> BuildCommand {
    let (warnings, env_refs) = (vec![], vec![]);
    let node_version = "22.13.0".into();
    SucceedBuild { fence, artifact: artifact(), node_version, warnings, env_refs, peak: PEAK }
}

fn succeeded() -> BuildEvent {
    BuildSucceeded {
        artifact: artifact(),
        node_version: "22.13.0".into(),
        warnings: vec![],
        env_refs: vec![],
        peak: PEAK,
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
        FailBuild { fence: 1, failure: failure(), peak: PEAK },
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
        .when(FailBuild { fence: 1, failure: failure(), peak: PEAK })
        .then_expect_events(vec![BuildFailed { failure: failure(), peak: PEAK }]);
    given(vec![requested(), started(1), succeeded()])
        .when(FailBuild { fence: 1, failure: failure(), peak: PEAK })
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

fn requeue(fence: i64) -> BuildCommand {
    RequeueBuild { fence, failure: failure() }
}

fn requeued(fence: i64) -> BuildEvent {
    BuildRequeued { fence, failure: failure() }
}

fn expire(fence: i64) -> BuildCommand {
    ExpireBuild { fence, failure: failure() }
}

fn supersede() -> BuildCommand {
    SupersedeBuild { by: BuildId(Uuid::from_u128(9)) }
}

#[test]
fn a_worker_that_never_had_it_changes_nothing() {
    for command in [
        succeed(2),
        requeue(2),
        FailBuild { fence: 2, failure: failure(), peak: PEAK },
        EnterBuildPhase { fence: 2, phase: Phase::Building },
        ResolveBuildCommit { fence: 2, commit: sha("a") },
        ConfirmBuildCancelled { fence: 2 },
    ] {
        given(vec![requested(), started(1)]).when(command).then_expect_error(BuildError::UnknownFence);
    }
}

#[test]
fn no_worker_cancels_what_nobody_wants_to_end() {
    given(vec![requested(), started(1)])
        .when(ConfirmBuildCancelled { fence: 1 })
        .then_expect_error(BuildError::NotCancelled);
}

#[test]
fn what_was_the_platforms_fault_waits_for_another_try() {
    let tried = || vec![requested(), started(1), requeued(1)];
    given(vec![requested(), started(1)]).when(requeue(1)).then_expect_events(vec![requeued(1)]);
    given(tried()).when(requeue(1)).then_expect_events(vec![]);
    given(tried()).when(start(2)).then_expect_events(vec![started(2)]);
    given(tried()).when(start(1)).then_expect_error(BuildError::StaleFence);
    given(tried()).when(succeed(1)).then_expect_error(BuildError::NotStarted);
    given(tried()).when(CancelBuild).then_expect_events(vec![BuildCancelRequested {}, BuildCancelled {}]);
    given(vec![requested(), started(1), BuildCancelRequested {}])
        .when(requeue(1))
        .then_expect_events(vec![BuildCancelled {}]);
}

#[test]
fn what_waits_is_superseded_and_what_runs_is_not() {
    let superseded = BuildSuperseded { by: BuildId(Uuid::from_u128(9)) };
    given(vec![requested()]).when(supersede()).then_expect_events(vec![superseded.clone()]);
    given(vec![requested(), started(1), requeued(1)])
        .when(supersede())
        .then_expect_events(vec![superseded.clone()]);
    given(vec![requested(), started(1)]).when(supersede()).then_expect_error(BuildError::AlreadyStarted);
    given(vec![requested(), superseded]).when(start(1)).then_expect_error(BuildError::AlreadyFinished);
}

#[test]
fn what_waits_too_long_fails_but_not_for_a_wait_that_is_over() {
    let failed = || vec![BuildFailed { failure: failure(), peak: None }];
    given(vec![requested()]).when(expire(0)).then_expect_events(failed());
    given(vec![requested(), started(1)]).when(expire(0)).then_expect_error(BuildError::StaleFence);
    given(vec![requested(), started(1)]).when(expire(1)).then_expect_error(BuildError::AlreadyStarted);
    given(vec![requested(), started(1), requeued(1)])
        .when(expire(0))
        .then_expect_error(BuildError::StaleFence);
    given(vec![requested(), started(1), requeued(1)]).when(expire(1)).then_expect_events(failed());
}

#[test]
fn an_artifact_goes_once_and_only_where_there_is_one() {
    let ready = vec![requested(), started(1), succeeded()];
    given(ready.clone()).when(PruneArtifact).then_expect_events(vec![BuildArtifactPruned {}]);
    let pruned = [ready, vec![BuildArtifactPruned {}]].concat();
    given(pruned.clone()).when(PruneArtifact).then_expect_events(vec![]);
    given(pruned).when(CancelBuild).then_expect_error(BuildError::AlreadyFinished);
    given(vec![requested(), started(1)]).when(PruneArtifact).then_expect_error(BuildError::NoArtifact);
    given(vec![]).when(PruneArtifact).then_expect_error(BuildError::Unknown);
}

#[test]
fn what_a_build_is_made_of_is_in_its_first_event_and_known_to_each_try() {
    let source = Source::Upload(artifact());
    let asked = match request(2) {
        RequestBuild {
            team_id,
            project_id,
            environment_id,
            environment_type,
            branch,
            commit,
            deploy,
            ..
        } => {
            let source = source.clone();
            RequestBuild {
                team_id,
                project_id,
                environment_id,
                environment_type,
                branch,
                commit,
                source,
                deploy,
                trigger: None,
            }
        }
        _ => unreachable!("it is a request"),
    };
    let event = match requested() {
        BuildRequested {
            team_id,
            project_id,
            environment_id,
            environment_type,
            branch,
            commit,
            deploy,
            ..
        } => {
            let source = source.clone();
            BuildRequested {
                team_id,
                project_id,
                environment_id,
                environment_type,
                branch,
                commit,
                source,
                deploy,
                trigger: None,
            }
        }
        _ => unreachable!("it is the first"),
    };
    given(vec![]).when(asked).then_expect_events(vec![event.clone()]);
    let mut build = Build::default();
    build.apply(event);
    assert_eq!(build.source(), &source);
    let mut before = Build::default();
    before.apply(requested());
    assert!(before.source().is_repository(), "as every build was before there was another source");
}
