//! What operators do to a consumer: pause it, let it go on, set its checkpoint.
//!
//! Invariant: each gives the consumer's row a new fence in the same statement, so whoever reads for it has lost the
//! lease from then on, whatever he has in hand.

use domain::envelope::Actor;
use domain::operation::OperationEvent;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgPool, Postgres};
use thiserror::Error;

use crate::{log, operations};

/// Why it was not done.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The database could not be used.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// There is no such consumer.
    #[error("there is no consumer {0}")]
    Unknown(String),
}

/// Nobody reads for it any more, from now on and until `resume`. False when it was paused already.
///
/// # Errors
/// When there is no such consumer.
pub async fn pause(pool: &PgPool, name: &str, by: &Actor) -> Result<bool, ControlError> {
    let done = OperationEvent::ConsumerPaused { consumer: name.to_owned() };
    let pause = sqlx::query(
        "UPDATE consumers SET paused_at = now(), paused_by = $2, fence = fence + 1, lease_owner = NULL,
                              lease_until = NULL
          WHERE name = $1 AND paused_at IS NULL",
    );
    change(pool, name, pause.bind(name).bind(by.to_string()), by, &done).await
}

/// Whoever takes the lease first reads on for it. False when it was not paused.
///
/// # Errors
/// When there is no such consumer.
pub async fn resume(pool: &PgPool, name: &str, by: &Actor) -> Result<bool, ControlError> {
    let done = OperationEvent::ConsumerResumed { consumer: name.to_owned() };
    let resume = sqlx::query(
        "UPDATE consumers SET paused_at = NULL, paused_by = NULL, fence = fence + 1
          WHERE name = $1 AND paused_at IS NOT NULL",
    );
    change(pool, name, resume.bind(name), by, &done).await
}

async fn change(
    pool: &PgPool,
    name: &str,
    statement: Query<'_, Postgres, PgArguments>,
    by: &Actor,
    done: &OperationEvent,
) -> Result<bool, ControlError> {
    let mut tx = pool.begin().await?;
    let changed = statement.execute(&mut *tx).await?;
    if changed.rows_affected() == 0 {
        let found = sqlx::query("SELECT name FROM consumers WHERE name = $1").bind(name);
        let found = found.fetch_optional(&mut *tx).await?;
        return if found.is_some() { Ok(false) } else { Err(ControlError::Unknown(name.to_owned())) };
    }
    operations::record(&mut tx, by, done).await?;
    tx.commit().await?;
    Ok(true)
}

/// Moves the checkpoint to the end of the log: what lies between is never taken in. For processes. Answers where
/// the checkpoint was and where it is.
///
/// # Errors
/// When there is no such consumer.
pub async fn reset_to_head(pool: &PgPool, name: &str, by: &Actor) -> Result<(i64, i64), ControlError> {
    let mut tx = pool.begin().await?;
    let old_position: i64 = sqlx::query_scalar("SELECT position FROM consumers WHERE name = $1 FOR UPDATE")
        .bind(name)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or_else(|| ControlError::Unknown(name.to_owned()))?;
    let position = log::head(&mut *tx).await?;
    sqlx::query(
        "UPDATE consumers SET position = $2, fence = fence + 1, lease_owner = NULL, lease_until = NULL
          WHERE name = $1",
    )
    .bind(name)
    .bind(position)
    .execute(&mut *tx)
    .await?;
    let consumer = name.to_owned();
    let done = OperationEvent::ConsumerReset { consumer, old_position, position };
    operations::record(&mut tx, by, &done).await?;
    tx.commit().await?;
    Ok((old_position, position))
}
