//! Fills tables from the beginning of the log: a fold in memory, copied into tables without indexes, which are made
//! afterwards.
//!
//! Invariant: where it was interrupted the next one goes on. Pieces are committed with their position; that an index
//! is missing says that the tables are not filled yet.

use sqlx::Connection;

use super::indexes::Indexes;
use super::intake::Intake;
use super::{Reach, Shadow, make, note};
use crate::feed::{Consumer, Fold};
use crate::log::Which;
use crate::parked::is_of_the_event;
use crate::rebuild::RebuildError;

/// Bytes that rows take in memory meanwhile, about. What is read ahead and on its way into a table comes on top.
pub(crate) const MEMORY: usize = 64 << 20;

/// Events of the first piece.
const FIRST_PIECE: i64 = 5_000;
/// Each piece has so many times the events of the one before: the rows that change in each are stored in each.
const GROWTH: i64 = 20;
/// Events of the longest piece: who is interrupted does so many again.
const LONGEST_PIECE: i64 = 2_000_000;

/// Rows are fetched and changed by their keys, also in tables without statistics.
const BEGIN: &str = "BEGIN; SET LOCAL synchronous_commit = off; SET LOCAL enable_seqscan = off;
    SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";

impl Shadow {
    /// Fills the tables up to `to`, if they are empty or were being filled, and nothing of it waits or is left out.
    /// When an event is to blame that it cannot go on, they are empty again: batch by batch it is found and parked.
    pub(super) async fn fill(&mut self, consumer: &dyn Consumer, to: i64) -> Result<(), RebuildError> {
        if self.is_filled || !self.lot.is_empty() {
            return Ok(());
        }
        self.is_filled = true;
        let Some(fold) = consumer.fold(self.memory, self.position == 0) else { return Ok(()) };
        let indexes = Indexes::of(&mut self.db, &self.schema, consumer).await?;
        if self.position > 0 && !indexes.are_missing(&mut self.db).await? {
            return Ok(());
        }
        match self.fill_with(consumer, fold, &indexes, to).await {
            Err(error) if is_to_blame(&error) => {
                tracing::info!(consumer = consumer.name(), %error, "{} is built batch by batch", self.schema);
                let state = if self.lot.parks() { "building" } else { "proving" };
                self.number = make(&mut self.db, consumer, &self.schema, state).await?;
                (self.position, self.events) = (0, 0);
                Ok(())
            }
            filled => filled,
        }
    }

    async fn fill_with(
        &mut self,
        consumer: &dyn Consumer,
        fold: Box<dyn Fold>,
        indexes: &Indexes,
        to: i64,
    ) -> Result<(), RebuildError> {
        // A proof is shown every event, so that it finds that the kinds and types are not all.
        let parks = self.lot.parks();
        let some = Which { kinds: consumer.kinds(), but: consumer.passes_over() };
        let which = if parks { some } else { Which::default() };
        let mut intake = Intake::open(&self.pool, fold, (self.position, to), which, self.steps).await?;
        let begins = self.position == 0;
        let mut piece = FIRST_PIECE;
        while !intake.is_over {
            let from = self.position;
            let mut tx = self.db.begin_with(BEGIN).await?;
            if from == 0 {
                indexes.remove(&mut tx).await?;
            }
            intake = intake.take_in(&mut tx, from + piece).await?;
            intake.fold.store(&mut tx, intake.is_over).await?;
            let (position, events) = (intake.position, self.events + intake.position - from);
            note(&mut tx, &self.schema, position, events).await?;
            tx.commit().await?;
            (self.position, self.events) = (position, events);
            piece = (piece * GROWTH).min(LONGEST_PIECE);
        }
        if begins {
            self.compared = Reach { position: self.position, events: self.events };
        }
        // Many rows take their time to be forgotten.
        let _nobody_waits = tokio::task::spawn_blocking(move || drop(intake));
        Ok(indexes.put_back(&self.pool, &mut self.db).await?)
    }
}

/// Whether an event is to blame, or what the events together have made of the tables.
fn is_to_blame(error: &RebuildError) -> bool {
    match error {
        RebuildError::Unreadable { .. } => true,
        RebuildError::Refused { source, .. } | RebuildError::Database(source) => is_of_the_event(source),
        _ => false,
    }
}
