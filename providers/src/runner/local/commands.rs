//! Runs the commands of a build, install and build, one after the other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::build::Phase;
use domain::ports::logs::say;
use domain::ports::runner::{BuildFailure, BuildPlan, BuildWatch};
use domain::secret::Secret;
use domain::values::Resources;

use super::build::{failure, platform};
use super::caches::Cache;
use super::excess;
use super::pump::Pump;
use super::sandbox::{Claim, Disk, Jail, Mount};
use crate::runner::app::detect::{App, PackageManager};
use crate::runner::app::toolchain::Toolchain;

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
}

impl Commands<'_> {
    /// Runs one in a directory of the checkout. A good end, or what went wrong by `explain`.
    pub(super) async fn run(
        &self,
        phase: Phase,
        argv: &[String],
        directory: &Path,
        explain: fn(&str, Option<i32>) -> BuildFailure,
    ) -> Result<(), BuildFailure> {
        say(&*self.watch.output, &format!("$ {}", shell_words::join(argv)));
        let jail = self.jail(phase, argv, directory).map_err(|error| platform(phase, &error))?;
        let mut running = self.claim.run(jail).await.map_err(|error| platform(phase, &error))?;
        let pipes = running.pipes.take().expect("nobody has taken them before");
        let pump = Pump::start(pipes, &self.watch.output);
        let ended = running.ended().await;
        let tail = pump.finish().await;
        if ended.exit_code == Some(0) {
            return Ok(());
        }
        let limit = excess::explain("build", self.limits, ended, &tail)
            .map(|(code, message)| failure(code, phase, message));
        let explained = limit.unwrap_or_else(|| explain(&tail, ended.exit_code));
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
                bytes: (mebibytes << 20) + self.cache.bytes(),
            },
            channel: None,
        })
    }

    /// Later ones win: the project's over the platform's, but for what makes the tools work at all.
    fn environment(&self, phase: Phase) -> Vec<(String, Secret)> {
        let mut env = defaults(self.app.package_manager, self.limits);
        env.extend(self.toolchain.env.iter().map(|(key, value)| (key.clone(), Secret::new(value.as_str()))));
        let own = self.plan.env.iter().filter(|(key, _)| {
            // `mastra` is a development dependency: with NODE_ENV=production it would not be installed.
            let unwanted = phase == Phase::Installing && key.as_str() == "NODE_ENV";
            !key.is_reserved() && !unwanted
        });
        env.extend(own.map(|(key, value)| (key.to_string(), value.clone())));
        let tools = self.toolchain.bin_dirs.iter().map(|dir| dir.display().to_string());
        let path: Vec<String> =
            tools.chain(["/usr/local/bin", "/usr/bin", "/bin"].map(str::to_owned)).collect();
        env.push(("PATH".to_owned(), Secret::new(path.join(":"))));
        env.push(("HOME".to_owned(), Secret::new(HOME)));
        env
    }
}

fn defaults(package_manager: PackageManager, limits: Resources) -> Vec<(String, Secret)> {
    let heap = heap_option(limits, 3, 4);
    let mut env = vec![
        ("CI", "true".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("USER", "app".to_owned()),
        ("NODE_OPTIONS", heap),
        ("MASTRA_TELEMETRY_DISABLED", "1".to_owned()),
        ("npm_config_cache", format!("{CACHE}/npm")),
        ("npm_config_update_notifier", "false".to_owned()),
        ("npm_config_fund", "false".to_owned()),
        ("npm_config_audit", "false".to_owned()),
        ("npm_config_prefer_offline", "true".to_owned()),
    ];
    match package_manager {
        PackageManager::Npm => {}
        PackageManager::Pnpm => env.push(("npm_config_store_dir", format!("{CACHE}/pnpm"))),
        PackageManager::Yarn { berry: false } => env.push(("YARN_CACHE_FOLDER", format!("{CACHE}/yarn"))),
        PackageManager::Yarn { berry: true } => env.push(("YARN_GLOBAL_FOLDER", format!("{CACHE}/berry"))),
        PackageManager::Bun => env.push(("BUN_INSTALL_CACHE_DIR", format!("{CACHE}/bun"))),
    }
    env.into_iter().map(|(key, value)| (key.to_owned(), Secret::new(value))).collect()
}

/// Node's own bound, as a part of the memory limit: it does not see the limit from inside a sandbox, would let
/// garbage grow beyond it, and be killed where a collection would have done.
pub(super) fn heap_option(limits: Resources, part: u64, of: u64) -> String {
    let mebibytes = u64::from(limits.memory_mib.unwrap_or_default());
    format!("--max-old-space-size={}", mebibytes * part / of)
}

fn writable(host: PathBuf, inside: &str) -> Mount {
    Mount { host, inside: inside.into(), writable: true }
}
