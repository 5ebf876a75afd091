//! Builds a read model anew beside the live one, or takes up one that was kept, and swaps it in. Readers never see
//! an empty table.
//!
//! Invariant: what is swapped in has taken in every event of the log up to the checkpoint it gets; what it replaces
//! is kept with its own checkpoint until it is collected ([`crate::generations`]).

use std::sync::Arc;
use std::time::Duration;

use domain::envelope::Actor;
use domain::operation::OperationEvent;
use domain::upcast::{UPCASTS, Upcast};
use serde::Serialize;
use sqlx::{Connection, PgPool};
use thiserror::Error;

use crate::feed::{self, Consumer};
use crate::generations::{self, Generation};
use crate::shadow::{MEMORY, Shadow, take_in};
use crate::{log, operations};

/// How long a swap waits for readers; as long they wait for it. Well below PostgreSQL's `deadlock_timeout` of 1 s.
const LOCK_PATIENCE: Duration = Duration::from_millis(200);
/// How often a swap is tried: for half a minute.
const SWAP_TRIES: u32 = 100;

/// How a rebuild is to be done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The operator who asks for it: an event says so. The platform itself leaves none.
    pub by: Option<&'a Actor>,
    /// Begin at the first event, also when an interrupted rebuild could go on.
    pub afresh: bool,
    /// Take in, too, what operators have skipped.
    pub with_skipped: bool,
    /// Bytes that rows may take in memory, about: what is more is stored meanwhile and fetched again when it is asked
    /// for. About 67 MB when absent.
    pub memory: Option<usize>,
    /// Other steps than the product's for events of earlier versions.
    pub steps: Option<&'static [Upcast]>,
}

/// A finished rebuild.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// The read model.
    pub name: &'static str,
    /// The last event it has taken in.
    pub position: i64,
    /// How many events there were: as many as the log has up to there.
    pub events: i64,
    /// Number of the generation.
    pub generation: i64,
    /// Where an interrupted rebuild had come to, and this one went on; 0 when it began at the beginning.
    pub resumed_at: i64,
}

/// Why a read model could not be built.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// The database could not be reached, or refused.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The read model refuses an event.
    #[error("the event at position {position} cannot be taken in")]
    Refused {
        /// Position of the event.
        position: i64,
        /// What the database says.
        source: sqlx::Error,
    },
    /// An event is missing or cannot be read.
    #[error("the event at position {position} cannot be read: {why}")]
    Unreadable {
        /// Position of the event.
        position: i64,
        /// Why.
        why: String,
    },
    /// What was taken in is not what the log has.
    #[error(
        "it is not complete: {events} events up to position {position} were taken in, the log has {count} up to {last}"
    )]
    Incomplete {
        /// How many were taken in.
        events: i64,
        /// Up to where.
        position: i64,
        /// How many the log has.
        count: i64,
        /// Up to where.
        last: i64,
    },
    /// Nothing was kept.
    #[error("no generation of {name} is kept to go back to")]
    NoGeneration {
        /// The read model.
        name: &'static str,
    },
    /// What was kept is of other code.
    #[error(
        "generation {generation} of {name} was made by version {stored} of its code and this program has version {ours}: \
         only the program that made it can bring it up to date"
    )]
    OtherVersion {
        /// The read model.
        name: &'static str,
        /// Number of the generation.
        generation: i64,
        /// The version that made it.
        stored: i32,
        /// The version of this program.
        ours: i32,
    },
}

/// Makes what is missing: tables of new read models, checkpoints. What another version of the software has built is
/// built anew, or taken up again if this version's tables were kept.
pub async fn prepare(pool: &PgPool, consumers: &[Arc<dyn Consumer>]) -> Result<(), RebuildError> {
    for consumer in consumers {
        feed::prepare(pool, consumer.as_ref()).await?;
    }
    Ok(())
}

/// As [`rebuild_with`], by the platform itself.
pub async fn rebuild(pool: &PgPool, consumer: &dyn Consumer) -> Result<Rebuilt, RebuildError> {
    rebuild_with(pool, consumer, Options::default()).await
}

/// Builds the tables anew up to the head of the log, then swaps them with the live ones in one transaction. Who
/// reads for the consumer meanwhile loses the lease and goes on from the new checkpoint. What was parked and can be
/// taken in now is; what was skipped stays out. When it fails, what it has done is there for the next one to go on.
pub async fn rebuild_with(
    pool: &PgPool,
    consumer: &dyn Consumer,
    options: Options<'_>,
) -> Result<Rebuilt, RebuildError> {
    feed::create(pool, consumer).await?;
    let shadow = Shadow::building(pool, consumer, options.afresh).await?;
    let mut shadow =
        shadow.within(options.memory.unwrap_or(MEMORY)).upcasting(options.steps.unwrap_or(UPCASTS));
    if options.with_skipped {
        shadow.lot.take_in_skipped();
    }
    let resumed_at = shadow.position;
    let (name, version, generation) = (consumer.name(), consumer.version(), shadow.number);
    let done = |position| OperationEvent::ReadModelRebuilt { name: name.to_owned(), version, position };
    match catch_up_and_swap(pool, &mut shadow, consumer, options.by, &done).await {
        Ok(position) => Ok(Rebuilt { name, position, events: shadow.events, generation, resumed_at }),
        Err(error) => {
            if matches!(error, RebuildError::Incomplete { .. }) {
                shadow.remove().await; // nobody should go on with it
            }
            Err(error)
        }
    }
}

/// Brings the generation that was kept last up to the head of the log and swaps it with the live one, which is kept
/// in its place.
///
/// # Errors
/// When none is kept, or it is of another version of the code: only that can take in what came since.
pub async fn rollback(
    pool: &PgPool,
    consumer: &dyn Consumer,
    by: Option<&Actor>,
) -> Result<Generation, RebuildError> {
    let (name, ours) = (consumer.name(), consumer.version());
    let kept = generations::last_kept(pool, consumer).await?.ok_or(RebuildError::NoGeneration { name })?;
    if kept.version != ours {
        let (generation, stored) = (kept.number, kept.version);
        return Err(RebuildError::OtherVersion { name, generation, stored, ours });
    }
    let mut shadow = Shadow::kept(pool, consumer, kept.schema.clone()).await?;
    let generation = kept.number;
    let done = |position| OperationEvent::ReadModelRolledBack { name: name.to_owned(), generation, position };
    let position = catch_up_and_swap(pool, &mut shadow, consumer, by, &done).await?;
    Ok(Generation { position, events: shadow.events, ..kept })
}

async fn catch_up_and_swap(
    pool: &PgPool,
    shadow: &mut Shadow,
    consumer: &dyn Consumer,
    by: Option<&Actor>,
    done: &(dyn Fn(i64) -> OperationEvent + Sync),
) -> Result<i64, RebuildError> {
    let mut tries = 0;
    loop {
        tries += 1;
        // All but the last few events before anybody has to wait for us.
        shadow.catch_up(consumer, log::head(pool).await?).await?;
        shadow.check().await?;
        match swap(shadow, consumer, by, done).await {
            Err(RebuildError::Database(error)) if is_lock_conflict(&error) && tries < SWAP_TRIES => {
                tracing::debug!(
                    consumer = consumer.name(),
                    tries,
                    "the tables are being read; swapped later"
                );
                tokio::time::sleep(LOCK_PATIENCE / 2).await;
            }
            swapped => return swapped,
        }
    }
}

/// Takes in what is left, keeps the live tables in a schema of their own, and puts the others in their place; all
/// of it or nothing.
async fn swap(
    shadow: &mut Shadow,
    consumer: &dyn Consumer,
    by: Option<&Actor>,
    done: &(dyn Fn(i64) -> OperationEvent + Sync),
) -> Result<i64, RebuildError> {
    let (name, checked) = (consumer.name(), shadow.position);
    let mut tx = shadow.db.begin().await?;
    // The checkpoint stands still from here on; what is taken in under the old fence is rolled back.
    sqlx::query("SELECT name FROM consumers WHERE name = $1 FOR UPDATE").bind(name).execute(&mut *tx).await?;
    let head = log::head(&mut *tx).await?;
    let (mut lot, mut position) = (shadow.lot.clone(), checked);
    while position < head {
        position = take_in(&mut tx, consumer, &mut lot, shadow.steps, position, head).await?;
    }
    // A reader of several tables and we may wait for each other: we give way, long before PostgreSQL chooses.
    let patience = format!("SET LOCAL lock_timeout = {}", LOCK_PATIENCE.as_millis());
    sqlx::raw_sql(&patience).execute(&mut *tx).await?;
    generations::keep_live(&mut tx, consumer).await?;
    if lot.takes_in_skipped() {
        sqlx::query("DELETE FROM skipped WHERE consumer = $1").bind(name).execute(&mut *tx).await?;
    }
    generations::make_live(&mut tx, consumer, &shadow.schema).await?;
    sqlx::query(
        "UPDATE consumers SET version = $2, position = $3, generation = $4, table_names = $5, fence = fence + 1,
                              lease_owner = NULL, lease_until = NULL
          WHERE name = $1",
    )
    .bind(name)
    .bind(consumer.version())
    .bind(position)
    .bind(shadow.number)
    .bind(consumer.table_names())
    .execute(&mut *tx)
    .await?;
    if let Some(actor) = by {
        operations::record(&mut tx, actor, &done(position)).await?;
    }
    tx.commit().await?;
    // What came after the check was read without a hole, or the batch would have ended before it.
    shadow.events += position - checked;
    shadow.position = position;
    Ok(position)
}

/// Whether somebody else held a lock for too long.
fn is_lock_conflict(error: &sqlx::Error) -> bool {
    const LOCK_NOT_AVAILABLE: &str = "55P03";
    const DEADLOCK_DETECTED: &str = "40P01";
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == LOCK_NOT_AVAILABLE || code == DEADLOCK_DETECTED)
}
