//! The rules of a build.

use domain::build::BuildCommand::*;
use domain::build::BuildEvent::*;
use domain::build::{Build, BuildCommand, BuildError, BuildEvent, FailureCode, Peak, Phase, Source};
use domain::ids::{BuildId, ProjectId};
use domain::ports::artifacts::Artifact;
use domain::ports::runner::BuildFailure;
use domain::project::EnvironmentType;
use domain::values::CommitSha;
use proptest::prelude::*;

use super::machine::{Answer, Model};
use super::values::{good, id, ids};

/// What is asked for and who is at it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    project: Option<ProjectId>,
    commit: Option<CommitSha>,
    /// Somebody wants it to end.
    unwanted: bool,
    /// The fence of the worker that has it, and the phase it is in.
    worker: Option<(i64, Option<Phase>)>,
    /// That worker's try is over, and there may be another.
    waits_again: bool,
    over: bool,
    /// There is an artifact.
    ready: bool,
    /// There was one.
    pruned: bool,
}

fn commits() -> impl Strategy<Value = CommitSha> {
    prop::sample::select(&["a", "b"][..]).prop_map(|digit| good(&digit.repeat(40)))
}

fn phases() -> impl Strategy<Value = Phase> {
    prop::sample::select(&[Phase::Cloning, Phase::Installing, Phase::Building][..])
}

/// What a worker says under a fence.
fn reports(fence: i64) -> BoxedStrategy<BuildCommand> {
    let failure = BuildFailure {
        code: FailureCode::BuildFailed,
        phase: Phase::Building,
        message: "rc 1".to_owned(),
        exit_code: Some(1),
    };
    let succeed = SucceedBuild {
        fence,
        artifact: Artifact { sha256: "ab".repeat(32), bytes: 1 },
        node_version: "22.13.0".to_owned(),
        warnings: vec!["slow".to_owned()],
        env_refs: vec!["KEY".to_owned()],
        peak: Some(Peak { pids: Some(3), ..Peak::default() }),
    };
    prop_oneof![
        8 => Just(StartBuild { fence, runner: "local".to_owned() }),
        6 => commits().prop_map(move |commit| ResolveBuildCommit { fence, commit }),
        8 => phases().prop_map(move |phase| EnterBuildPhase { fence, phase }),
        1 => Just(succeed),
        1 => Just(FailBuild { fence, failure: failure.clone(), peak: None }),
        2 => Just(RequeueBuild { fence, failure: failure.clone() }),
        1 => Just(ExpireBuild { fence, failure }),
        1 => Just(ConfirmBuildCancelled { fence }),
    ]
    .boxed()
}

impl Model for Rules {
    type Of = Build;

    fn births() -> BoxedStrategy<BuildCommand> {
        (ids::<ProjectId>(2), ids(2), prop::option::of(commits()), any::<bool>())
            .prop_map(|(project_id, environment_id, commit, deploy)| RequestBuild {
                team_id: id(1),
                project_id,
                environment_id,
                environment_type: EnvironmentType::Staging,
                branch: good("main"),
                commit,
                source: Source::Repository,
                deploy,
                trigger: None,
            })
            .boxed()
    }

    fn commands(&self) -> BoxedStrategy<BuildCommand> {
        let latest = self.worker.map_or(1, |(fence, _)| fence);
        prop_oneof![
            12 => reports(latest),
            6 => (0i64..=4).prop_flat_map(reports),
            1 => Just(SupersedeBuild { by: id::<BuildId>(9) }),
            2 => Just(PruneArtifact),
            1 => Just(CancelBuild),
        ]
        .boxed()
    }

    fn is_born(&self) -> bool {
        self.project.is_some()
    }

    fn obey(&mut self, command: BuildCommand) -> Answer<Self> {
        let fence = match &command {
            RequestBuild { .. } | SupersedeBuild { .. } | PruneArtifact | CancelBuild => {
                return self.obey_people(command);
            }
            StartBuild { fence, .. }
            | ResolveBuildCommit { fence, .. }
            | EnterBuildPhase { fence, .. }
            | SucceedBuild { fence, .. }
            | FailBuild { fence, .. }
            | RequeueBuild { fence, .. }
            | ExpireBuild { fence, .. }
            | ConfirmBuildCancelled { fence } => *fence,
        };
        if self.project.is_none() {
            return Err(BuildError::Unknown);
        }
        // Who has lost it is told so, whatever else there would be to say.
        if self.worker.is_some_and(|(latest, _)| fence < latest) {
            return Err(BuildError::StaleFence);
        }
        if self.over {
            let repeated = matches!(command, ConfirmBuildCancelled { .. }) && self.unwanted;
            return if repeated { Ok(vec![]) } else { Err(BuildError::AlreadyFinished) };
        }
        let is_latest = fence == self.worker.map_or(0, |(latest, _)| latest);
        match command {
            StartBuild { .. } if is_latest && self.waits() => return Err(BuildError::StaleFence),
            StartBuild { .. } if is_latest => return Ok(vec![]),
            StartBuild { fence, runner } => {
                (self.worker, self.waits_again) = (Some((fence, None)), false);
                return Ok(vec![BuildStarted { fence, runner }]);
            }
            ExpireBuild { .. } if !self.waits() => return Err(BuildError::AlreadyStarted),
            ExpireBuild { failure, .. } if is_latest => {
                self.over = true;
                return Ok(vec![BuildFailed { failure, peak: None }]);
            }
            RequeueBuild { .. } if is_latest && self.waits() => return Ok(vec![]),
            _ if self.waits() => return Err(BuildError::NotStarted),
            _ if !is_latest => return Err(BuildError::UnknownFence),
            ConfirmBuildCancelled { .. } if !self.unwanted => return Err(BuildError::NotCancelled),
            RequeueBuild { fence, failure } if !self.unwanted => {
                self.waits_again = true;
                return Ok(vec![BuildRequeued { fence, failure }]);
            }
            _ => {}
        }
        self.obey_worker(command)
    }

    fn check(&self, state: &Build, history: &[BuildEvent]) {
        assert_eq!(state.is_finished(), self.over);
        assert_eq!(state.is_cancel_requested(), self.unwanted);
        let is_end = |event: &BuildEvent| {
            matches!(
                event,
                BuildSucceeded { .. } | BuildFailed { .. } | BuildSuperseded { .. } | BuildCancelled {}
            )
        };
        let end = history.iter().position(is_end);
        let after = end.map_or(&[][..], |end| &history[end + 1..]);
        let only_pruned = self.pruned && after == [BuildArtifactPruned {}];
        assert!(after.is_empty() || only_pruned, "a final status never changes");
        let unwanted = history.iter().position(|event| *event == BuildCancelRequested {});
        if let (Some(_), Some(end)) = (unwanted, end) {
            assert_eq!(history[end], BuildCancelled {}, "what somebody wants to end ends so");
        }
        let fences = history.iter().filter_map(|event| match event {
            BuildStarted { fence, .. } => Some(*fence),
            _ => None,
        });
        assert!(fences.is_sorted_by(|earlier, later| earlier < later), "each start is by a later worker");
    }
}

impl Rules {
    /// Whether nobody is at it.
    fn waits(&self) -> bool {
        self.worker.is_none() || self.waits_again
    }

    /// What the worker that has it says of it.
    fn obey_worker(&mut self, command: BuildCommand) -> Answer<Self> {
        let Some((_, phase)) = &mut self.worker else { unreachable!("it waited") };
        match command {
            ResolveBuildCommit { commit, .. } => {
                let before = self.commit.replace(commit.clone());
                let known = before.as_ref() == Some(&commit);
                Ok(if known { vec![] } else { vec![BuildCommitResolved { commit }] })
            }
            EnterBuildPhase { phase: next, .. } => {
                let before = phase.replace(next);
                Ok(if before == Some(next) { vec![] } else { vec![BuildPhaseEntered { phase: next }] })
            }
            end => {
                self.over = true;
                Ok(vec![match end {
                    _ if self.unwanted => BuildCancelled {},
                    ConfirmBuildCancelled { .. } => BuildCancelled {},
                    SucceedBuild { artifact, node_version, warnings, env_refs, peak, .. } => {
                        self.ready = true;
                        BuildSucceeded { artifact, node_version, warnings, env_refs, peak }
                    }
                    FailBuild { failure, peak, .. } => BuildFailed { failure, peak },
                    _ => unreachable!("answered before"),
                }])
            }
        }
    }

    fn obey_people(&mut self, command: BuildCommand) -> Answer<Self> {
        match (command, self.project) {
            (
                RequestBuild {
                    team_id,
                    project_id,
                    environment_id,
                    environment_type,
                    branch,
                    commit,
                    source,
                    deploy,
                    trigger,
                },
                None,
            ) => {
                self.project = Some(project_id);
                self.commit.clone_from(&commit);
                let environment_type = Some(environment_type);
                Ok(vec![BuildRequested {
                    team_id,
                    project_id,
                    environment_id,
                    environment_type,
                    branch,
                    commit,
                    source,
                    deploy,
                    trigger,
                }])
            }
            (RequestBuild { project_id, .. }, Some(known)) => {
                if project_id == known {
                    Ok(vec![])
                } else {
                    Err(BuildError::Exists)
                }
            }
            (_, None) => Err(BuildError::Unknown),
            (PruneArtifact, _) if self.pruned => Ok(vec![]),
            (PruneArtifact, _) if !self.ready => Err(BuildError::NoArtifact),
            (PruneArtifact, _) => {
                self.pruned = true;
                Ok(vec![BuildArtifactPruned {}])
            }
            (SupersedeBuild { .. }, _) if self.over => Err(BuildError::AlreadyFinished),
            (SupersedeBuild { .. }, _) if !self.waits() => Err(BuildError::AlreadyStarted),
            (SupersedeBuild { by }, _) => {
                self.over = true;
                Ok(vec![BuildSuperseded { by }])
            }
            (_, Some(_)) if self.unwanted => Ok(vec![]),
            (_, Some(_)) if self.over => Err(BuildError::AlreadyFinished),
            (_, Some(_)) => {
                self.unwanted = true;
                // Nobody is at it who would have to stop first.
                self.over = self.waits();
                let ends = self.over.then_some(BuildCancelled {});
                Ok([BuildCancelRequested {}].into_iter().chain(ends).collect())
            }
        }
    }
}
