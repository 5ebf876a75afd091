//! Tools that come as npm packages, each version installed once into a directory of the platform.
//!
//! Invariant: a directory `NAME-VERSION` is complete, because it is made under another name and renamed. What
//! a crash leaves is removed by whoever installs that tool next; what a power cut damages is found by running
//! it.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use nodejs_semver::{Range, Version};
use serde_json::Value;
use tokio::process::Command;
use walkdir::WalkDir;

use super::plain::{from_sign, plain};
use crate::child::{self, Bounds, CutOff, Ended};

/// Node is 50 MB packed.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(600);
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);
/// Where Debian and its relatives keep the certificates that the machine trusts.
pub(in crate::runner) const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A tool and where it comes from.
pub(super) struct Tool {
    /// First part of its directory's name.
    pub(super) name: &'static str,
    /// Its npm package.
    pub(super) package: String,
    /// Its command, when the package does not say so itself: the name, and the file in the package.
    pub(super) commands: &'static [(&'static str, &'static str)],
}

/// One installed version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Installed {
    pub(super) version: Version,
    pub(super) root: PathBuf,
}

impl Installed {
    /// The directory of its commands.
    pub(super) fn bin(&self) -> PathBuf {
        self.root.join("node_modules/.bin")
    }
}

/// Why a tool is not there.
#[derive(Debug)]
pub(super) enum ToolError {
    /// The machine has no Node with npm.
    NoNpm,
    /// There is no such version.
    NoVersion(String),
    /// It could not be got now.
    Failed(String),
}

/// The machine's own Node and npm.
#[derive(Clone, Debug)]
pub(super) struct System {
    /// The `node` binary, every link followed.
    pub(super) node: PathBuf,
    /// `npm-cli.js`, every link followed.
    pub(super) npm: PathBuf,
}

impl System {
    /// Looks along PATH.
    pub(super) fn find() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        let which = |name: &str| {
            let mut found = std::env::split_paths(&path).map(|dir| dir.join(name));
            found.find(|path| path.is_file())?.canonicalize().ok()
        };
        Some(Self { node: which("node")?, npm: which("npm")? })
    }
}

/// The installed tools.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) dir: PathBuf,
    pub(super) npm_registry: Option<String>,
    pub(super) system: Option<System>,
    /// Those that this process has seen working.
    working: Mutex<HashSet<PathBuf>>,
}

impl Tools {
    pub(super) fn new(dir: PathBuf, npm_registry: Option<String>, system: Option<System>) -> Self {
        Self { dir, npm_registry, system, working: Mutex::default() }
    }

    /// The newest installed version in the range, or the one that npm chooses in it, installed now.
    pub(super) async fn get(&self, tool: &Tool, range: &Range) -> Result<Installed, ToolError> {
        if let Some(installed) = self.working(tool, range).await {
            return Ok(installed);
        }
        let _lock = self.lock(tool.name).await?;
        // Somebody else may have installed it while this waited.
        if let Some(installed) = self.working(tool, range).await {
            return Ok(installed);
        }
        self.install(tool, range).await
    }

    /// What node and npm get to know about registry and certificates.
    pub(super) fn network(&self) -> Vec<(String, String)> {
        let mut variables = Vec::new();
        if Path::new(CERTIFICATES).is_file() {
            variables.push(("npm_config_cafile".to_owned(), CERTIFICATES.to_owned()));
            variables.push(("NODE_EXTRA_CA_CERTS".to_owned(), CERTIFICATES.to_owned()));
        }
        if let Some(registry) = &self.npm_registry {
            variables.push(("npm_config_registry".to_owned(), registry.clone()));
        }
        variables
    }

    /// What a command prints for `--version`, run by the given Node.
    pub(super) async fn version(&self, command: &Path, node: &Path) -> Option<Version> {
        let mut run = match command == node {
            true => Command::new(node),
            false => Command::new("/usr/bin/env"),
        };
        if command != node {
            run.arg(command);
        }
        run.arg("--version")
            .env_clear()
            .env("PATH", path_with(node))
            .env("HOME", "/nonexistent")
            .current_dir("/");
        let bounds = Bounds { timeout: CHECK_TIMEOUT, stdout: 4096, directory: None };
        let ended = child::run(run, bounds).await.ok().filter(|ended| ended.status.success())?;
        Version::parse(String::from_utf8_lossy(&ended.stdout).trim()).ok()
    }

    async fn working(&self, tool: &Tool, range: &Range) -> Option<Installed> {
        let mut installed = self.installed(tool.name, range);
        installed.sort_by(|one, other| other.version.cmp(&one.version));
        for candidate in installed {
            if self.works(tool, &candidate).await {
                return Some(candidate);
            }
        }
        None
    }

    async fn works(&self, tool: &Tool, installed: &Installed) -> bool {
        if self.is_known(&installed.root) {
            return true;
        }
        let command = installed.bin().join(tool.name);
        let node = match (tool.name, &self.system) {
            ("node", _) => command.clone(),
            (_, Some(system)) => system.node.clone(),
            (_, None) => return false,
        };
        let works = self.version(&command, &node).await.is_some_and(|version| version == installed.version);
        if works {
            self.working.lock().expect("nothing panics while it holds this").insert(installed.root.clone());
        }
        works
    }

    fn is_known(&self, root: &Path) -> bool {
        self.working.lock().expect("nothing panics while it holds this").contains(root) && root.is_dir()
    }

    fn installed(&self, name: &str, range: &Range) -> Vec<Installed> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().filter_map(Result::ok);
        let versions = entries.filter_map(|entry| {
            let file_name = entry.file_name();
            let version = file_name.to_str()?.strip_prefix(name)?.strip_prefix('-')?;
            Some(Installed { version: Version::parse(version).ok()?, root: entry.path() })
        });
        versions.filter(|installed| range.satisfies(&installed.version)).collect()
    }

    /// Waits until nobody else installs this tool, in this process or another. Ends with the process.
    async fn lock(&self, name: &str) -> Result<File, ToolError> {
        let path = self.dir.join(format!(".lock-{name}"));
        let locking = tokio::task::spawn_blocking(move || {
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            let file = File::options().create(true).append(true).open(path)?;
            file.lock().map(|()| file)
        });
        let locked = locking.await.map_err(|_| ToolError::Failed("the wait was cut off".to_owned()))?;
        locked.map_err(|error| failed(&error))
    }

    async fn install(&self, tool: &Tool, range: &Range) -> Result<Installed, ToolError> {
        let unfinished = format!(".new-{}-", tool.name);
        self.remove_leftovers(&unfinished);
        let new =
            tempfile::Builder::new().prefix(&unfinished).tempdir_in(&self.dir).map_err(|e| failed(&e))?;
        let ended = self.npm_install(tool, range, new.path()).await?;
        if !ended.status.success() {
            return Err(explain(tool, range, &ended));
        }
        let version = finish(tool, new.path()).map_err(|error| failed(&error))?;
        open_to_all(new.path()).map_err(|error| failed(&error))?;
        let root = self.dir.join(format!("{}-{version}", tool.name));
        let installed = Installed { version, root: root.clone() };
        if root.exists() {
            fs::remove_dir_all(&root).map_err(|error| failed(&error))?; // it is there and does not work
        }
        fs::rename(new.path(), &root).map_err(|error| failed(&error))?;
        match self.works(tool, &installed).await {
            true => Ok(installed),
            false => Err(ToolError::Failed(format!(
                "{} {} does not run on this machine",
                tool.name, installed.version
            ))),
        }
    }

    /// Runs the machine's own npm, which checks what it gets against the registry's integrity hash.
    async fn npm_install(&self, tool: &Tool, range: &Range, into: &Path) -> Result<Ended, ToolError> {
        let system = self.system.as_ref().ok_or(ToolError::NoNpm)?;
        let home = tempfile::tempdir().map_err(|error| failed(&error))?;
        let mut npm = Command::new(&system.node);
        npm.arg(&system.npm).args(["install", "--no-save", "--no-package-lock", "--ignore-scripts"]);
        npm.args(["--no-audit", "--no-fund", "--prefix"]).arg(into);
        npm.arg(format!("{}@{range}", tool.package));
        npm.env_clear().env("PATH", path_with(&system.node)).env("HOME", home.path()).current_dir(into);
        npm.env("npm_config_update_notifier", "false").envs(self.network());
        let bounds = Bounds { timeout: INSTALL_TIMEOUT, stdout: 1 << 20, directory: None };
        child::run(npm, bounds).await.map_err(|cut_off| match cut_off {
            CutOff::NotStarted(error) => failed(&error),
            CutOff::TooSlow | CutOff::TooMuch => {
                ToolError::Failed(format!("installing {} took too long", tool.name))
            }
        })
    }

    /// Only the holder of the tool's lock makes such directories, so nobody uses them.
    fn remove_leftovers(&self, prefix: &str) {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().filter_map(Result::ok);
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)) {
            if let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!(%error, "a half installed tool could not be removed");
            }
        }
    }
}

/// The version that was installed; links the commands that the package itself does not name.
fn finish(tool: &Tool, root: &Path) -> io::Result<Version> {
    let modules = root.join("node_modules");
    let manifest = fs::read_to_string(modules.join(&tool.package).join("package.json"))?;
    let manifest: Value = serde_json::from_str(&manifest)?;
    for (name, file) in tool.commands {
        fs::create_dir_all(modules.join(".bin"))?;
        let target = Path::new("..").join(&tool.package).join(file);
        std::os::unix::fs::symlink(target, modules.join(".bin").join(name))?;
    }
    let version = manifest["version"].as_str().unwrap_or_default();
    Version::parse(version).map_err(|_| io::Error::other("the package has no version"))
}

/// Lets everybody read and run it, whatever the umask is: users of sandboxes are others than its owner.
fn open_to_all(root: &Path) -> io::Result<()> {
    for entry in WalkDir::new(root) {
        let entry = entry?;
        if !entry.path_is_symlink() {
            let executable = entry.metadata()?.permissions().mode() & 0o100 != 0;
            let mode = if executable { 0o755 } else { 0o644 };
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

fn explain(tool: &Tool, range: &Range, ended: &Ended) -> ToolError {
    let said = plain(&ended.stderr);
    if ["code ETARGET", "code E404", "No matching version"].iter().any(|sign| said.contains(sign)) {
        return ToolError::NoVersion(format!("{} {range} does not exist in the package registry", tool.name));
    }
    let why = from_sign(&said, "npm error").unwrap_or_else(|| "npm gave no reason".to_owned());
    ToolError::Failed(format!("{} could not be installed: {why}", tool.name))
}

/// A PATH on which `node` is the given one.
fn path_with(node: &Path) -> OsString {
    let mut path = node.parent().unwrap_or(Path::new("/")).as_os_str().to_owned();
    path.push(":/usr/bin:/bin");
    path
}

/// The error's own text may hold a path, its kind does not.
fn failed(error: &io::Error) -> ToolError {
    ToolError::Failed(format!("the directory of the toolchains failed: {}", error.kind()))
}
