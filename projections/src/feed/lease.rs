//! Who reads for a consumer: one process at a time, by a lease with a fence, on the database's clock.

use std::time::Duration;

use sqlx::postgres::types::PgInterval;
use sqlx::{PgConnection, PgPool, Row};

/// A lease that was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    /// Higher than that of any holder before.
    pub(super) fence: i64,
    /// The checkpoint.
    pub(super) position: i64,
}

/// Why somebody has no lease.
pub(super) struct Standing {
    /// The version that the consumer's tables were built by.
    pub(super) version: i32,
    pub(super) is_paused: bool,
}

/// Takes the lease when nobody holds it, or its holder is not heard of any more. None when somebody does, when the
/// consumer is paused, or when the tables are those of another version.
pub(super) async fn take(
    pool: &PgPool,
    name: &str,
    version: i32,
    owner: &str,
    ttl: Duration,
) -> sqlx::Result<Option<Lease>> {
    let row = sqlx::query(
        "UPDATE consumers SET lease_owner = $3, lease_until = clock_timestamp() + $4, fence = fence + 1
          WHERE name = (SELECT name FROM consumers
                         WHERE name = $1 AND version = $2 AND paused_at IS NULL
                           AND (lease_owner IS NULL OR lease_owner = $3 OR lease_until < clock_timestamp())
                           FOR UPDATE SKIP LOCKED)
         RETURNING fence, position",
    )
    .bind(name)
    .bind(version)
    .bind(owner)
    .bind(interval(ttl))
    .fetch_optional(pool)
    .await?;
    row.map(|row| Ok(Lease { fence: row.try_get("fence")?, position: row.try_get("position")? })).transpose()
}

/// How the consumer stands; none when it has no row.
pub(super) async fn standing(pool: &PgPool, name: &str) -> sqlx::Result<Option<Standing>> {
    let row =
        sqlx::query("SELECT version, paused_at IS NOT NULL AS is_paused FROM consumers WHERE name = $1")
            .bind(name)
            .fetch_optional(pool)
            .await?;
    row.map(|row| Ok(Standing { version: row.try_get("version")?, is_paused: row.try_get("is_paused")? }))
        .transpose()
}

/// Keeps the lease. False when it is another's now.
pub(super) async fn renew(pool: &PgPool, name: &str, fence: i64, ttl: Duration) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "UPDATE consumers SET lease_until = clock_timestamp() + $3
          WHERE name = $1 AND fence = $2 AND lease_owner IS NOT NULL",
    )
    .bind(name)
    .bind(fence)
    .bind(interval(ttl))
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Holds the consumer's row until the transaction ends. False when the lease is another's now.
pub(super) async fn hold(db: &mut PgConnection, name: &str, lease: Lease) -> sqlx::Result<bool> {
    let held = sqlx::query("SELECT name FROM consumers WHERE name = $1 AND fence = $2 FOR UPDATE");
    Ok(held.bind(name).bind(lease.fence).fetch_optional(db).await?.is_some())
}

/// Moves the checkpoint and keeps the lease. False when the lease is another's now: the caller rolls back.
///
/// It is the first statement of the transaction, so that whoever swaps the tables, and locks this row before them,
/// never waits for who waits for him.
pub(super) async fn advance(
    db: &mut PgConnection,
    name: &str,
    lease: Lease,
    to: i64,
    ttl: Duration,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "UPDATE consumers SET position = $4, lease_until = clock_timestamp() + $5
          WHERE name = $1 AND fence = $2 AND position = $3",
    )
    .bind(name)
    .bind(lease.fence)
    .bind(lease.position)
    .bind(to)
    .bind(interval(ttl))
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// As `advance`, for events that change nothing: a transaction of its own in one round trip.
pub(super) async fn pass(
    pool: &PgPool,
    name: &str,
    lease: Lease,
    to: i64,
    ttl: Duration,
) -> sqlx::Result<bool> {
    let (Lease { fence, position }, seconds) = (lease, ttl.as_secs_f64());
    // Several statements take no parameters; these are our own names and numbers. An error ends the transaction
    // with the connection's implicit one, so that nothing is left open.
    let statements = format!(
        "SET LOCAL synchronous_commit = off;
         UPDATE consumers SET position = {to}, lease_until = clock_timestamp() + {seconds} * interval '1 second'
          WHERE name = '{name}' AND fence = {fence} AND position = {position}"
    );
    Ok(sqlx::raw_sql(&statements).execute(pool).await?.rows_affected() == 1)
}

/// Gives the lease back, so that another may take it at once.
pub(super) async fn release(pool: &PgPool, name: &str, owner: &str) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE consumers SET lease_owner = NULL, lease_until = NULL WHERE name = $1 AND lease_owner = $2",
    )
    .bind(name)
    .bind(owner)
    .execute(pool)
    .await
    .map(drop)
}

fn interval(ttl: Duration) -> PgInterval {
    let microseconds = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}
