//! Makes read models anew beside the live ones, and compares or swaps them.
//!
//! Live tables are in the schema `read`. A rebuild fills the same tables in a schema of its own, far from
//! readers, and swaps them in one transaction. A comparison fills them up to the live checkpoint and throws
//! them away.

use std::sync::Arc;

use sqlx::{Connection, PgConnection, PgPool, Row};
use thiserror::Error;

use crate::feed::{Consumer, is_read_model};
use crate::log;

/// Events read at a time.
const BATCH: i64 = 2_000;
/// How often a swap is tried.
const SWAP_TRIES: u32 = 10;

/// Why a rebuild or comparison did not end well.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// PostgreSQL said no or could not be reached.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// An event of the log does not read.
    #[error(transparent)]
    Unreadable(#[from] domain::fact::UnreadableEvent),
    /// The tables are not those that a rebuild gives.
    #[error(transparent)]
    Different(#[from] Difference),
}

/// The first row in which a live table is not what the log says.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{table} differs from the log at position {position}: live {live}, rebuilt {rebuilt}")]
pub struct Difference {
    /// The table.
    pub table: String,
    /// The position that both stand at.
    pub position: i64,
    /// The live row as JSON; `nothing` when it is missing.
    pub live: String,
    /// The rebuilt row as JSON; `nothing` when it should not be there.
    pub rebuilt: String,
}

/// What a rebuild or comparison went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The read model.
    pub name: String,
    /// The position it stands at.
    pub position: i64,
    /// Events applied.
    pub events: i64,
    /// Rows in its tables.
    pub rows: i64,
}

/// Makes what is missing: the schema, checkpoints, tables of new or changed read models.
pub async fn prepare(pool: &PgPool, consumers: &[Arc<dyn Consumer>]) -> sqlx::Result<()> {
    let mut db = pool.acquire().await?;
    let mut db = db.begin().await?;
    // Two servers that start at once do it one after the other.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('prepare', 0))").execute(&mut *db).await?;
    sqlx::query("CREATE SCHEMA IF NOT EXISTS read").execute(&mut *db).await?;
    for consumer in consumers {
        let stored: Option<i32> =
            sqlx::query_scalar("SELECT version FROM consumers WHERE name = $1 FOR UPDATE")
                .bind(consumer.name())
                .fetch_optional(&mut *db)
                .await?;
        if stored == Some(consumer.version()) {
            continue;
        }
        if is_read_model(&**consumer) {
            drop_tables(&mut db, "read", &**consumer).await?;
            make_tables(&mut db, "read", &**consumer).await?;
        }
        // A process goes on where it was; only tables can be made anew.
        let position = if is_read_model(&**consumer) { "0" } else { "consumers.position" };
        sqlx::query(&format!(
            "INSERT INTO consumers (name, version) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET version = excluded.version, position = {position}, fence = consumers.fence + 1"
        ))
        .bind(consumer.name())
        .bind(consumer.version())
        .execute(&mut *db)
        .await?;
    }
    db.commit().await
}

/// Makes a read model anew and swaps it in. Readers see the old tables until they see the new ones.
pub async fn rebuild(pool: &PgPool, consumer: &dyn Consumer) -> Result<Report, RebuildError> {
    let schema = format!("rebuild_{}", consumer.name());
    // A connection of its own: its search path must never come back into the pool.
    let mut db = pool.acquire().await?.detach();
    let db = &mut db;
    begin_shadow(db, &schema, consumer).await?;
    let (mut position, mut events) = fill(db, consumer, 0, i64::MAX).await?;
    let mut tries = 0;
    let (last, more, rows) = loop {
        tries += 1;
        match swap(db, &schema, consumer, position).await {
            // A reader of several tables and the swap can wait for each other: PostgreSQL ends one of them.
            Err(RebuildError::Database(error)) if is_deadlock(&error) && tries < SWAP_TRIES => {}
            swapped => break swapped?,
        }
    };
    (position, events) = (last, events + more);
    end_shadow(db, &schema).await?;
    Ok(Report { name: consumer.name().to_owned(), position, events, rows })
}

/// Puts the shadow tables in the place of the live ones; answers the position, the events that were still to be
/// applied, and the rows.
async fn swap(
    db: &mut PgConnection,
    schema: &str,
    consumer: &dyn Consumer,
    position: i64,
) -> Result<(i64, i64, i64), RebuildError> {
    let mut swap = db.begin().await?;
    // Under the checkpoint's row lock the feed neither goes on nor is lost behind.
    sqlx::query("SELECT position FROM consumers WHERE name = $1 FOR UPDATE")
        .bind(consumer.name())
        .execute(&mut *swap)
        .await?;
    let (position, events) = fill(&mut swap, consumer, position, i64::MAX).await?;
    let rows = count(&mut swap, schema, consumer).await?;
    drop_tables(&mut swap, "read", consumer).await?;
    for table in consumer.table_names() {
        sqlx::query(&format!("ALTER TABLE {schema}.{table} SET SCHEMA read")).execute(&mut *swap).await?;
    }
    sqlx::query("UPDATE consumers SET position = $2, version = $3, fence = fence + 1 WHERE name = $1")
        .bind(consumer.name())
        .bind(position)
        .bind(consumer.version())
        .execute(&mut *swap)
        .await?;
    swap.commit().await?;
    Ok((position, events, rows))
}

fn is_deadlock(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "40P01")
}

/// Compares a live read model with a rebuild at the same position, row by row.
pub async fn verify(pool: &PgPool, consumer: &dyn Consumer) -> Result<Report, RebuildError> {
    let schema = format!("verify_{}", consumer.name());
    // A connection of its own: its search path must never come back into the pool.
    let mut db = pool.acquire().await?.detach();
    let db = &mut db;
    begin_shadow(db, &schema, consumer).await?;
    let live: i64 = sqlx::query_scalar("SELECT position FROM consumers WHERE name = $1")
        .bind(consumer.name())
        .fetch_one(&mut *db)
        .await?;
    let (mut position, mut events) = fill(db, consumer, 0, live).await?;
    // From here on the feed waits at the checkpoint's row lock; what it did meanwhile is caught up with.
    let mut still = db.begin().await?;
    let live: i64 = sqlx::query_scalar("SELECT position FROM consumers WHERE name = $1 FOR UPDATE")
        .bind(consumer.name())
        .fetch_one(&mut *still)
        .await?;
    let (last, more) = fill(&mut still, consumer, position, live).await?;
    (position, events) = (last, events + more);
    let rows = count(&mut still, &schema, consumer).await?;
    let mut found = None;
    for table in consumer.table_names() {
        found = difference(&mut still, &schema, table, live).await?;
        if found.is_some() {
            break;
        }
    }
    still.commit().await?;
    end_shadow(db, &schema).await?;
    match found {
        Some(difference) => Err(difference.into()),
        None => Ok(Report { name: consumer.name().to_owned(), position, events, rows }),
    }
}

async fn begin_shadow(db: &mut PgConnection, schema: &str, consumer: &dyn Consumer) -> sqlx::Result<()> {
    sqlx::query(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).execute(&mut *db).await?;
    sqlx::query(&format!("CREATE SCHEMA {schema}")).execute(&mut *db).await?;
    sqlx::query("SET statement_timeout = 0").execute(&mut *db).await?;
    make_tables(db, schema, consumer).await?;
    sqlx::query(&format!("SET search_path = {schema}, public")).execute(&mut *db).await.map(drop)
}

async fn end_shadow(db: &mut PgConnection, schema: &str) -> sqlx::Result<()> {
    sqlx::query(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).execute(db).await.map(drop)
}

async fn make_tables(db: &mut PgConnection, schema: &str, consumer: &dyn Consumer) -> sqlx::Result<()> {
    let statements = format!("SET search_path = {schema}, public; {}; RESET search_path;", consumer.tables());
    sqlx::raw_sql(&statements).execute(db).await.map(drop)
}

async fn drop_tables(db: &mut PgConnection, schema: &str, consumer: &dyn Consumer) -> sqlx::Result<()> {
    for table in consumer.table_names() {
        sqlx::query(&format!("DROP TABLE IF EXISTS {schema}.{table}")).execute(&mut *db).await?;
    }
    Ok(())
}

/// Applies the events after `from` up to `to`; answers the last position and how many there were.
async fn fill(
    db: &mut PgConnection,
    consumer: &dyn Consumer,
    from: i64,
    to: i64,
) -> Result<(i64, i64), RebuildError> {
    let (mut position, mut events) = (from, 0);
    loop {
        let rows = log::read_after(&mut *db, position, BATCH.min(to.saturating_sub(position))).await?;
        if rows.is_empty() {
            return Ok((position, events));
        }
        let mut batch = db.begin().await?;
        for row in rows {
            let recorded = row.read()?;
            consumer.apply(&mut batch, &recorded).await?;
            position = recorded.position;
            events += 1;
        }
        batch.commit().await?;
    }
}

async fn count(db: &mut PgConnection, schema: &str, consumer: &dyn Consumer) -> sqlx::Result<i64> {
    let mut rows = 0;
    for table in consumer.table_names() {
        let query = format!("SELECT count(*) FROM {schema}.{table}");
        rows += sqlx::query_scalar::<_, i64>(&query).fetch_one(&mut *db).await?;
    }
    Ok(rows)
}

/// The first row that only one of both tables has.
async fn difference(
    db: &mut PgConnection,
    schema: &str,
    table: &str,
    position: i64,
) -> sqlx::Result<Option<Difference>> {
    let only = |left: &str, right: &str| {
        format!(
            "SELECT x.line AS row FROM (SELECT to_jsonb(l)::text FROM {left}.{table} l
             EXCEPT ALL SELECT to_jsonb(r)::text FROM {right}.{table} r) x (line) ORDER BY 1 LIMIT 1"
        )
    };
    let text = |row: Option<sqlx::postgres::PgRow>| -> sqlx::Result<Option<String>> {
        row.map(|row| row.try_get("row")).transpose()
    };
    let live = text(sqlx::query(&only("read", schema)).fetch_optional(&mut *db).await?)?;
    let rebuilt = text(sqlx::query(&only(schema, "read")).fetch_optional(&mut *db).await?)?;
    if live.is_none() && rebuilt.is_none() {
        return Ok(None);
    }
    let or_nothing = |row: Option<String>| row.unwrap_or_else(|| "nothing".to_owned());
    Ok(Some(Difference {
        table: table.to_owned(),
        position,
        live: or_nothing(live),
        rebuilt: or_nothing(rebuilt),
    }))
}
