//! Artifacts in a directory of this machine.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use domain::ports::artifacts::{Artifact, ArtifactError, Artifacts};

/// A content-addressed directory: `ab/cdef….tar.zst`.
#[derive(Debug)]
pub struct FolderArtifacts {
    dir: PathBuf,
}

impl FolderArtifacts {
    /// Opens the directory, creating it if it is not there.
    pub async fn open(dir: impl Into<PathBuf>) -> Result<Self, ArtifactError> {
        Ok(Self { dir: dir.into() })
    }
}

#[async_trait]
impl Artifacts for FolderArtifacts {
    async fn put(&self, path: &Path) -> Result<Artifact, ArtifactError> {
        let _ = (path, &self.dir);
        todo!()
    }

    async fn get(&self, artifact: &Artifact, to: &Path) -> Result<(), ArtifactError> {
        let _ = (artifact, to);
        todo!()
    }
}
