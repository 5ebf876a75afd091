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
/// What the names of files end with that cannot be read to their end.
pub(super) const DAMAGED: &str = "damaged";
/// How many rows there are that nobody can read is not known: one at least.
pub(super) const UNREADABLE: u64 = 1;

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
    // Before anything comes behind what it ended with.
    let mut found = look(&part.dir)?;
    found.next = files(&part.dir)?.iter().map(|file| file.number + 1).max().unwrap_or_default();
    for other in (number + 1..PARTS).map(|number| root.join(number.to_string())) {
        if !other.exists() {
            continue;
        }
        // Whoever had it has ended; while it is locked here, nobody begins in it.
        let Some(left) = lock(&other)? else { continue };
        let Found { waiting, aside, .. } = look(&left.dir)?;
        found.waiting.extend(over(waiting, &part.dir, "", &mut found.next)?);
        found.aside.extend(over(aside, &part.dir, ASIDE, &mut found.next)?);
    }
    Ok((part, found))
}

/// Takes files over; where they are then.
fn over(segments: Vec<Segment>, dir: &Path, kind: &str, next: &mut u64) -> io::Result<Vec<Segment>> {
    let mut taken = vec![];
    for segment in segments {
        let mut path = file(dir, kind, *next);
        if segment.path.extension().is_some_and(|ending| ending == DAMAGED) {
            path = file(dir, "", *next).with_extension(DAMAGED);
        }
        std::fs::rename(&segment.path, &path)?;
        *next += 1;
        taken.push(Segment { path, ..segment });
    }
    Ok(taken)
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

/// A file of a part.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    number: u64,
    is_aside: bool,
    is_damaged: bool,
    path: PathBuf,
}

/// The files of a part by their numbers.
fn files(dir: &Path) -> io::Result<Vec<Entry>> {
    let mut files = vec![];
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        let name = path.file_stem().and_then(|name| name.to_str());
        let Some((name, ending)) = name.zip(ending).filter(|(_, ending)| [ENDING, DAMAGED].contains(ending))
        else {
            continue;
        };
        let (is_aside, is_damaged) = (name.starts_with(ASIDE), ending == DAMAGED);
        if let Ok(number) = name.trim_start_matches(ASIDE).parse() {
            files.push(Entry { number, is_aside, is_damaged, path });
        }
    }
    files.sort();
    Ok(files)
}

/// What is in the files. The newest may end with what was being written when the server was killed: nobody was told that
/// it is kept, and it goes.
fn look(dir: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    for Entry { is_aside, is_damaged, path, .. } in files(dir)? {
        if is_damaged {
            let bytes = std::fs::metadata(&path)?.len();
            found.aside.push(Segment { path, bytes, rows: UNREADABLE, oldest: None, is_damaged });
            continue;
        }
        let segment = Segment::scan(path)?;
        if is_aside { &mut found.aside } else { &mut found.waiting }.push(segment);
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
