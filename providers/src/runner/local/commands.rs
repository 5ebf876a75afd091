//! Runs the commands of a build, install and build, one after the other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::build::{FailureCode, Phase};
use domain::ports::logs::say;
use domain::ports::runner::{BuildFailure, BuildPlan, BuildWatch};
use domain::secret::Secret;
use domain::values::Resources;
use tokio_util::task::AbortOnDropHandle;

use super::caches::Cache;
use super::pump::Pump;
use super::sandbox::{Claim, Jail, Mount, Network, Running};
use crate::runner::app::detect::App;
use crate::runner::app::toolchain::Toolchain;
use crate::runner::disk::Disk;
use crate::runner::egress::{self, EgressRule};
use crate::runner::environment::{self, BuildPlaces};
use crate::runner::failures::{DISK_FULL, failure, platform};

/// Where a build sees its own things.
const SOURCE: &str = "/workspace/source";
const HOME: &str = "/workspace/home";
const CACHE: &str = "/workspace/cache";

/// What the commands of one build share.
pub(super) struct Commands<'a> {
    pub(super) plan: &'a BuildPlan,
    pub(super) limits: Resources,
    pub(super) watch: &'a BuildWatch,
    pub(super) claim: &'a Arc<Claim>,
    /// The build's directory, with `source`, `home` and `tmp` in it.
    pub(super) dir: &'a Path,
    pub(super) app: &'a App,
    pub(super) toolchain: &'a Toolchain,
    pub(super) cache: &'a Cache,
    /// What they may reach; everything that the machine does when there are none.
    pub(super) egress: Option<&'a Arc<Vec<EgressRule>>>,
}

impl Commands<'_> {
    /// Runs one in a directory of the checkout, with these variables besides all others. A good end, or what went wrong
    /// by `explain`.
    pub(super) async fn run(
        &self,
        phase: Phase,
        argv: &[String],
        directory: &Path,
        more: &[(&str, &str)],
        explain: fn(&str, Option<i32>) -> BuildFailure,
    ) -> Result<(), BuildFailure> {
        say(&*self.watch.output, &format!("$ {}", shell_words::join(argv)));
        let mut jail = self.jail(phase, argv, directory).map_err(|error| platform(phase, &error))?;
        jail.env.extend(more.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value))));
        let mut running = self.claim.run(jail).await.map_err(|error| platform(phase, &error))?;
        let pipes = running.pipes.take().expect("nobody has taken them before");
        let pump = Pump::start(pipes, &self.watch.output);
        let _way_out = self.way_out(&mut running).map_err(|error| platform(phase, &error))?;
        let ended = running.ended().await;
        let tail = pump.finish().await;
        if ended.exit_code == Some(0) {
            return Ok(());
        }
        let limit = ended.explain("build", self.limits, &tail);
        let limit = limit.map(|(code, message)| failure(code, phase, message));
        let mut explained = limit.unwrap_or_else(|| explain(&tail, ended.exit_code));
        // All that it writes to is on the machine's disk; its own limit would have ended it.
        if ended.excess.is_none() && explained.code == FailureCode::OutOfDisk {
            explained = failure(FailureCode::DiskFull, phase, DISK_FULL);
        }
        Err(BuildFailure { phase, exit_code: ended.exit_code, ..explained })
    }

    fn jail(&self, phase: Phase, argv: &[String], directory: &Path) -> std::io::Result<Jail> {
        let source = self.dir.join("source");
        let below = directory.strip_prefix(&source).map_err(std::io::Error::other)?;
        let own = |name: &str, inside: &str| writable(self.dir.join(name), inside);
        let mut mounts = vec![
            own("source", SOURCE),
            own("home", HOME),
            own("tmp", "/tmp"),
            writable(self.cache.dir().to_owned(), CACHE),
        ];
        let tools = self.toolchain.read_only.iter();
        mounts
            .splice(0..0, tools.map(|dir| Mount { host: dir.clone(), inside: dir.clone(), writable: false }));
        let mebibytes = u64::from(self.limits.disk_mib.unwrap_or_default());
        Ok(Jail {
            team: self.plan.team_id,
            argv: argv.to_vec(),
            env: self.environment(phase),
            mounts,
            cwd: Path::new(SOURCE).join(below),
            home: HOME.into(),
            limits: self.limits,
            disk: Disk {
                dirs: vec![self.dir.to_owned(), self.cache.dir().to_owned()],
                before: self.cache.bytes(),
                bytes: mebibytes << 20,
                gives_way: true,
            },
            network: match self.egress {
                Some(_) => Network::Own(egress::address()),
                None => Network::Machine,
            },
            channel: None,
        })
    }

    /// Serves the one way out of a network of its own, for as long as it is held.
    fn way_out(&self, running: &mut Running) -> std::io::Result<Option<AbortOnDropHandle<()>>> {
        let (Some(rules), Some(door)) = (self.egress, running.door.take()) else { return Ok(None) };
        egress::serve_at(door, rules.clone(), self.watch.output.clone()).map(Some)
    }

    fn environment(&self, phase: Phase) -> Vec<(String, Secret)> {
        let tools = self.toolchain.bin_dirs.iter().map(|dir| dir.display().to_string());
        let path = environment::path(tools, "/usr/local/bin:/usr/bin:/bin");
        let places = BuildPlaces { home: HOME, cache: CACHE, tmp: None, path };
        let (manager, tools) = (self.app.package_manager, &self.toolchain.env);
        let mut env = environment::of_build(self.plan, self.limits, phase, manager, tools, places);
        if self.egress.is_some() {
            env.extend(egress::environment());
        }
        env
    }
}

fn writable(host: PathBuf, inside: &str) -> Mount {
    Mount { host, inside: inside.into(), writable: true }
}
