//! Builds and runs on this machine, each command in a sandbox.

mod build;
mod caches;
mod channel;
mod commands;
mod modules;
mod network;
mod pump;
mod reuse;
mod sandbox;
mod server;
mod start;
mod unpacked;

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::build::FailureCode;
use domain::ids::DeploymentId;
use domain::ports::artifacts::Artifacts;
use domain::ports::git::Git;
use domain::ports::logs::Output;
use domain::ports::runner::{
    BuildFailure, BuildPlan, BuildWatch, Built, Health, Runner, RunnerError, StartFailure, StartPlan, Started,
};
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use self::caches::Caches;
use self::modules::Modules;
use self::network::{Room, World};
use self::sandbox::Sandbox;
use self::server::Server;
use self::unpacked::Unpacked;
use super::app::toolchain::Toolchains;
use super::egress::{EgressRule, EgressRules};
use super::{directories, failures};

pub use self::network::{NameServers, NoNameServer, NoServerRule, ServerNetwork, ServerRules};

/// Files, sockets and pipes that one process may have open: of a sandbox, and the platform itself.
const OPEN_FILES: u64 = 65_536;

/// How long what an earlier life left may take to end.
const SWEEP_PATIENCE: Duration = Duration::from_secs(5);

/// What the runner needs from the one who starts it.
pub struct LocalRunnerConfig {
    /// Builds, servers, caches and records are kept below it; one platform at a time.
    pub data_dir: PathBuf,
    /// Node and package managers.
    pub toolchains: Toolchains,
    /// Reads the repositories.
    pub git: Arc<dyn Git>,
    /// Keeps what was uploaded to be built.
    pub uploads: Arc<dyn Artifacts>,
    /// Keeps what was built.
    pub artifacts: Arc<dyn Artifacts>,
    /// The bubblewrap program, usually `/usr/bin/bwrap`.
    pub bwrap: PathBuf,
    /// What builds may reach.
    pub egress: EgressRules,
    /// Which network servers get, and what they may reach there.
    pub servers: ServerNetwork,
    /// What a team's downloads may take, in bytes; and what is kept of all builds' modules together.
    pub cache_bytes: u64,
    /// First of the 65536 users that teams' sandboxes run as when the platform is root; 210000 by default.
    pub uid_base: u32,
}

/// Builds and runs on this machine.
pub struct LocalRunner(Arc<Inner>);

struct Inner {
    builds: PathBuf,
    servers_dir: PathBuf,
    caches: Caches,
    modules: Modules,
    unpacked: Unpacked,
    sandbox: Sandbox,
    /// What builds may reach; everything that the machine does when there are none.
    egress: Option<Arc<Vec<EgressRule>>>,
    /// What servers may reach from networks of their own; they are in the machine's when there is none.
    world: Option<World>,
    toolchains: Toolchains,
    git: Arc<dyn Git>,
    uploads: Arc<dyn Artifacts>,
    artifacts: Arc<dyn Artifacts>,
    /// Those that are ready.
    servers: Mutex<HashMap<DeploymentId, Arc<Server>>>,
}

impl LocalRunner {
    /// Makes the directories and looks for what the machine offers. Ends nothing: that is what `sweep` is for.
    pub async fn open(config: LocalRunnerConfig) -> Result<Self, RunnerError> {
        let servers = config.servers.clone();
        let opened = spawn_blocking(move || Inner::open(config)).await;
        let failed = |error: io::Error| RunnerError(error.to_string());
        let mut inner = opened.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(failed)?;
        inner.world = world(&inner.sandbox, servers).await.map_err(failed)?;
        Ok(Self(Arc::new(inner)))
    }
}

/// What servers may reach from networks of their own, if they get such.
async fn world(sandbox: &Sandbox, wanted: ServerNetwork) -> io::Result<Option<World>> {
    let (rules, name_servers, is_required) = match wanted {
        ServerNetwork::Machine => return Ok(None),
        ServerNetwork::Own(rules, name_servers) => (rules, name_servers, false),
        ServerNetwork::Required(rules, name_servers) => (rules, name_servers, true),
    };
    match sandbox.makes_networks().await {
        Ok(()) => {
            let (rules, name_servers, room) = (Arc::new(rules), Arc::new(name_servers), Room::make());
            Ok(Some(World { rules, name_servers, room }))
        }
        Err(error) if is_required => {
            Err(io::Error::other(format!("servers get no networks of their own: {error}")))
        }
        Err(error) => {
            tracing::warn!(
                %error,
                "servers get no networks of their own and are in that of this machine, with its loopback: {error}"
            );
            Ok(None)
        }
    }
}

impl Inner {
    fn open(config: LocalRunnerConfig) -> io::Result<Self> {
        let LocalRunnerConfig {
            data_dir,
            toolchains,
            git,
            uploads,
            artifacts,
            bwrap,
            egress,
            servers: _,
            cache_bytes,
            uid_base,
        } = config;
        if !bwrap.is_file() {
            return Err(io::Error::other(format!("{} is missing: install bubblewrap", bwrap.display())));
        }
        fs::create_dir_all(&data_dir)?;
        let data_dir = data_dir.canonicalize()?;
        let private = |name: &str| -> io::Result<PathBuf> {
            let dir = data_dir.join(name);
            fs::create_dir_all(&dir)?;
            fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
            Ok(dir)
        };
        let instance = hex::encode(&Sha256::digest(data_dir.as_os_str().as_encoded_bytes())[..6]);
        Ok(Self {
            builds: private("builds")?,
            servers_dir: private("servers")?,
            caches: Caches::new(private("caches")?, cache_bytes),
            modules: Modules::open(private("modules")?, cache_bytes)?,
            unpacked: Unpacked::open(&private("unpacked")?, &sandbox::boot_id())?,
            sandbox: Sandbox::open(bwrap, private("run")?, instance, uid_base)?,
            egress: egress.enforceable(),
            world: None,
            toolchains,
            git,
            uploads,
            artifacts,
            servers: Mutex::default(),
        })
    }
}

#[async_trait]
impl Runner for LocalRunner {
    fn name(&self) -> &'static str {
        "local"
    }

    fn shares_loopback(&self) -> bool {
        true
    }

    fn keeps_servers_apart(&self) -> bool {
        self.0.world.is_some()
    }

    async fn build(&self, plan: BuildPlan, watch: BuildWatch) -> Result<Built, BuildFailure> {
        // In a task of its own, so that it cleans up behind itself also when nobody waits for it any more.
        let abandoned = CancellationToken::new();
        let _guard = abandoned.clone().drop_guard();
        let phase = watch.phase.clone();
        let built = tokio::spawn(build::build(self.0.clone(), plan, watch, abandoned)).await;
        built.unwrap_or_else(|panic| {
            let phase = phase.borrow().unwrap_or(domain::build::Phase::Cloning);
            Err(failures::failure(FailureCode::PlatformError, phase, format!("the build was lost: {panic}")))
        })
    }

    async fn start(&self, plan: StartPlan, output: Arc<dyn Output>) -> Result<Started, StartFailure> {
        let abandoned = CancellationToken::new();
        let _guard = abandoned.clone().drop_guard();
        let started = tokio::spawn(start::start(self.0.clone(), plan, output, abandoned)).await;
        started.unwrap_or_else(|panic| Err(failures::cannot_start(&panic)))
    }

    async fn stop(&self, deployment: DeploymentId, grace: Duration) -> Result<(), RunnerError> {
        server::stop(&self.0, deployment, grace).await.map_err(|error| RunnerError(error.to_string()))
    }

    async fn health(&self, deployment: DeploymentId) -> Health {
        server::health(&self.0, deployment).await
    }

    async fn sweep(&self, keep: &[DeploymentId]) -> Result<(), RunnerError> {
        let keep: Vec<String> = keep.iter().map(|deployment| server::name(*deployment)).collect();
        let inner = self.0.clone();
        let swept = spawn_blocking(move || sweep(&inner, &keep)).await;
        swept
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
            .map_err(|error| RunnerError(error.to_string()))
    }
}

/// Ends and removes what nobody who lives has claimed. Of those in `keep` the files stay; they run no more,
/// for a sandbox dies with its platform.
fn sweep(inner: &Inner, keep: &[String]) -> io::Result<()> {
    let mut left = inner.sandbox.recorded()?;
    let directories = |dir: &Path, kind: &str| -> io::Result<Vec<String>> {
        fs::read_dir(dir)?.map(|entry| Ok(format!("{kind}-{}", entry?.file_name().display()))).collect()
    };
    left.extend(directories(&inner.builds, "build")?);
    left.extend(directories(&inner.servers_dir, "server")?);
    for name in left {
        let Some(_claim) = patiently(|| inner.sandbox.claim_if_free(&name))? else { continue };
        if keep.contains(&name) {
            continue;
        }
        if let Some(build) = name.strip_prefix("build-") {
            directories::remove(&inner.builds.join(build))?;
        } else if let Some(server) = name.strip_prefix("server-") {
            directories::remove(&inner.servers_dir.join(server))?;
        }
    }
    Ok(())
}

/// What was killed is gone soon, but not at once.
fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + SWEEP_PATIENCE;
    loop {
        match attempt() {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(10)),
            outcome => return outcome,
        }
    }
}
