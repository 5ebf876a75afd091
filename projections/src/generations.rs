//! Generations of a read model's tables: the live one in the schema `read`, those on their way, and those that were
//! live before and are kept, each in a schema of its own, until they are collected.

use chrono::{DateTime, Utc};
use domain::envelope::Actor;
use domain::operation::OperationEvent;
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, PgPool, Row};

use crate::feed::Consumer;
use crate::operations;
use crate::parked::LIVE;
use crate::shadow::drop_schema;

/// Tables beside the live ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    /// The read model.
    pub consumer: String,
    /// Its number.
    pub number: i64,
    /// The schema that its tables are in.
    pub schema: String,
    /// The version of the code that they are of.
    pub version: i32,
    /// `building`, `proving` or `kept`.
    pub state: String,
    /// The last event taken in.
    pub position: i64,
    /// How many events were taken in.
    pub events: i64,
    /// When it was begun, or put aside.
    pub since: DateTime<Utc>,
}

const SELECT: &str = "SELECT consumer, number, schema_name, version, state, position, events, since \
                      FROM public.generations";

/// Every generation that is not live, by consumer and number.
pub async fn list(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Generation>> {
    let query = format!("{SELECT} ORDER BY consumer, number");
    sqlx::query(&query).try_map(generation).fetch_all(db).await
}

/// The one of a read model that was put aside last, of this version of the code if there is one.
pub(crate) async fn last_kept(
    db: impl PgExecutor<'_>,
    consumer: &dyn Consumer,
) -> sqlx::Result<Option<Generation>> {
    let query = format!(
        "{SELECT} WHERE consumer = $1 AND state = 'kept' ORDER BY version = $2 DESC, since DESC, number DESC LIMIT 1"
    );
    sqlx::query(&query)
        .bind(consumer.name())
        .bind(consumer.version())
        .try_map(generation)
        .fetch_optional(db)
        .await
}

/// Removes what is kept, of one read model or of all, and what proofs that were killed have left; of interrupted
/// rebuilds only if they are not to go on. What is in use is left alone. Answers the schemas.
///
/// # Errors
/// When the database refuses.
pub async fn collect(
    pool: &PgPool,
    consumer: Option<&str>,
    unfinished: bool,
    by: &Actor,
) -> sqlx::Result<Vec<String>> {
    let mut tx = pool.begin_with("BEGIN; SET LOCAL statement_timeout = 0").await?;
    // A lock that somebody has is that of who builds, proves or takes up these tables now.
    let schemas: Vec<String> = sqlx::query_scalar(
        "SELECT schema_name FROM (
            SELECT schema_name FROM generations
             WHERE ($1::text IS NULL OR consumer = $1) AND (state <> 'building' OR $2)
             ORDER BY schema_name OFFSET 0) found
          WHERE pg_try_advisory_xact_lock(hashtextextended(schema_name, 0))",
    )
    .bind(consumer)
    .bind(unfinished)
    .fetch_all(&mut *tx)
    .await?;
    if schemas.is_empty() {
        return Ok(schemas);
    }
    for schema in &schemas {
        drop_schema(&mut tx, schema).await?;
    }
    let done = OperationEvent::GenerationsCollected { schemas: schemas.clone() };
    operations::record(&mut tx, by, &done).await?;
    tx.commit().await?;
    Ok(schemas)
}

/// Puts the live tables aside, with their checkpoint and what is parked of them. To be called by who holds the
/// consumer's row.
pub(crate) async fn keep_live(db: &mut PgConnection, consumer: &dyn Consumer) -> sqlx::Result<()> {
    let name = consumer.name();
    let row = sqlx::query(
        "SELECT version, position, generation, coalesce(table_names, $2) AS table_names FROM public.consumers
          WHERE name = $1",
    )
    .bind(name)
    .bind(consumer.table_names())
    .fetch_one(&mut *db)
    .await?;
    let number: i64 = row.try_get("generation")?;
    let tables: Vec<String> = row.try_get("table_names")?;
    let schema = format!("read_old_{name}_{number}");
    sqlx::raw_sql(&format!("CREATE SCHEMA IF NOT EXISTS {LIVE}; CREATE SCHEMA {schema}"))
        .execute(&mut *db)
        .await?;
    for table in &tables {
        sqlx::raw_sql(&format!("ALTER TABLE IF EXISTS {LIVE}.{table} SET SCHEMA {schema}"))
            .execute(&mut *db)
            .await?;
    }
    let moved: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = $1 AND tablename = ANY($2)")
            .bind(&schema)
            .bind(&tables)
            .fetch_one(&mut *db)
            .await?;
    if usize::try_from(moved) != Ok(tables.len()) {
        // Somebody has dropped them: there is nothing whole to go back to.
        drop_schema(&mut *db, &schema).await?;
        return forget_parked(db, name).await;
    }
    sqlx::query(
        "INSERT INTO public.generations (schema_name, consumer, number, version, state, position, events, table_names,
                                         since)
         VALUES ($1, $2, $3, $4, 'kept', $5, $5, $6, clock_timestamp())",
    )
    .bind(&schema)
    .bind(name)
    .bind(number)
    .bind(row.try_get::<i32, _>("version")?)
    .bind(row.try_get::<i64, _>("position")?)
    .bind(&tables)
    .execute(&mut *db)
    .await?;
    move_parked(db, name, LIVE, &schema).await
}

/// Puts the tables of a schema in the place of the live ones, which were put aside.
pub(crate) async fn make_live(
    db: &mut PgConnection,
    consumer: &dyn Consumer,
    schema: &str,
) -> sqlx::Result<()> {
    for table in consumer.table_names() {
        sqlx::raw_sql(&format!("ALTER TABLE {schema}.{table} SET SCHEMA {LIVE}")).execute(&mut *db).await?;
    }
    move_parked(&mut *db, consumer.name(), schema, LIVE).await?;
    // What was skipped while these tables were put aside does not wait any more.
    sqlx::query(
        "DELETE FROM public.parked p USING public.skipped s
          WHERE p.consumer = $1 AND p.schema_name = $2 AND s.consumer = p.consumer AND s.position = p.position",
    )
    .bind(consumer.name())
    .bind(LIVE)
    .execute(&mut *db)
    .await?;
    drop_schema(db, schema).await
}

async fn move_parked(db: &mut PgConnection, consumer: &str, from: &str, to: &str) -> sqlx::Result<()> {
    sqlx::query("UPDATE public.parked SET schema_name = $3 WHERE consumer = $1 AND schema_name = $2")
        .bind(consumer)
        .bind(from)
        .bind(to)
        .execute(db)
        .await
        .map(drop)
}

async fn forget_parked(db: &mut PgConnection, consumer: &str) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM public.parked WHERE consumer = $1 AND schema_name = $2")
        .bind(consumer)
        .bind(LIVE)
        .execute(db)
        .await
        .map(drop)
}

fn generation(row: PgRow) -> sqlx::Result<Generation> {
    Ok(Generation {
        consumer: row.try_get("consumer")?,
        number: row.try_get("number")?,
        schema: row.try_get("schema_name")?,
        version: row.try_get("version")?,
        state: row.try_get("state")?,
        position: row.try_get("position")?,
        events: row.try_get("events")?,
        since: row.try_get("since")?,
    })
}
