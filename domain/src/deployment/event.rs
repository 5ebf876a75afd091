//! What can happen to a deployment.

use std::net::SocketAddr;

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use super::DeploymentKind;
use crate::build::FailureCode;
use crate::ids::{BuildId, DeploymentId, EnvironmentId, ProjectId, TeamId};
use crate::ports::artifacts::Artifact;
use crate::project::EnvVar;

/// Events of a deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum DeploymentEvent {
    /// An artifact and a frozen set of variables are to run in an environment.
    #[serde(rename = "deployment.requested")]
    DeploymentRequested {
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
        /// The variables it runs with, without their values.
        env_vars: Vec<EnvVar>,
        /// Why it was made.
        kind: DeploymentKind,
    },
    /// A worker has taken it.
    #[serde(rename = "deployment.starting")]
    DeploymentStarting {
        /// Fencing token of the work.
        fence: i64,
        /// Name of the runner.
        runner: String,
    },
    /// It is healthy, and requests go to it.
    #[serde(rename = "deployment.activated")]
    DeploymentActivated {
        /// Where it listens; the first of its servers when there are several.
        address: SocketAddr,
        /// Where all of its servers listen, when there are several.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        addresses: Vec<SocketAddr>,
    },
    /// One of its servers was lost or is back; requests go to these.
    #[serde(rename = "deployment.replicas_changed")]
    DeploymentReplicasChanged {
        /// Where its servers listen: never none.
        addresses: Vec<SocketAddr>,
        /// How the one ended that was lost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// Nobody had asked for anything for a while: its server ends, and the next request starts it again.
    #[serde(rename = "deployment.slept")]
    DeploymentSlept {},
    /// It ended although nobody wanted it to; it is started again.
    #[serde(rename = "deployment.crashed")]
    DeploymentCrashed {
        /// Its exit code, when it exited.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// What happened.
        message: String,
        /// How often in a row.
        crashes: u32,
    },
    /// It will not run.
    #[serde(rename = "deployment.failed")]
    DeploymentFailed {
        /// Stable code.
        code: FailureCode,
        /// What the owner can do about it.
        message: String,
        /// Its exit code, when it exited.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
    },
    /// It had taken over and failed; the environment is served by another one again. Follows `deployment.failed`.
    #[serde(rename = "deployment.rolled_back")]
    DeploymentRolledBack {
        /// That one: the one before, which still ran, or a new one of what ran before.
        to: DeploymentId,
        /// Why it failed: stable code.
        code: FailureCode,
        /// Why it failed, in words.
        message: String,
    },
    /// A later deployment serves the environment.
    #[serde(rename = "deployment.superseded")]
    DeploymentSuperseded {
        /// That one.
        by: DeploymentId,
    },
    /// Somebody wanted it to end.
    #[serde(rename = "deployment.stopped")]
    DeploymentStopped {},
}

impl DeploymentEvent {
    /// Where its servers listen from now on, when this says so.
    pub fn addresses(&self) -> Option<Vec<SocketAddr>> {
        match self {
            Self::DeploymentActivated { address, addresses } if addresses.is_empty() => Some(vec![*address]),
            Self::DeploymentActivated { addresses, .. }
            | Self::DeploymentReplicasChanged { addresses, .. } => Some(addresses.clone()),
            _ => None,
        }
    }
}

impl DomainEvent for DeploymentEvent {
    fn event_type(&self) -> String {
        match self {
            Self::DeploymentRequested { .. } => "deployment.requested",
            Self::DeploymentStarting { .. } => "deployment.starting",
            Self::DeploymentActivated { .. } => "deployment.activated",
            Self::DeploymentReplicasChanged { .. } => "deployment.replicas_changed",
            Self::DeploymentSlept {} => "deployment.slept",
            Self::DeploymentCrashed { .. } => "deployment.crashed",
            Self::DeploymentFailed { .. } => "deployment.failed",
            Self::DeploymentRolledBack { .. } => "deployment.rolled_back",
            Self::DeploymentSuperseded { .. } => "deployment.superseded",
            Self::DeploymentStopped {} => "deployment.stopped",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
