//! How the consumers stand, for operators, readiness and metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, PgPool, Row};

use super::seat::Seat;
use crate::{log, parked};

/// The row of a consumer.
#[derive(Clone, Debug, Serialize)]
pub struct Checkpoint {
    /// Its name.
    pub name: String,
    /// The version that its tables were built by.
    pub version: i32,
    /// The last event it has taken in.
    pub position: i64,
    /// Which process reads for it.
    pub lease_owner: Option<String>,
    /// Until when, on the database's clock.
    pub lease_until: Option<DateTime<Utc>>,
    /// How often the lease was taken.
    pub fence: i64,
    /// Number of the live tables.
    pub generation: i64,
    /// Since when an operator has it paused.
    pub paused_at: Option<DateTime<Utc>>,
    /// Who.
    pub paused_by: Option<String>,
    /// When the first event that it has not taken in was written.
    pub behind_since: Option<DateTime<Utc>>,
}

/// Where a consumer is.
#[derive(Clone, Debug, Serialize)]
pub struct Progress {
    /// Its name.
    pub name: String,
    /// Whether it is a read model; a process otherwise.
    pub is_read_model: bool,
    /// Whether this process reads for it.
    pub is_here: bool,
    /// The last event it has taken in.
    pub position: i64,
    /// The last event of the log.
    pub head: i64,
    /// How many events it is behind.
    pub lag: i64,
    /// When the first of these was written.
    pub behind_since: Option<DateTime<Utc>>,
    /// Whether an operator has paused it.
    pub is_paused: bool,
    /// How many events are parked.
    pub parked: i64,
    /// Why it does not go on, if it does not. Known where it is read only.
    pub stalled: Option<Stall>,
}

/// Why a consumer does not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stall {
    /// Since when.
    pub since: DateTime<Utc>,
    /// At which event; none when the database cannot be used at all.
    pub position: Option<i64>,
    /// Why, for operators.
    pub reason: String,
}

/// The rows of all consumers, by name.
pub async fn checkpoints(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Checkpoint>> {
    sqlx::query(
        "SELECT c.name, c.version, c.position, c.lease_owner, c.lease_until, c.fence, c.generation, c.paused_at,
                c.paused_by, e.recorded_at
           FROM consumers c LEFT JOIN events e ON e.position = c.position + 1 ORDER BY c.name",
    )
    .try_map(|row: PgRow| {
        Ok(Checkpoint {
            name: row.try_get("name")?,
            version: row.try_get("version")?,
            position: row.try_get("position")?,
            lease_owner: row.try_get("lease_owner")?,
            lease_until: row.try_get("lease_until")?,
            fence: row.try_get("fence")?,
            generation: row.try_get("generation")?,
            paused_at: row.try_get("paused_at")?,
            paused_by: row.try_get("paused_by")?,
            behind_since: row.try_get("recorded_at")?,
        })
    })
    .fetch_all(db)
    .await
}

/// Whether every consumer is at the head of the log and no work is due or under way. Timers that are not due do
/// not count; work that waits for another try does.
pub async fn is_settled(db: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "SELECT NOT EXISTS (SELECT FROM consumers WHERE position < (SELECT position FROM log_head))
            AND NOT EXISTS (SELECT FROM work
                             WHERE state = 'running' OR state = 'ready' AND (run_at <= now() OR attempts > 0))",
    )
    .fetch_one(db)
    .await
}

pub(super) async fn of_seats(pool: &PgPool, seats: &[Arc<Seat>]) -> sqlx::Result<Vec<Progress>> {
    let checkpoints = checkpoints(pool).await?;
    let head = log::head(pool).await?;
    let parked: BTreeMap<String, i64> = parked::count(pool).await?.into_iter().collect();
    Ok(seats
        .iter()
        .map(|seat| {
            let found = checkpoints.iter().find(|found| found.name == seat.name());
            let position = found.map_or(0, |found| found.position);
            Progress {
                name: seat.name().to_owned(),
                is_read_model: seat.is_read_model(),
                is_here: seat.is_here(),
                position,
                head,
                lag: (head - position).max(0),
                behind_since: found.and_then(|found| found.behind_since),
                is_paused: found.is_some_and(|found| found.paused_at.is_some()),
                parked: parked.get(seat.name()).copied().unwrap_or_default(),
                stalled: seat.stall(),
            }
        })
        .collect())
}
