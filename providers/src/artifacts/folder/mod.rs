//! Artifacts in a directory of this machine.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::artifacts::{Artifact, ArtifactError, Artifacts};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

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
        if digest(&to).is_ok_and(|stored| stored == artifact) {
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
        let missing = || ArtifactError::Missing(artifact.sha256.clone());
        let is_hash = artifact.sha256.len() == 64 && artifact.sha256.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hash {
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
}

/// Copies and hashes in one pass.
fn copy(mut from: impl Read, to: &mut impl Write) -> io::Result<Artifact> {
    let (mut hash, mut bytes, mut chunk) = (Sha256::new(), 0, vec![0; 128 << 10]);
    loop {
        let count = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&chunk[..count]);
        to.write_all(&chunk[..count])?;
        bytes += count as u64;
    }
    Ok(Artifact { sha256: hex::encode(hash.finalize()), bytes })
}

fn digest(path: &Path) -> io::Result<Artifact> {
    copy(File::open(path)?, &mut io::sink())
}

/// Runs file work beside the tasks of the runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ArtifactError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ArtifactError::Unavailable("the work on the file was cut off".to_owned()))
}

fn explain(error: &io::Error) -> ArtifactError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ArtifactError::NoSpace,
        kind => ArtifactError::Unavailable(kind.to_string()),
    }
}

#[cfg(test)]
mod tests;
