//! The modules that the last good build of an environment had, kept for its next one: extracting some 28 000 files
//! takes longer than all the rest of an install.
//!
//! Each environment has its own: what one builds never reaches another. They are in no sandbox's sight while they are
//! kept, and what they were made of is known to this life of the platform alone, so that nothing on disk is believed.

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use domain::ids::EnvironmentId;
use domain::ports::artifacts::Artifact;
use uuid::Uuid;
use walkdir::WalkDir;

use crate::runner::app::recipe::Recipe;
use crate::runner::directories;

/// The clock of a disk takes no longer for a step.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many environments' are kept at most.
const KEPT: usize = 32;

/// The kept modules below one directory, each in one of its own.
#[derive(Clone)]
pub(super) struct Modules {
    dir: PathBuf,
    max_bytes: u64,
    /// Those used last are last.
    kept: Arc<Mutex<Vec<Kept>>>,
}

struct Kept {
    environment: EnvironmentId,
    recipe: Recipe,
    dir: PathBuf,
    bytes: u64,
    /// What was built with them.
    artifact: Artifact,
}

/// A moment of a file system's own clock: seconds and nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(i64, i64);

impl Modules {
    /// Keeps `max_bytes` at most. What an earlier life has kept is removed.
    pub(super) fn open(dir: PathBuf, max_bytes: u64) -> io::Result<Self> {
        let left = fs::read_dir(&dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        // Nobody waits for it, and what it does not come to is the next life's.
        thread::spawn(move || left.iter().try_for_each(|dir| directories::remove(dir)));
        Ok(Self { dir, max_bytes, kept: Arc::default() })
    }

    /// Moves the environment's modules to `place` if they are of this recipe, and answers what was built with them.
    /// In any case none are kept for it any more.
    pub(super) fn take(
        &self,
        environment: EnvironmentId,
        recipe: Option<Recipe>,
        place: &Path,
    ) -> Option<Artifact> {
        let kept = self.remove(|one| one.environment == environment)?;
        let is_same = recipe == Some(kept.recipe) && fs::symlink_metadata(place).is_err();
        let taken = is_same && fs::rename(kept.dir.join("node_modules"), place).is_ok();
        drop_all([kept.dir]);
        taken.then_some(kept.artifact)
    }

    /// Moves `from`, a `node_modules` in whose build nothing runs any more, to what is kept, unless something in it was
    /// changed since.
    pub(super) fn keep(
        &self,
        environment: EnvironmentId,
        recipe: Recipe,
        artifact: Artifact,
        (from, since): (&Path, Moment),
    ) -> io::Result<()> {
        let Some(bytes) = unchanged(from, since)?.filter(|bytes| *bytes <= self.max_bytes) else {
            return Ok(());
        };
        let dir = self.dir.join(Uuid::now_v7().to_string());
        fs::create_dir(&dir)?;
        if let Err(error) = fs::rename(from, dir.join("node_modules")) {
            drop_all([dir]);
            return Err(error);
        }
        let kept = Kept { environment, recipe, dir, bytes, artifact };
        let surplus = {
            let mut all = self.kept();
            let mut surplus: Vec<_> = all.extract_if(.., |one| one.environment == environment).collect();
            all.push(kept);
            let is_too_much = |all: &[Kept]| {
                all.len() > KEPT || all.iter().map(|one| one.bytes).sum::<u64>() > self.max_bytes
            };
            while is_too_much(&all) {
                surplus.push(all.remove(0));
            }
            surplus
        };
        drop_all(surplus.into_iter().map(|one| one.dir));
        Ok(())
    }

    /// Removes those that were not used for longest until so much is free on their disk, or none is left: what is kept
    /// must not be what a build has no room for.
    pub(super) fn make_room(&self, bytes: u64) {
        while directories::free(&self.dir).is_some_and(|free| free < bytes) {
            let Some(oldest) = self.remove(|_| true) else { return };
            drop_all([oldest.dir]);
        }
    }

    /// Takes out the first one of which that is so.
    fn remove(&self, is_it: impl Fn(&Kept) -> bool) -> Option<Kept> {
        let mut all = self.kept();
        let place = all.iter().position(is_it)?;
        Some(all.remove(place))
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Moment {
    /// Now, by the clock of the disk that `dir` is on, and later than the last change of `than`. Fails when that stays
    /// ahead: somebody has set the clock back.
    pub(super) fn after(than: &Path, dir: &Path) -> io::Result<Self> {
        let than = Self::of(&fs::symlink_metadata(than)?);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let file = tempfile::NamedTempFile::new_in(dir)?;
            let now = Self::of(&file.as_file().metadata()?);
            if now > than {
                return Ok(now);
            }
            // The clock goes in steps of a few milliseconds.
            thread::yield_now();
        }
        Err(io::Error::other("the modules were changed after now"))
    }

    fn of(metadata: &fs::Metadata) -> Self {
        Self(metadata.ctime(), metadata.ctime_nsec())
    }
}

/// Bytes on disk below a directory, unless it is none or something in it was changed since: no program can set back
/// the time of a change.
fn unchanged(dir: &Path, since: Moment) -> io::Result<Option<u64>> {
    if !fs::symlink_metadata(dir)?.is_dir() {
        return Ok(None);
    }
    let mut bytes: u64 = 0;
    for entry in WalkDir::new(dir) {
        let metadata = entry?.metadata()?;
        if Moment::of(&metadata) >= since {
            return Ok(None);
        }
        bytes = bytes.saturating_add(metadata.blocks() * 512);
    }
    Ok(Some(bytes))
}

/// What does not go now, goes with the next life.
fn drop_all(dirs: impl IntoIterator<Item = PathBuf>) {
    for dir in dirs {
        if let Err(error) = directories::remove(&dir) {
            tracing::warn!(dir = %dir.display(), %error, "{} could not be removed", dir.display());
        }
    }
}
