//! One download cache a team, shared by its builds and by nobody else.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use domain::ids::TeamId;

use crate::runner::directories;

/// The caches below one directory. One that has grown beyond its bound is begun anew by the next build that has it for
/// itself.
#[derive(Clone)]
pub(super) struct Caches {
    dir: PathBuf,
    max_bytes: u64,
    users: Arc<Mutex<HashMap<TeamId, usize>>>,
}

/// A build's use of its team's cache.
pub(super) struct Cache {
    caches: Caches,
    team: TeamId,
    dir: PathBuf,
    bytes: u64,
}

impl Caches {
    pub(super) fn new(dir: PathBuf, max_bytes: u64) -> Self {
        Self { dir, max_bytes, users: Arc::default() }
    }

    /// Opens a team's cache for its user. Blocks while it measures.
    pub(super) fn open(&self, team: TeamId, user: Option<u32>) -> io::Result<Cache> {
        let dir = self.dir.join(team.to_string());
        let mut bytes = directories::size(&dir);
        let overgrown = self.dir.join(format!("{team}.overgrown-{}", uuid::Uuid::now_v7()));
        {
            let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            let count = users.entry(team).or_default();
            if *count == 0 && bytes > self.max_bytes {
                fs::rename(&dir, &overgrown)?;
                bytes = 0;
            }
            if !dir.exists() {
                fs::create_dir_all(&dir)?;
                directories::give(&dir, user)?;
            }
            *count += 1;
        }
        let cache = Cache { caches: self.clone(), team, dir, bytes };
        directories::remove(&overgrown)?;
        Ok(cache)
    }
}

impl Cache {
    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its size when it was opened.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let mut users = self.caches.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = users.get_mut(&self.team) {
            *count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overgrown_cache_is_begun_anew_by_who_has_it_alone_and_no_other_team_notices() {
        let dir = tempfile::tempdir().unwrap();
        let caches = Caches::new(dir.path().to_owned(), 1 << 20);
        let [team, other] = [1, 2].map(|number| TeamId(uuid::Uuid::from_u128(number)));
        let open = |team| caches.open(team, None).unwrap();
        let (first, foreign) = (open(team), open(other));
        fs::write(first.dir().join("large"), vec![1; 2 << 20]).unwrap();
        fs::write(foreign.dir().join("small"), "x").unwrap();

        let second = open(team);
        assert!(second.bytes() > 1 << 20 && first.dir().join("large").exists(), "a build uses it");
        drop((first, second, foreign));
        let third = open(team);
        assert_eq!(third.bytes(), 0);
        assert!(fs::read_dir(third.dir()).unwrap().next().is_none());
        assert!(open(other).dir().join("small").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing overgrown is left");
    }
}
