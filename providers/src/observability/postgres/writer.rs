//! The one task that stores lines, of all sources in turn.
//!
//! An idle source's line is stored at once; what comes within the next moments is stored together.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::source::{Source, Taken};
use super::{Shared, lock, store};

/// Lines of a batch, at most.
const LINES: usize = 500;
/// Bytes of a batch, about.
const BYTES: usize = 1 << 20;
/// Batches that are not full begin at least so far apart.
const GATHER: Duration = Duration::from_millis(20);
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The sources that have something to store, in turn.
#[derive(Default)]
pub(super) struct Round {
    sources: Mutex<VecDeque<Arc<Source>>>,
    pub(super) wake: Arc<Notify>,
}

/// What is stored of one source in one batch.
pub(super) struct Part {
    pub(super) source: Arc<Source>,
    pub(super) taken: Taken,
}

/// Stores until nobody is left who could write.
pub(super) async fn run(shared: Weak<Shared>, wake: Arc<Notify>) {
    loop {
        wake.notified().await;
        let Some(shared) = shared.upgrade() else { return };
        loop {
            let begun = Instant::now();
            let mut batch = shared.next_batch();
            if batch.is_empty() {
                break;
            }
            shared.store(&mut batch).await;
            let full = batch.iter().map(|part| part.taken.lines.len()).sum::<usize>() >= LINES;
            shared.conclude(batch);
            if !full {
                sleep_until(begun + GATHER).await;
            }
        }
    }
}

impl Shared {
    /// Tells the writer, if it must know, that there is something to store.
    pub(super) fn schedule(&self, source: &Arc<Source>) {
        if source.needs_writer() {
            lock(&self.round.sources).push_back(source.clone());
            self.round.wake.notify_one();
        }
    }

    fn next_batch(&self) -> Vec<Part> {
        let mut batch = Vec::new();
        let (mut lines, mut bytes) = (LINES, BYTES);
        while lines > 0 && bytes > 0 {
            let Some(source) = lock(&self.round.sources).pop_front() else { break };
            if batch.iter().any(|part: &Part| Arc::ptr_eq(&part.source, &source)) {
                lock(&self.round.sources).push_front(source); // it got new lines just now: the next batch's
                break;
            }
            let taken = source.take(lines, bytes);
            lines -= taken.lines.len();
            bytes = bytes.saturating_sub(taken.lines.iter().map(|line| line.text.len()).sum());
            batch.push(Part { source, taken });
        }
        batch
    }

    /// Stores a batch, however long it takes: meanwhile lines wait in their queues.
    async fn store(&self, batch: &mut [Part]) {
        let mut pause = Duration::from_millis(10);
        let mut outcome = self.try_to_store(batch).await;
        if let Err(error) = &outcome {
            tracing::warn!("log lines cannot be stored now, they are kept: {error}");
        }
        while let Err(error) = outcome {
            if matches!(error, sqlx::Error::PoolClosed) {
                tracing::error!("log lines are lost: the connection to the log store was closed for good");
                return;
            }
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
            outcome = match self.renumber(batch).await {
                Ok(true) => self.fill_in(batch).await,
                Ok(false) => self.try_to_store(batch).await,
                Err(error) => Err(error),
            };
        }
    }

    async fn try_to_store(&self, batch: &[Part]) -> sqlx::Result<()> {
        if batch.iter().any(|part| !part.taken.lines.is_empty()) {
            store::insert(&self.pool, batch).await?;
        }
        self.fill_in(batch).await
    }

    async fn fill_in(&self, batch: &[Part]) -> sqlx::Result<()> {
        for Part { source, taken } in batch {
            if let Some(dropped) = taken.dropped {
                store::fill_in(&self.pool, source.origin.source, dropped).await?;
            }
        }
        Ok(())
    }

    /// After a failure: whether the lines are stored nevertheless, because only the answer was lost. If they
    /// are not, they go behind what others may have stored.
    async fn renumber(&self, batch: &mut [Part]) -> sqlx::Result<bool> {
        let first = batch.iter().find_map(|part| Some((part, part.taken.lines.first()?)));
        let Some((part, line)) = first else { return Ok(false) };
        if store::holds(&self.pool, part.source.origin.source, part.taken.last + 1, line).await? {
            return Ok(true);
        }
        let sources: Vec<_> = batch.iter().map(|part| part.source.origin.source).collect();
        let last = store::last_seqs(&self.pool, &sources).await?;
        for part in batch {
            let own = part.source.origin.source;
            part.taken.last = last.iter().find(|(source, _)| *source == own).map_or(0, |(_, last)| *last);
        }
        Ok(false)
    }

    fn conclude(&self, batch: Vec<Part>) {
        for Part { source, taken } in batch {
            source.stored(&taken);
            self.heads.raise(source.origin.source, taken.last + taken.lines.len() as i64);
            source.renew();
            self.schedule(&source);
            self.retire_if_done(&source);
        }
    }
}
