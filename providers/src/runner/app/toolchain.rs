//! Gives a build the Node and the package manager its repository asks for.

use std::path::PathBuf;

use domain::ports::runner::{BuildFailure, StartFailure};

use super::detect::App;

/// The tools installed so far, below one directory of the platform.
#[derive(Debug)]
pub struct Toolchains {
    dir: PathBuf,
    npm_registry: Option<String>,
}

/// The tools of one build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// `22.23.3`; the server must later run on the same.
    pub node_version: String,
    /// Goes to the front of PATH, in this order.
    pub bin_dirs: Vec<PathBuf>,
    /// Directories a sandbox must show read-only for the tools to work.
    pub read_only: Vec<PathBuf>,
    /// Variables that install and build need.
    pub env: Vec<(String, String)>,
}

impl Toolchains {
    /// Keeps tools below `dir`; `npm_registry` replaces the registry of the machine's own npm configuration.
    pub fn new(dir: PathBuf, npm_registry: Option<String>) -> Self {
        Self { dir, npm_registry }
    }

    /// The tools for an app, installed if they are not there yet.
    pub async fn prepare(&self, app: &App) -> Result<Toolchain, BuildFailure> {
        let _ = (app, &self.dir, &self.npm_registry);
        todo!()
    }

    /// The directory that holds the `node` binary of exactly this version, installed if it is not there.
    pub async fn node(&self, version: &str) -> Result<PathBuf, StartFailure> {
        let _ = version;
        todo!()
    }
}
