//! Where builds and servers run.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{oneshot, watch};

use super::artifacts::Artifact;
use super::git::Repository;
use super::logs::Output;
use crate::build::{FailureCode, Peak, Phase};
use crate::ids::{BuildId, DeploymentId, EnvironmentId, EventId, ProjectId, TeamId};
use crate::secret::Secret;
use crate::values::{CommandLine, CommitSha, EnvKey, HealthGate, RelativePath, Resources};

/// Builds projects and runs what was built. Everything the repository brings runs in a sandbox.
///
/// Implementations carry the id outward (directory, container or object name) and look first whether the
/// thing is there already, so that doing a step twice does it once.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Stable name of the provider, as stored in events: `local`, `docker`, `kubernetes`.
    fn name(&self) -> &'static str;

    /// Clone or unpack, find the app, toolchain, install, build, pack. Cancelled by `watch.cancel`; every process of the
    /// build is gone when this returns, whatever it returns.
    async fn build(&self, plan: BuildPlan, watch: BuildWatch) -> Result<Built, BuildFailure>;

    /// Unpacks and starts a deployment's servers and waits until all are ready. On an error nothing of them is left
    /// running.
    async fn start(&self, plan: StartPlan, output: Arc<dyn Output>) -> Result<Started, StartFailure>;

    /// One SIGTERM each, `grace`, then SIGKILL of everything; unknown or stopped ids are fine. Removes its files.
    async fn stop(&self, deployment: DeploymentId, grace: std::time::Duration) -> Result<(), RunnerError>;

    /// Whether its servers answer their health check now.
    async fn health(&self, deployment: DeploymentId) -> Health;

    /// Whether servers go on while the platform is away: then it stops none when it ends, and takes them up
    /// again when it is back.
    fn outlives_platform(&self) -> bool {
        false
    }

    /// Whether its servers reach the platform at an address of its own loopback: there they are, or it is passed on to
    /// them. What else listens there is another question.
    fn shares_loopback(&self) -> bool {
        false
    }

    /// Whether its servers are in networks apart from the platform's machine.
    fn keeps_servers_apart(&self) -> bool {
        true
    }

    /// Takes up the servers that went on while the platform was away, with their output from where it was left, as many
    /// as were wanted then; those that are missing are started again as the plan says. `None` where nothing healthy runs.
    async fn resume(&self, plan: StartPlan, output: Arc<dyn Output>) -> Option<Started> {
        let _none_goes_on = (plan, output);
        None
    }

    /// Ends and removes every build and server that is not in `keep`, left behind by an earlier life.
    async fn sweep(&self, keep: &[DeploymentId]) -> Result<(), RunnerError>;
}

/// All that a build needs.
#[derive(Clone, Debug)]
pub struct BuildPlan {
    /// The build.
    pub build_id: BuildId,
    /// Its project.
    pub project_id: ProjectId,
    /// The environment that it is for.
    pub environment_id: EnvironmentId,
    /// Its team: caches are never shared across teams.
    pub team_id: TeamId,
    /// What asked for it.
    pub cause: Cause,
    /// Where the code is.
    pub code: Code,
    /// The app's directory in the repository; `.` is its root.
    pub project_root: RelativePath,
    /// Mastra's source directory below `project_root`, `src/mastra` by default.
    pub mastra_directory: RelativePath,
    /// Instead of the package manager's install.
    pub install_command: Option<CommandLine>,
    /// Instead of the package manager's `run build`.
    pub build_command: Option<CommandLine>,
    /// Build-time variables only.
    pub env: Vec<(EnvKey, Secret)>,
    /// Limits of install and build.
    pub limits: Resources,
}

/// What asked for a build or server. Runners write it on what they make, for who finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The event.
    pub event: EventId,
    /// Fencing token of the work: what a later try makes has a higher one.
    pub fence: i64,
}

/// Where the code of a build is.
#[derive(Clone, Debug)]
pub enum Code {
    /// A commit of a repository, to be installed and built.
    Commit {
        /// The repository.
        repository: Repository,
        /// The commit.
        commit: CommitSha,
    },
    /// A zip of what `mastra build` wrote elsewhere: only its modules are to be installed.
    Upload(Artifact),
}

/// How a build is followed and stopped.
pub struct BuildWatch {
    /// Takes the build's output.
    pub output: Arc<dyn Output>,
    /// Told each phase as it begins.
    pub phase: watch::Sender<Option<Phase>>,
    /// Told what it used at most when it has ended, however it did.
    pub peak: watch::Sender<Peak>,
    /// Becomes true when the build must stop; also when the sender is gone (its owner lost the lease).
    pub cancel: watch::Receiver<bool>,
}

/// A finished build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The packed output.
    pub artifact: Artifact,
    /// Version of Node that built it, and that must run it: `22.23.3`.
    pub node_version: String,
    /// What the owner should know although the build is good.
    pub warnings: Vec<String>,
    /// Environment variables that the code reads.
    pub env_refs: Vec<String>,
}

/// A build that ended without an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{message}")]
pub struct BuildFailure {
    /// Stable code.
    pub code: FailureCode,
    /// Where it happened.
    pub phase: Phase,
    /// What the owner can do about it.
    pub message: String,
    /// Exit code of the command that failed.
    pub exit_code: Option<i32>,
}

/// All that a server needs.
#[derive(Clone, Debug)]
pub struct StartPlan {
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// Its project.
    pub project_id: ProjectId,
    /// Its environment.
    pub environment_id: EnvironmentId,
    /// Its team.
    pub team_id: TeamId,
    /// What asked for it.
    pub cause: Cause,
    /// What to run.
    pub artifact: Artifact,
    /// Version of Node that built it.
    pub node_version: String,
    /// Run-time variables; reserved names are the runner's and win over these.
    pub env: Vec<(EnvKey, Secret)>,
    /// Where it may send its telemetry.
    pub telemetry: Option<TelemetryAccess>,
    /// Limits of each server.
    pub limits: Resources,
    /// How many servers run side by side, at least one. A runner that runs one alone says so in the output.
    pub replicas: u8,
    /// The port that its code sets by itself, whatever it is told; matters where it has an address of its own.
    pub port: Option<u16>,
    /// When it is ready.
    pub health: HealthGate,
    /// How long from spawn to ready.
    pub start_deadline: std::time::Duration,
}

/// Where a server sends its telemetry.
#[derive(Clone, Debug)]
pub struct TelemetryAccess {
    /// The platform as the server reaches it, without a path: `https://admin.example.org`.
    pub url: String,
    /// The deployment's own token.
    pub token: Secret,
}

/// A deployment whose servers are ready.
#[derive(Debug)]
pub struct Started {
    /// Where they are. One of several that is lost is taken out, started again, and taken in, without the others
    /// noticing.
    pub serving: watch::Receiver<Serving>,
    /// Tells once how the last of them ended, if it ends by itself. Dropped without a word when they were stopped by
    /// `stop`.
    pub exited: oneshot::Receiver<ExitReport>,
}

impl Started {
    /// Where the first of its servers listens now.
    pub fn address(&self) -> SocketAddr {
        self.serving.borrow().addresses[0]
    }
}

/// The servers of a deployment that are ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Where they listen: never none.
    pub addresses: Vec<SocketAddr>,
    /// How the one ended that was lost last.
    pub lost: Option<ExitReport>,
}

impl Serving {
    /// One that never changes.
    pub fn alone(address: SocketAddr) -> watch::Receiver<Self> {
        watch::channel(Self { addresses: vec![address], lost: None }).1
    }
}

/// How a server ended that nobody had asked to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitReport {
    /// Exit code, when it exited.
    pub exit_code: Option<i32>,
    /// Signal, when one killed it.
    pub signal: Option<i32>,
    /// Whether the memory limit killed it.
    pub out_of_memory: bool,
}

/// Why a server did not become ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{message}")]
pub struct StartFailure {
    /// Stable code.
    pub code: FailureCode,
    /// What the owner can do about it.
    pub message: String,
    /// Exit code of the server, when it exited.
    pub exit_code: Option<i32>,
    /// Whether it was the platform's fault, so that another try makes sense.
    pub retry: bool,
}

/// The answer of a health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Healthy,
    /// It runs and does not answer as it should.
    Unhealthy(String),
    /// It does not run here.
    Absent,
}

/// The runner itself failed: worth another try.
#[derive(Debug, Error)]
#[error("the runner failed: {0}")]
pub struct RunnerError(pub String);
