//! Reads repositories with the system's git.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::git::{Git, GitError, Repository};
use domain::values::{BranchName, CommitSha};

/// What the operator decides about git.
#[derive(Clone, Debug)]
pub struct GitConfig {
    /// The git binary.
    pub git: PathBuf,
    /// Directories below which `file://` repositories may be; none by default.
    pub local_roots: Vec<PathBuf>,
    /// How long one call of git may take.
    pub timeout: Duration,
    /// How large a checkout, and what is fetched for it, may be.
    pub max_checkout_bytes: u64,
}

/// The system's git, run by argument vectors with nothing of the machine's or the repository's configuration.
#[derive(Debug)]
pub struct GitCommand {
    config: GitConfig,
}

impl GitCommand {
    /// Uses the given git.
    pub fn new(config: GitConfig) -> Self {
        Self { config }
    }
}

#[async_trait]
impl Git for GitCommand {
    async fn resolve(&self, repository: &Repository, branch: &BranchName) -> Result<CommitSha, GitError> {
        let _ = (repository, branch, &self.config);
        todo!()
    }

    async fn checkout(
        &self,
        repository: &Repository,
        commit: &CommitSha,
        into: &Path,
    ) -> Result<(), GitError> {
        let _ = (repository, commit, into);
        todo!()
    }
}
