//! What can be asked of a deployment.

use std::net::SocketAddr;

use super::DeploymentKind;
use crate::build::FailureCode;
use crate::ids::{BuildId, DeploymentId, EnvironmentId, ProjectId, TeamId};
use crate::ports::artifacts::Artifact;
use crate::project::EnvVar;

/// Commands of a deployment. `fence` is the fencing token of the work row that reports.
#[derive(Clone, Debug)]
pub enum DeploymentCommand {
    /// Makes it.
    RequestDeployment {
        /// Its team.
        team_id: TeamId,
        /// Its project.
        project_id: ProjectId,
        /// Where it runs.
        environment_id: EnvironmentId,
        /// What it runs.
        build_id: BuildId,
        /// The packed output of that build.
        artifact: Artifact,
        /// Node that built it.
        node_version: String,
        /// The variables it runs with.
        env_vars: Vec<EnvVar>,
        /// Why it is made.
        kind: DeploymentKind,
    },
    /// A worker takes it, for the first time or again after a crash or a restart of the platform.
    StartDeployment {
        /// Fencing token.
        fence: i64,
        /// Name of the runner.
        runner: String,
    },
    /// A worker found it healthy.
    ActivateDeployment {
        /// Fencing token.
        fence: i64,
        /// Where its servers listen: one at least.
        addresses: Vec<SocketAddr>,
    },
    /// A worker saw one of its servers lost, or there again.
    ChangeReplicas {
        /// Fencing token.
        fence: i64,
        /// Where its servers listen: one at least.
        addresses: Vec<SocketAddr>,
        /// How the one ended that was lost.
        message: Option<String>,
    },
    /// Nobody has asked for anything for a while.
    SleepDeployment,
    /// A worker saw it end.
    ReportCrash {
        /// Fencing token.
        fence: i64,
        /// Its exit code, when it exited.
        exit_code: Option<i32>,
        /// What happened.
        message: String,
        /// How long it had served, in seconds.
        up_seconds: u64,
    },
    /// A worker gives it up.
    FailDeployment {
        /// Fencing token.
        fence: i64,
        /// Stable code.
        code: FailureCode,
        /// What the owner can do about it.
        message: String,
        /// Its exit code, when it exited.
        exit_code: Option<i32>,
    },
    /// It had taken over and failed, and another one serves again.
    RollBackDeployment {
        /// That one.
        to: DeploymentId,
        /// Why it failed: stable code.
        code: FailureCode,
        /// Why it failed, in words.
        message: String,
    },
    /// A later one serves in its place.
    SupersedeDeployment {
        /// That one.
        by: DeploymentId,
    },
    /// Somebody wants it to end.
    StopDeployment,
}

impl DeploymentCommand {
    /// The name kept in the envelope.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RequestDeployment { .. } => "RequestDeployment",
            Self::StartDeployment { .. } => "StartDeployment",
            Self::ActivateDeployment { .. } => "ActivateDeployment",
            Self::ChangeReplicas { .. } => "ChangeReplicas",
            Self::SleepDeployment => "SleepDeployment",
            Self::ReportCrash { .. } => "ReportCrash",
            Self::FailDeployment { .. } => "FailDeployment",
            Self::RollBackDeployment { .. } => "RollBackDeployment",
            Self::SupersedeDeployment { .. } => "SupersedeDeployment",
            Self::StopDeployment => "StopDeployment",
        }
    }

    /// The fencing token of a worker's report.
    pub(super) fn fence(&self) -> Option<i64> {
        match self {
            Self::RequestDeployment { .. }
            | Self::SleepDeployment
            | Self::RollBackDeployment { .. }
            | Self::SupersedeDeployment { .. }
            | Self::StopDeployment => None,
            Self::StartDeployment { fence, .. }
            | Self::ActivateDeployment { fence, .. }
            | Self::ChangeReplicas { fence, .. }
            | Self::ReportCrash { fence, .. }
            | Self::FailDeployment { fence, .. } => Some(*fence),
        }
    }
}
