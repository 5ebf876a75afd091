//! What can happen to a build.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use super::{Peak, Phase, Source};
use crate::ids::{BuildId, EnvironmentId, ProjectId, TeamId};
use crate::ports::artifacts::Artifact;
use crate::ports::runner::BuildFailure;
use crate::project::EnvironmentType;
use crate::push::Trigger;
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
        /// What that environment is for: production goes first. Absent in builds of the first versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        environment_type: Option<EnvironmentType>,
        /// The branch it is of.
        branch: BranchName,
        /// The commit, when it is known; the head of the branch otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<CommitSha>,
        /// What it is made of; absent where that is a commit of the repository.
        #[serde(default, skip_serializing_if = "Source::is_repository")]
        source: Source,
        /// Whether it is deployed when it is ready.
        deploy: bool,
        /// What asked for it, when that was no person and no program of a person.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trigger: Option<Trigger>,
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
        /// What it used at most. Absent in builds of the first versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peak: Option<Peak>,
    },
    /// It ended without a result.
    #[serde(rename = "build.failed")]
    BuildFailed {
        /// Why.
        failure: BuildFailure,
        /// What it used at most. Absent where it did not come to that, and in builds of the first versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peak: Option<Peak>,
    },
    /// A try ended by the platform's own fault; it waits in the queue for another.
    #[serde(rename = "build.requeued")]
    BuildRequeued {
        /// Fencing token of that try.
        fence: i64,
        /// What went wrong.
        failure: BuildFailure,
    },
    /// A newer build of its environment was asked for while it waited: it ended.
    #[serde(rename = "build.superseded")]
    BuildSuperseded {
        /// The newer one.
        by: BuildId,
    },
    /// Its artifact is not kept any longer: its bytes are removed once nobody can be about to use them.
    #[serde(rename = "build.artifact_pruned")]
    BuildArtifactPruned {},
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
            Self::BuildRequeued { .. } => "build.requeued",
            Self::BuildSuperseded { .. } => "build.superseded",
            Self::BuildArtifactPruned {} => "build.artifact_pruned",
            Self::BuildCancelRequested {} => "build.cancel_requested",
            Self::BuildCancelled {} => "build.cancelled",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
