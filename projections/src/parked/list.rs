//! What waits, for operators, readiness and metrics.

use chrono::{DateTime, Utc};
use domain::ids::EventId;
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, Row};

use super::LIVE;
use crate::row::Columns;

/// A partition of a consumer that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Parked {
    /// The consumer.
    pub consumer: String,
    /// The partition: `team/ID`, or kind and id of a stream.
    pub partition: String,
    /// The first event of it that waits: the one that is refused.
    pub event_id: EventId,
    /// That event's type.
    pub event_type: String,
    /// That event's position.
    pub position: i64,
    /// Why it is refused.
    pub error: String,
    /// How often it was tried.
    pub attempts: i32,
    /// Since when it waits.
    pub since: DateTime<Utc>,
    /// How many events wait, itself included.
    pub events: i64,
}

/// One event that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParkedEvent {
    /// Its position.
    pub position: i64,
    /// Its id.
    pub event_id: EventId,
    /// Its type.
    pub event_type: String,
    /// Why it is refused; none when it only waits behind.
    pub error: Option<String>,
    /// How often it was tried.
    pub attempts: i32,
    /// Since when it waits.
    pub since: DateTime<Utc>,
}

/// Every partition that waits, of one consumer or of all.
pub async fn list(db: impl PgExecutor<'_>, consumer: Option<&str>) -> sqlx::Result<Vec<Parked>> {
    sqlx::query(
        "SELECT DISTINCT ON (consumer, partition)
                consumer, partition, event_id, event_type, position, coalesce(error, '') AS error, attempts, since,
                count(*) OVER (PARTITION BY consumer, partition) AS events
           FROM public.parked WHERE schema_name = $1 AND ($2::text IS NULL OR consumer = $2)
          ORDER BY consumer, partition, position",
    )
    .bind(LIVE)
    .bind(consumer)
    .try_map(|row: PgRow| {
        Ok(Parked {
            consumer: row.try_get("consumer")?,
            partition: row.try_get("partition")?,
            event_id: row.id("event_id")?,
            event_type: row.try_get("event_type")?,
            position: row.try_get("position")?,
            error: row.try_get("error")?,
            attempts: row.try_get("attempts")?,
            since: row.try_get("since")?,
            events: row.try_get("events")?,
        })
    })
    .fetch_all(db)
    .await
}

/// The events of one partition that wait, in order.
pub async fn events(
    db: impl PgExecutor<'_>,
    consumer: &str,
    partition: &str,
) -> sqlx::Result<Vec<ParkedEvent>> {
    sqlx::query(
        "SELECT position, event_id, event_type, error, attempts, since FROM public.parked
          WHERE consumer = $1 AND schema_name = $2 AND partition = $3 ORDER BY position",
    )
    .bind(consumer)
    .bind(LIVE)
    .bind(partition)
    .try_map(|row: PgRow| {
        Ok(ParkedEvent {
            position: row.try_get("position")?,
            event_id: row.id("event_id")?,
            event_type: row.try_get("event_type")?,
            error: row.try_get("error")?,
            attempts: row.try_get("attempts")?,
            since: row.try_get("since")?,
        })
    })
    .fetch_all(db)
    .await
}

/// The partitions of a consumer for which operators have asked for another try, with who asked.
pub(crate) async fn asked(db: impl PgExecutor<'_>, consumer: &str) -> sqlx::Result<Vec<(String, String)>> {
    sqlx::query_as(
        "SELECT partition, asked_by FROM public.parked
          WHERE consumer = $1 AND schema_name = $2 AND asked_by IS NOT NULL ORDER BY position",
    )
    .bind(consumer)
    .bind(LIVE)
    .fetch_all(db)
    .await
}

/// How many events wait, by consumer. Consumers without any are not named.
pub async fn count(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, i64)>> {
    sqlx::query_as(
        "SELECT consumer, count(*) FROM public.parked WHERE schema_name = $1 GROUP BY 1 ORDER BY 1",
    )
    .bind(LIVE)
    .fetch_all(db)
    .await
}
