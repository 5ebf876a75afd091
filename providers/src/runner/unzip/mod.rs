//! Unpacks a zip that anybody may have made.
//!
//! Only its directory, at its end, says what is in it; sizes are counted, never believed. What is refused is told in
//! words that whoever sent it understands. It blocks: call it off the async threads.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use thiserror::Error;
use tokio_util::sync::CancellationToken;
use zip::CompressionMethod;
use zip::read::{ArchiveOffset, Config, ZipFileEntry, ZipReadOptions};
use zip::result::ZipError;
use zip::unstable::read::ZipIterable;

/// Files and directories of one zip, also those that it names only as a part of others. Mastra's output without its
/// modules has about twenty.
const MAX_ENTRIES: usize = 20_000;
/// How many times as large as the zip its content may be, beyond what any may be. Code is about five times.
const MAX_RATIO: u64 = 100;
const ALWAYS: u64 = 16 << 20;
/// Bytes of a name, bytes of a part of it, and parts.
const MAX_NAME: (usize, usize, usize) = (1024, 255, 64);
/// The kinds of files that a Unix mode tells.
const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;

/// Why a zip is not unpacked.
#[derive(Debug, Error)]
pub(super) enum UnzipError {
    /// Because of what it is.
    #[error("{0}")]
    Refused(String),
    /// Nobody waits for it any more.
    #[error("it was cut off")]
    Abandoned,
    /// Because of the machine.
    #[error(transparent)]
    Disk(#[from] io::Error),
}

/// Writes the content into an existing empty directory, at most `max_bytes` of it.
pub(super) fn unzip(
    archive: &Path,
    into: &Path,
    max_bytes: u64,
    abandoned: &CancellationToken,
) -> Result<(), UnzipError> {
    let file = File::open(archive)?;
    let allowed = max_bytes.min(ALWAYS + file.metadata()?.len().saturating_mul(MAX_RATIO));
    let mut zip =
        ZipIterable::try_new(BufReader::new(file), Config { archive_offset: ArchiveOffset::Known(0) })
            .map_err(unreadable)?;
    if zip.len() > MAX_ENTRIES {
        return refused(format!("it has {} entries, and {MAX_ENTRIES} are allowed", zip.len()));
    }
    let mut unpacking = Unpacking {
        bodies: BufReader::new(File::open(archive)?),
        into,
        names: Names::default(),
        left: allowed,
        allowed,
        abandoned,
    };
    zip.files().map_err(unreadable)?.try_for_each(|entry| unpacking.add(entry.map_err(unreadable)?))
}

struct Unpacking<'a> {
    bodies: BufReader<File>,
    into: &'a Path,
    names: Names,
    left: u64,
    allowed: u64,
    abandoned: &'a CancellationToken,
}

impl Unpacking<'_> {
    fn add(&mut self, entry: ZipFileEntry<'static>) -> Result<(), UnzipError> {
        let (name, is_directory) = name(entry.name_raw())?;
        let mode = entry.unix_mode().unwrap_or_default();
        let expected = if is_directory { DIRECTORY } else { REGULAR };
        if mode & KIND != 0 && mode & KIND != expected {
            return refused(format!(
                "`{name}` is neither a file nor a directory: links and devices are not taken"
            ));
        }
        if entry.encrypted() {
            return refused(format!("`{name}` is encrypted"));
        }
        self.names.take(&name, is_directory)?;
        let to = self.into.join(&name);
        if is_directory {
            return Ok(fs::create_dir_all(to)?);
        }
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        let permissions = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
        let file = OpenOptions::new().write(true).create_new(true).mode(permissions).open(to)?;
        self.write(entry, &name, file)
    }

    fn write(&mut self, entry: ZipFileEntry<'static>, name: &str, mut file: File) -> Result<(), UnzipError> {
        if !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
            return refused(format!("`{name}` is packed in a way that is not known here"));
        }
        let size = entry.size();
        let mut body = entry.with_reader(&mut self.bodies, ZipReadOptions::new()).map_err(unreadable)?;
        let (mut written, mut chunk) = (0_u64, vec![0; 64 << 10]);
        loop {
            if self.abandoned.is_cancelled() {
                return Err(UnzipError::Abandoned);
            }
            let count = match body.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Of the archive: its file could be read when its directory was.
                Err(_) => return refused(format!("`{name}` is damaged")),
            };
            written += count as u64;
            let Some(left) = self.left.checked_sub(count as u64) else {
                let mebibytes = self.allowed >> 20;
                return refused(format!("it unpacks to more than {mebibytes} MiB"));
            };
            self.left = left;
            file.write_all(&chunk[..count])?;
        }
        if written != size {
            return refused(format!("`{name}` has another size than it says"));
        }
        Ok(())
    }
}

/// The names so far, in small letters: on some machines names that differ in that alone are one.
#[derive(Default)]
struct Names(HashMap<String, (String, bool)>);

impl Names {
    fn take(&mut self, name: &str, is_directory: bool) -> Result<(), UnzipError> {
        let ends = name.match_indices('/').map(|(at, _)| (at, true));
        for (end, is_directory) in ends.chain([(name.len(), is_directory)]) {
            let part = &name[..end];
            if self.0.len() > MAX_ENTRIES {
                return refused(format!("it has more than {MAX_ENTRIES} files and directories"));
            }
            let known = self.0.insert(part.to_lowercase(), (part.to_owned(), is_directory));
            match known {
                None => {}
                Some((before, _)) if before != part => {
                    return refused(format!("`{before}` and `{part}` differ only in capital letters"));
                }
                Some((_, true)) if is_directory => {}
                Some(_) => return refused(format!("`{part}` is in it twice")),
            }
        }
        Ok(())
    }
}

/// A name that stays below the directory it is put into, without a slash at its end; and whether it had one, as those
/// of directories have.
fn name(raw: &[u8]) -> Result<(String, bool), UnzipError> {
    let shown: String = String::from_utf8_lossy(raw).escape_debug().take(100).collect();
    let Ok(text) = std::str::from_utf8(raw) else {
        return refused(format!("the name `{shown}` is no UTF-8"));
    };
    let (text, is_directory) = text.strip_suffix('/').map_or((text, false), |name| (name, true));
    let (longest, longest_part, parts) = MAX_NAME;
    if text.len() > longest || text.split('/').count() > parts {
        return refused(format!("the name `{shown}` is too long"));
    }
    if text.chars().any(|c| c.is_control() || c == '\\') {
        return refused(format!("the name `{shown}` has a character that no name has"));
    }
    let good = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= longest_part;
    if !text.split('/').all(good) {
        return refused(format!("the name `{shown}` leads out of the zip"));
    }
    Ok((text.to_owned(), is_directory))
}

/// An archive that leads to where nothing is, is no fault of the disk.
fn unreadable(error: ZipError) -> UnzipError {
    let of_archive = [io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidInput, io::ErrorKind::InvalidData];
    match error {
        ZipError::Io(error) if error.raw_os_error().is_some() && !of_archive.contains(&error.kind()) => {
            UnzipError::Disk(error)
        }
        error => UnzipError::Refused(format!("it is no zip that can be read ({error})")),
    }
}

fn refused<T>(why: String) -> Result<T, UnzipError> {
    Err(UnzipError::Refused(why))
}

#[cfg(test)]
mod tests;
