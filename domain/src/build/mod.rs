//! A build turns one commit of a project, or what was uploaded in its place, into something that can be deployed.
//!
//! Invariants: a finished build never changes again, but that its artifact may go. A worker that has lost its lease, or never had it, cannot change it.
//! A build that somebody wants to end never ends ready.

mod command;
mod error;
mod event;
mod failure;
mod peak;
mod source;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::fact::{Fact, Stored};
use crate::ids::{BuildId, ProjectId};
use crate::values::CommitSha;

pub use command::BuildCommand;
pub use error::BuildError;
pub use event::BuildEvent;
pub use failure::{FailureCode, Phase};
pub use peak::Peak;
pub use source::Source;

/// Only what is needed to decide.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Build {
    state: State,
    /// Fencing token of the last worker that took it.
    fence: i64,
    project_id: Option<ProjectId>,
    commit: Option<CommitSha>,
    source: Source,
    phase: Option<Phase>,
    cancel_requested: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    #[default]
    Unborn,
    Queued,
    Building,
    /// Without an artifact.
    Finished,
    /// With one.
    Ready,
    /// It had one.
    Pruned,
}

impl Build {
    /// Whether somebody wants it to end.
    pub fn is_cancel_requested(&self) -> bool {
        self.cancel_requested
    }

    /// The commit, once it is known: each try is of the same.
    pub fn commit(&self) -> Option<&CommitSha> {
        self.commit.as_ref()
    }

    /// What it is made of.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished | State::Ready | State::Pruned)
    }

    fn decide(&self, command: BuildCommand) -> Result<Vec<BuildEvent>, BuildError> {
        use BuildCommand::*;
        use BuildEvent::*;
        use State::*;
        if command.fence().is_some_and(|fence| fence < self.fence) {
            return Err(BuildError::StaleFence);
        }
        match (self.state, command) {
            (
                Unborn,
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
            ) => Ok(vec![BuildRequested {
                team_id,
                project_id,
                environment_id,
                environment_type: Some(environment_type),
                branch,
                commit,
                source,
                deploy,
                trigger,
            }]),
            (Unborn, _) => Err(BuildError::Unknown),
            (_, RequestBuild { project_id, .. }) if Some(project_id) == self.project_id => Ok(vec![]),
            (_, RequestBuild { .. }) => Err(BuildError::Exists),
            (Ready, PruneArtifact) => Ok(vec![BuildArtifactPruned {}]),
            (Pruned, PruneArtifact) => Ok(vec![]),
            (_, PruneArtifact) => Err(BuildError::NoArtifact),
            (Finished, CancelBuild | ConfirmBuildCancelled { .. }) if self.cancel_requested => Ok(vec![]),
            (Finished | Ready | Pruned, _) => Err(BuildError::AlreadyFinished),
            (Queued, CancelBuild) => Ok(vec![BuildCancelRequested {}, BuildCancelled {}]),
            (Building, CancelBuild) if self.cancel_requested => Ok(vec![]),
            (Building, CancelBuild) => Ok(vec![BuildCancelRequested {}]),
            (Queued, SupersedeBuild { by }) => Ok(vec![BuildSuperseded { by }]),
            (Queued, ExpireBuild { fence, failure }) if fence == self.fence => {
                Ok(vec![BuildFailed { failure, peak: None }])
            }
            (Building, SupersedeBuild { .. } | ExpireBuild { .. }) => Err(BuildError::AlreadyStarted),
            (Building, StartBuild { fence, .. }) if fence == self.fence => Ok(vec![]),
            // Its try is over: it has to be taken anew.
            (Queued, StartBuild { fence, .. }) if fence == self.fence => Err(BuildError::StaleFence),
            (Queued | Building, StartBuild { fence, runner }) => Ok(vec![BuildStarted { fence, runner }]),
            (Queued, RequeueBuild { fence, .. }) if fence == self.fence => Ok(vec![]),
            (Queued, _) => Err(BuildError::NotStarted),
            (Building, report) if report.fence() != Some(self.fence) => Err(BuildError::UnknownFence),
            (Building, ResolveBuildCommit { commit, .. }) if self.commit.as_ref() == Some(&commit) => {
                Ok(vec![])
            }
            (Building, ResolveBuildCommit { commit, .. }) => Ok(vec![BuildCommitResolved { commit }]),
            (Building, EnterBuildPhase { phase, .. }) if self.phase == Some(phase) => Ok(vec![]),
            (Building, EnterBuildPhase { phase, .. }) => Ok(vec![BuildPhaseEntered { phase }]),
            (
                Building,
                ConfirmBuildCancelled { .. } | SucceedBuild { .. } | FailBuild { .. } | RequeueBuild { .. },
            ) if self.cancel_requested => Ok(vec![BuildCancelled {}]),
            (Building, ConfirmBuildCancelled { .. }) => Err(BuildError::NotCancelled),
            (Building, SucceedBuild { artifact, node_version, warnings, env_refs, peak, .. }) => {
                Ok(vec![BuildSucceeded { artifact, node_version, warnings, env_refs, peak }])
            }
            (Building, FailBuild { failure, peak, .. }) => Ok(vec![BuildFailed { failure, peak }]),
            (Building, RequeueBuild { fence, failure }) => Ok(vec![BuildRequeued { fence, failure }]),
        }
    }
}

impl Aggregate for Build {
    const TYPE: &'static str = "build";
    type Command = BuildCommand;
    type Event = BuildEvent;
    type Error = BuildError;
    type Services = ();

    async fn handle(
        &mut self,
        command: BuildCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), BuildError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: BuildEvent) {
        use BuildEvent::*;
        match event {
            BuildRequested { project_id, commit, source, .. } => {
                self.state = State::Queued;
                self.project_id = Some(project_id);
                self.commit = commit;
                self.source = source;
            }
            BuildStarted { fence, .. } => {
                self.state = State::Building;
                self.fence = fence;
                self.phase = None;
            }
            BuildCommitResolved { commit } => self.commit = Some(commit),
            BuildPhaseEntered { phase } => self.phase = Some(phase),
            BuildRequeued { .. } => {
                self.state = State::Queued;
                self.phase = None;
            }
            BuildCancelRequested {} => self.cancel_requested = true,
            BuildSucceeded { .. } => self.state = State::Ready,
            BuildArtifactPruned {} => self.state = State::Pruned,
            BuildFailed { .. } | BuildSuperseded { .. } | BuildCancelled {} => self.state = State::Finished,
        }
    }
}

impl Stored for Build {
    type Id = BuildId;
    /// 3: it knows what it is made of.
    const STATE_VERSION: i32 = 3;

    fn fact(id: BuildId, event: BuildEvent) -> Fact {
        Fact::Build(id, event)
    }
}

#[cfg(test)]
mod tests;
