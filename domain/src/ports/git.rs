//! Where source code comes from.

use std::path::Path;

use async_trait::async_trait;
use thiserror::Error;

use crate::secret::Secret;
use crate::values::{BranchName, CommitSha, RepoUrl};

/// Reads git repositories. Never writes to them.
#[async_trait]
pub trait Git: Send + Sync {
    /// The commit a branch points to now.
    async fn resolve(&self, repository: &Repository, branch: &BranchName) -> Result<CommitSha, GitError>;

    /// Writes the files of one commit into `into` (an existing empty directory), without `.git`, hooks,
    /// submodules or LFS downloads.
    async fn checkout(
        &self,
        repository: &Repository,
        commit: &CommitSha,
        into: &Path,
    ) -> Result<(), GitError>;
}

/// A repository and what opens it.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Its address: https, or `file://` below a root that the operator allows.
    pub url: RepoUrl,
    /// Sent as the basic-auth password of the user `x-access-token`; never part of the URL or argv.
    pub token: Option<Secret>,
}

/// Why a repository could not be read. The texts are for the person who owns the project.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum GitError {
    /// It does not exist or the credentials do not open it.
    #[error("repository not found, or no access to it: {0}")]
    NoAccess(String),
    /// The repository is there, the branch is not.
    #[error("branch {0} does not exist in the repository")]
    NoBranch(String),
    /// The repository is there, the commit is not.
    #[error("commit {0} does not exist in the repository")]
    NoCommit(String),
    /// The operator does not allow this address.
    #[error("{0}")]
    NotAllowed(String),
    /// The git host did not answer in time or not sensibly: worth another try.
    #[error("the git host could not be reached: {0}")]
    Unreachable(String),
    /// Larger or slower than the limits allow.
    #[error("{0}")]
    OverLimit(String),
}
