//! Aggregates as they were last seen, so that a command needs no look at the log before it decides.
//!
//! Invariant: what is cached may be behind the log, never ahead of it or beside it. Who decides something final with
//! it (a refusal, or that there is nothing to do) reads the rest of the stream first; an append that goes on from an
//! old state is refused by the log.

use std::any::Any;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use domain::fact::Stored;
use lru::LruCache;

use super::Loaded;

/// Aggregates kept in memory.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");

type Key = (&'static str, String);

/// Shared by all commands of this process.
#[derive(Clone)]
pub(super) struct Cache {
    aggregates: Arc<Mutex<LruCache<Key, Arc<dyn Any + Send + Sync>>>>,
    /// One lock an aggregate that somebody works on.
    locks: Arc<Mutex<HashMap<Key, Weak<tokio::sync::Mutex<()>>>>>,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self { aggregates: Arc::new(Mutex::new(LruCache::new(CAPACITY))), locks: Arc::default() }
    }

    pub(super) fn get<A: Stored>(&self, id: &str) -> Option<Loaded<A>> {
        let found = lock(&self.aggregates).get(&(A::TYPE, id.to_owned())).cloned()?;
        found.downcast_ref::<Loaded<A>>().cloned()
    }

    /// Keeps an aggregate that has been heard of, unless a newer one is there.
    pub(super) fn put<A: Stored>(&self, loaded: Loaded<A>) {
        if loaded.version == 0 {
            return;
        }
        let mut aggregates = lock(&self.aggregates);
        let key = (A::TYPE, loaded.id.clone());
        let newer = aggregates
            .peek(&key)
            .and_then(|known| known.downcast_ref::<Loaded<A>>())
            .is_some_and(|known| known.version >= loaded.version);
        if !newer {
            aggregates.put(key, Arc::new(loaded));
        }
    }

    pub(super) fn forget<A: Stored>(&self, id: &str) {
        lock(&self.aggregates).pop(&(A::TYPE, id.to_owned()));
    }

    /// The lock of an aggregate: commands to it go one after the other in this process instead of getting into each
    /// other's way.
    pub(super) fn turn(&self, aggregate_type: &'static str, id: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = lock(&self.locks);
        let key = (aggregate_type, id.to_owned());
        if let Some(held) = locks.get(&key).and_then(Weak::upgrade) {
            return held;
        }
        if locks.len() >= CAPACITY.get() {
            locks.retain(|_, held| held.strong_count() > 0);
        }
        let fresh = Arc::default();
        locks.insert(key, Arc::downgrade(&fresh));
        fresh
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
