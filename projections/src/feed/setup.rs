//! Makes sure that a consumer has its row, and tables of its own version.

use sqlx::PgPool;

use super::Consumer;
use crate::parked::LIVE;
use crate::rebuild::{RebuildError, rebuild, rollback};

/// Processes that start at the same time set up one after the other.
const LOCK: i64 = 0x6d61_7374_7261_0001;

/// A new consumer begins at the beginning of the log. One that another version of the software has built is built
/// anew; a process has nothing to build.
pub(crate) async fn prepare(pool: &PgPool, consumer: &dyn Consumer) -> Result<(), RebuildError> {
    let (name, version) = (consumer.name(), consumer.version());
    if create(pool, consumer).await? {
        return Ok(());
    }
    let stored: i32 = sqlx::query_scalar("SELECT version FROM consumers WHERE name = $1")
        .bind(name)
        .fetch_one(pool)
        .await?;
    if stored == version {
        return Ok(());
    }
    if consumer.table_names().is_empty() {
        sqlx::query("UPDATE consumers SET version = $2 WHERE name = $1")
            .bind(name)
            .bind(version)
            .execute(pool)
            .await?;
        return Ok(());
    }
    match rollback(pool, consumer, None).await {
        Err(RebuildError::NoGeneration { .. } | RebuildError::OtherVersion { .. }) => {
            tracing::info!(
                consumer = name,
                "{name} was built by version {stored} and is built anew by version {version}"
            );
            rebuild(pool, consumer).await.map(drop)
        }
        taken_up => taken_up.map(|kept| {
            let generation = kept.number;
            tracing::info!(
                consumer = name,
                "{name} was built by version {stored}; generation {generation} of version {version} is taken up again"
            );
        }),
    }
}

/// Makes row and tables when there is no row. Answers whether it did.
pub(crate) async fn create(pool: &PgPool, consumer: &dyn Consumer) -> sqlx::Result<bool> {
    let mut tx = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *tx).await?;
    let made = sqlx::query(
        "INSERT INTO consumers (name, version, table_names) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
    )
    .bind(consumer.name())
    .bind(consumer.version())
    .bind(consumer.table_names())
    .execute(&mut *tx)
    .await?;
    if made.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::raw_sql("CREATE SCHEMA IF NOT EXISTS read; SET LOCAL search_path = read, public")
        .execute(&mut *tx)
        .await?;
    sqlx::query("DELETE FROM parked WHERE consumer = $1 AND schema_name = $2")
        .bind(consumer.name())
        .bind(LIVE)
        .execute(&mut *tx)
        .await?;
    for table in consumer.table_names() {
        // Left behind by who removed the row to begin anew.
        sqlx::raw_sql(&format!("DROP TABLE IF EXISTS read.{table}")).execute(&mut *tx).await?;
    }
    sqlx::raw_sql(consumer.tables()).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(true)
}
