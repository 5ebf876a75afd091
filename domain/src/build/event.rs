//! What can happen to a build.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use super::Phase;
use crate::ids::{EnvironmentId, ProjectId, TeamId};
use crate::ports::artifacts::Artifact;
use crate::ports::runner::BuildFailure;
use crate::values::{BranchName, CommitSha};

/// Events of a build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum BuildEvent {
    /// Somebody wants it; it waits in the queue.
    #[serde(rename = "build.requested")]
    BuildRequested {
        /// Its team.
        team_id: TeamId,
        /// Its project.
        project_id: ProjectId,
        /// The environment it is for.
        environment_id: EnvironmentId,
        /// The branch it is of.
        branch: BranchName,
        /// The commit, when it is known; the head of the branch otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<CommitSha>,
        /// Whether it is deployed when it is ready.
        deploy: bool,
    },
    /// A worker has taken it; once more with a higher fence when the first was lost.
    #[serde(rename = "build.started")]
    BuildStarted {
        /// Fencing token of the work: later tries have higher ones.
        fence: i64,
        /// Name of the runner.
        runner: String,
    },
    /// The head of the branch was this commit.
    #[serde(rename = "build.commit_resolved")]
    BuildCommitResolved {
        /// The commit.
        commit: CommitSha,
    },
    /// A phase began.
    #[serde(rename = "build.phase_entered")]
    BuildPhaseEntered {
        /// That phase.
        phase: Phase,
    },
    /// There is something to deploy.
    #[serde(rename = "build.succeeded")]
    BuildSucceeded {
        /// It.
        artifact: Artifact,
        /// Node that built it.
        node_version: String,
        /// What the owner should know.
        warnings: Vec<String>,
        /// Environment variables that the code reads.
        env_refs: Vec<String>,
    },
    /// It ended without a result.
    #[serde(rename = "build.failed")]
    BuildFailed {
        /// Why.
        failure: BuildFailure,
    },
    /// Somebody wants it to end.
    #[serde(rename = "build.cancel_requested")]
    BuildCancelRequested {},
    /// It ended because somebody wanted it to.
    #[serde(rename = "build.cancelled")]
    BuildCancelled {},
}

impl DomainEvent for BuildEvent {
    fn event_type(&self) -> String {
        match self {
            Self::BuildRequested { .. } => "build.requested",
            Self::BuildStarted { .. } => "build.started",
            Self::BuildCommitResolved { .. } => "build.commit_resolved",
            Self::BuildPhaseEntered { .. } => "build.phase_entered",
            Self::BuildSucceeded { .. } => "build.succeeded",
            Self::BuildFailed { .. } => "build.failed",
            Self::BuildCancelRequested {} => "build.cancel_requested",
            Self::BuildCancelled {} => "build.cancelled",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
