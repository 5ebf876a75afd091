//! A deployment puts an artifact with a frozen set of variables to run in an environment.
//!
//! Invariants: artifact and variables never change. A deployment that is over never runs again; running the
//! same thing again is a new deployment. A worker that has lost its lease cannot change it.

mod command;
mod error;
mod event;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::build::FailureCode;
use crate::fact::{Fact, Stored};
use crate::ids::{BuildId, DeploymentId, EnvironmentId};

pub use command::DeploymentCommand;
pub use error::DeploymentError;
pub use event::DeploymentEvent;

/// So many crashes in a row end it.
const CRASH_LIMIT: u32 = 5;
/// Who served so long has not "crashed again in a row", in seconds.
const STEADY_SECONDS: u64 = 60;

/// Why a deployment was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeploymentKind {
    /// A build that was to be deployed became ready.
    Deploy,
    /// Somebody chose a build.
    Promote,
    /// Somebody went back to an earlier deployment.
    Rollback,
    /// Somebody wanted the same thing anew.
    Restart,
}

/// Only what is needed to decide.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Deployment {
    state: State,
    /// Fencing token of the last worker that took it.
    fence: i64,
    what: Option<(EnvironmentId, BuildId)>,
    crashes: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    #[default]
    Unborn,
    Pending,
    Starting,
    Running,
    Over,
}

impl Deployment {
    /// Whether it serves requests.
    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// Whether it has ended for good.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Crashes in a row.
    pub fn crashes(&self) -> u32 {
        self.crashes
    }

    fn decide(&self, command: DeploymentCommand) -> Result<Vec<DeploymentEvent>, DeploymentError> {
        use DeploymentCommand::*;
        use DeploymentEvent::*;
        use State::*;
        if command.fence().is_some_and(|fence| fence < self.fence) {
            return Err(DeploymentError::StaleFence);
        }
        match (self.state, command) {
            (
                Unborn,
                RequestDeployment {
                    team_id,
                    project_id,
                    environment_id,
                    build_id,
                    artifact,
                    node_version,
                    env_vars,
                    kind,
                },
            ) => Ok(vec![DeploymentRequested {
                team_id,
                project_id,
                environment_id,
                build_id,
                artifact,
                node_version,
                env_vars,
                kind,
            }]),
            (Unborn, _) => Err(DeploymentError::Unknown),
            (_, RequestDeployment { environment_id, build_id, .. }) => {
                if self.what == Some((environment_id, build_id)) {
                    Ok(vec![])
                } else {
                    Err(DeploymentError::Exists)
                }
            }
            (Over, StopDeployment | SupersedeDeployment { .. }) => Ok(vec![]),
            (Over, _) => Err(DeploymentError::AlreadyOver),
            (_, StopDeployment) => Ok(vec![DeploymentStopped {}]),
            (_, SupersedeDeployment { by }) => Ok(vec![DeploymentSuperseded { by }]),
            (Starting, StartDeployment { fence, .. }) if fence == self.fence => Ok(vec![]),
            (_, StartDeployment { fence, runner }) => Ok(vec![DeploymentStarting { fence, runner }]),
            (Pending, _) => Err(DeploymentError::NotStarted),
            (Starting, ActivateDeployment { address, .. }) => Ok(vec![DeploymentActivated { address }]),
            (Running, ActivateDeployment { .. }) => Ok(vec![]),
            (Starting, ReportCrash { .. }) => Err(DeploymentError::NotStarted),
            (Running, ReportCrash { exit_code, message, up_seconds, .. }) => {
                let crashes = if up_seconds >= STEADY_SECONDS { 1 } else { self.crashes + 1 };
                if crashes >= CRASH_LIMIT {
                    let message = format!("it crashed {crashes} times in a row; the last time: {message}");
                    return Ok(vec![DeploymentFailed { code: FailureCode::CrashLoop, message, exit_code }]);
                }
                Ok(vec![DeploymentCrashed { exit_code, message, crashes }])
            }
            (_, FailDeployment { code, message, exit_code, .. }) => {
                Ok(vec![DeploymentFailed { code, message, exit_code }])
            }
        }
    }
}

impl Aggregate for Deployment {
    const TYPE: &'static str = "deployment";
    type Command = DeploymentCommand;
    type Event = DeploymentEvent;
    type Error = DeploymentError;
    type Services = ();

    async fn handle(
        &mut self,
        command: DeploymentCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), DeploymentError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: DeploymentEvent) {
        use DeploymentEvent::*;
        match event {
            DeploymentRequested { environment_id, build_id, .. } => {
                self.state = State::Pending;
                self.what = Some((environment_id, build_id));
            }
            DeploymentStarting { fence, .. } => {
                self.state = State::Starting;
                self.fence = fence;
            }
            DeploymentActivated { .. } => self.state = State::Running,
            DeploymentCrashed { crashes, .. } => {
                self.state = State::Pending;
                self.crashes = crashes;
            }
            DeploymentFailed { .. } | DeploymentSuperseded { .. } | DeploymentStopped {} => {
                self.state = State::Over;
            }
        }
    }
}

impl Stored for Deployment {
    type Id = DeploymentId;

    fn fact(id: DeploymentId, event: DeploymentEvent) -> Fact {
        Fact::Deployment(id, event)
    }
}

#[cfg(test)]
mod tests;
