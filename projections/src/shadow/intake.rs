//! Events on their way from the log into rows in memory, while PostgreSQL is sent the rows that are finished.

use domain::upcast::Upcast;
use sqlx::{PgConnection, PgPool};
use tokio_util::task::AbortOnDropHandle;

use crate::feed::Fold;
use crate::log::{LogStream, Which};
use crate::rebuild::RebuildError;
use crate::rows::Encoded;

/// A fold, and the events that it is shown.
pub(super) struct Intake {
    pub(super) fold: Box<dyn Fold>,
    /// The last event taken in, or passed by as of no interest.
    pub(super) position: i64,
    /// Whether that was the last one of all.
    pub(super) is_over: bool,
    events: LogStream,
    /// The last one of all.
    to: i64,
    pool: PgPool,
    /// For a fold in memory, which asks it nothing while the other one is busy; made when it is needed first.
    unused: Option<PgConnection>,
}

impl Intake {
    /// The events of the log after a position and up to another.
    pub(super) async fn open(
        pool: &PgPool,
        fold: Box<dyn Fold>,
        (from, to): (i64, i64),
        which: Which,
        steps: &'static [Upcast],
    ) -> Result<Self, RebuildError> {
        let events = LogStream::open(pool, from, to, which, steps).await?;
        Ok(Self { fold, position: from, is_over: false, events, to, pool: pool.clone(), unused: None })
    }

    /// Takes events in up to a position, or a few more; what `fold` holds then is not stored yet.
    pub(super) async fn take_in(mut self, db: &mut PgConnection, end: i64) -> Result<Self, RebuildError> {
        let mut full = vec![];
        loop {
            let is_done = self.is_over || self.position >= end;
            if is_done || full.is_empty() || self.fold.is_heavy() || !self.fold.is_in_memory() {
                copy(db, full).await?;
                self.fold.make_room(db).await?;
                if is_done {
                    return Ok(self);
                }
                full = self.go_on(db, end).await?;
            } else {
                (self, full) = self.go_on_beside(db, full, end).await?;
            }
        }
    }

    /// Takes events in up to a position, or until there is something to store: rows to copy are given away.
    async fn go_on(&mut self, db: &mut PgConnection, end: i64) -> Result<Vec<Encoded>, RebuildError> {
        while !self.is_over && self.position < end {
            let Some(batch) = self.events.next().await.transpose()? else {
                (self.position, self.is_over) = (self.to, true);
                break;
            };
            let applied = self.fold.apply(db, &batch).await;
            applied.map_err(|(position, source)| RebuildError::Refused { position, source })?;
            self.position = batch.last().map_or(self.position, |last| last.position);
            let full = self.fold.take_full();
            if !full.is_empty() || self.fold.is_heavy() {
                return Ok(full);
            }
        }
        Ok(vec![])
    }

    /// As `go_on`, while rows are copied.
    async fn go_on_beside(
        mut self,
        db: &mut PgConnection,
        full: Vec<Encoded>,
        end: i64,
    ) -> Result<(Self, Vec<Encoded>), RebuildError> {
        let mut unused = match self.unused.take() {
            Some(unused) => unused,
            None => crate::pool::alone(&self.pool).await?,
        };
        let position = self.position;
        let beside = AbortOnDropHandle::new(tokio::spawn(async move {
            let full = self.go_on(&mut unused, end).await?;
            self.unused = Some(unused);
            Ok((self, full))
        }));
        copy(db, full).await?;
        beside
            .await
            .unwrap_or_else(|error| Err(RebuildError::Unreadable { position, why: error.to_string() }))
    }
}

async fn copy(db: &mut PgConnection, full: Vec<Encoded>) -> sqlx::Result<()> {
    for rows in full {
        rows.send(db).await?;
    }
    Ok(())
}
