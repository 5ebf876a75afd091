//! Builds and runs in containers of a Docker engine, on this machine or another.
//!
//! Everything of a platform carries its labels. Files go in and out as archives, so that nothing of the host is
//! mounted; servers go on while the platform is away and are taken up again.

mod build;
mod caches;
mod claims;
mod commands;
mod container;
mod engine;
mod files;
mod gauge;
mod image;
mod logs;
mod names;
mod networks;
mod replica;
mod seats;
mod server;
mod sweep;
mod tools;
mod way_out;

use std::collections::{HashMap, HashSet};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::build::{FailureCode, Phase};
use domain::ids::DeploymentId;
use domain::ports::artifacts::Artifacts;
use domain::ports::git::Git;
use domain::ports::logs::Output;
use domain::ports::runner::{
    BuildFailure, BuildPlan, BuildWatch, Built, Health, Runner, RunnerError, StartFailure, StartPlan, Started,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::caches::Caches;
use self::claims::Claims;
use self::engine::{Engine, EngineError, ask};
use self::image::Images;
pub use self::image::PullPolicy;
use self::names::Names;
use self::networks::Networks;
use self::server::Server;
use self::tools::ToolVolumes;
use super::app::toolchain::Toolchains;
use super::egress::{EgressRule, EgressRules};
use super::{blocking, failures};

/// What the runner needs from the one who starts it.
pub struct DockerRunnerConfig {
    /// Its own id, scratch files and how far logs were read are kept below it; one platform at a time.
    pub data_dir: PathBuf,
    /// Where the engine is: `unix:///var/run/docker.sock`, `tcp://10.0.0.7:2375`.
    pub host: String,
    /// The base image, best with Node and npm: `node:22-bookworm-slim`.
    pub image: String,
    /// When the image is fetched.
    pub pull: PullPolicy,
    /// Name of the container that the platform itself runs in, if it does.
    pub platform_container: Option<String>,
    /// What builds may reach.
    pub egress: EgressRules,
    /// What a team's downloads may take, in bytes.
    pub cache_bytes: u64,
    /// Tools that the image lacks.
    pub toolchains: Toolchains,
    /// Reads the repositories.
    pub git: Arc<dyn Git>,
    /// Keeps what was uploaded to be built.
    pub uploads: Arc<dyn Artifacts>,
    /// Keeps what was built.
    pub artifacts: Arc<dyn Artifacts>,
}

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineReport {
    /// Of the engine: `20.10.24`.
    pub version: String,
    /// Of its API: `1.41`.
    pub api_version: String,
    /// Whether it has the base image.
    pub has_image: bool,
}

/// Asks an engine who it is, and whether it has the image.
pub async fn inspect(host: &str, image: &str) -> Result<EngineReport, RunnerError> {
    let failed = |error: EngineError| RunnerError(error.to_string());
    let engine = Engine::new(host.to_owned());
    let docker = engine.docker().await.map_err(failed)?;
    let version = ask("tell its version", docker.version()).await.map_err(failed)?;
    let has_image = match Images::new(image.to_owned(), PullPolicy::Never).inspect(&engine).await {
        Ok(_) => true,
        Err(error) if error.is_missing() => false,
        Err(error) => return Err(failed(error)),
    };
    Ok(EngineReport {
        version: version.version.unwrap_or_default(),
        api_version: version.api_version.unwrap_or_default(),
        has_image,
    })
}

/// Builds and runs in containers.
pub struct DockerRunner(Arc<Inner>);

struct Inner {
    engine: Arc<Engine>,
    names: Names,
    images: Images,
    tools: ToolVolumes,
    networks: Networks,
    caches: Caches,
    /// What builds may reach, where that can be bounded.
    egress: Option<Arc<Vec<EgressRule>>>,
    claims: Arc<Claims>,
    toolchains: Toolchains,
    git: Arc<dyn Git>,
    uploads: Arc<dyn Artifacts>,
    artifacts: Arc<dyn Artifacts>,
    builds: PathBuf,
    scratch: PathBuf,
    cursors: PathBuf,
    /// Those that are ready.
    servers: Mutex<HashMap<DeploymentId, Arc<Server>>>,
    /// Owners of what could not be removed yet.
    debts: Mutex<HashSet<String>>,
}

impl DockerRunner {
    /// Makes the directories. The engine may be away: it is asked when it is needed.
    pub async fn open(config: DockerRunnerConfig) -> Result<Self, RunnerError> {
        let opened = blocking(move || Inner::open(config)).await;
        let inner = Arc::new(opened.map_err(|error| RunnerError(error.to_string()))?);
        tokio::spawn(sweep::pay_debts(Arc::downgrade(&inner)));
        Ok(Self(inner))
    }
}

impl Inner {
    fn open(config: DockerRunnerConfig) -> io::Result<Self> {
        let DockerRunnerConfig {
            data_dir,
            host,
            image,
            pull,
            platform_container,
            egress,
            cache_bytes,
            toolchains,
            git,
            uploads,
            artifacts,
        } = config;
        let dir = data_dir.join("docker");
        let private = |name: &str| -> io::Result<PathBuf> {
            let dir = dir.join(name);
            fs::create_dir_all(&dir)?;
            fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
            Ok(dir)
        };
        let (builds, scratch, cursors) = (private("builds")?, private("scratch")?, private("cursors")?);
        let names = Names { instance: instance(&dir.join("instance"))? };
        let engine = Arc::new(Engine::new(host));
        Ok(Self {
            networks: Networks::new(engine.clone(), names.clone(), platform_container),
            engine,
            names,
            images: Images::new(image, pull),
            tools: ToolVolumes::default(),
            caches: Caches::new(cache_bytes),
            egress: egress.enforceable(),
            claims: Arc::default(),
            toolchains,
            git,
            uploads,
            artifacts,
            builds,
            scratch,
            cursors,
            servers: Mutex::default(),
            debts: Mutex::default(),
        })
    }

    /// Where it is noted how far the log of one of a deployment's servers was read.
    fn cursor(&self, deployment: DeploymentId, number: u8) -> PathBuf {
        let whole = names::replica(deployment, number);
        self.cursors.join(whole.strip_prefix("server-").unwrap_or(&whole))
    }
}

/// The platform's id at the engine: random, because two machines may have the same directories.
fn instance(file: &Path) -> io::Result<String> {
    match fs::read_to_string(file) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Ok(_) | Err(_) => {
            let id = Uuid::now_v7().simple().to_string()[20..].to_owned();
            fs::write(file, &id)?;
            Ok(id)
        }
    }
}

#[async_trait]
impl Runner for DockerRunner {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn outlives_platform(&self) -> bool {
        true
    }

    async fn build(&self, plan: BuildPlan, watch: BuildWatch) -> Result<Built, BuildFailure> {
        // In a task of its own, so that it cleans up behind itself also when nobody waits for it any more.
        let abandoned = CancellationToken::new();
        let _guard = abandoned.clone().drop_guard();
        let phase = watch.phase.clone();
        let built = tokio::spawn(build::build(self.0.clone(), plan, watch, abandoned)).await;
        built.unwrap_or_else(|panic| {
            let phase = phase.borrow().unwrap_or(Phase::Cloning);
            Err(failures::failure(FailureCode::PlatformError, phase, format!("the build was lost: {panic}")))
        })
    }

    async fn start(&self, plan: StartPlan, output: Arc<dyn Output>) -> Result<Started, StartFailure> {
        let abandoned = CancellationToken::new();
        let _guard = abandoned.clone().drop_guard();
        let started = tokio::spawn(server::start(self.0.clone(), plan, output, abandoned)).await;
        started.unwrap_or_else(|panic| Err(failures::cannot_start(&panic)))
    }

    async fn resume(&self, plan: StartPlan, output: Arc<dyn Output>) -> Option<Started> {
        server::resume(self.0.clone(), plan, output).await
    }

    async fn stop(&self, deployment: DeploymentId, grace: Duration) -> Result<(), RunnerError> {
        server::stop(&self.0, deployment, grace).await
    }

    async fn health(&self, deployment: DeploymentId) -> Health {
        server::health(&self.0, deployment).await
    }

    async fn sweep(&self, keep: &[DeploymentId]) -> Result<(), RunnerError> {
        sweep::sweep(&self.0, keep).await.map_err(|error| RunnerError(error.to_string()))
    }
}
