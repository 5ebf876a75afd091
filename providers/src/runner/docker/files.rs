//! Files into and out of containers, as archives: nothing of the host is ever mounted.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bollard::query_parameters as query;
use bollard::{body_full, body_try_stream};
use bytes::Bytes;
use futures_util::TryStreamExt;
use tar::{Archive, Builder, EntryType, Header};
use tokio::io::{BufWriter, duplex};
use tokio::task::spawn_blocking;
use tokio_util::io::{ReaderStream, StreamReader, SyncIoBridge};
use walkdir::WalkDir;

use super::container::USER;
use super::engine::{Engine, EngineError, MOVING, of, within};
use crate::runner::app::package::{self, Origin};

/// What is on the way at a time.
const BUFFER: usize = 256 << 10;

impl Engine {
    /// Unpacks what `write` writes into a directory of a container that does not run.
    pub(super) async fn fill(
        &self,
        container: &str,
        path: &str,
        write: impl FnOnce(&mut Builder<&mut dyn Write>) -> io::Result<()> + Send + 'static,
    ) -> Result<(), EngineError> {
        let (ours, theirs) = duplex(BUFFER);
        let writing = spawn_blocking(move || {
            let mut pipe = SyncIoBridge::new(BufWriter::with_capacity(BUFFER, ours));
            let mut archive = Builder::new(&mut pipe as &mut dyn Write);
            write(&mut archive)?;
            archive.finish()?;
            drop(archive);
            pipe.flush()?;
            pipe.shutdown()
        });
        let docker = self.mover().await?;
        let options = query::UploadToContainerOptionsBuilder::new().path(path).build();
        let body = body_try_stream(ReaderStream::with_capacity(theirs, BUFFER));
        let what = "take files";
        let sent = within(MOVING, what, docker.upload_to_container(container, Some(options), body)).await;
        let written = writing.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        sent?; // says more than the broken pipe that follows from it
        written.map_err(|error| EngineError::Away(format!("the files could not be read: {error}")))
    }

    /// Makes directories of the container's user in a directory of a container, or gives him those that are there.
    /// Not the directory itself: the engine leaves that as it is.
    pub(super) async fn make_directories(
        &self,
        container: &str,
        path: &str,
        names: &[&str],
    ) -> Result<(), EngineError> {
        let mut archive = Builder::new(Vec::new());
        let written = names.iter().try_for_each(|name| directory(&mut archive, Path::new(name)));
        let bytes = written.and_then(|()| archive.into_inner());
        let bytes = bytes.map_err(|error| EngineError::Away(error.to_string()))?;
        let options = query::UploadToContainerOptionsBuilder::new().path(path).build();
        let body = body_full(Bytes::from(bytes));
        let docker = self.mover().await?;
        let what = "make directories";
        within(MOVING, what, docker.upload_to_container(container, Some(options), body)).await
    }

    /// Whether there is such a path in a container.
    pub(super) async fn has(&self, container: &str, path: &str) -> Result<bool, EngineError> {
        let options = query::ContainerArchiveInfoOptionsBuilder::new().path(path).build();
        let docker = self.docker().await?;
        let asked = docker.get_container_archive_info(container, Some(options));
        match within(MOVING, "look for a file", asked).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes the content of a container's directory into an empty one here, or a file to a place where none is.
    pub(super) async fn take(
        &self,
        container: &str,
        path: &str,
        into: PathBuf,
        max_bytes: u64,
    ) -> Result<io::Result<()>, EngineError> {
        let docker = self.mover().await?;
        let options = query::DownloadFromContainerOptionsBuilder::new().path(path).build();
        let pieces = docker.download_from_container(container, Some(options));
        // What the engine says is told apart from what is wrong with the files.
        let failed = std::sync::Arc::new(std::sync::Mutex::new(None));
        let note = failed.clone();
        let pieces = Box::pin(pieces.map_err(move |error| {
            *note.lock().expect("nothing panics while it holds this") = Some(of(error, "give files"));
            io::Error::other("the engine failed")
        }));
        let archive = SyncIoBridge::new(StreamReader::new(pieces));
        let extracting = spawn_blocking(move || {
            let bounded = archive.take(max_bytes.saturating_add(1 << 30));
            package::extract(bounded, &into, max_bytes, Origin::Engine).map(drop)
        });
        let Ok(extracted) = tokio::time::timeout(MOVING, extracting).await else {
            return Err(EngineError::Slow("give files"));
        };
        if let Some(error) = failed.lock().expect("nothing panics while it holds this").take() {
            return Err(error);
        }
        Ok(extracted.unwrap_or_else(|panic| Err(io::Error::other(panic))))
    }
}

/// Whose files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// They can be read, not changed.
    Root,
    /// Those of the container's user.
    User,
}

impl Owner {
    fn id(self) -> u64 {
        if self == Self::User { USER } else { 0 }
    }
}

/// Writes a directory of this machine with everything in it, below `name`. No link is followed.
pub(super) fn tree(
    archive: &mut Builder<&mut dyn Write>,
    root: &Path,
    name: &Path,
    owner: Owner,
) -> io::Result<()> {
    for entry in WalkDir::new(root).sort_by_file_name() {
        let entry = entry?;
        let below = entry.path().strip_prefix(root).map_err(io::Error::other)?;
        let path = if below.as_os_str().is_empty() { name.to_owned() } else { name.join(below) };
        let metadata = entry.metadata()?;
        let mut header = Header::new_gnu();
        header.set_metadata(&metadata);
        header.set_uid(owner.id());
        header.set_gid(owner.id());
        if metadata.is_dir() {
            header.set_mode(0o755);
            archive.append_data(&mut header, path, io::empty())?;
        } else if metadata.is_symlink() {
            header.set_size(0);
            archive.append_link(&mut header, path, fs::read_link(entry.path())?)?;
        } else if metadata.is_file() {
            archive.append_data(&mut header, path, File::open(entry.path())?.take(metadata.len()))?;
        }
    }
    Ok(())
}

/// Writes one file that everybody may read.
pub(super) fn file(archive: &mut Builder<&mut dyn Write>, name: &str, content: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, content)
}

/// Writes an artifact below `name`: the app's files are its user's, its modules can only be read.
pub(super) fn artifact(archive: &mut Builder<&mut dyn Write>, name: &Path, packed: &Path) -> io::Result<()> {
    directory(archive, name)?;
    let mut content = Archive::new(package::decoded(packed, package::MAX_UNPACKED)?);
    for entry in content.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let owner = if path.starts_with("node_modules") { Owner::Root } else { Owner::User };
        let path = name.join(path);
        let mut header = Header::new_gnu();
        header.set_mode(entry.header().mode()?);
        header.set_entry_type(entry.header().entry_type());
        header.set_size(entry.size());
        header.set_uid(owner.id());
        header.set_gid(owner.id());
        match (entry.header().entry_type(), entry.link_name()?.map(|link| link.into_owned())) {
            (EntryType::Symlink, Some(target)) => archive.append_link(&mut header, path, target)?,
            _ => archive.append_data(&mut header, path, &mut entry)?,
        }
    }
    Ok(())
}

fn directory<W: Write>(archive: &mut Builder<W>, name: &Path) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    header.set_uid(USER);
    header.set_gid(USER);
    archive.append_data(&mut header, name, io::empty())
}
