//! One download cache a team, shared by its builds and by nobody else.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use domain::ids::TeamId;

use super::directories;

/// A cache that has grown beyond this is begun anew by the next build that has it for itself.
const MAX_BYTES: u64 = 4 << 30;

/// The caches below one directory.
#[derive(Clone)]
pub(super) struct Caches {
    dir: PathBuf,
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
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, users: Arc::default() }
    }

    /// Opens a team's cache for its user. Blocks while it measures.
    pub(super) fn open(&self, team: TeamId, user: Option<u32>) -> io::Result<Cache> {
        let dir = self.dir.join(team.to_string());
        let mut bytes = directories::size(&dir);
        let overgrown = self.dir.join(format!("{team}.overgrown-{}", uuid::Uuid::now_v7()));
        {
            let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            let count = users.entry(team).or_default();
            if *count == 0 && bytes > MAX_BYTES {
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
