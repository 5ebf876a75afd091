//! What operators do about what waits: another try, or never.
//!
//! All of it holds the consumer's row, so that whoever reads for the consumer stands still meanwhile, and leaves it
//! with a new fence, so that he looks again at what waits before he goes on.

use domain::envelope::Actor;
use domain::ids::EventId;
use domain::operation::OperationEvent;
use domain::upcast::{UPCASTS, Upcast};
use serde::Serialize;
use sqlx::{PgConnection, PgPool, Row};
use thiserror::Error;

use super::lot::attempt;
use super::{LIVE, events, is_of_the_event};
use crate::feed::Consumer;
use crate::{log, operations};

/// How another try ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Retried {
    /// How many events were taken in.
    pub taken: i64,
    /// How many still wait.
    pub left: i64,
    /// Why the first of them is refused.
    pub error: Option<String>,
}

/// Why nothing was tried or skipped.
#[derive(Debug, Error)]
pub enum RetryError {
    /// The database could not be used.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// Nothing of this name waits.
    #[error("nothing waits there: {0}")]
    Nothing(String),
    /// The tables are those of another version of the code.
    #[error("{name} was not built by version {version} of its code; the server builds it when it starts")]
    OtherVersion {
        /// The read model.
        name: &'static str,
        /// The version of its code.
        version: i32,
    },
}

/// Takes in what waits of one partition of a read model, in order, up to the first event that is refused again.
///
/// # Errors
/// When nothing waits there, or the tables are of another version of the code.
pub async fn retry(
    pool: &PgPool,
    consumer: &dyn Consumer,
    partition: &str,
    by: &Actor,
) -> Result<Retried, RetryError> {
    let (name, version) = (consumer.name(), consumer.version());
    let mut tx = pool.begin_with("BEGIN; SET LOCAL search_path = read, public").await?;
    let stored = lock(&mut tx, name).await?;
    if stored != Some(version) {
        return Err(RetryError::OtherVersion { name, version });
    }
    let retried = try_again(&mut tx, consumer, UPCASTS, partition, by).await?;
    tx.commit().await?;
    retried.ok_or_else(|| RetryError::Nothing(format!("{name} {partition}")))
}

/// As `retry`, by who holds the consumer's row in this transaction. None when nothing waits there.
pub(crate) async fn try_again(
    db: &mut PgConnection,
    consumer: &dyn Consumer,
    steps: &[Upcast],
    partition: &str,
    by: &Actor,
) -> sqlx::Result<Option<Retried>> {
    let name = consumer.name();
    let waiting = events(&mut *db, name, partition).await?;
    if waiting.is_empty() {
        return Ok(None);
    }
    let (mut taken, mut error) = (0, None);
    for parked in &waiting {
        let stored = log::find(&mut *db, parked.event_id).await?.ok_or(sqlx::Error::RowNotFound)?;
        let refusal = match stored.read_with(steps) {
            Err(unreadable) => Some(unreadable.to_string()),
            Ok(event) => match attempt(&mut *db, consumer, &event).await {
                Ok(()) => None,
                Err(error) if is_of_the_event(&error) => Some(error.to_string()),
                Err(error) => return Err(error),
            },
        };
        if let Some(refusal) = refusal {
            sqlx::query(
                "UPDATE public.parked SET error = $4, attempts = attempts + 1, asked_by = NULL
                  WHERE consumer = $1 AND schema_name = $2 AND position = $3",
            )
            .bind(name)
            .bind(LIVE)
            .bind(parked.position)
            .bind(&refusal)
            .execute(&mut *db)
            .await?;
            error = Some(refusal);
            break;
        }
        unpark(&mut *db, name, parked.position).await?;
        taken += 1;
    }
    new_fence(&mut *db, name).await?;
    let left = i64::try_from(waiting.len()).unwrap_or(i64::MAX) - taken;
    let (consumer, partition) = (name.to_owned(), partition.to_owned());
    let done = OperationEvent::DeadLetterRetried { consumer, partition, events: taken };
    operations::record(db, by, &done).await?;
    Ok(Some(Retried { taken, left, error }))
}

/// Asks whoever reads for the consumer to try again: only a server has the code of processes. False when nothing
/// waits there.
///
/// # Errors
/// When the database refuses.
pub async fn ask(pool: &PgPool, consumer: &str, partition: &str, by: &Actor) -> sqlx::Result<bool> {
    let mut tx = pool.begin().await?;
    lock(&mut tx, consumer).await?;
    let asked = sqlx::query(
        "UPDATE public.parked SET asked_by = $4 WHERE (consumer, schema_name, position) IN
            (SELECT consumer, schema_name, position FROM public.parked
              WHERE consumer = $1 AND schema_name = $2 AND partition = $3 ORDER BY position LIMIT 1)",
    )
    .bind(consumer)
    .bind(LIVE)
    .bind(partition)
    .bind(by.to_string())
    .execute(&mut *tx)
    .await?;
    if asked.rows_affected() == 0 {
        return Ok(false);
    }
    new_fence(&mut tx, consumer).await?;
    tx.commit().await?;
    Ok(true)
}

/// Drops one parked event: this consumer never takes it in, not even when its tables are built anew. What waits
/// behind it goes on waiting for another try.
///
/// # Errors
/// When this event does not wait.
pub async fn skip(
    pool: &PgPool,
    consumer: &str,
    event_id: EventId,
    reason: &str,
    by: &Actor,
) -> Result<(), RetryError> {
    let mut tx = pool.begin().await?;
    lock(&mut tx, consumer).await?;
    let row = sqlx::query(
        "DELETE FROM public.parked WHERE consumer = $1 AND schema_name = $2 AND event_id = $3
         RETURNING position, partition",
    )
    .bind(consumer)
    .bind(LIVE)
    .bind(event_id.0)
    .fetch_optional(&mut *tx)
    .await?
    .ok_or_else(|| RetryError::Nothing(format!("{consumer}, event {event_id}")))?;
    let (position, partition): (i64, String) = (row.try_get("position")?, row.try_get("partition")?);
    sqlx::query(
        "INSERT INTO public.skipped (consumer, position, event_id, partition, reason, skipped_by)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(consumer)
    .bind(position)
    .bind(event_id.0)
    .bind(&partition)
    .bind(reason)
    .bind(by.to_string())
    .execute(&mut *tx)
    .await?;
    // What is first now was never tried: it says what it waits for.
    sqlx::query(
        "UPDATE public.parked SET error = coalesce(error, 'not tried since the event before it was skipped')
          WHERE (consumer, schema_name, position) IN
            (SELECT consumer, schema_name, position FROM public.parked
              WHERE consumer = $1 AND schema_name = $2 AND partition = $3 ORDER BY position LIMIT 1)",
    )
    .bind(consumer)
    .bind(LIVE)
    .bind(&partition)
    .execute(&mut *tx)
    .await?;
    new_fence(&mut tx, consumer).await?;
    let (consumer, reason) = (consumer.to_owned(), reason.to_owned());
    let done = OperationEvent::DeadLetterSkipped { consumer, partition, event_id, position, reason };
    operations::record(&mut tx, by, &done).await?;
    Ok(tx.commit().await?)
}

/// The version of the consumer's tables, which stand still until the transaction ends.
async fn lock(db: &mut PgConnection, consumer: &str) -> sqlx::Result<Option<i32>> {
    sqlx::query_scalar("SELECT version FROM public.consumers WHERE name = $1 FOR UPDATE")
        .bind(consumer)
        .fetch_optional(db)
        .await
}

async fn new_fence(db: &mut PgConnection, consumer: &str) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE public.consumers SET fence = fence + 1, lease_owner = NULL, lease_until = NULL WHERE name = $1",
    )
    .bind(consumer)
    .execute(db)
    .await
    .map(drop)
}

async fn unpark(db: &mut PgConnection, consumer: &str, position: i64) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM public.parked WHERE consumer = $1 AND schema_name = $2 AND position = $3")
        .bind(consumer)
        .bind(LIVE)
        .bind(position)
        .execute(db)
        .await
        .map(drop)
}
