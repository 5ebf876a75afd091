//! Reads the log for all consumers of this process: those at the same place share one read.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use domain::fact::{Recorded, UnreadableEvent};
use domain::upcast::Upcast;
use sqlx::PgPool;
use tokio::sync::Mutex;

use super::BATCH;
use super::bell::Bell;
use crate::log;

/// Events that follow each other without a hole.
pub(crate) struct Batch {
    /// What comes before them.
    after: i64,
    events: Vec<Recorded>,
    /// Why the event that follows cannot be had.
    broken: Option<Broken>,
    /// Whether there was nothing more to read.
    is_tail: bool,
    /// How often the bell had been rung when it was read.
    pub(super) rings: u64,
}

/// Why the event that follows cannot be had.
pub(crate) enum Broken {
    /// This version of the software does not know it.
    Unreadable(UnreadableEvent),
    /// It is not there, and reading on would lose it.
    Missing(String),
}

/// What a batch has for a consumer.
pub(super) enum Next<'a> {
    /// Events, at least one.
    Events(&'a [Recorded]),
    /// The event that follows cannot be had.
    Broken(&'a Broken),
    /// Nothing more.
    Nothing,
}

/// The log as the consumers of this process see it.
pub(super) struct Source {
    pool: PgPool,
    /// How events of earlier versions are read.
    pub(super) steps: &'static [Upcast],
    bell: Bell,
    /// The batch that was read last. Held while reading: who comes meanwhile finds it read.
    last: Mutex<Arc<Batch>>,
    /// The end of the furthest batch.
    seen: AtomicI64,
}

impl Batch {
    /// Turns rows into events up to the first that is missing or cannot be read.
    pub(crate) async fn read(
        db: impl sqlx::PgExecutor<'_>,
        after: i64,
        steps: &[Upcast],
    ) -> sqlx::Result<Self> {
        let limit = i64::try_from(BATCH).expect("it is small");
        let rows = log::read_after(db, after, limit).await?;
        let is_tail = rows.len() < BATCH;
        let mut batch =
            Self { after, events: Vec::with_capacity(rows.len()), broken: None, is_tail, rings: 0 };
        for row in rows {
            let (expected, found) = (batch.end() + 1, row.position);
            if found != expected {
                let why = format!("the log has no event at position {expected}: {found} follows");
                batch.broken = Some(Broken::Missing(why));
                break;
            }
            match row.read_with(steps) {
                Ok(recorded) => batch.events.push(recorded),
                Err(error) => {
                    batch.broken = Some(Broken::Unreadable(error));
                    break;
                }
            }
        }
        Ok(batch)
    }

    /// What follows `position`.
    pub(super) fn next(&self, position: i64) -> Next<'_> {
        let events = self.after(position);
        match &self.broken {
            _ if !events.is_empty() => Next::Events(events),
            Some(broken) => Next::Broken(broken),
            None => Next::Nothing,
        }
    }

    /// The events after `position`.
    pub(crate) fn after(&self, position: i64) -> &[Recorded] {
        &self.events[self.events.partition_point(|event| event.position <= position)..]
    }

    /// Why what follows its events cannot be read.
    pub(crate) fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    fn end(&self) -> i64 {
        self.events.last().map_or(self.after, |event| event.position)
    }

    /// Whether it still tells what follows `position`, when the bell was rung so often.
    fn answers(&self, position: i64, rings: u64) -> bool {
        let more = self.after <= position && position < self.end();
        let nothing_more =
            position == self.end() && self.is_tail && self.broken.is_none() && self.rings == rings;
        more || nothing_more
    }
}

impl Source {
    pub(super) fn new(pool: PgPool, steps: &'static [Upcast], bell: Bell) -> Self {
        let nothing = Batch { after: -1, events: vec![], broken: None, is_tail: false, rings: 0 };
        Self { pool, steps, bell, last: Mutex::new(Arc::new(nothing)), seen: AtomicI64::new(0) }
    }

    /// A batch that tells what follows `position`.
    pub(super) async fn after(&self, position: i64) -> sqlx::Result<Arc<Batch>> {
        let mut last = self.last.lock().await;
        let rings = self.bell.rings(); // before reading: what is appended later rings again
        if !last.answers(position, rings) {
            let read = Batch::read(&self.pool, position, self.steps).await?;
            self.seen.fetch_max(read.end(), Ordering::Relaxed);
            *last = Arc::new(Batch { rings, ..read });
        }
        Ok(last.clone())
    }

    /// Somebody says how far the log goes: rings when that is news.
    pub(super) fn head_is(&self, head: i64) {
        if head > self.seen.load(Ordering::Relaxed) {
            self.bell.ring();
        }
    }

    /// Waits until there may be more than when this batch was read.
    pub(super) async fn more_than(&self, batch: &Batch) {
        self.bell.rung_since(batch.rings).await;
    }
}
