//! What can be asked of a build.

use super::{Peak, Phase, Source};
use crate::ids::{BuildId, EnvironmentId, ProjectId, TeamId};
use crate::ports::artifacts::Artifact;
use crate::ports::runner::BuildFailure;
use crate::project::EnvironmentType;
use crate::push::Trigger;
use crate::values::{BranchName, CommitSha};

/// Commands of a build. `fence` is the fencing token of the work row that reports.
#[derive(Clone, Debug)]
pub enum BuildCommand {
    /// Puts it into the queue.
    RequestBuild {
        /// Its team.
        team_id: TeamId,
        /// Its project.
        project_id: ProjectId,
        /// The environment it is for.
        environment_id: EnvironmentId,
        /// What that environment is for: production goes first.
        environment_type: EnvironmentType,
        /// The branch it is of.
        branch: BranchName,
        /// The commit, when it is known.
        commit: Option<CommitSha>,
        /// What it is made of.
        source: Source,
        /// Whether it is deployed when it is ready.
        deploy: bool,
        /// What asked for it, when that was no person and no program of a person.
        trigger: Option<Trigger>,
    },
    /// A worker takes it.
    StartBuild {
        /// Fencing token.
        fence: i64,
        /// Name of the runner.
        runner: String,
    },
    /// A worker found the head of the branch.
    ResolveBuildCommit {
        /// Fencing token.
        fence: i64,
        /// The commit.
        commit: CommitSha,
    },
    /// A worker enters a phase.
    EnterBuildPhase {
        /// Fencing token.
        fence: i64,
        /// The phase.
        phase: Phase,
    },
    /// A worker has the result.
    SucceedBuild {
        /// Fencing token.
        fence: i64,
        /// The packed output.
        artifact: Artifact,
        /// Node that built it.
        node_version: String,
        /// What the owner should know.
        warnings: Vec<String>,
        /// Environment variables that the code reads.
        env_refs: Vec<String>,
        /// What it used at most, as far as that is known.
        peak: Option<Peak>,
    },
    /// A worker has no result.
    FailBuild {
        /// Fencing token.
        fence: i64,
        /// Why.
        failure: BuildFailure,
        /// What it used at most, as far as that is known.
        peak: Option<Peak>,
    },
    /// A worker has no result, and it was not the build's fault: it waits for another try.
    RequeueBuild {
        /// Fencing token.
        fence: i64,
        /// Why.
        failure: BuildFailure,
    },
    /// It has waited too long in the queue.
    ExpireBuild {
        /// Fencing token of its last try, 0 before the first: since then it waits.
        fence: i64,
        /// What its owner is told.
        failure: BuildFailure,
    },
    /// A newer build of its environment makes it needless.
    SupersedeBuild {
        /// The newer one.
        by: BuildId,
    },
    /// Its artifact is not kept any longer.
    PruneArtifact,
    /// Somebody wants it to end.
    CancelBuild,
    /// A worker has ended it.
    ConfirmBuildCancelled {
        /// Fencing token.
        fence: i64,
    },
}

impl BuildCommand {
    /// The name kept in the envelope.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RequestBuild { .. } => "RequestBuild",
            Self::StartBuild { .. } => "StartBuild",
            Self::ResolveBuildCommit { .. } => "ResolveBuildCommit",
            Self::EnterBuildPhase { .. } => "EnterBuildPhase",
            Self::SucceedBuild { .. } => "SucceedBuild",
            Self::FailBuild { .. } => "FailBuild",
            Self::RequeueBuild { .. } => "RequeueBuild",
            Self::ExpireBuild { .. } => "ExpireBuild",
            Self::SupersedeBuild { .. } => "SupersedeBuild",
            Self::PruneArtifact => "PruneArtifact",
            Self::CancelBuild => "CancelBuild",
            Self::ConfirmBuildCancelled { .. } => "ConfirmBuildCancelled",
        }
    }

    /// The fencing token of a worker's report, or of the try that a timer is about.
    pub(super) fn fence(&self) -> Option<i64> {
        match self {
            Self::RequestBuild { .. }
            | Self::SupersedeBuild { .. }
            | Self::PruneArtifact
            | Self::CancelBuild => None,
            Self::StartBuild { fence, .. }
            | Self::ResolveBuildCommit { fence, .. }
            | Self::EnterBuildPhase { fence, .. }
            | Self::SucceedBuild { fence, .. }
            | Self::FailBuild { fence, .. }
            | Self::RequeueBuild { fence, .. }
            | Self::ExpireBuild { fence, .. }
            | Self::ConfirmBuildCancelled { fence } => Some(*fence),
        }
    }
}
