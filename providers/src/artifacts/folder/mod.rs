//! Artifacts in a directory of this machine.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use domain::ports::artifacts::{Artifact, ArtifactError, Artifacts, Removal};
use tempfile::NamedTempFile;

use super::{blocking, copy, digest, explain, missing};

/// Names of files that are being written; a crash may leave them.
const UNFINISHED: &str = ".new-";
/// Nobody writes to a file for this long without a byte.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A content-addressed directory: `ab/cd/abcd….tar.zst`.
#[derive(Clone, Debug)]
pub struct FolderArtifacts {
    dir: PathBuf,
}

impl FolderArtifacts {
    /// Opens the directory, creating it if it is not there, and removes what a crash left half written.
    /// Several processes may have it open.
    pub async fn open(dir: impl Into<PathBuf>) -> Result<Self, ArtifactError> {
        let dir = dir.into();
        blocking(move || {
            fs::create_dir_all(&dir)?;
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                let unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
                if unfinished && entry.metadata()?.modified()?.elapsed().is_ok_and(|age| age > ABANDONED) {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(Self { dir })
        })
        .await?
        .map_err(|error| explain(&error))
    }

    fn path(&self, sha256: &str) -> PathBuf {
        self.dir.join(&sha256[..2]).join(&sha256[2..4]).join(format!("{sha256}.tar.zst"))
    }

    fn store(&self, from: &Path) -> io::Result<Artifact> {
        let mut new = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.dir)?;
        let artifact = copy(File::open(from)?, new.as_file_mut())?;
        let to = self.path(&artifact.sha256);
        // What is there already may have been damaged since; the new bytes are right.
        if is_kept(&to, &artifact) {
            return Ok(artifact);
        }
        let inner = to.parent().unwrap_or(&self.dir);
        fs::create_dir_all(inner)?;
        new.as_file().sync_all()?;
        new.persist(&to).map_err(|error| error.error)?;
        // The names must be on the disk before an event says that the artifact is there.
        for directory in [inner, inner.parent().unwrap_or(&self.dir), &self.dir] {
            File::open(directory)?.sync_all()?;
        }
        Ok(artifact)
    }

    fn read(&self, artifact: &Artifact, to: &Path) -> Result<(), ArtifactError> {
        let missing = || missing(artifact);
        if !artifact.has_hash() {
            return Err(missing());
        }
        let stored = match File::open(self.path(&artifact.sha256)) {
            Ok(stored) => stored,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            Err(error) => return Err(explain(&error)),
        };
        let parent = to.parent().ok_or_else(missing)?;
        let mut new = NamedTempFile::new_in(parent).map_err(|error| explain(&error))?;
        // One byte more than expected is enough to know that it is another file.
        let read =
            copy(stored.take(artifact.bytes + 1), new.as_file_mut()).map_err(|error| explain(&error))?;
        if read != *artifact {
            return Err(missing());
        }
        new.persist_noclobber(to).map_err(|error| explain(&error.error))?;
        Ok(())
    }

    /// Takes the name away first: whoever puts the same content meanwhile either has touched the file before that, and
    /// it gets its name back, or sees that it is gone.
    fn take_out(&self, artifact: &Artifact, since: SystemTime) -> io::Result<Removal> {
        let place = self.path(&artifact.sha256);
        let aside = self.dir.join(format!("{UNFINISHED}gone-{}", artifact.sha256));
        match fs::rename(&place, &aside) {
            // An earlier life may have come this far.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        let touched = match fs::metadata(&aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Removal::Gone),
            found => found?.modified()?,
        };
        if touched >= since {
            fs::rename(&aside, &place)?;
            return Ok(Removal::Spared);
        }
        fs::remove_file(&aside)?;
        Ok(Removal::Gone)
    }
}

/// Whether the content is there undamaged; it counts as put now.
fn is_kept(place: &Path, artifact: &Artifact) -> bool {
    let touched = || {
        let file = File::options().append(true).open(place)?;
        let stored = digest(place)?;
        file.set_modified(SystemTime::now())?;
        io::Result::Ok(stored)
    };
    // It may have been taken out before it was touched.
    touched().is_ok_and(|stored| stored == *artifact) && place.exists()
}

#[async_trait]
impl Artifacts for FolderArtifacts {
    async fn put(&self, path: &Path) -> Result<Artifact, ArtifactError> {
        let (store, path) = (self.clone(), path.to_owned());
        blocking(move || store.store(&path)).await?.map_err(|error| explain(&error))
    }

    async fn get(&self, artifact: &Artifact, to: &Path) -> Result<(), ArtifactError> {
        let (store, artifact, to) = (self.clone(), artifact.clone(), to.to_owned());
        blocking(move || store.read(&artifact, &to)).await?
    }

    async fn remove(&self, artifact: &Artifact, since: SystemTime) -> Result<Removal, ArtifactError> {
        if !artifact.has_hash() {
            return Err(missing(artifact));
        }
        let (store, artifact) = (self.clone(), artifact.clone());
        blocking(move || store.take_out(&artifact, since)).await?.map_err(|error| explain(&error))
    }

    async fn check(&self) -> Result<(), ArtifactError> {
        let dir = self.dir.clone();
        let wrote = move || {
            let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(dir)?;
            file.write_all(b"mastra-admin")
        };
        blocking(wrote).await?.map_err(|error| explain(&error))
    }
}

#[cfg(test)]
mod tests;
