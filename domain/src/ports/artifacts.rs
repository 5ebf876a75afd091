//! Where packed builds are kept between building and running.

use std::path::Path;
use std::time::SystemTime;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Stores artifacts under their content hash.
#[async_trait]
pub trait Artifacts: Send + Sync {
    /// Takes the file at `path` (a tar.zst) in; `path` may be consumed. The same content gives the same answer, and
    /// counts as put now: `remove` spares it.
    async fn put(&self, path: &Path) -> Result<Artifact, ArtifactError>;

    /// Writes the artifact's bytes to the new file `to`, checked against its hash.
    async fn get(&self, artifact: &Artifact, to: &Path) -> Result<(), ArtifactError>;

    /// Removes the bytes, unless they were put, for the first time or again, at or after `since`. Nothing there is
    /// fine.
    async fn remove(&self, artifact: &Artifact, since: SystemTime) -> Result<Removal, ArtifactError>;

    /// Writes, reads and removes a few bytes: whether the settings are right.
    async fn check(&self) -> Result<(), ArtifactError>;
}

/// A packed build: a tar.zst whose root is Mastra's output directory with its production modules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// SHA-256 of the packed bytes, 64 lower-case hex digits; also the key in the store.
    pub sha256: String,
    /// Size of the packed bytes.
    pub bytes: u64,
}

/// What became of bytes that nobody needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// They are not there any more.
    Gone,
    /// Somebody has put them anew.
    Spared,
}

impl Artifact {
    /// Whether the hash is one: only then it names a place in a store.
    pub fn has_hash(&self) -> bool {
        self.sha256.len() == 64 && self.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    }
}

/// Why an artifact could not be stored or read.
#[derive(Debug, Error)]
pub enum ArtifactError {
    /// No such artifact, or its content does not match its hash any more.
    #[error("artifact {0} is missing or damaged")]
    Missing(String),
    /// No room to store it.
    #[error("no space left to store the artifact")]
    NoSpace,
    /// The store could not be reached or failed: worth another try.
    #[error("the artifact store failed: {0}")]
    Unavailable(String),
}
