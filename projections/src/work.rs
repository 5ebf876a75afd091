//! Work rows: what processes have to do. Stored with the checkpoint that led to them; done at least once.
//!
//! Invariants: a piece of work is held by one worker at a time, and a lane has one piece running at a time.
//! Whoever has lost the lease changes nothing any more: every change names the fence it was given.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::ids::{EventId, WorkId};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, PgExecutor, PgPool, Row};

use crate::row::Columns;

/// A piece of work to be stored.
#[derive(Clone, Debug)]
pub struct NewWork {
    /// Its id, derived from process and event, so that it is the same when the event is read again.
    pub id: WorkId,
    /// Which process does it.
    pub process: String,
    /// What it is about: the same key is the same work.
    pub key: String,
    /// Only one piece of work of a lane runs at a time.
    pub lane: String,
    /// What the process needs to know.
    pub payload: Value,
    /// Not before.
    pub run_at: DateTime<Utc>,
    /// The event that led here.
    pub cause_event: EventId,
    /// Its position.
    pub cause_position: i64,
    /// The first cause.
    pub correlation: String,
}

/// A piece of work in the hands of a worker.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Its id.
    pub id: WorkId,
    /// Which process does it.
    pub process: String,
    /// What it is about.
    pub key: String,
    /// Its lane.
    pub lane: String,
    /// What the process needs to know.
    pub payload: Value,
    /// Which try this is, from 1.
    pub attempts: i32,
    /// What went wrong the last time.
    pub last_error: Option<String>,
    /// Fencing token: higher than that of any earlier try.
    pub fence: i64,
    /// The event that led here.
    pub cause_event: EventId,
    /// Its position.
    pub cause_position: i64,
    /// The first cause.
    pub correlation: String,
}

/// How much work of a process is in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkCount {
    /// The process.
    pub process: String,
    /// `ready`, `running`, `done` or `dead`.
    pub state: String,
    /// How many rows.
    pub count: i64,
}

impl FromRow<'_, PgRow> for Claimed {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            process: row.try_get("process")?,
            key: row.try_get("key")?,
            lane: row.try_get("lane")?,
            payload: row.try_get("payload")?,
            attempts: row.try_get("attempts")?,
            last_error: row.try_get("last_error")?,
            fence: row.try_get("fence")?,
            cause_event: row.id("cause_event")?,
            cause_position: row.try_get("cause_position")?,
            correlation: row.try_get("correlation")?,
        })
    }
}

/// Stores a piece of work, unless the process has one of this key already.
pub async fn enqueue(db: &mut PgConnection, work: &NewWork) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO work (id, process, key, lane, payload, run_at, cause_event, cause_position, correlation,
                           created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, now())
         ON CONFLICT (process, key) DO NOTHING",
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

/// Takes the piece of work that is due longest: never taken, or left by a worker whose lease has run out.
///
/// Two workers may look at two pieces of one lane at the same time, and neither sees that the other takes his.
/// So the lane is locked for the rest of the transaction before the last look, which then sees all.
pub async fn claim(
    pool: &PgPool,
    process: &str,
    worker: &str,
    now: DateTime<Utc>,
    lease: Duration,
) -> sqlx::Result<Option<Claimed>> {
    loop {
        let mut tx = pool.begin().await?;
        let candidate = sqlx::query(
            "SELECT w.id, w.lane FROM work w
              WHERE w.process = $1
                AND (w.state = 'ready' AND w.run_at <= $2 OR w.state = 'running' AND w.lease_until < $2)
                AND NOT EXISTS (SELECT FROM work o WHERE o.lane = w.lane AND o.state = 'running' AND o.id <> w.id)
              ORDER BY w.run_at, w.cause_position, w.id LIMIT 1 FOR UPDATE SKIP LOCKED",
        )
        .bind(process)
        .bind(now)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(candidate) = candidate else { return Ok(None) };
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind(candidate.try_get::<&str, _>("lane")?)
            .execute(&mut *tx)
            .await?;
        let claimed = sqlx::query_as(
            "UPDATE work w SET state = 'running', attempts = attempts + 1, lease_owner = $2, lease_until = $3,
                               fence = nextval('work_fence')
              WHERE w.id = $1
                AND NOT EXISTS (SELECT FROM work o WHERE o.lane = w.lane AND o.state = 'running' AND o.id <> w.id)
             RETURNING id, process, key, lane, payload, attempts, last_error, fence, cause_event, cause_position,
                       correlation",
        )
        .bind(candidate.try_get::<uuid::Uuid, _>("id")?)
        .bind(worker)
        .bind(now + lease)
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(claimed) = claimed {
            tx.commit().await?;
            return Ok(Some(claimed));
        }
        // Another worker was faster in this lane; the next look does not see the lane any more.
        tx.rollback().await?;
    }
}

/// Says that the worker lives. False when the work is another's now.
pub async fn heartbeat(pool: &PgPool, id: WorkId, fence: i64, until: DateTime<Utc>) -> sqlx::Result<bool> {
    let query = "UPDATE work SET lease_until = $3 WHERE id = $1 AND fence = $2 AND state = 'running'";
    changed(sqlx::query(query).bind(id.0).bind(fence).bind(until).execute(pool).await)
}

/// The work is done. False when it is another's now.
pub async fn finish(pool: &PgPool, id: WorkId, fence: i64, now: DateTime<Utc>) -> sqlx::Result<bool> {
    let query = "UPDATE work SET state = 'done', finished_at = $3, lease_owner = NULL, lease_until = NULL,
                                 last_error = NULL
                  WHERE id = $1 AND fence = $2 AND state = 'running'";
    changed(sqlx::query(query).bind(id.0).bind(fence).bind(now).execute(pool).await)
}

/// The work failed and is to be tried again, not before `run_at`. False when it is another's now.
pub async fn retry(
    pool: &PgPool,
    id: WorkId,
    fence: i64,
    run_at: DateTime<Utc>,
    error: &str,
) -> sqlx::Result<bool> {
    let query = "UPDATE work SET state = 'ready', run_at = $3, last_error = $4, lease_owner = NULL,
                                 lease_until = NULL
                  WHERE id = $1 AND fence = $2 AND state = 'running'";
    changed(sqlx::query(query).bind(id.0).bind(fence).bind(run_at).bind(error).execute(pool).await)
}

/// The work failed for good. False when it is another's now.
pub async fn give_up(
    pool: &PgPool,
    id: WorkId,
    fence: i64,
    now: DateTime<Utc>,
    error: &str,
) -> sqlx::Result<bool> {
    let query = "UPDATE work SET state = 'dead', finished_at = $3, last_error = $4, lease_owner = NULL,
                                 lease_until = NULL
                  WHERE id = $1 AND fence = $2 AND state = 'running'";
    changed(sqlx::query(query).bind(id.0).bind(fence).bind(now).bind(error).execute(pool).await)
}

/// When the next piece of work of a process is due; none when nothing waits.
pub async fn next_due(db: impl PgExecutor<'_>, process: &str) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar("SELECT min(run_at) FROM work WHERE process = $1 AND state = 'ready'")
        .bind(process)
        .fetch_one(db)
        .await
}

/// How much work waits or runs, timers among it.
pub async fn open_count(db: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM work WHERE state IN ('ready', 'running')").fetch_one(db).await
}

/// How much work there is by process and state, for metrics.
pub async fn counts(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<WorkCount>> {
    sqlx::query(
        "SELECT process, state, count(*) AS count FROM work GROUP BY process, state ORDER BY process, state",
    )
    .try_map(|row: PgRow| {
        let (process, state) = (row.try_get("process")?, row.try_get("state")?);
        Ok(WorkCount { process, state, count: row.try_get("count")? })
    })
    .fetch_all(db)
    .await
}

fn changed(done: sqlx::Result<sqlx::postgres::PgQueryResult>) -> sqlx::Result<bool> {
    Ok(done?.rows_affected() == 1)
}
