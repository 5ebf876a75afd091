//! The containers of a build: install and build, one after the other, over one volume.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::build::{Peak, Phase};
use domain::ports::logs::say;
use domain::ports::runner::{BuildFailure, BuildPlan, BuildWatch};
use domain::values::Resources;

use super::caches::Cache;
use super::container::{Spec, VolumeAt};
use super::engine::{Engine, EngineError};
use super::files::{self, Owner};
use super::gauge::Gauge;
use super::image::Image;
use super::logs::{Cursor, Pump};
use super::way_out::WayOut;
use super::{Inner, names, tools};
use crate::runner::app::detect::App;
use crate::runner::app::toolchain::{CERTIFICATES, Toolchain};
use crate::runner::disk::Disk;
use crate::runner::ended::{Ended, Excess};
use crate::runner::environment::{self, BuildPlaces};
use crate::runner::failures::{failure, mebibytes, platform};
use crate::runner::{blocking, directories};

/// Where a build sees its own things.
pub(super) const WORKSPACE: &str = "/workspace";
pub(super) const SOURCE: &str = "/workspace/source";
const HOME: &str = "/workspace/home";
const CACHE: &str = "/workspace/cache";
const TMP: &str = "/workspace/tmp";
/// The certificates that this machine trusts, for a registry behind a proxy.
const TRUSTED: &str = "/workspace/certificates.pem";

/// How long the engine may be away while a command runs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the commands of one build share.
pub(super) struct Commands<'a> {
    inner: &'a Arc<Inner>,
    plan: &'a BuildPlan,
    limits: Resources,
    /// What bounds them on disk, where the platform can see the engine's volumes.
    disk: Option<Disk>,
    /// What they have used so far.
    used: &'a Mutex<Peak>,
    watch: &'a BuildWatch,
    app: &'a App,
    source: PathBuf,
    image: Image,
    pub(super) toolchain: Toolchain,
    volumes: Vec<VolumeAt>,
    way_out: WayOut,
    _cache: Cache,
}

impl<'a> Commands<'a> {
    /// Everything that is needed before a container can be made.
    pub(super) async fn prepare(
        inner: &'a Arc<Inner>,
        plan: &'a BuildPlan,
        (limits, used): (Resources, &'a Mutex<Peak>),
        watch: &'a BuildWatch,
        app: &'a App,
        source: &Path,
    ) -> Result<Self, BuildFailure> {
        let engine = |error: EngineError| platform(Phase::Installing, &error);
        let (names, engine_of) = (&inner.names, &inner.engine);
        let image = inner.images.for_build(engine_of, names.labels("probe")).await.map_err(engine)?;
        let toolchain = inner.toolchains.prepare_for_image(app, image.node.as_deref()).await?;
        let work = names.of(&names::build(plan.build_id));
        let labels = names.build_labels(plan);
        engine_of.make_volume(&work, labels).await.map_err(engine)?;
        let cache = inner.caches.open(engine_of, names, plan.team_id).await.map_err(engine)?;
        let disk = disk(engine_of, &work, &cache, limits).await.map_err(engine)?;
        let own = |volume: String, at: &str| VolumeAt { volume, at: at.to_owned(), writable: true };
        let mut volumes = vec![own(work, WORKSPACE), own(cache.volume.clone(), CACHE)];
        for root in &toolchain.read_only {
            let volume = inner.tools.volume(engine_of, names, &image, root.clone());
            volumes.push(volume.await.map_err(engine)?);
        }
        let way_out = WayOut::open(inner, plan, &image, &watch.output).await.map_err(engine)?;
        // The paths of the app are canonical.
        let source = source.canonicalize().map_err(|error| platform(Phase::Installing, &error))?;
        Ok(Self {
            inner,
            plan,
            limits,
            disk,
            used,
            watch,
            app,
            source,
            image,
            toolchain,
            volumes,
            way_out,
            _cache: cache,
        })
    }

    /// Makes the container of a command; answers its id.
    pub(super) async fn container(
        &self,
        phase: Phase,
        argv: &[String],
        directory: &Path,
    ) -> Result<String, BuildFailure> {
        let below = directory.strip_prefix(&self.source).map_err(|error| platform(phase, &error))?;
        let cwd = Path::new(SOURCE).join(below).display().to_string();
        let bins = tools::all_inside(&self.toolchain.read_only, &self.toolchain.bin_dirs);
        let bins = bins.map_err(|error| platform(phase, &error))?;
        let path = environment::path(bins.into_iter(), &self.image.path);
        let places = BuildPlaces { home: HOME, cache: CACHE, tmp: Some(TMP), path };
        let manager = self.app.package_manager;
        let tools = tools::moved(&self.toolchain.env, &HashMap::from([(CERTIFICATES, TRUSTED)]));
        let (names, plan) = (&self.inner.names, self.plan);
        let mut env = environment::of_build(plan, self.limits, phase, manager, &tools, places);
        env.extend(self.way_out.environment());
        let step = if phase == Phase::Installing { "install" } else { "build" };
        let spec = Spec {
            name: names.of(&format!("{}-{step}", names::build(plan.build_id))),
            image: &self.image,
            argv: argv.to_vec(),
            env,
            cwd: cwd.trim_end_matches('/').to_owned(),
            labels: names.build_labels(plan),
            network: Some(self.way_out.mode()),
            volumes: self.volumes.clone(),
            in_memory: vec![("/tmp", 64)],
            limits: self.limits,
        };
        self.inner.engine.create(spec).await.map_err(|error| platform(phase, &error))
    }

    /// Puts the checkout into the volume, through a container that does not run yet.
    pub(super) async fn fill(&self, container: &str, source: PathBuf) -> Result<(), BuildFailure> {
        let engine = &self.inner.engine;
        let filled = async {
            engine.make_directories(container, WORKSPACE, &["home", "tmp", "cache"]).await?;
            let write = move |archive: &mut tar::Builder<&mut dyn std::io::Write>| {
                if let Ok(certificates) = std::fs::read(CERTIFICATES) {
                    files::file(archive, "certificates.pem", &certificates)?;
                }
                files::tree(archive, &source, Path::new("source"), Owner::User)
            };
            engine.fill(container, WORKSPACE, write).await
        };
        filled.await.map_err(|error| platform(Phase::Installing, &error))
    }

    /// Runs a command to its end. A good one, or what went wrong by `explain`.
    pub(super) async fn run(
        &self,
        phase: Phase,
        argv: &[String],
        container: String,
        explain: fn(&str, Option<i32>) -> BuildFailure,
    ) -> Result<(), BuildFailure> {
        let engine_failed = |error: EngineError| platform(phase, &error);
        say(&*self.watch.output, &format!("$ {}", shell_words::join(argv)));
        let engine = &self.inner.engine;
        match engine.start(&container).await {
            Err(EngineError::Refused { status: 400 | 404, message, .. }) => {
                return Err(explain(&message, Some(127))); // there is no such program
            }
            other => other.map_err(engine_failed)?,
        }
        let output = self.watch.output.clone();
        let pump = Pump::start(engine.clone(), container.clone(), output, Cursor::default());
        let gauge = Gauge::new(engine, &container, self.used);
        let ended = self.followed(&container, &gauge).await.map_err(engine_failed)?;
        if ended.excess == Some(Excess::Memory) {
            gauge.note(Peak { memory_mib: self.limits.memory_mib, ..Peak::default() });
        }
        let tail = pump.finish().await;
        if ended.exit_code == Some(0) {
            return Ok(());
        }
        if ended.exit_code.is_none() && ended.signal.is_none() {
            return Err(platform(phase, &EngineError::Away("the container is gone".to_owned())));
        }
        let limit = ended.explain("build", self.limits, &tail);
        let limit = limit.map(|(code, message)| failure(code, phase, message));
        let explained = limit.unwrap_or_else(|| explain(&tail, ended.exit_code));
        Err(BuildFailure { phase, exit_code: ended.exit_code, ..explained })
    }

    /// Follows a container to its end, which comes at once when its volumes have outgrown their limit.
    async fn followed(&self, container: &str, gauge: &Gauge<'_>) -> Result<Ended, EngineError> {
        let (engine, mut most) = (&self.inner.engine, 0);
        let excess = tokio::select! {
            ended = engine.ended(container, Some(PATIENCE)) => Err(ended?),
            excess = outgrown(self.disk.as_ref(), &mut most) => Ok(excess),
            never = gauge.watch() => match never {},
        };
        let mut ended = match excess {
            Err(ended) => ended,
            Ok(excess) => {
                engine.signal(container, "SIGKILL").await?;
                Ended { excess: Some(excess), ..engine.ended(container, Some(PATIENCE)).await? }
            }
        };
        if let Some(disk) = &self.disk {
            let (size, too_much) = disk.look().await;
            gauge.note(Peak { disk_mib: Some(mebibytes(size.max(most))), ..Peak::default() });
            ended.excess = ended.excess.or(too_much.filter(|_| ended.exit_code != Some(0)));
        }
        Ok(ended)
    }
}

/// What bounds a build on disk: its own volume, and what it adds to its team's downloads.
async fn disk(
    engine: &Engine,
    work: &str,
    cache: &Cache,
    limits: Resources,
) -> Result<Option<Disk>, EngineError> {
    let dirs = [engine.directory_of(work).await?, engine.directory_of(&cache.volume).await?];
    let [Some(work), Some(cache)] = dirs else { return Ok(None) };
    let full = cache.clone();
    let before = blocking(move || Ok(directories::size(&full))).await.unwrap_or_default();
    let bytes = u64::from(limits.disk_mib.unwrap_or_default()) << 20;
    Ok(Some(Disk { dirs: vec![work, cache], before, bytes, gives_way: true }))
}

async fn outgrown(disk: Option<&Disk>, most: &mut u64) -> Excess {
    match disk {
        Some(disk) => disk.outgrown(most).await,
        None => std::future::pending().await,
    }
}
