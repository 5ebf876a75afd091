//! Reads the log. Nothing here writes.

mod stream;

use domain::fact::StoredEvent;
use domain::ids::EventId;
use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, Row};
use uuid::Uuid;

use crate::row::Columns;

pub(crate) use stream::LogStream;

/// The columns of the log, as every reader names them.
const COLUMNS: &str = "position, event_id, recorded_at, team_id, aggregate_type, aggregate_id, sequence, \
                       event_type, event_version, payload::text, metadata::text";

/// The events after a position, in order, at most `limit`.
pub async fn read_after(
    db: impl PgExecutor<'_>,
    position: i64,
    limit: i64,
) -> sqlx::Result<Vec<StoredEvent>> {
    let query = format!("SELECT {COLUMNS} FROM events WHERE position > $1 ORDER BY position LIMIT $2");
    sqlx::query(&query).bind(position).bind(limit).try_map(event).fetch_all(db).await
}

/// The events of one aggregate, from its first.
pub async fn read_stream(
    db: impl PgExecutor<'_>,
    aggregate_type: &str,
    aggregate_id: &str,
) -> sqlx::Result<Vec<StoredEvent>> {
    let query = format!(
        "SELECT {COLUMNS} FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence"
    );
    sqlx::query(&query).bind(aggregate_type).bind(aggregate_id).try_map(event).fetch_all(db).await
}

/// One event.
pub async fn find(db: impl PgExecutor<'_>, event_id: EventId) -> sqlx::Result<Option<StoredEvent>> {
    let query = format!("SELECT {COLUMNS} FROM events WHERE event_id = $1");
    sqlx::query(&query).bind(event_id.0).try_map(event).fetch_optional(db).await
}

/// The position of the last event; 0 in an empty log.
pub async fn head(db: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT position FROM log_head").fetch_one(db).await
}

fn event(row: PgRow) -> sqlx::Result<StoredEvent> {
    Ok(StoredEvent {
        position: row.try_get("position")?,
        event_id: row.id("event_id")?,
        recorded_at: row.try_get("recorded_at")?,
        team_id: row.try_get::<Option<Uuid>, _>("team_id")?.map(Into::into),
        aggregate_type: row.try_get("aggregate_type")?,
        aggregate_id: row.try_get("aggregate_id")?,
        sequence: row.try_get("sequence")?,
        event_type: row.try_get("event_type")?,
        event_version: row.try_get("event_version")?,
        payload: row.try_get::<String, _>("payload")?.into(),
        metadata: row.try_get::<String, _>("metadata")?.into(),
    })
}
