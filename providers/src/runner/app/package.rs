//! Packs a build's output into an artifact and unpacks it to run.

use std::path::Path;

use domain::ports::artifacts::{Artifact, Artifacts};
use domain::ports::runner::{BuildFailure, StartFailure};

/// A packed output and what was seen in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Where it is stored.
    pub artifact: Artifact,
    /// What the owner should know, in plain words.
    pub warnings: Vec<String>,
    /// Environment variables that the code reads.
    pub env_refs: Vec<String>,
}

/// Packs `output_dir` (`.mastra/output`, with its modules) and stores it. `scratch` takes the temporary file;
/// more than `max_bytes` of content is refused.
pub async fn pack(
    output_dir: &Path,
    max_bytes: u64,
    artifacts: &dyn Artifacts,
    scratch: &Path,
) -> Result<Packed, BuildFailure> {
    let _ = (output_dir, max_bytes, artifacts, scratch);
    todo!()
}

/// Unpacks an artifact into the existing empty directory `into`.
pub async fn unpack(
    artifacts: &dyn Artifacts,
    artifact: &Artifact,
    into: &Path,
    scratch: &Path,
) -> Result<(), StartFailure> {
    let _ = (artifacts, artifact, into, scratch);
    todo!()
}
