//! Builds a read model anew beside the live one and swaps it in. Readers never see an empty table.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sqlx::{Connection, PgPool};
use thiserror::Error;

use crate::feed::{self, Consumer};
use crate::log;
use crate::shadow::{MEMORY, Shadow, take_in};

/// How long a swap waits for readers; as long they wait for it. Well below PostgreSQL's `deadlock_timeout` of 1 s.
const LOCK_PATIENCE: Duration = Duration::from_millis(200);
/// How often a swap is tried: for half a minute.
const SWAP_TRIES: u32 = 100;

/// A finished rebuild.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// The read model.
    pub name: &'static str,
    /// The last event it has taken in.
    pub position: i64,
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
}

/// Makes what is missing: tables of new read models, checkpoints. What another version of the software has built is
/// built anew.
pub async fn prepare(pool: &PgPool, consumers: &[Arc<dyn Consumer>]) -> Result<(), RebuildError> {
    for consumer in consumers {
        feed::prepare(pool, consumer.as_ref()).await?;
    }
    Ok(())
}

/// Builds the tables anew up to the head of the log, then swaps them with the live ones in one transaction. Who
/// reads for the consumer meanwhile loses the lease and goes on from the new checkpoint.
pub async fn rebuild(pool: &PgPool, consumer: &dyn Consumer) -> Result<Rebuilt, RebuildError> {
    rebuild_within(pool, consumer, MEMORY).await
}

/// As `rebuild`, with another bound for what its rows may take in memory, in bytes: what is more is stored meanwhile
/// and fetched again when it is asked for.
pub async fn rebuild_within(
    pool: &PgPool,
    consumer: &dyn Consumer,
    memory: usize,
) -> Result<Rebuilt, RebuildError> {
    feed::create(pool, consumer).await?;
    let mut shadow = Shadow::create(pool, "rebuild", consumer).await?.within(memory);
    let built = build_and_swap(pool, &mut shadow, consumer).await;
    shadow.remove().await;
    built.map(|position| Rebuilt { name: consumer.name(), position })
}

async fn build_and_swap(
    pool: &PgPool,
    shadow: &mut Shadow,
    consumer: &dyn Consumer,
) -> Result<i64, RebuildError> {
    let mut tries = 0;
    loop {
        tries += 1;
        // All but the last few events before anybody has to wait for us.
        shadow.catch_up(consumer, log::head(pool).await?).await?;
        match swap(shadow, consumer).await {
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

/// Takes in what is left and puts the shadow tables in the place of the live ones; both or neither.
async fn swap(shadow: &mut Shadow, consumer: &dyn Consumer) -> Result<i64, RebuildError> {
    let (name, schema, mut position) = (consumer.name(), shadow.schema.clone(), shadow.position);
    let mut tx = shadow.db.begin().await?;
    // The checkpoint stands still from here on; what is taken in under the old fence is rolled back.
    sqlx::query("SELECT name FROM consumers WHERE name = $1 FOR UPDATE").bind(name).execute(&mut *tx).await?;
    let head = log::head(&mut *tx).await?;
    while position < head {
        position = take_in(&mut tx, consumer, position, head).await?;
    }
    // A reader of several tables and we may wait for each other: we give way, long before PostgreSQL chooses.
    let patience = format!("SET LOCAL lock_timeout = {}", LOCK_PATIENCE.as_millis());
    sqlx::raw_sql(&patience).execute(&mut *tx).await?;
    for table in consumer.table_names() {
        let swap = format!("DROP TABLE IF EXISTS read.{table}; ALTER TABLE {schema}.{table} SET SCHEMA read");
        sqlx::raw_sql(&swap).execute(&mut *tx).await?;
    }
    sqlx::query(
        "UPDATE consumers SET version = $2, position = $3, fence = fence + 1, lease_owner = NULL, lease_until = NULL
          WHERE name = $1",
    )
    .bind(name)
    .bind(consumer.version())
    .bind(position)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(position)
}

/// Whether somebody else held a lock for too long.
fn is_lock_conflict(error: &sqlx::Error) -> bool {
    const LOCK_NOT_AVAILABLE: &str = "55P03";
    const DEADLOCK_DETECTED: &str = "40P01";
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == LOCK_NOT_AVAILABLE || code == DEADLOCK_DETECTED)
}
