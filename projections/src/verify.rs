//! Proves that a read model is what the log says: builds it anew at the same position and compares row by row.

use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::{Connection, PgConnection, PgPool, Row};
use thiserror::Error;

use crate::feed::Consumer;
use crate::parked::{self, Lot, Parked};
use crate::rebuild::RebuildError;
use crate::shadow::{Shadow, take_in};

/// A read model that is what the log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The read model.
    pub name: &'static str,
    /// At which event it was compared.
    pub position: i64,
    /// How many rows its tables have.
    pub rows: i64,
    /// What it has not taken in, because it waits.
    pub parked: Vec<Parked>,
    /// How many events it never takes in, because operators said so.
    pub skipped: i64,
}

/// The first place where a live table is not what the log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Error)]
#[error("table {table}, row {key}: {what}")]
pub struct Difference {
    /// The table.
    pub table: &'static str,
    /// Primary key of the row.
    pub key: Value,
    /// What is different.
    pub what: Mismatch,
}

/// How a row is different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Mismatch {
    /// The log has it, the live table does not.
    #[error("it is missing")]
    Missing,
    /// The live table has it, the log does not.
    #[error("it should not be there")]
    Added,
    /// A column differs.
    #[error("column {column} is {live} and should be {rebuilt}")]
    Column {
        /// The column.
        column: String,
        /// Its live value.
        live: Value,
        /// What the log makes of it.
        rebuilt: Value,
    },
}

/// Why a read model is not proved right.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// It is not what the log says.
    #[error("{name} is not what the log says: {difference}")]
    Different {
        /// The read model.
        name: &'static str,
        /// The first difference.
        difference: Difference,
    },
    /// It was never built, or by another version of the software: there is nothing to compare.
    #[error("{name} was not built by version {version} of its code; the server builds it when it starts")]
    OtherVersion {
        /// The read model.
        name: &'static str,
        /// The version of its code.
        version: i32,
    },
    /// It could not be built anew.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
}

impl From<sqlx::Error> for VerifyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Rebuild(error.into())
    }
}

/// Compares the live tables with what the log says at their checkpoint. Nobody waits for it: the live rows and
/// their checkpoint are seen as they were at one moment. What is parked or skipped is left out on both sides, and
/// said.
pub async fn verify(pool: &PgPool, consumer: &dyn Consumer) -> Result<Verified, VerifyError> {
    loop {
        let mut shadow = Shadow::proving(pool, consumer).await?;
        let verified = build_and_compare(&mut shadow, consumer).await;
        shadow.remove().await;
        if let Some(verified) = verified? {
            return Ok(verified);
        }
    }
}

/// None when an operator has resolved meanwhile what was left out: then it has to begin anew.
async fn build_and_compare(
    shadow: &mut Shadow,
    consumer: &dyn Consumer,
) -> Result<Option<Verified>, VerifyError> {
    let position = checkpoint(&mut shadow.db, consumer).await?;
    shadow.catch_up(consumer, position).await?;
    shadow.check().await?;
    let (name, schema, mut built) = (consumer.name(), shadow.schema.clone(), shadow.position);
    // One snapshot for all that follows: it sees what was committed before, and its own rows.
    let mut tx = shadow.db.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    let position = checkpoint(&mut tx, consumer).await?;
    let mut lot = Lot::proving(&mut tx, consumer).await?;
    if !lot.agrees(&shadow.lot, built) || position < built {
        return Ok(None);
    }
    while built < position {
        built = take_in(&mut tx, consumer, &mut lot, shadow.steps, built, position).await?;
    }
    let mut rows = 0;
    for table in consumer.table_names() {
        if let Some(difference) = first_difference(&mut tx, &schema, table).await? {
            return Err(VerifyError::Different { name, difference });
        }
        let count = format!("SELECT count(*) FROM read.{table}");
        rows += sqlx::query_scalar::<_, i64>(&count).fetch_one(&mut *tx).await?;
    }
    let parked = parked::list(&mut *tx, Some(name)).await?;
    let skipped = sqlx::query_scalar("SELECT count(*) FROM skipped WHERE consumer = $1 AND position <= $2")
        .bind(name)
        .bind(position)
        .fetch_one(&mut *tx)
        .await?;
    Ok(Some(Verified { name, position, rows, parked, skipped }))
}

async fn checkpoint(db: &mut PgConnection, consumer: &dyn Consumer) -> Result<i64, VerifyError> {
    let (name, version) = (consumer.name(), consumer.version());
    sqlx::query_scalar("SELECT position FROM consumers WHERE name = $1 AND version = $2")
        .bind(name)
        .bind(version)
        .fetch_optional(db)
        .await?
        .ok_or(VerifyError::OtherVersion { name, version })
}

async fn first_difference(
    db: &mut PgConnection,
    schema: &str,
    table: &'static str,
) -> sqlx::Result<Option<Difference>> {
    let key = primary_key(db, schema, table).await?;
    let same = key.iter().map(|column| format!("l.{column} = r.{column}")).collect::<Vec<_>>().join(" AND ");
    let order =
        key.iter().map(|column| format!("coalesce(l.{column}, r.{column})")).collect::<Vec<_>>().join(", ");
    let query = format!(
        "SELECT to_jsonb(l) AS live, to_jsonb(r) AS rebuilt
           FROM read.{table} l FULL JOIN {schema}.{table} r ON {same}
          WHERE to_jsonb(l) IS DISTINCT FROM to_jsonb(r)
          ORDER BY {order} LIMIT 1"
    );
    let Some(row) = sqlx::query(&query).fetch_optional(db).await? else { return Ok(None) };
    Ok(Some(describe(table, &key, row.try_get("live")?, row.try_get("rebuilt")?)))
}

async fn primary_key(db: &mut PgConnection, schema: &str, table: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT a.attname::text
           FROM pg_index i
           CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
           JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
          WHERE i.indisprimary AND i.indrelid = ($1 || '.' || $2)::regclass
          ORDER BY k.place",
    )
    .bind(schema)
    .bind(table)
    .fetch_all(db)
    .await
}

fn describe(table: &'static str, key: &[String], live: Option<Value>, rebuilt: Option<Value>) -> Difference {
    let row = live.as_ref().or(rebuilt.as_ref());
    let key: Map<String, Value> = key
        .iter()
        .map(|column| (column.clone(), row.map_or(Value::Null, |row| row[column.as_str()].clone())))
        .collect();
    let what = match (live, rebuilt) {
        (Some(live), Some(rebuilt)) => differing_column(&live, &rebuilt),
        (None, _) => Mismatch::Missing,
        (Some(_), None) => Mismatch::Added,
    };
    Difference { table, key: Value::Object(key), what }
}

fn differing_column(live: &Value, rebuilt: &Value) -> Mismatch {
    let columns = |row: &Value| row.as_object().into_iter().flat_map(Map::keys).cloned().collect::<Vec<_>>();
    let mut all = [columns(rebuilt), columns(live)].concat();
    all.retain(|column| live.get(column) != rebuilt.get(column));
    let column = all.into_iter().next().unwrap_or_default();
    let value = |row: &Value| row.get(&column).cloned().unwrap_or_default();
    let (live, rebuilt) = (value(live), value(rebuilt));
    Mismatch::Column { column, live, rebuilt }
}
