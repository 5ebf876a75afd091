//! The directory: a part of it for each server process that uses it, locked while it runs.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::segment::Segment;

/// So many processes share a directory at most.
const PARTS: usize = 64;
const ENDING: &str = "rows";
/// What the names of files begin with that are not to be stored.
pub(super) const ASIDE: &str = "aside-";

/// What this process has of it.
pub(super) struct Part {
    pub(super) dir: PathBuf,
    /// Released when the process ends, however it does.
    _lock: File,
}

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    /// In the order in which it was written.
    pub(super) waiting: Vec<Segment>,
    /// What operators have to look at.
    pub(super) aside: Vec<Segment>,
    /// The number of the next file.
    pub(super) next: u64,
}

/// Takes a part of the directory that nobody has, with what is left in others that nobody has.
pub(super) fn take(root: &Path) -> io::Result<(Part, Found)> {
    DirBuilder::new().recursive(true).mode(0o700).create(root)?;
    let mut own = None;
    for number in 0..PARTS {
        if let Some(part) = lock(&root.join(number.to_string()))? {
            own = Some((number, part));
            break;
        }
    }
    let (number, part) = own.ok_or_else(|| io::Error::other("too many servers use this directory"))?;
    let mut next = files(&part.dir)?.iter().map(|file| file.0 + 1).max().unwrap_or_default();
    for other in (number + 1..PARTS).map(|number| root.join(number.to_string())) {
        if !other.exists() {
            continue;
        }
        // Whoever had it has ended; while it is locked here, nobody begins in it.
        let Some(left) = lock(&other)? else { continue };
        let found = look(&left.dir, 0)?;
        let waiting = found.waiting.into_iter().map(|segment| ("", segment));
        for (kind, segment) in waiting.chain(found.aside.into_iter().map(|segment| (ASIDE, segment))) {
            std::fs::rename(segment.path, file(&part.dir, kind, next))?;
            next += 1;
        }
    }
    let found = look(&part.dir, next)?;
    Ok((part, found))
}

/// The name of a file.
pub(super) fn file(dir: &Path, kind: &str, number: u64) -> PathBuf {
    dir.join(format!("{kind}{number:020}.{ENDING}"))
}

/// Locks a part, unless somebody has it.
fn lock(dir: &Path) -> io::Result<Option<Part>> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Part { dir: dir.to_owned(), _lock: file })),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// The files of a part by their numbers.
fn files(dir: &Path) -> io::Result<Vec<(u64, String, PathBuf)>> {
    let mut files = vec![];
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let is_ours = path.extension().is_some_and(|ending| ending == ENDING);
        let name = path.file_stem().and_then(|name| name.to_str()).filter(|_| is_ours).map(str::to_owned);
        let Some(name) = name else { continue };
        if let Ok(number) = name.trim_start_matches(ASIDE).parse() {
            files.push((number, name, path));
        }
    }
    files.sort();
    Ok(files)
}

/// What is in the files. The newest may end with what was being written when the server was killed: nobody was told that
/// it is kept, and it goes.
fn look(dir: &Path, next: u64) -> io::Result<Found> {
    let mut found = Found { next, ..Found::default() };
    for (_, name, path) in files(dir)? {
        let segment = Segment::scan(path)?;
        if name.starts_with(ASIDE) { &mut found.aside } else { &mut found.waiting }.push(segment);
    }
    if let Some(newest) = found.waiting.last_mut().filter(|newest| newest.is_damaged) {
        tracing::info!("telemetry: {} ended in the middle of a record", newest.path.display());
        newest.cut()?;
    }
    for empty in found.waiting.extract_if(.., |segment| segment.rows == 0 && !segment.is_damaged) {
        std::fs::remove_file(empty.path)?;
    }
    Ok(found)
}
