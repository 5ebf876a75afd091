//! Tables of a read model built anew beside the live ones, in a schema of their own.

mod indexes;

use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection, PgPool};

use crate::feed::{Batch, Consumer, Fold};
use crate::log::LogStream;
use crate::rebuild::RebuildError;
use crate::shadow::indexes::Indexes;

/// Bytes that rows take in memory while tables are filled, about. What is read ahead and on its way into a table comes
/// on top.
pub(crate) const MEMORY: usize = 96 << 20;

/// It takes as long as it takes, and what a crash leaves of it is thrown away.
const SETTINGS: &str = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
    SET synchronous_commit = off; SET maintenance_work_mem = '128MB'";

/// Rows are fetched and changed by their keys, also in tables without statistics.
const BY_KEY: &str = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";
const AS_EVER: &str = "RESET enable_seqscan; RESET enable_hashjoin; RESET enable_mergejoin";

/// The shadow tables and the connection that builds them, on which their names come before the live ones'.
pub(crate) struct Shadow {
    pub(crate) db: PgConnection,
    pub(crate) schema: String,
    /// The last event taken in.
    pub(crate) position: i64,
    /// Where the log is read.
    pool: PgPool,
    memory: usize,
}

impl Shadow {
    /// Makes empty tables. Waits for another shadow of this name; removes what a killed one has left.
    pub(crate) async fn create(pool: &PgPool, purpose: &str, consumer: &dyn Consumer) -> sqlx::Result<Self> {
        let schema = format!("{purpose}_{}", consumer.name());
        let mut db = pool.connect_options().connect().await?;
        sqlx::raw_sql(SETTINGS).execute(&mut db).await?;
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
        Ok(Self { db, schema, position: 0, pool: pool.clone(), memory: MEMORY })
    }

    /// Its rows may take only so many bytes in memory.
    pub(crate) fn within(mut self, memory: usize) -> Self {
        self.memory = memory;
        self
    }

    /// Takes in the events up to `to`: into empty tables by a fold in memory, later a transaction a batch.
    pub(crate) async fn catch_up(&mut self, consumer: &dyn Consumer, to: i64) -> Result<(), RebuildError> {
        if self.position == 0
            && let Some(fold) = consumer.fold(self.memory)
        {
            self.fill(consumer.kinds(), fold, to).await?;
        }
        while self.position < to {
            let mut tx = self.db.begin_with("BEGIN; SET LOCAL synchronous_commit = off").await?;
            let position = take_in(&mut tx, consumer, self.position, to).await?;
            tx.commit().await?;
            self.position = position;
        }
        Ok(())
    }

    /// Fills empty tables. Rows are copied into them without indexes, which are made afterwards.
    async fn fill(
        &mut self,
        kinds: &[&str],
        mut fold: Box<dyn Fold + '_>,
        to: i64,
    ) -> Result<(), RebuildError> {
        let indexes = Indexes::take(&mut self.db, &self.schema).await?;
        sqlx::raw_sql(BY_KEY).execute(&mut self.db).await?;
        let mut events = LogStream::open(&self.pool, 0, to, kinds).await?;
        while let Some(batch) = events.next().await {
            fold.apply(&mut self.db, &batch?)
                .await
                .map_err(|(position, source)| RebuildError::Refused { position, source })?;
        }
        fold.finish(&mut self.db).await?;
        sqlx::raw_sql(AS_EVER).execute(&mut self.db).await?;
        indexes.put_back(&mut self.db).await?;
        self.position = to;
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
    let events: Vec<_> = batch.after(from).iter().take_while(|event| event.position <= to).collect();
    let Some(position) = events.last().map(|event| event.position) else {
        let why = batch.broken().unwrap_or("the log ends before").to_owned();
        return Err(RebuildError::Unreadable { position: from + 1, why });
    };
    consumer.apply_all(db, &events).await.map_err(|source| RebuildError::Refused { position, source })?;
    Ok(position)
}
