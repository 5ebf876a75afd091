//! Lines of output in PostgreSQL's table `log_lines`.
//!
//! `write` → masker → line splitter → the source's queue → one writer task for all sources → one `INSERT` a
//! batch → followers are woken. Everything up to the queue happens in `write`, without waiting for anything.
//!
//! Invariants: what is in a queue is masked already; queues are bounded; a source's numbers have no holes;
//! what is not stored is counted in a line that says so.

mod budget;
mod heads;
mod output;
mod source;
mod store;
mod writer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::logs::{LogError, LogLine, LogOrigin, LogSource, Logs, Output};
use domain::secret::Secret;
use sqlx::PgPool;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::mask::Secrets;
use heads::Heads;
use output::Pipes;
use source::{Gauge, Source};
use writer::Round;

/// How much of its output one source may store. Lines of the platform itself are not counted.
#[derive(Clone, Copy, Debug)]
pub struct Cap {
    /// Number of lines.
    pub lines: u64,
    /// Bytes of text.
    pub bytes: u64,
    /// For how long that must do; `None` is for ever.
    pub per: Option<Duration>,
}

/// Bounds of what is stored and of what waits in memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For each build.
    pub build: Cap,
    /// For each deployment.
    pub deployment: Cap,
    /// Bytes of one source that wait for the store, at most.
    pub queue: usize,
    /// Bytes of all sources together that wait for the store, at most.
    pub queues: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let build = Cap { lines: 20_000, bytes: 16 << 20, per: None };
        let deployment = Cap { lines: 20_000, bytes: 8 << 20, per: Some(Duration::from_secs(10)) };
        Self { build, deployment, queue: 20 << 20, queues: 64 << 20 }
    }
}

/// The log store.
pub struct PostgresLogs {
    shared: Arc<Shared>,
}

/// What outputs, the writer and the poll for followers have in common.
struct Shared {
    pool: PgPool,
    limits: Limits,
    runtime: Handle,
    gauge: Gauge,
    /// Sources that somebody writes, or whose last lines are not stored yet.
    sources: Mutex<HashMap<LogSource, Arc<Source>>>,
    round: Round,
    heads: Heads,
}

impl PostgresLogs {
    /// Starts the writer, with the usual limits. It ends when this and every output are dropped.
    pub fn start(pool: PgPool) -> Arc<Self> {
        Self::start_with(pool, Limits::default())
    }

    /// Starts the writer, with these limits.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start_with(pool: PgPool, limits: Limits) -> Arc<Self> {
        let shared = Arc::new(Shared {
            pool,
            limits,
            runtime: Handle::current(),
            gauge: Gauge::default(),
            sources: Mutex::default(),
            round: Round::default(),
            heads: Heads::default(),
        });
        tokio::spawn(writer::run(Arc::downgrade(&shared), shared.round.wake.clone()));
        tokio::spawn(heads::run(Arc::downgrade(&shared), shared.heads.wake.clone()));
        Arc::new(Self { shared })
    }

    /// Resolves when every line that was complete by now is stored, those of dropped outputs too. For the end
    /// of the program, with a timeout: it waits for a store that is away.
    pub async fn drain(&self) {
        let sources: Vec<_> = lock(&self.shared.sources).values().cloned().collect();
        for source in sources {
            let items = source.settle();
            self.shared.schedule(&source);
            source.wait_for(items).await;
        }
    }
}

#[async_trait]
impl Logs for PostgresLogs {
    async fn open(&self, origin: LogOrigin, mask: Vec<Secret>) -> Result<Arc<dyn Output>, LogError> {
        let source = match self.shared.join(origin.source) {
            Some(open) => open,
            None => {
                let past = store::past(&self.shared.pool, origin.source).await.map_err(failed)?;
                self.shared.enlist(origin, past)
            }
        };
        Ok(Pipes::open(self.shared.clone(), source, Arc::new(Secrets::new(&mask))))
    }

    async fn read(&self, source: LogSource, after: i64, limit: i64) -> Result<Vec<LogLine>, LogError> {
        store::read(&self.shared.pool, source, after, limit).await.map_err(failed)
    }

    fn follow(&self, source: LogSource) -> watch::Receiver<i64> {
        self.shared.heads.follow(source)
    }
}

impl Shared {
    /// One writer more of a source that is open.
    fn join(&self, source: LogSource) -> Option<Arc<Source>> {
        let sources = lock(&self.sources);
        let source = sources.get(&source)?;
        source.join();
        Some(source.clone())
    }

    /// Opens a source that goes on after its past.
    fn enlist(&self, origin: LogOrigin, past: store::Past) -> Arc<Source> {
        let mut sources = lock(&self.sources);
        let source = sources.entry(origin.source).or_insert_with(|| {
            self.heads.opened(origin.source, past.last);
            Arc::new(Source::new(origin, past, self.limits, self.gauge.clone()))
        });
        source.join();
        source.clone()
    }

    /// Forgets a source that nobody writes any more, once everything is stored.
    fn retire_if_done(&self, source: &Source) {
        let mut sources = lock(&self.sources);
        // It may have been forgotten, and opened anew, in between.
        let is_known = sources.get(&source.origin.source).is_some_and(|known| std::ptr::eq(&**known, source));
        if is_known && source.is_done() {
            sources.remove(&source.origin.source);
            self.heads.closed(source.origin.source);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.round.wake.notify_one();
        self.heads.wake.notify_one();
    }
}

fn failed(error: sqlx::Error) -> LogError {
    LogError(Box::new(error))
}

/// Nothing is left half done where a panic could strike, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
