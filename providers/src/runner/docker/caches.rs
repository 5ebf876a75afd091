//! One volume of downloads a team, shared by its builds and by nobody else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::ids::TeamId;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use super::engine::{Engine, EngineError};
use super::names::Names;
use crate::runner::{blocking, directories};

/// The caches of one platform. One that has grown beyond its bound is begun anew by the next build that has it for
/// itself, where the platform can see how large it is.
pub(super) struct Caches {
    max_bytes: u64,
    /// Builds share their team's; who empties it has it alone.
    used: Mutex<HashMap<TeamId, Arc<RwLock<()>>>>,
}

/// A build's use of its team's cache.
pub(super) struct Cache {
    pub(super) volume: String,
    _used: OwnedRwLockReadGuard<()>,
}

impl Caches {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, used: Mutex::default() }
    }

    /// Opens a team's cache.
    pub(super) async fn open(
        &self,
        engine: &Engine,
        names: &Names,
        team: TeamId,
    ) -> Result<Cache, EngineError> {
        let volume = names.of(&format!("cache-{team}"));
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner).entry(team).or_default().clone();
        if let Ok(_alone) = used.try_write()
            && let Some(dir) = engine.directory_of(&volume).await?
            && blocking(move || Ok(directories::size(&dir))).await.is_ok_and(|bytes| bytes > self.max_bytes)
        {
            match engine.remove_volume(&volume).await {
                // A container has it that waits to be swept.
                Err(error) if error.is_conflict() => {}
                other => other?,
            }
        }
        let _used = used.read_owned().await;
        engine.make_volume(&volume, names.team_labels("cache", team)).await?;
        Ok(Cache { volume, _used })
    }
}
