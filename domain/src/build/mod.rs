//! A build turns one commit of a project into something that can be deployed.
//!
//! Invariants: a finished build never changes again. A worker that has lost its lease cannot change it.
//! A build that somebody wants to end never ends ready.

mod command;
mod error;
mod event;
mod failure;

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

/// Only what is needed to decide.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Build {
    state: State,
    /// Fencing token of the last worker that took it.
    fence: i64,
    project_id: Option<ProjectId>,
    commit: Option<CommitSha>,
    phase: Option<Phase>,
    cancel_requested: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    #[default]
    Unborn,
    Queued,
    Building,
    Finished,
}

impl Build {
    /// Whether somebody wants it to end.
    pub fn is_cancel_requested(&self) -> bool {
        self.cancel_requested
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    fn decide(&self, command: BuildCommand) -> Result<Vec<BuildEvent>, BuildError> {
        use BuildCommand::*;
        use BuildEvent::*;
        use State::*;
        if command.fence().is_some_and(|fence| fence < self.fence) {
            return Err(BuildError::StaleFence);
        }
        match (self.state, command) {
            (Unborn, RequestBuild { team_id, project_id, environment_id, branch, commit, deploy }) => {
                Ok(vec![BuildRequested { team_id, project_id, environment_id, branch, commit, deploy }])
            }
            (Unborn, _) => Err(BuildError::Unknown),
            (_, RequestBuild { project_id, .. }) if Some(project_id) == self.project_id => Ok(vec![]),
            (_, RequestBuild { .. }) => Err(BuildError::Exists),
            (Finished, CancelBuild | ConfirmBuildCancelled { .. }) if self.cancel_requested => Ok(vec![]),
            (Finished, _) => Err(BuildError::AlreadyFinished),
            (Queued, CancelBuild) => Ok(vec![BuildCancelRequested {}, BuildCancelled {}]),
            (Building, CancelBuild) if self.cancel_requested => Ok(vec![]),
            (Building, CancelBuild) => Ok(vec![BuildCancelRequested {}]),
            (Building, StartBuild { fence, .. }) if fence == self.fence => Ok(vec![]),
            (Queued | Building, StartBuild { fence, runner }) => Ok(vec![BuildStarted { fence, runner }]),
            (Queued, _) => Err(BuildError::NotStarted),
            (Building, ResolveBuildCommit { commit, .. }) if self.commit.as_ref() == Some(&commit) => {
                Ok(vec![])
            }
            (Building, ResolveBuildCommit { commit, .. }) => Ok(vec![BuildCommitResolved { commit }]),
            (Building, EnterBuildPhase { phase, .. }) if self.phase == Some(phase) => Ok(vec![]),
            (Building, EnterBuildPhase { phase, .. }) => Ok(vec![BuildPhaseEntered { phase }]),
            (Building, ConfirmBuildCancelled { .. }) => Ok(vec![BuildCancelled {}]),
            (Building, SucceedBuild { .. } | FailBuild { .. }) if self.cancel_requested => {
                Ok(vec![BuildCancelled {}])
            }
            (Building, SucceedBuild { artifact, node_version, warnings, env_refs, .. }) => {
                Ok(vec![BuildSucceeded { artifact, node_version, warnings, env_refs }])
            }
            (Building, FailBuild { failure, .. }) => Ok(vec![BuildFailed { failure }]),
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
            BuildRequested { project_id, commit, .. } => {
                self.state = State::Queued;
                self.project_id = Some(project_id);
                self.commit = commit;
            }
            BuildStarted { fence, .. } => {
                self.state = State::Building;
                self.fence = fence;
                self.phase = None;
            }
            BuildCommitResolved { commit } => self.commit = Some(commit),
            BuildPhaseEntered { phase } => self.phase = Some(phase),
            BuildCancelRequested {} => self.cancel_requested = true,
            BuildSucceeded { .. } | BuildFailed { .. } | BuildCancelled {} => self.state = State::Finished,
        }
    }
}

impl Stored for Build {
    type Id = BuildId;

    fn fact(id: BuildId, event: BuildEvent) -> Fact {
        Fact::Build(id, event)
    }
}

#[cfg(test)]
mod tests;
