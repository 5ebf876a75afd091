//! Which runner there is, and what becomes of its servers when the platform starts and stops.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use api::Platform;
use domain::ids::DeploymentId;
use domain::ports::artifacts::Artifacts;
use domain::ports::git::Git;
use domain::ports::runner::Runner;
use projections::feed::Feed;
use providers::programs;
use providers::runner::app::toolchain::Toolchains;
use providers::runner::bounded::{Bounded, Patience};
use providers::runner::docker::{DockerRunner, DockerRunnerConfig, PullPolicy};
use providers::runner::local::{LocalRunner, LocalRunnerConfig, NameServers, ServerNetwork, ServerRules};
use serde::Deserialize;
use sqlx::PgPool;

use super::config::Config;

/// First of the users that teams' sandboxes run as, when the server is root.
const SANDBOX_USERS: u32 = 210_000;

/// From SIGTERM to SIGKILL of deployed servers when the platform stops.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How long the query tables may take to know which servers are to be kept.
const CATCHING_UP: Duration = Duration::from_secs(60);

/// Between two tries to sweep, where an engine is away or the first one took too long.
const AGAIN: Duration = Duration::from_secs(5);

/// Where builds and servers run.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RunnerKind {
    /// In sandboxes on this machine.
    #[default]
    Local,
    /// In containers of a Docker engine.
    Docker,
}

/// Which network servers on this machine get.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NetworkKind {
    /// One of their own, where that can be made.
    #[default]
    Own,
    /// One of their own, or the platform does not start.
    Required,
    /// That of the machine.
    Host,
}

/// The network of servers, as the settings say.
pub(super) fn server_network(
    kind: NetworkKind,
    egress: Option<&str>,
    name_servers: Option<&str>,
) -> anyhow::Result<ServerNetwork> {
    let rules = egress.map_or(Ok(ServerRules::default()), str::parse);
    let rules = rules.context("MASTRA_ADMIN_SERVER_EGRESS")?;
    let name_servers = name_servers.map_or(Ok(NameServers::default()), str::parse);
    let name_servers = name_servers.context("MASTRA_ADMIN_SERVER_NAMESERVERS")?;
    Ok(match kind {
        NetworkKind::Own => ServerNetwork::Own(rules, name_servers),
        NetworkKind::Required => ServerNetwork::Required(rules, name_servers),
        NetworkKind::Host => ServerNetwork::Machine,
    })
}

/// When the base image is pulled.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PullKind {
    /// When it is not there.
    #[default]
    Missing,
    /// Before each build.
    Always,
    /// Never.
    Never,
}

/// The Docker engine, as the settings say.
#[derive(Clone, Debug)]
pub(crate) struct DockerEngine {
    pub(crate) host: String,
    pub(crate) image: String,
    pub(crate) pull: PullKind,
    pub(crate) platform_container: Option<String>,
}

/// The runner that the settings name; it answers in time, one way or the other.
pub(super) async fn runner(
    config: &Config,
    git: Arc<dyn Git>,
    stores: (Arc<dyn Artifacts>, Arc<dyn Artifacts>),
) -> anyhow::Result<Arc<dyn Runner>> {
    let runner = open(config, git, stores).await?;
    Ok(Arc::new(Bounded::new(runner, Patience::default())))
}

async fn open(
    config: &Config,
    git: Arc<dyn Git>,
    (uploads, artifacts): (Arc<dyn Artifacts>, Arc<dyn Artifacts>),
) -> anyhow::Result<Arc<dyn Runner>> {
    let toolchains = Toolchains::new(config.toolchains_dir.clone(), config.npm_registry.clone());
    let (data_dir, cache_bytes) = (config.data_dir.clone(), config.cache_bytes);
    let egress = config.build_egress.clone().and_registry(config.npm_registry.as_deref());
    let Some(DockerEngine { host, image, pull, platform_container }) = config.docker.clone() else {
        let bwrap = programs::find("bwrap").context("bubblewrap is missing: apt-get install bubblewrap")?;
        let uid_base = SANDBOX_USERS;
        let config = LocalRunnerConfig {
            data_dir,
            toolchains,
            git,
            uploads,
            artifacts,
            bwrap,
            egress,
            servers: config.server_network.clone(),
            cache_bytes,
            uid_base,
        };
        return Ok(Arc::new(LocalRunner::open(config).await?));
    };
    let pull = match pull {
        PullKind::Missing => PullPolicy::Missing,
        PullKind::Always => PullPolicy::Always,
        PullKind::Never => PullPolicy::Never,
    };
    let config = DockerRunnerConfig {
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
    };
    Ok(Arc::new(DockerRunner::open(config).await?))
}

/// Ends what an earlier life has left running before anything new begins; servers that go on without the
/// platform are kept if they should run. What takes too long is no reason not to start: it is tried again.
pub(super) async fn sweep(runner: &Arc<dyn Runner>, pool: &PgPool, feed: &Feed) -> anyhow::Result<()> {
    let mut keep: Vec<DeploymentId> = vec![];
    if runner.outlives_platform() {
        feed.wait_for(projections::log::head(pool).await?, CATCHING_UP).await;
        let rows = projections::deployments::all_running(pool).await?;
        keep.extend(rows.iter().map(|row| row.id));
    }
    let Err(error) = runner.sweep(&keep).await else { return Ok(()) };
    tracing::warn!(%error, "what an earlier life has left is not swept yet: {error}");
    // What begins meanwhile is claimed, and so is spared.
    let runner = runner.clone();
    tokio::spawn(async move {
        while runner.sweep(&keep).await.is_err() {
            tokio::time::sleep(AGAIN).await;
        }
    });
    Ok(())
}

/// Ends every deployed server as it would want to be ended, unless they go on without the platform; the next
/// start of the platform starts them again.
pub(super) async fn stop_servers(platform: &Platform, runner: &dyn Runner) {
    if runner.outlives_platform() {
        return;
    }
    match projections::deployments::all_running(&platform.pool).await {
        Ok(rows) => {
            let stops = rows.iter().map(|row| runner.stop(row.id, STOP_GRACE));
            futures_util::future::join_all(stops).await;
        }
        Err(error) => tracing::warn!(%error, "the running servers are not known: {error}"),
    }
    if let Err(error) = runner.sweep(&[]).await {
        tracing::warn!(%error, "a server may have been left: {error}");
    }
}
