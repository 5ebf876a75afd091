//! One of a deployment's servers: its container made, ready, found again, followed to its end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters as query;
use domain::ports::logs::Output;
use domain::ports::runner::{StartFailure, StartPlan};
use domain::values::Resources;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::container::{Spec, VolumeAt};
use super::engine::{EngineError, ask};
use super::logs::{Cursor, Pump};
use super::networks::Use;
use super::sweep::containers;
use super::{Inner, files, names, tools};
use crate::runner::app::package;
use crate::runner::disk::Disk;
use crate::runner::ended::Ended;
use crate::runner::environment::{self, ServerPlaces};
use crate::runner::failures::{cannot_start, never_ready};
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

/// How often one that runs is asked whether it is healthy, before it is taken for ill.
const LOOKS: u32 = 3;

/// How long a killed server may take to be gone.
pub(super) const KILLED: Duration = Duration::from_secs(10);

/// How long the engine may be away while a server starts.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a deployment's servers share.
pub(super) struct Crew {
    pub(super) inner: Arc<Inner>,
    pub(super) plan: StartPlan,
    pub(super) output: Arc<dyn Output>,
    network: Use,
}

/// One of them that is ready.
pub(super) struct Replica {
    pub(super) number: u8,
    pub(super) address: SocketAddr,
    container: String,
    pump: Pump,
}

impl Replica {
    /// Resolves when it has ended.
    pub(super) async fn ended(&self, crew: &Crew) -> Ended {
        tokio::select! {
            ended = crew.inner.engine.ended(&self.container, None) => ended.unwrap_or_default(),
            ended = self.too_large(crew) => ended,
            never = self.note(crew) => match never {},
        }
    }

    /// Reads the rest of its output, once it has ended; answers the end of it.
    pub(super) async fn finish(self) -> String {
        self.pump.finish().await
    }

    /// Ends it when it has written more than it may, where the platform can see the engine's volumes.
    async fn too_large(&self, crew: &Crew) -> Ended {
        let Crew { inner, plan, .. } = crew;
        let volume = inner.names.of(&names::replica(plan.deployment_id, self.number));
        let dir = inner.engine.directory_of(&volume).await.ok().flatten();
        let mebibytes = plan.limits.or(Resources::SERVER).disk_mib;
        let Some((dir, mebibytes)) = dir.zip(mebibytes) else { return std::future::pending().await };
        // They cannot be written to.
        let modules = dir.join("app/node_modules");
        let before = blocking(move || Ok(directories::size(&modules))).await.unwrap_or_default();
        let disk = Disk { dirs: vec![dir], before, bytes: u64::from(mebibytes) << 20, gives_way: false };
        let excess = disk.outgrown(&mut 0).await;
        loop {
            if inner.engine.signal(&self.container, "SIGKILL").await.is_ok()
                && let Ok(ended) = inner.engine.ended(&self.container, None).await
            {
                return Ended { excess: Some(excess), ..ended };
            }
            sleep(NOTE_EVERY).await;
        }
    }

    /// Notes how far its output was read and stored, for the next life.
    async fn note(&self, crew: &Crew) -> std::convert::Infallible {
        let id = crew.plan.deployment_id;
        let mut noted = Cursor::default();
        loop {
            sleep(NOTE_EVERY).await;
            let cursor = self.pump.cursor();
            if cursor == noted {
                continue;
            }
            crew.output.flush().await;
            match tokio::fs::write(crew.inner.cursor(id, self.number), cursor.text()).await {
                Ok(()) => noted = cursor,
                Err(error) => {
                    tracing::warn!(deployment.id = %id, %error, "how far the log of {id} was read is not noted")
                }
            }
        }
    }
}

impl Crew {
    /// In its team's network. None of it is there yet.
    pub(super) async fn enter(
        inner: Arc<Inner>,
        plan: StartPlan,
        output: Arc<dyn Output>,
    ) -> Result<Self, EngineError> {
        let network = inner.networks.enter(plan.team_id).await?;
        Ok(Self { inner, plan, output, network })
    }

    /// Those of an earlier life of the platform that run and are healthy. Where there are any, the plan becomes the one
    /// that they were started with.
    pub(super) async fn find(&mut self) -> Vec<Replica> {
        let owner = names::server(self.plan.deployment_id);
        let filter = self.inner.names.filter(Some(&owner));
        let there = containers(&self.inner.engine, filter).await.unwrap_or_default();
        let Some((_, labels)) = there.first() else { return Vec::new() };
        let (this, plan) = (&*self, names::as_started(self.plan.clone(), labels));
        let looks = there.into_iter().map(|(container, labels)| {
            let (plan, number) = (&plan, names::number(&labels));
            async move { Some((number, this.look(plan, &container).await?, container)) }
        });
        let healthy: Vec<_> = join_all(looks).await.into_iter().flatten().collect();
        if healthy.is_empty() {
            return Vec::new();
        }
        self.plan = plan;
        let mut found = Vec::new();
        for (number, address, container) in healthy {
            let read =
                tokio::fs::read_to_string(self.inner.cursor(self.plan.deployment_id, number)).await.ok();
            let from = read.and_then(|text| Cursor::of_text(&text)).unwrap_or_default();
            found.push(self.replica(number, address, container, from));
        }
        found
    }

    /// Where a container listens, if it is healthy. Right after a start of the platform the machine may be busy: one
    /// look too many costs less than a server that works.
    async fn look(&self, plan: &StartPlan, container: &str) -> Option<SocketAddr> {
        let address = SocketAddr::new(self.ip(container).await.ok()?, plan.port.unwrap_or(PORT));
        for look in 1..=LOOKS {
            if health::check(address, &plan.health).await.is_ok() {
                return Some(address);
            }
            if look < LOOKS {
                sleep(NOTE_EVERY).await;
            }
        }
        None
    }

    fn replica(&self, number: u8, address: SocketAddr, container: String, from: Cursor) -> Replica {
        let pump = Pump::start(self.inner.engine.clone(), container.clone(), self.output.clone(), from);
        Replica { number, address, container, pump }
    }

    /// Starts one, in place of what is left of an earlier one of its number, and waits until it is ready.
    pub(super) async fn bring_up(&self, number: u8) -> Result<Replica, StartFailure> {
        let Self { inner, plan, .. } = self;
        let engine = |error: EngineError| cannot_start(&error);
        let name = inner.names.of(&names::replica(plan.deployment_id, number));
        inner.engine.remove_container(&name).await.map_err(engine)?;
        inner.engine.remove_volume(&name).await.map_err(engine)?;
        let _none_there = tokio::fs::remove_file(inner.cursor(plan.deployment_id, number)).await;
        let container = self.make(number, &name).await?;
        let (since, port) = (Instant::now(), plan.port.unwrap_or(PORT));
        inner.engine.start(&container).await.map_err(engine)?;
        let nowhere = SocketAddr::from(([0, 0, 0, 0], port));
        let mut replica = self.replica(number, nowhere, container, Cursor::default());
        replica.address = match self.ip(&replica.container).await {
            Ok(ip) => SocketAddr::new(ip, port),
            // One that ended at once has none any more.
            Err(error) => {
                let ended = timeout(KILLED, inner.engine.ended(&replica.container, Some(PATIENCE))).await;
                let Ok(Ok(ended)) = ended else { return Err(engine(error)) };
                return Err(self.ended_early(ended, &replica.finish().await));
            }
        };
        let mut looks = health::Looks::new(&plan.health);
        let looking = async {
            loop {
                if looks.look(replica.address).await {
                    return true;
                }
                if !looks.go_on().await {
                    return false;
                }
            }
        };
        let is_ready = tokio::select! {
            biased;
            ended = inner.engine.ended(&replica.container, Some(PATIENCE)) => {
                let tail = replica.finish().await;
                return Err(self.ended_early(ended.map_err(engine)?, &tail));
            }
            is_ready = looking => is_ready,
            () = sleep_until(since + plan.start_deadline) => false,
        };
        if !is_ready {
            return Err(never_ready(port, &plan.health, since.elapsed(), &looks.why));
        }
        Ok(replica)
    }

    fn ended_early(&self, ended: Ended, tail: &str) -> StartFailure {
        ended.before_ready(self.plan.limits.or(Resources::SERVER), tail)
    }

    /// Makes its container and its files; it does not run yet.
    async fn make(&self, number: u8, name: &str) -> Result<String, StartFailure> {
        let Self { inner, plan, .. } = self;
        let engine = |error: EngineError| cannot_start(&error);
        let limits = plan.limits.or(Resources::SERVER);
        let names = &inner.names;
        let image = inner.images.for_server(&inner.engine, names.labels("probe")).await.map_err(engine)?;
        let volume = name.to_owned();
        let mut volumes = vec![VolumeAt { volume: volume.clone(), at: OWN.to_owned(), writable: true }];
        let mut bins = Vec::new();
        if image.node.as_ref() != Some(&plan.node_version) {
            let (root, bin) = inner.toolchains.node_for_image(&plan.node_version).await?;
            bins.push(tools::inside(&root, &bin));
            let node = inner.tools.volume(&inner.engine, names, &image, root);
            volumes.push(node.await.map_err(engine)?);
        }
        let labels = names.server_labels(plan, number);
        inner.engine.make_volume(&volume, labels.clone()).await.map_err(engine)?;
        let path = environment::path(bins.into_iter(), &image.path);
        let host = "0.0.0.0".to_owned();
        let port = plan.port.unwrap_or(PORT);
        let places = ServerPlaces { home: HOME, app: APP, path, host, port };
        let spec = Spec {
            name: name.to_owned(),
            image: &image,
            argv: vec!["node".to_owned(), "index.mjs".to_owned()],
            env: environment::of_server(plan, limits, places),
            cwd: APP.to_owned(),
            labels,
            network: Some(self.network.network.clone()),
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
    async fn ip(&self, container: &str) -> Result<IpAddr, EngineError> {
        let docker = self.inner.engine.docker().await?;
        let shown = docker.inspect_container(container, None::<query::InspectContainerOptions>);
        let found = ask("show a container", shown).await?;
        let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let ip = networks.get(&self.network.network).and_then(|endpoint| endpoint.ip_address.as_deref());
        let ip = ip.and_then(|ip| ip.parse::<IpAddr>().ok());
        ip.ok_or_else(|| EngineError::Away("the container has no address".to_owned()))
    }
}
