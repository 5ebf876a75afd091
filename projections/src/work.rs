//! Rows of work: what processes have to do, who does it, and how often it was tried.
//!
//! Invariants: a row is held by one worker at a time, and rows of one lane never run at the same time. Whoever
//! holds a row carries its fence; with an older fence than the row's nothing about it can be said any more.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::ids::{EventId, WorkId};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, PgPool, Row};

use crate::row::Columns;

/// Work to be stored. The same process and key is the same work.
#[derive(Clone, Debug)]
pub struct NewWork {
    /// Its id, derived from what caused it.
    pub id: WorkId,
    /// Whose work it is.
    pub process: String,
    /// What it is about.
    pub key: String,
    /// Only one row of a lane runs at a time.
    pub lane: String,
    /// What the process needs to know.
    pub payload: Value,
    /// Not before.
    pub run_at: DateTime<Utc>,
    /// The event that caused it.
    pub cause_event: EventId,
    /// That event's position.
    pub cause_position: i64,
    /// The first cause of the chain.
    pub correlation: String,
}

/// Work in hand.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Its id.
    pub id: WorkId,
    /// Whose work it is.
    pub process: String,
    /// What it is about.
    pub key: String,
    /// What the process needs to know.
    pub payload: Value,
    /// How often it was taken, this time included.
    pub attempts: i32,
    /// Fencing token: later takers have higher ones.
    pub fence: i64,
    /// The event that caused it.
    pub cause_event: EventId,
    /// That event's position.
    pub cause_position: i64,
    /// The first cause of the chain.
    pub correlation: String,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

/// How many rows of a process are in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Whose work it is.
    pub process: String,
    /// `ready`, `running`, `done` or `dead`.
    pub state: String,
    /// How many.
    pub rows: i64,
}

/// Stores work, once.
pub async fn enqueue(db: &mut PgConnection, work: &NewWork) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO work (id, process, key, lane, payload, run_at, cause_event, cause_position, correlation, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $6) ON CONFLICT DO NOTHING",
    )
    .bind(work.id.0)
    .bind(&work.process)
    .bind(&work.key)
    .bind(&work.lane)
    .bind(&work.payload)
    .bind(work.run_at)
    .bind(work.cause_event.0)
    .bind(work.cause_position)
    .bind(&work.correlation)
    .execute(db)
    .await
    .map(drop)
}

/// Takes the work of a process whose time has come first, if there is any whose lane is free. Work whose holder
/// has been silent past its lease is taken over, before anything else of its lane.
///
/// Two workers may look at two rows of one lane at once, and neither sees that the other takes his. So the lane is
/// locked for the rest of the transaction before the last look, which then sees all.
pub async fn claim(
    pool: &PgPool,
    process: &str,
    worker: &str,
    now: DateTime<Utc>,
    lease: Duration,
) -> sqlx::Result<Option<Claimed>> {
    loop {
        let mut db = pool.begin().await?;
        let candidate = sqlx::query(
            "SELECT w.id, w.lane FROM work w
              WHERE w.process = $1
                AND (w.state = 'ready' AND w.run_at <= $2 OR w.state = 'running' AND w.lease_until < $2)
                AND NOT EXISTS (SELECT FROM work o WHERE o.lane = w.lane AND o.state = 'running' AND o.id <> w.id)
              ORDER BY w.run_at, w.cause_position, w.id LIMIT 1 FOR UPDATE SKIP LOCKED",
        )
        .bind(process)
        .bind(now)
        .fetch_optional(&mut *db)
        .await?;
        let Some(candidate) = candidate else { return Ok(None) };
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('lane/' || $1, 0))")
            .bind(candidate.try_get::<&str, _>("lane")?)
            .execute(&mut *db)
            .await?;
        let id: WorkId = candidate.id("id")?;
        if let Some(claimed) = take(&mut db, id, worker, now + lease).await? {
            db.commit().await?;
            return Ok(Some(claimed));
        }
        // Another worker was faster in this lane; the next look does not see the lane any more.
        db.rollback().await?;
    }
}

async fn take(
    db: &mut PgConnection,
    id: WorkId,
    worker: &str,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<Claimed>> {
    sqlx::query(
        "UPDATE work w SET state = 'running', attempts = attempts + 1, lease_owner = $2, lease_until = $3,
                           fence = nextval('work_fence')
          WHERE w.id = $1
            AND NOT EXISTS (SELECT FROM work o WHERE o.lane = w.lane AND o.state = 'running' AND o.id <> w.id)
        RETURNING id, process, key, payload, attempts, fence, cause_event, cause_position, correlation, last_error",
    )
    .bind(id.0)
    .bind(worker)
    .bind(until)
    .try_map(|row: PgRow| {
        Ok(Claimed {
            id: row.id("id")?,
            process: row.try_get("process")?,
            key: row.try_get("key")?,
            payload: row.try_get("payload")?,
            attempts: row.try_get("attempts")?,
            fence: row.try_get("fence")?,
            cause_event: row.id("cause_event")?,
            cause_position: row.try_get("cause_position")?,
            correlation: row.try_get("correlation")?,
            last_error: row.try_get("last_error")?,
        })
    })
    .fetch_optional(db)
    .await
}

/// Keeps work; `false` when another has it.
pub async fn heartbeat(pool: &PgPool, id: WorkId, fence: i64, until: DateTime<Utc>) -> sqlx::Result<bool> {
    let kept =
        sqlx::query("UPDATE work SET lease_until = $3 WHERE id = $1 AND fence = $2 AND state = 'running'")
            .bind(id.0)
            .bind(fence)
            .bind(until)
            .execute(pool)
            .await?;
    let is_ours = kept.rows_affected() == 1;
    if !is_ours {
        metrics::counter!("mastra_admin_work_leases_lost_total").increment(1);
    }
    Ok(is_ours)
}

/// It is done.
pub async fn finish(pool: &PgPool, id: WorkId, fence: i64, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE work SET state = 'done', finished_at = $3, lease_owner = NULL, lease_until = NULL
          WHERE id = $1 AND fence = $2 AND state = 'running'",
    )
    .bind(id.0)
    .bind(fence)
    .bind(now)
    .execute(pool)
    .await
    .map(drop)
}

/// It is tried again, not before `run_at`.
pub async fn retry(
    pool: &PgPool,
    id: WorkId,
    fence: i64,
    run_at: DateTime<Utc>,
    error: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE work SET state = 'ready', run_at = $3, last_error = $4, lease_owner = NULL, lease_until = NULL
          WHERE id = $1 AND fence = $2 AND state = 'running'",
    )
    .bind(id.0)
    .bind(fence)
    .bind(run_at)
    .bind(error)
    .execute(pool)
    .await
    .map(drop)
}

/// It is not tried any more; somebody has to look.
pub async fn give_up(
    pool: &PgPool,
    id: WorkId,
    fence: i64,
    now: DateTime<Utc>,
    error: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE work SET state = 'dead', finished_at = $3, last_error = $4, lease_owner = NULL, lease_until = NULL
          WHERE id = $1 AND fence = $2 AND state = 'running'",
    )
    .bind(id.0)
    .bind(fence)
    .bind(now)
    .bind(error)
    .execute(pool)
    .await
    .map(drop)
}

/// How many rows of each process should have been taken up longer ago than `patience`, and how many seconds ago the
/// first of them.
pub async fn overdue(db: impl PgExecutor<'_>, patience: Duration) -> sqlx::Result<Vec<(String, i64, f64)>> {
    sqlx::query_as(
        "SELECT process, count(*), extract(epoch FROM max(now() - run_at))::float8 FROM work
          WHERE state = 'ready' AND run_at < now() - $1 * interval '1 second' GROUP BY process ORDER BY process",
    )
    .bind(patience.as_secs_f64())
    .fetch_all(db)
    .await
}

/// How many rows are in each state.
pub async fn counts(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Count>> {
    sqlx::query(
        "SELECT process, state, count(*) AS rows FROM work GROUP BY process, state ORDER BY process, state",
    )
    .try_map(|row: sqlx::postgres::PgRow| {
        Ok(Count {
            process: row.try_get("process")?,
            state: row.try_get("state")?,
            rows: row.try_get("rows")?,
        })
    })
    .fetch_all(db)
    .await
}
