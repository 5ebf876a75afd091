//! Where source code comes from.

use std::path::Path;

use async_trait::async_trait;
use thiserror::Error;

use crate::secret::Secret;
use crate::values::{BranchName, CommitSha, HostKey, RepoUrl};

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

    /// The keys that an ssh server shows to whoever asks. Nothing proves them: somebody must compare them.
    async fn host_keys(&self, url: &RepoUrl) -> Result<Vec<HostKey>, GitError>;

    /// A new key pair for reading over ssh.
    fn new_deploy_key(&self) -> KeyPair;
}

/// A key pair for reading over ssh (Ed25519).
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// What the git host is told; the same form as that of a server's key.
    pub public: HostKey,
    /// The private half: its 32 bytes.
    pub secret: Secret,
}

/// What opens a repository.
#[derive(Clone, Debug)]
pub enum Access {
    /// Nothing is needed.
    Open,
    /// A username and a token, sent over https as basic authentication; never part of the URL or argv.
    Token {
        /// The name.
        username: String,
        /// The token.
        token: Secret,
    },
    /// Key pairs, of which one opens it over ssh, and what the server is known by.
    Keys {
        /// Our keys, the one to try first first.
        keys: Vec<KeyPair>,
        /// The server's; no other is spoken to.
        host_keys: Vec<HostKey>,
    },
}

/// A repository and what opens it.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Its address: https, ssh, or `file://` below a root that the operator allows.
    pub url: RepoUrl,
    /// What opens it.
    pub access: Access,
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
    /// The disk that the code is read to is full.
    #[error("there is no space left on the build host's disk")]
    NoSpace,
    /// Larger or slower than the limits allow.
    #[error("{0}")]
    OverLimit(String),
}
