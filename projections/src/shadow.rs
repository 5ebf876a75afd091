//! Tables of a read model built anew beside the live ones, in a schema of their own.

use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection, PgPool};

use crate::feed::{Batch, Consumer};
use crate::rebuild::RebuildError;

/// The shadow tables and the connection that builds them, on which their names come before the live ones'.
pub(crate) struct Shadow {
    pub(crate) db: PgConnection,
    pub(crate) schema: String,
    /// The last event taken in.
    pub(crate) position: i64,
}

impl Shadow {
    /// Makes empty tables. Waits for another shadow of this name; removes what a killed one has left.
    pub(crate) async fn create(pool: &PgPool, purpose: &str, consumer: &dyn Consumer) -> sqlx::Result<Self> {
        let schema = format!("{purpose}_{}", consumer.name());
        let mut db = pool.connect_options().connect().await?;
        sqlx::raw_sql("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
            .execute(&mut db)
            .await?;
        sqlx::query("SELECT pg_advisory_lock(hashtextextended($1, 0))")
            .bind(&schema)
            .execute(&mut db)
            .await?;
        sqlx::raw_sql(&format!(
            "DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}; SET search_path = {schema}, public"
        ))
        .execute(&mut db)
        .await?;
        sqlx::raw_sql(consumer.tables()).execute(&mut db).await?;
        Ok(Self { db, schema, position: 0 })
    }

    /// Takes in the events up to `to`, a transaction a batch.
    pub(crate) async fn catch_up(&mut self, consumer: &dyn Consumer, to: i64) -> Result<(), RebuildError> {
        while self.position < to {
            let mut tx = self.db.begin_with("BEGIN; SET LOCAL synchronous_commit = off").await?;
            let position = take_in(&mut tx, consumer, self.position, to).await?;
            tx.commit().await?;
            self.position = position;
        }
        Ok(())
    }

    /// Removes what is left of it. Best effort: the next one of this name removes it as well.
    pub(crate) async fn remove(mut self) {
        let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.schema);
        if let Err(error) = sqlx::raw_sql(&drop).execute(&mut self.db).await {
            tracing::warn!(%error, "the schema {} was not removed", self.schema);
        }
    }
}

/// Takes in one batch of the events after `from` and up to `to`; answers the last one's position.
pub(crate) async fn take_in(
    db: &mut PgConnection,
    consumer: &dyn Consumer,
    from: i64,
    to: i64,
) -> Result<i64, RebuildError> {
    let batch = Batch::read(&mut *db, from).await?;
    let mut position = from;
    for event in batch.after(from).iter().take_while(|event| event.position <= to) {
        consumer
            .apply(db, event)
            .await
            .map_err(|source| RebuildError::Refused { position: event.position, source })?;
        position = event.position;
    }
    if position == from {
        let why = batch.broken().unwrap_or("the log ends before").to_owned();
        return Err(RebuildError::Unreadable { position: from + 1, why });
    }
    Ok(position)
}
