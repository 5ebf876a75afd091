//! Finds the app in a checkout: install root, package manager, commands.

use std::path::{Path, PathBuf};

use domain::ports::runner::BuildFailure;
use domain::values::RelativePath;

/// Who installs the dependencies and runs the scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageManager {
    /// npm, also when nothing says otherwise.
    Npm,
    /// pnpm.
    Pnpm,
    /// Yarn 1 (classic), or Yarn 2 and later (`berry`).
    Yarn {
        /// Whether it is Yarn 2 or later.
        berry: bool,
    },
    /// bun, as a package manager; the app itself runs on Node.
    Bun,
}

/// An app that can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Absolute directory where dependencies are installed: that of the lock file or the workspace.
    pub install_root: PathBuf,
    /// Absolute directory of the app's `package.json`.
    pub project_root: PathBuf,
    /// Who installs and builds.
    pub package_manager: PackageManager,
    /// The version that `packageManager` pins: `10.18.0`.
    pub package_manager_version: Option<String>,
    /// The range of Node versions the repository asks for, in npm's language.
    pub node_range: Option<String>,
    /// What the owner should know, in plain words.
    pub warnings: Vec<String>,
    /// Argument vector that installs, to be run in `install_root`.
    pub install: Vec<String>,
    /// Argument vector that builds, to be run in `project_root`.
    pub build: Vec<String>,
}

/// Finds the app at `project_root` of the checkout. Never looks above the checkout.
pub fn find(
    checkout: &Path,
    project_root: &RelativePath,
    mastra_directory: &RelativePath,
) -> Result<App, BuildFailure> {
    let _ = (checkout, project_root, mastra_directory);
    todo!()
}
