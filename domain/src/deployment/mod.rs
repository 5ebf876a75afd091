//! A deployment puts an artifact with a frozen set of variables to run in an environment.
//!
//! Invariants: artifact and variables never change. A deployment that is over never runs again; running the
//! same thing again is a new deployment. A worker that has lost its lease cannot change it. What took over and failed
//! is rolled back to one other, once.

mod command;
mod error;
mod event;

use std::net::SocketAddr;
use std::time::Duration;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::build::FailureCode;
use crate::fact::{Fact, Stored};
use crate::ids::{BuildId, DeploymentId, EnvironmentId};

pub use command::DeploymentCommand;
pub use error::DeploymentError;
pub use event::DeploymentEvent;

/// A server that ends so soon after it became ready has never worked; until then the one before runs on.
pub const PROBATION: Duration = Duration::from_secs(5);
/// Who served so long works: he has not "crashed again in a row", in seconds.
pub const STEADY_SECONDS: u64 = 60;

/// So many crashes in a row end it.
const CRASH_LIMIT: u32 = 5;

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
    /// Whether it ever served.
    served: bool,
    /// Whether its end was a failure that nobody has gone back from yet.
    failed: bool,
    /// Whether it was gone back from.
    rolled_back: bool,
    /// Where its servers were last said to listen.
    addresses: Vec<SocketAddr>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    #[default]
    Unborn,
    Pending,
    Starting,
    Running,
    Asleep,
    Over,
}

impl Deployment {
    /// Whether it serves requests.
    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// Whether its server ended because nobody asked for anything.
    pub fn is_asleep(&self) -> bool {
        self.state == State::Asleep
    }

    /// Whether it ever served requests.
    pub fn has_served(&self) -> bool {
        self.served
    }

    /// Whether it has ended for good.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Fencing token of the last worker that took it.
    pub fn fence(&self) -> i64 {
        self.fence
    }

    /// Where its servers listen, while it serves requests.
    pub fn addresses(&self) -> &[SocketAddr] {
        if self.is_running() { &self.addresses } else { &[] }
    }

    /// Crashes in a row.
    pub fn crashes(&self) -> u32 {
        self.crashes
    }

    fn decide(&self, command: DeploymentCommand) -> Result<Vec<DeploymentEvent>, DeploymentError> {
        use DeploymentCommand::*;
        use DeploymentEvent::*;
        use State::*;
        self.check_fence(&command)?;
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
            (Over, RollBackDeployment { to, code, message }) if self.served && self.failed => {
                Ok(vec![DeploymentRolledBack { to, code, message }])
            }
            (Over, RollBackDeployment { .. }) if self.rolled_back => Ok(vec![]),
            (_, RollBackDeployment { .. }) => Err(DeploymentError::NothingToGoBackFrom),
            (Over, StopDeployment | SupersedeDeployment { .. }) => Ok(vec![]),
            (Over, _) => Err(DeploymentError::AlreadyOver),
            (_, StopDeployment) => Ok(vec![DeploymentStopped {}]),
            (_, SupersedeDeployment { by }) => Ok(vec![DeploymentSuperseded { by }]),
            (Starting, StartDeployment { fence, .. }) if fence == self.fence => Ok(vec![]),
            (_, StartDeployment { fence, runner }) => Ok(vec![DeploymentStarting { fence, runner }]),
            (Pending, _) => Err(DeploymentError::NotStarted),
            (_, ActivateDeployment { addresses, .. }) => self.activate(addresses),
            (_, ChangeReplicas { addresses, message, .. }) => self.change_replicas(addresses, message),
            (Running, SleepDeployment) => Ok(vec![DeploymentSlept {}]),
            // Whoever sleeps has ended in whatever way.
            (Asleep, SleepDeployment | ReportCrash { .. }) => Ok(vec![]),
            (Starting, SleepDeployment | ReportCrash { .. }) => Err(DeploymentError::NotStarted),
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

    /// Whoever reports has the deployment; whoever begins takes it.
    fn check_fence(&self, command: &DeploymentCommand) -> Result<(), DeploymentError> {
        let begins = matches!(command, DeploymentCommand::StartDeployment { .. });
        let is_held = matches!(self.state, State::Starting | State::Running | State::Asleep);
        match command.fence() {
            Some(fence) if fence < self.fence => Err(DeploymentError::StaleFence),
            Some(fence) if fence > self.fence && is_held && !begins => Err(DeploymentError::UnknownFence),
            _ => Ok(()),
        }
    }

    /// One that is alone is said as it always was.
    fn activate(&self, addresses: Vec<SocketAddr>) -> Result<Vec<DeploymentEvent>, DeploymentError> {
        let activated =
            |address, addresses| Ok(vec![DeploymentEvent::DeploymentActivated { address, addresses }]);
        match (self.state, &addresses[..]) {
            (_, []) => Err(DeploymentError::NoAddress),
            (State::Starting, [alone]) => activated(*alone, vec![]),
            (State::Starting, [first, ..]) => activated(*first, addresses),
            (State::Running, _) => Ok(vec![]),
            _ => Err(DeploymentError::NotStarted),
        }
    }

    fn change_replicas(
        &self,
        addresses: Vec<SocketAddr>,
        message: Option<String>,
    ) -> Result<Vec<DeploymentEvent>, DeploymentError> {
        match self.state {
            _ if addresses.is_empty() => Err(DeploymentError::NoAddress),
            State::Running if addresses == self.addresses => Ok(vec![]),
            State::Running => Ok(vec![DeploymentEvent::DeploymentReplicasChanged { addresses, message }]),
            _ => Err(DeploymentError::NotStarted),
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
        self.addresses = event.addresses().unwrap_or_default();
        match event {
            DeploymentReplicasChanged { .. } => {}
            DeploymentRequested { environment_id, build_id, .. } => {
                self.state = State::Pending;
                self.what = Some((environment_id, build_id));
            }
            DeploymentStarting { fence, .. } => {
                self.state = State::Starting;
                self.fence = fence;
            }
            DeploymentActivated { .. } => {
                self.state = State::Running;
                self.served = true;
            }
            DeploymentSlept {} => self.state = State::Asleep,
            DeploymentCrashed { crashes, .. } => {
                self.state = State::Pending;
                self.crashes = crashes;
            }
            DeploymentFailed { .. } => (self.state, self.failed) = (State::Over, true),
            DeploymentRolledBack { .. } => (self.failed, self.rolled_back) = (false, true),
            DeploymentSuperseded { .. } | DeploymentStopped {} => self.state = State::Over,
        }
    }
}

impl Stored for Deployment {
    type Id = DeploymentId;
    /// 4: it knows where its servers listen.
    const STATE_VERSION: i32 = 4;

    fn fact(id: DeploymentId, event: DeploymentEvent) -> Fact {
        Fact::Deployment(id, event)
    }
}

#[cfg(test)]
mod tests;
