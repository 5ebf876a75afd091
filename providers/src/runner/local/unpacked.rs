//! Unpacked artifacts, ready to run: unpacking one writes some 20 000 files, which takes longer than all the rest
//! of a deployment.
//!
//! A build leaves its output here, another try or a rollback finds it again, and servers of one artifact share
//! its modules. Whatever is missing is unpacked from the store, so that anything may be removed.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use domain::ports::artifacts::Artifact;
use uuid::Uuid;
use walkdir::WalkDir;

use crate::runner::directories;

/// How many are kept that no server uses.
const KEPT: usize = 8;

/// Beginning of the names of those that are not whole yet or any more.
const PARTIAL: &str = "partial-";

/// The unpacked artifacts below one directory.
#[derive(Clone)]
pub(super) struct Unpacked {
    dir: PathBuf,
    users: Arc<Mutex<HashMap<PathBuf, usize>>>,
}

/// The use of one; it stays as long as this.
pub(super) struct Tree {
    unpacked: Unpacked,
    dir: PathBuf,
}

impl Unpacked {
    /// Those of this boot: what was written before a power cut may not be whole. Removes all others.
    pub(super) fn open(dir: &Path, boot: &str) -> io::Result<Self> {
        let own = dir.join(boot);
        fs::create_dir_all(&own)?;
        let names = |dir: &Path| fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>();
        for entry in names(dir)?.into_iter().filter(|entry| entry.path() != own) {
            directories::remove(&entry.path())?;
        }
        for entry in names(&own)?.into_iter().filter(|entry| is_partial(&entry.path())) {
            directories::remove(&entry.path())?;
        }
        Ok(Self { dir: own, users: Arc::default() })
    }

    /// The artifact, if it is there. It is readable for this user.
    pub(super) fn find(&self, artifact: &Artifact, user: Option<u32>) -> Option<Tree> {
        let dir = self.place(artifact, user);
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if !dir.is_dir() {
            return None;
        }
        *users.entry(dir.clone()).or_default() += 1;
        drop(users);
        if let Ok(used) = fs::File::open(&dir) {
            let _only_its_age = used.set_modified(SystemTime::now());
        }
        Some(Tree { unpacked: self.clone(), dir })
    }

    /// An empty directory to unpack into and then to hand to `adopt`.
    pub(super) fn begin(&self) -> io::Result<Fresh> {
        let dir = self.dir.join(format!("{PARTIAL}{}", Uuid::now_v7()));
        fs::create_dir(&dir).map(|()| Fresh(dir))
    }

    /// Moves in what was unpacked, or what was packed: given to the user already, and nothing runs in it.
    /// Then removes those that were not used for longest.
    pub(super) fn adopt(&self, artifact: &Artifact, user: Option<u32>, from: &Path) -> io::Result<Tree> {
        let place = self.place(artifact, user);
        let moved = fs::rename(from, &place);
        if !place.exists() {
            moved?; // else another one was faster, or it was there before
        }
        let tree = self.find(artifact, user).ok_or_else(|| io::Error::other("it was removed at once"))?;
        self.surplus()?.iter().try_for_each(|dir| directories::remove(dir))?;
        Ok(tree)
    }

    /// Takes those out that are too many, oldest first.
    fn surplus(&self) -> io::Result<Vec<PathBuf>> {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let mut idle = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let (path, used) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?.modified()?)))?;
            if !users.contains_key(&path) && !is_partial(&path) {
                idle.push((used, path));
            }
        }
        idle.sort();
        idle.truncate(idle.len().saturating_sub(KEPT));
        let aside = |(_, path): (SystemTime, PathBuf)| {
            let aside = self.dir.join(format!("{PARTIAL}{}", Uuid::now_v7()));
            fs::rename(path, &aside).map(|()| aside)
        };
        idle.into_iter().map(aside).collect()
    }

    /// One for each user, for some files may be readable by their owner alone.
    fn place(&self, artifact: &Artifact, user: Option<u32>) -> PathBuf {
        self.dir.join(format!("{}-{}", artifact.sha256, user.unwrap_or_default()))
    }
}

fn is_partial(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PARTIAL.as_bytes()))
}

/// A directory that goes away unless it was adopted.
pub(super) struct Fresh(PathBuf);

impl Fresh {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        let dir = self.0.clone();
        // What is left of it goes with the next life.
        std::thread::spawn(move || directories::remove(&dir));
    }
}

impl Tree {
    /// The modules, if there are any: to be shown read-only.
    pub(super) fn modules(&self) -> Option<PathBuf> {
        Some(self.dir.join("node_modules")).filter(|modules| modules.is_dir())
    }

    /// Where it is. Nothing in it is ever written to.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the directory `into` of its modules, without copying the files: they are there under two names then.
    pub(super) fn link_modules(&self, into: &Path, user: Option<u32>) -> io::Result<()> {
        let modules = self.dir.join("node_modules");
        for entry in WalkDir::new(&modules) {
            let entry = entry?;
            let to = into.join(entry.path().strip_prefix(&modules).map_err(io::Error::other)?);
            if entry.file_type().is_dir() {
                fs::create_dir(&to)?;
                lchown(to, user, user)?;
            } else if entry.file_type().is_symlink() {
                symlink(fs::read_link(entry.path())?, &to)?;
                lchown(to, user, user)?;
            } else {
                fs::hard_link(entry.path(), to)?;
            }
        }
        Ok(())
    }

    /// Copies everything but the modules into the existing empty directory.
    pub(super) fn copy(&self, into: &Path) -> io::Result<()> {
        let modules = self.dir.join("node_modules");
        let entries = WalkDir::new(&self.dir).min_depth(1).into_iter();
        for entry in entries.filter_entry(|entry| entry.path() != modules) {
            let entry = entry?;
            let to = into.join(entry.path().strip_prefix(&self.dir).map_err(io::Error::other)?);
            if entry.file_type().is_dir() {
                fs::create_dir(to)?;
            } else if entry.file_type().is_symlink() {
                symlink(fs::read_link(entry.path())?, to)?;
            } else {
                fs::copy(entry.path(), to)?;
            }
        }
        Ok(())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let mut users = self.unpacked.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = users.get_mut(&self.dir) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.dir);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(number: usize) -> Artifact {
        Artifact { sha256: format!("{number:064}"), bytes: 1 }
    }

    fn adopt(unpacked: &Unpacked, number: usize) -> Tree {
        let fresh = unpacked.begin().unwrap();
        fs::write(fresh.path().join("index.mjs"), number.to_string()).unwrap();
        unpacked.adopt(&artifact(number), None, fresh.path()).unwrap()
    }

    #[test]
    fn those_in_use_and_the_last_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let unpacked = Unpacked::open(dir.path(), "boot").unwrap();
        let used = adopt(&unpacked, 0);
        for number in 1..=KEPT + 2 {
            let tree = adopt(&unpacked, number);
            let age = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number as u64);
            fs::File::open(&tree.dir).unwrap().set_modified(age).unwrap();
        }
        adopt(&unpacked, KEPT + 3);
        let there = |number| unpacked.find(&artifact(number), None).is_some();
        assert!(there(0) && !there(1) && !there(2) && there(3) && there(KEPT + 3));
        drop(used);
    }

    #[test]
    fn adopted_twice_it_is_there_once() {
        let dir = tempfile::tempdir().unwrap();
        let unpacked = Unpacked::open(dir.path(), "boot").unwrap();
        let (first, second) = (adopt(&unpacked, 1), adopt(&unpacked, 1));
        assert_eq!(first.dir, second.dir);
        assert_eq!(fs::read_to_string(first.dir.join("index.mjs")).unwrap(), "1");
        assert!(unpacked.find(&artifact(1), Some(7)).is_none(), "another user has its own");
    }

    #[test]
    fn another_boot_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        adopt(&Unpacked::open(dir.path(), "one").unwrap(), 1);
        let next = Unpacked::open(dir.path(), "two").unwrap();
        assert!(next.find(&artifact(1), None).is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
