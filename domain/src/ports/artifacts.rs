//! Where packed builds are kept between building and running.

use std::path::Path;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Stores artifacts under their content hash.
#[async_trait]
pub trait Artifacts: Send + Sync {
    /// Takes the file at `path` (a tar.zst) in; `path` may be consumed. The same content gives the same answer.
    async fn put(&self, path: &Path) -> Result<Artifact, ArtifactError>;

    /// Writes the artifact's bytes to the new file `to`, checked against its hash.
    async fn get(&self, artifact: &Artifact, to: &Path) -> Result<(), ArtifactError>;
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
