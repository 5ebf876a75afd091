//! Directories that sandboxes write to: given to their user, measured, removed.
//!
//! Their content is hostile: nothing here follows a link. All that is not async blocks: call it off the async threads.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use walkdir::WalkDir;

use super::blocking;

/// Gives the directory and all that is in it to the user, where there is one of its own.
pub(in crate::runner) fn give(dir: &Path, user: Option<u32>) -> io::Result<()> {
    let Some(user) = user else { return Ok(()) };
    for entry in WalkDir::new(dir) {
        lchown(entry?.path(), Some(user), Some(user))?;
    }
    Ok(())
}

/// Bytes on disk below the directory. What vanishes while it looks counts as nothing; what
/// is nested so deeply that it cannot be looked at counts as everything, for it could hide any size.
pub(in crate::runner) fn size(dir: &Path) -> u64 {
    let mut bytes: u64 = 0;
    for entry in WalkDir::new(dir) {
        match entry.and_then(|entry| entry.metadata()) {
            Ok(metadata) => bytes = bytes.saturating_add(metadata.blocks() * 512),
            Err(error) if is_too_deep(&error) => return u64::MAX,
            Err(_) => {}
        }
    }
    bytes
}

/// Whether the file system of the directory has next to nothing left: less than 1 % and less than 256 MiB, or no more
/// files. What is left is for who has to go on: the database, the log, servers.
pub(in crate::runner) fn is_nearly_full(dir: &Path) -> bool {
    let Ok(has) = rustix::fs::statvfs(dir) else { return false };
    let (left, all) = (has.f_bavail.saturating_mul(has.f_frsize), has.f_blocks.saturating_mul(has.f_frsize));
    left < (all / 100).min(256 << 20) || (has.f_files > 0 && has.f_favail == 0)
}

/// Bytes that are free on the file system of the directory, if it tells.
pub(in crate::runner) fn free(dir: &Path) -> Option<u64> {
    rustix::fs::statvfs(dir).ok().map(|has| has.f_bavail.saturating_mul(has.f_frsize))
}

fn is_too_deep(error: &walkdir::Error) -> bool {
    let code = error.io_error().and_then(io::Error::raw_os_error);
    code == Some(Errno::NAMETOOLONG.raw_os_error())
}

/// Removes the directory; gone already is fine. Nothing may run in it any more.
///
/// Directories are moved to the top one by one instead of descending: a build may nest them deeper than any
/// path or stack reaches, and may take its own rights away.
pub(in crate::runner) fn remove(dir: &Path) -> io::Result<()> {
    if !dir.try_exists()? {
        return Ok(());
    }
    let unguessable = uuid::Uuid::now_v7();
    let mut moved: u64 = 0;
    let mut waiting = vec![dir.to_owned()];
    while let Some(next) = waiting.pop() {
        fs::set_permissions(&next, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&next)?.collect::<Result<Vec<_>, _>>()? {
            if !entry.file_type()?.is_dir() {
                fs::remove_file(entry.path())?;
                continue;
            }
            fs::set_permissions(entry.path(), Permissions::from_mode(0o700))?;
            let top = dir.join(format!(".{unguessable}-{moved}"));
            fs::rename(entry.path(), &top)?;
            waiting.push(top);
            moved += 1;
        }
        if next != dir {
            fs::remove_dir(&next)?;
        }
    }
    fs::remove_dir(dir)
}

/// Makes the directory anew, readable by its owner alone.
pub(in crate::runner) fn renew(dir: &Path) -> io::Result<()> {
    remove(dir)?;
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o700))
}

/// Removes a directory in which nothing runs any more. What does not go now, goes with the next sweep.
pub(in crate::runner) async fn clear(dir: PathBuf) {
    let removed = {
        let dir = dir.clone();
        blocking(move || remove(&dir)).await
    };
    if let Err(error) = removed {
        tracing::warn!(dir = %dir.display(), %error, "{} could not be removed", dir.display());
    }
}
