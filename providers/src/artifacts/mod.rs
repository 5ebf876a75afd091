//! Where packed builds are kept.

pub mod folder;
pub mod s3;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use domain::ports::artifacts::{Artifact, ArtifactError};
use sha2::{Digest, Sha256};

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

fn missing(artifact: &Artifact) -> ArtifactError {
    ArtifactError::Missing(artifact.sha256.clone())
}
