//! Servers: brought up, taken up again after the platform was away, followed, stopped.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bollard::query_parameters as query;
use domain::ids::DeploymentId;
use domain::ports::logs::Output;
use domain::ports::runner::{ExitReport, Health, StartFailure, StartPlan, Started};
use domain::values::{HealthGate, Resources};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::claims::Claim;
use super::container::{Spec, VolumeAt};
use super::engine::{EngineError, ask};
use super::logs::{Cursor, Pump};
use super::{Inner, files, names, tools};
use crate::runner::app::package;
use crate::runner::disk::Disk;
use crate::runner::ended::{self, Ended};
use crate::runner::environment::{self, ServerPlaces};
use crate::runner::failures::{cannot_start, never_ready, stopped_early};
use crate::runner::{blocking, directories, health};

/// Where a server sees its own things.
const OWN: &str = "/srv";
const APP: &str = "/srv/app";
const HOME: &str = "/srv/home";

/// Where a server listens, if its code does not say otherwise: it has addresses of its own, so that no other can take
/// the port.
const PORT: u16 = 4111;

/// Between two notes of how far the output was read.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// How long a killed server may take to be gone.
const KILLED: Duration = Duration::from_secs(10);

/// How long the engine may be away while a server starts.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that became ready.
pub(super) struct Server {
    address: SocketAddr,
    container: String,
    gate: HealthGate,
    /// Set before it is asked to end, so that its end is no news.
    stopping: AtomicBool,
    /// Closed when its last output is stored.
    exit: watch::Receiver<Option<ExitReport>>,
}

/// A server whose container runs.
struct Ready {
    address: SocketAddr,
    container: String,
    pump: Pump,
    /// When it is healthy.
    gate: HealthGate,
    /// What it may write, in MiB.
    disk_mib: Option<u32>,
}

impl Server {
    /// Where it is, and the promise to tell how it ends.
    fn started(&self) -> Started {
        Started { address: self.address, exited: ended::told(&self.exit) }
    }
}

fn find(inner: &Inner, deployment: DeploymentId) -> Option<Arc<Server>> {
    inner.servers.lock().unwrap_or_else(PoisonError::into_inner).get(&deployment).cloned()
}

/// Starts a server, or leaves nothing of it. One that is ready already is answered again, also when an earlier
/// life of the platform has started it.
pub(super) async fn start(
    inner: Arc<Inner>,
    plan: StartPlan,
    output: Arc<dyn Output>,
    abandoned: CancellationToken,
) -> Result<Started, StartFailure> {
    if let Some(started) = resume(inner.clone(), plan.deployment_id, output.clone()).await {
        return Ok(started);
    }
    let owner = names::server(plan.deployment_id);
    let claim = inner.claims.claim(&owner).await.map_err(|error| cannot_start(&error))?;
    let outcome = tokio::select! {
        outcome = bring_up(&inner, &plan, &output, &owner) => outcome,
        () = claim.wanted() => Err(stopped_early()),
        () = abandoned.cancelled() => Err(stopped_early()),
    };
    match outcome {
        Ok((ready, network)) => Ok(attend(inner.clone(), plan.deployment_id, ready, network, claim, output)),
        Err(failure) => {
            inner.discard(&owner).await;
            output.flush().await;
            Err(failure)
        }
    }
}

/// Takes up a server that runs and is healthy; `None` where there is none.
pub(super) async fn resume(
    inner: Arc<Inner>,
    deployment: DeploymentId,
    output: Arc<dyn Output>,
) -> Option<Started> {
    if let Some(server) = find(&inner, deployment) {
        return Some(server.started());
    }
    let owner = names::server(deployment);
    let claim = inner.claims.claim_if_free(&owner)?;
    let docker = inner.engine.docker().await.ok()?;
    let name = inner.names.of(&owner);
    let shown = docker.inspect_container(&name, None::<query::InspectContainerOptions>);
    let found = ask("show a container", shown).await.ok()?;
    let is_running = found.state.as_ref().is_some_and(|state| state.running == Some(true));
    let labels = found.config.and_then(|config| config.labels)?;
    let (container, team) = (found.id.filter(|_| is_running)?, labels.get(names::TEAM)?.parse().ok()?);
    let (gate, port, disk_mib) = names::of_server(&labels);
    let network = inner.networks.enter(team).await.ok()?;
    let address = SocketAddr::new(ip(&inner, &container, &network.network).await.ok()?, port.unwrap_or(PORT));
    health::check(address, &gate).await.ok()?;
    let read = tokio::fs::read_to_string(inner.cursor(deployment)).await.ok();
    let from = read.and_then(|text| Cursor::of_text(&text)).unwrap_or_default();
    let pump = Pump::start(inner.engine.clone(), container.clone(), output.clone(), from);
    let ready = Ready { address, container, pump, gate, disk_mib };
    Some(attend(inner, deployment, ready, network, claim, output))
}

async fn bring_up(
    inner: &Arc<Inner>,
    plan: &StartPlan,
    output: &Arc<dyn Output>,
    owner: &str,
) -> Result<(Ready, super::networks::Use), StartFailure> {
    let engine = |error: EngineError| cannot_start(&error);
    inner.remove(owner).await.map_err(engine)?;
    let network = inner.networks.enter(plan.team_id).await.map_err(engine)?;
    let container = make(inner, plan, owner, &network.network).await?;
    let (since, port) = (Instant::now(), plan.port.unwrap_or(PORT));
    inner.engine.start(&container).await.map_err(engine)?;
    let pump = Pump::start(inner.engine.clone(), container.clone(), output.clone(), Cursor::default());
    let address = match ip(inner, &container, &network.network).await {
        Ok(ip) => SocketAddr::new(ip, port),
        // One that ended at once has none any more.
        Err(error) => {
            let ended = timeout(KILLED, inner.engine.ended(&container, Some(PATIENCE))).await;
            let Ok(Ok(ended)) = ended else { return Err(engine(error)) };
            return Err(ended_early(ended, plan, &pump.finish().await));
        }
    };
    let mut looks = health::Looks::new(&plan.health);
    let looking = async {
        loop {
            if looks.look(address).await {
                return true;
            }
            if !looks.go_on().await {
                return false;
            }
        }
    };
    let is_ready = tokio::select! {
        biased;
        ended = inner.engine.ended(&container, Some(PATIENCE)) => {
            let tail = pump.finish().await;
            return Err(ended_early(ended.map_err(engine)?, plan, &tail));
        }
        is_ready = looking => is_ready,
        () = sleep_until(since + plan.start_deadline) => false,
    };
    if !is_ready {
        return Err(never_ready(port, &plan.health, since.elapsed(), &looks.why));
    }
    let (gate, disk_mib) = (plan.health.clone(), plan.limits.or(Resources::SERVER).disk_mib);
    Ok((Ready { address, container, pump, gate, disk_mib }, network))
}

fn ended_early(ended: Ended, plan: &StartPlan, tail: &str) -> StartFailure {
    ended.before_ready(plan.limits.or(Resources::SERVER), tail)
}

/// Makes the server's container and its files; it does not run yet.
async fn make(
    inner: &Arc<Inner>,
    plan: &StartPlan,
    owner: &str,
    network: &str,
) -> Result<String, StartFailure> {
    let engine = |error: EngineError| cannot_start(&error);
    let limits = plan.limits.or(Resources::SERVER);
    let names = &inner.names;
    let image = inner.images.for_server(&inner.engine, names.labels("probe")).await.map_err(engine)?;
    let volume = names.of(owner);
    let mut volumes = vec![VolumeAt { volume: volume.clone(), at: OWN.to_owned(), writable: true }];
    let mut bins = Vec::new();
    if image.node.as_ref() != Some(&plan.node_version) {
        let (root, bin) = inner.toolchains.node_for_image(&plan.node_version).await?;
        bins.push(tools::inside(&root, &bin));
        let node = inner.tools.volume(&inner.engine, names, &image, root);
        volumes.push(node.await.map_err(engine)?);
    }
    let labels = names.server_labels(plan);
    inner.engine.make_volume(&volume, labels.clone()).await.map_err(engine)?;
    let path = environment::path(bins.into_iter(), &image.path);
    let host = "0.0.0.0".to_owned();
    let port = plan.port.unwrap_or(PORT);
    let places = ServerPlaces { home: HOME, app: APP, path, host, port };
    let spec = Spec {
        name: names.of(owner),
        image: &image,
        argv: vec!["node".to_owned(), "index.mjs".to_owned()],
        env: environment::of_server(plan, limits, places),
        cwd: APP.to_owned(),
        labels,
        network: Some(network.to_owned()),
        volumes,
        in_memory: vec![("/tmp", 64)],
        limits,
    };
    let container = inner.engine.create(spec).await.map_err(engine)?;
    let (room, packed) = package::fetch(&*inner.artifacts, &plan.artifact, &inner.scratch).await?;
    let filled = async {
        inner.engine.make_directories(&container, OWN, &["home"]).await?;
        let write = move |archive: &mut tar::Builder<&mut dyn std::io::Write>| {
            files::artifact(archive, std::path::Path::new("app"), &packed)
        };
        inner.engine.fill(&container, OWN, write).await
    };
    let filled = filled.await;
    drop(room);
    filled.map_err(engine)?;
    Ok(container)
}

/// Where a container that runs is reached: its own address on its team's network.
async fn ip(inner: &Inner, container: &str, network: &str) -> Result<IpAddr, EngineError> {
    let docker = inner.engine.docker().await?;
    let shown = docker.inspect_container(container, None::<query::InspectContainerOptions>);
    let found = ask("show a container", shown).await?;
    let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let ip = networks.get(network).and_then(|endpoint| endpoint.ip_address.as_deref());
    let ip = ip.and_then(|ip| ip.parse::<IpAddr>().ok());
    ip.ok_or_else(|| EngineError::Away("the container has no address".to_owned()))
}

/// Takes in a server that became ready, and follows it to its end.
fn attend(
    inner: Arc<Inner>,
    deployment: DeploymentId,
    Ready { address, container, pump, gate, disk_mib }: Ready,
    network: super::networks::Use,
    claim: Claim,
    output: Arc<dyn Output>,
) -> Started {
    let (tell, exit) = watch::channel(None);
    let stopping = AtomicBool::new(false);
    let server = Arc::new(Server { address, container, gate, stopping, exit });
    let started = server.started();
    inner.servers.lock().unwrap_or_else(PoisonError::into_inner).insert(deployment, server.clone());
    // Not kept by this task: when the platform ends, the server goes on.
    tokio::spawn(async move {
        let ended = tokio::select! {
            ended = inner.engine.ended(&server.container, None) => ended.unwrap_or_default(),
            ended = too_large(&inner, deployment, &server.container, disk_mib) => ended,
            () = claim.wanted() => Ended::default(),
            never = note(&inner, deployment, &pump, &*output) => match never {},
        };
        inner.servers.lock().unwrap_or_else(PoisonError::into_inner).remove(&deployment);
        let tail = pump.finish().await;
        output.flush().await;
        let asked = server.stopping.load(Ordering::Acquire) || claim.is_wanted();
        if !claim.is_wanted() {
            inner.discard(&names::server(deployment)).await;
        }
        drop((network, claim)); // gives the name back before anybody hears of it
        if !asked {
            let Ended { exit_code, signal, .. } = ended;
            let out_of_memory = ended.out_of_memory(&tail);
            tell.send_replace(Some(ExitReport { exit_code, signal, out_of_memory }));
        }
        drop(tell);
    });
    started
}

/// Ends a server that has written more than it may, where the platform can see the engine's volumes.
async fn too_large(
    inner: &Inner,
    deployment: DeploymentId,
    container: &str,
    mebibytes: Option<u32>,
) -> Ended {
    let volume = inner.names.of(&names::server(deployment));
    let dir = inner.engine.directory_of(&volume).await.ok().flatten();
    let Some((dir, mebibytes)) = dir.zip(mebibytes) else { return std::future::pending().await };
    // They cannot be written to.
    let modules = dir.join("app/node_modules");
    let before = blocking(move || Ok(directories::size(&modules))).await.unwrap_or_default();
    let disk = Disk { dirs: vec![dir], before, bytes: u64::from(mebibytes) << 20, gives_way: false };
    let excess = disk.outgrown(&mut 0).await;
    loop {
        if inner.engine.signal(container, "SIGKILL").await.is_ok()
            && let Ok(ended) = inner.engine.ended(container, None).await
        {
            return Ended { excess: Some(excess), ..ended };
        }
        sleep(NOTE_EVERY).await;
    }
}

/// Notes how far the output was read and stored, for the next life.
async fn note(
    inner: &Inner,
    deployment: DeploymentId,
    pump: &Pump,
    output: &dyn Output,
) -> std::convert::Infallible {
    let mut noted = Cursor::default();
    loop {
        sleep(NOTE_EVERY).await;
        let cursor = pump.cursor();
        if cursor == noted {
            continue;
        }
        output.flush().await;
        match tokio::fs::write(inner.cursor(deployment), cursor.text()).await {
            Ok(()) => noted = cursor,
            Err(error) => {
                tracing::warn!(deployment.id = %deployment, %error, "how far the log of {deployment} was read is not noted")
            }
        }
    }
}

/// Asks it once to end, waits for `grace`, then ends it. Returns when nothing of it is left.
pub(super) async fn stop(
    inner: &Inner,
    deployment: DeploymentId,
    grace: Duration,
) -> Result<(), domain::ports::runner::RunnerError> {
    let failed = |error: EngineError| domain::ports::runner::RunnerError(error.to_string());
    let owner = names::server(deployment);
    let container = inner.names.of(&owner);
    let attended = find(inner, deployment);
    if let Some(server) = &attended {
        server.stopping.store(true, Ordering::Release);
    }
    let end = async || {
        if !grace.is_zero() {
            inner.engine.signal(&container, "SIGTERM").await.map_err(failed)?;
            let _in_time = timeout(grace, inner.engine.ended(&container, None)).await;
        }
        inner.engine.signal(&container, "SIGKILL").await.map_err(failed)
    };
    if let Some(server) = &attended {
        end().await?;
        let mut exit = server.exit.clone();
        let _gone = timeout(KILLED, async { while exit.changed().await.is_ok() {} }).await;
    }
    // Also ends one that is not ready yet.
    let _claim = inner.claims.claim(&owner).await?;
    if attended.is_none() {
        end().await?; // one that an earlier life left
    }
    inner.remove(&owner).await.map_err(failed)
}

/// Whether it answers now.
pub(super) async fn health(inner: &Inner, deployment: DeploymentId) -> Health {
    let Some(server) = find(inner, deployment) else { return Health::Absent };
    match health::check(server.address, &server.gate).await {
        Ok(()) => Health::Healthy,
        Err(_) if server.exit.has_changed().is_err() => Health::Absent,
        Err(why) => Health::Unhealthy(why.to_string()),
    }
}
