//! Gives a build the Node and the package manager its repository asks for.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use domain::build::{FailureCode, Phase};
use domain::ports::runner::{BuildFailure, StartFailure};
use nodejs_semver::{Range, Version};

use super::detect::{App, PackageManager};
use super::node_version;
use super::tools::{Installed, System, Tool, ToolError, Tools};

pub(in crate::runner) use super::tools::CERTIFICATES;

/// Versions of package managers when the repository pins none.
const PNPM: &str = "10.x";
const YARN: &str = "1.x";
const YARN_BERRY: &str = "4.x";
const BUN: &str = "1.x";
/// When the machine's npm does not run under the chosen Node (Debian's own is bound to Debian's Node).
const NPM: &str = "11.x";

/// The tools installed so far, below one directory of the platform.
#[derive(Debug)]
pub struct Toolchains {
    tools: Tools,
    /// Nodes under which the machine's npm was seen running.
    npm_runs_on: Mutex<HashSet<PathBuf>>,
}

/// The tools of one build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// `22.23.3`; the server must later run on the same.
    pub node_version: String,
    /// Goes to the front of PATH, in this order.
    pub bin_dirs: Vec<PathBuf>,
    /// Directories a sandbox must show read-only, under the same names, for the tools to work.
    pub read_only: Vec<PathBuf>,
    /// Variables that install and build need.
    pub env: Vec<(String, String)>,
}

/// A Node that was chosen.
struct Node {
    version: Version,
    /// The binary, every link followed.
    binary: PathBuf,
}

impl Toolchains {
    /// Keeps tools below `dir`; `npm_registry` replaces the registry of the machine's own npm configuration.
    pub fn new(dir: PathBuf, npm_registry: Option<String>) -> Self {
        Self::with_system(dir, npm_registry, System::find())
    }

    /// The same with another Node and npm than those on PATH.
    pub(super) fn with_system(dir: PathBuf, npm_registry: Option<String>, system: Option<System>) -> Self {
        // Commands are found by absolute names, whatever directory a build runs in.
        let dir = std::path::absolute(&dir).unwrap_or(dir);
        Self { tools: Tools::new(dir, npm_registry, system), npm_runs_on: Mutex::default() }
    }

    /// The tools for an app, installed if they are not there yet.
    pub async fn prepare(&self, app: &App) -> Result<Toolchain, BuildFailure> {
        self.try_prepare(app).await.map_err(|error| BuildFailure {
            code: FailureCode::ToolchainUnavailable,
            phase: Phase::Installing,
            message: words(error),
            exit_code: None,
        })
    }

    /// The directory that holds the `node` binary of exactly this version, installed if it is not there.
    pub async fn node(&self, version: &str) -> Result<PathBuf, StartFailure> {
        let exact =
            Version::parse(version).map_err(|_| ToolError::NoVersion(format!("`{version}` is no version")));
        let found = match exact {
            Ok(version) => self.choose_node(&exactly(&version)).await,
            Err(error) => Err(error),
        };
        found.map(|node| directory(&node.binary)).map_err(no_node)
    }

    /// The tools for an app in a container: what its image lacks, whose own Node, with npm, has the version
    /// `inside`. `bin_dirs` and `read_only` are of the tools alone: complete directories of this machine, to be
    /// copied into the container.
    pub async fn prepare_for_image(
        &self,
        app: &App,
        inside: Option<&str>,
    ) -> Result<Toolchain, BuildFailure> {
        self.try_prepare_for_image(app, inside).await.map_err(|error| BuildFailure {
            code: FailureCode::ToolchainUnavailable,
            phase: Phase::Installing,
            message: words(error),
            exit_code: None,
        })
    }

    /// The directory to copy into a container whose image has not exactly this version of Node, and the one in
    /// it that holds the binary.
    pub async fn node_for_image(&self, version: &str) -> Result<(PathBuf, PathBuf), StartFailure> {
        let found = match Version::parse(version) {
            Ok(version) => self.packaged_node(&exactly(&version)).await,
            Err(_) => Err(ToolError::NoVersion(format!("`{version}` is no version"))),
        };
        found.map(|(node, root)| (root, directory(&node.binary))).map_err(no_node)
    }

    async fn try_prepare_for_image(&self, app: &App, inside: Option<&str>) -> Result<Toolchain, ToolError> {
        let range = node_version::wanted(app.node_range.as_deref());
        let inside = inside.and_then(|version| Version::parse(version).ok());
        let (mut bin_dirs, mut read_only) = (Vec::new(), Vec::new());
        if let Some((bin, root)) = self.package_manager(app).await? {
            bin_dirs.push(bin);
            read_only.push(root);
        }
        let node_version = match inside.filter(|version| node_version::fits(version, &range)) {
            Some(version) => version,
            None => {
                let (node, root) = self.packaged_node(&range).await?;
                let npm = self.packaged_npm().await?;
                bin_dirs.extend([npm.bin(), directory(&node.binary)]);
                read_only.extend([npm.root, root]);
                node.version
            }
        };
        Ok(Toolchain { node_version: node_version.to_string(), bin_dirs, read_only, env: self.env() })
    }

    async fn try_prepare(&self, app: &App) -> Result<Toolchain, ToolError> {
        let node = self.choose_node(&node_version::wanted(app.node_range.as_deref())).await?;
        let (npm_bin, npm_root) = self.npm(&node).await?;
        let manager = self.package_manager(app).await?;

        let mut bin_dirs = Vec::new();
        let mut read_only = vec![npm_bin.clone(), npm_root];
        if let Some((bin, root)) = manager {
            bin_dirs.push(bin);
            read_only.push(root);
        }
        // Node is the last, because a system's directory holds many other commands.
        bin_dirs.extend([npm_bin, directory(&node.binary)]);
        read_only.push(prefix(&node.binary));
        read_only.extend(Path::new(CERTIFICATES).parent().filter(|dir| dir.is_dir()).map(Path::to_owned));
        Ok(Toolchain { node_version: node.version.to_string(), bin_dirs, read_only, env: self.env() })
    }

    /// The machine's Node if it fits, else the npm package of Node.
    async fn choose_node(&self, range: &Range) -> Result<Node, ToolError> {
        if let Some(system) = &self.tools.system
            && let Some(version) = self.tools.version(&system.node, &system.node).await
            && node_version::fits(&version, range)
        {
            return Ok(Node { version, binary: system.node.clone() });
        }
        self.packaged_node(range).await.map(|(node, _)| node)
    }

    /// The npm package of Node, and its directory.
    async fn packaged_node(&self, range: &Range) -> Result<(Node, PathBuf), ToolError> {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "x64",
            "aarch64" => "arm64",
            other => return Err(ToolError::NoVersion(format!("there is no Node for the processor {other}"))),
        };
        let package = format!("node-linux-{arch}");
        let tool = Tool { name: "node", package, commands: &[] };
        let line =
            node_version::line(range).ok_or_else(|| ToolError::NoVersion(format!("no Node is {range}")))?;
        let installed = self.tools.get(&tool, &line).await?;
        let binary = installed.root.join("node_modules").join(tool.package).join("bin/node");
        Ok((Node { version: installed.version, binary }, installed.root))
    }

    /// A directory with `npm` and `npx`, and the package behind them. Both start with `#!/usr/bin/env node`,
    /// so they run on the Node that comes first on PATH.
    async fn npm(&self, node: &Node) -> Result<(PathBuf, PathBuf), ToolError> {
        let system = self.tools.system.as_ref().ok_or(ToolError::NoNpm)?;
        if self.runs_on(&system.npm, &node.binary).await {
            let bin = self.tools.dir.join("system-npm");
            let directory = directory(&system.npm);
            let linked = [("npm", system.npm.clone()), ("npx", directory.join("npx-cli.js"))]
                .iter()
                .try_for_each(|(name, target)| link(&bin, name, target));
            linked
                .map_err(|error| ToolError::Failed(format!("npm could not be linked: {}", error.kind())))?;
            return Ok((bin, prefix(&system.npm)));
        }
        let installed = self.packaged_npm().await?;
        Ok((installed.bin(), installed.root))
    }

    async fn packaged_npm(&self) -> Result<Installed, ToolError> {
        let tool = Tool { name: "npm", package: "npm".to_owned(), commands: &[] };
        self.tools.get(&tool, &range_of(NPM)).await
    }

    async fn runs_on(&self, npm: &Path, node: &Path) -> bool {
        let known = || self.npm_runs_on.lock().expect("nothing panics while it holds this");
        if known().contains(node) {
            return true;
        }
        let runs = self.tools.version(npm, node).await.is_some();
        if runs {
            known().insert(node.to_owned());
        }
        runs
    }

    async fn package_manager(&self, app: &App) -> Result<Option<(PathBuf, PathBuf)>, ToolError> {
        let (name, package, newest, commands): (_, _, _, &'static [_]) = match app.package_manager {
            PackageManager::Npm => return Ok(None),
            PackageManager::Pnpm => ("pnpm", "pnpm", PNPM, &[]),
            PackageManager::Yarn { berry: false } => ("yarn", "yarn", YARN, &[]),
            PackageManager::Yarn { berry: true } => ("yarn", "@yarnpkg/cli-dist", YARN_BERRY, &[]),
            PackageManager::Bun => ("bun", bun_package(), BUN, &[("bun", "bin/bun"), ("bunx", "bin/bun")]),
        };
        let pinned = app.package_manager_version.as_deref().and_then(|version| Version::parse(version).ok());
        let range = pinned.map_or_else(|| range_of(newest), |version| exactly(&version));
        let tool = Tool { name, package: package.to_owned(), commands };
        let installed = self.tools.get(&tool, &range).await?;
        Ok(Some((installed.bin(), installed.root)))
    }

    fn env(&self) -> Vec<(String, String)> {
        let quiet = [
            ("CI", "1"),
            ("MASTRA_TELEMETRY_DISABLED", "1"),
            ("YARN_ENABLE_TELEMETRY", "0"),
            ("npm_config_audit", "false"),
            ("npm_config_fund", "false"),
            ("npm_config_update_notifier", "false"),
        ];
        let mut env: Vec<_> = quiet.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        if let Some(registry) = &self.tools.npm_registry {
            env.push(("YARN_NPM_REGISTRY_SERVER".to_owned(), registry.clone()));
        }
        env.extend(self.tools.network());
        env
    }
}

/// bun's own package downloads its binary in an install script; this one is the binary.
fn bun_package() -> &'static str {
    let has_avx2 = || fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains(" avx2"));
    match std::env::consts::ARCH {
        "aarch64" => "@oven/bun-linux-aarch64",
        _ if has_avx2() => "@oven/bun-linux-x64",
        _ => "@oven/bun-linux-x64-baseline",
    }
}

/// Makes the link, or leaves it if it is right already. Atomic, because other builds use it.
fn link(bin: &Path, name: &str, target: &Path) -> io::Result<()> {
    let link = bin.join(name);
    if fs::read_link(&link).is_ok_and(|there| there == target) {
        return Ok(());
    }
    fs::create_dir_all(bin)?;
    // For the users of sandboxes, whatever the umask is.
    fs::set_permissions(bin, fs::Permissions::from_mode(0o755))?;
    let new = tempfile::Builder::new()
        .prefix(".new-")
        .make_in(bin, |path| std::os::unix::fs::symlink(target, path))?;
    new.into_temp_path().persist(link).map_err(|error| error.error)
}

/// The directory a file is in.
fn directory(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("/")).to_owned()
}

/// What belongs to a program in a `bin` directory: the directory above that; never the whole machine.
fn prefix(program: &Path) -> PathBuf {
    match directory(program).parent() {
        Some(above) if above != Path::new("/") => above.to_owned(),
        _ => directory(program),
    }
}

fn exactly(version: &Version) -> Range {
    range_of(&format!("={version}"))
}

fn range_of(text: &str) -> Range {
    Range::parse(text).expect("a version, or a constant that is a range")
}

fn no_node(error: ToolError) -> StartFailure {
    let retry = matches!(error, ToolError::Failed(_));
    StartFailure { code: FailureCode::ToolchainUnavailable, message: words(error), exit_code: None, retry }
}

fn words(error: ToolError) -> String {
    match error {
        ToolError::NoNpm => {
            "Node.js with npm is not installed on the build host: its operator has to install it.".to_owned()
        }
        ToolError::NoVersion(text) => format!("{text}. Ask for another version in package.json."),
        ToolError::Failed(text) => format!("The build host could not prepare its tools: {text}."),
    }
}
