//! Rows of work: what processes have to do, who does it, and how often it was tried.
//!
//! Invariants: a row is held by one worker at a time, and rows of one lane never run at the same time. Whoever
//! holds a row carries its fence; with an older fence than the row's nothing about it can be said any more.
//! All times are those of the database's clock, which all servers share: how a server's own clock goes, forward or
//! back, delays and hastens nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::fact::StoredEvent;
use domain::ids::{DeploymentId, EventId, WorkId};
use serde_json::{Value, json};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, PgPool, Row};
use uuid::Uuid;

use crate::row::Columns;

/// Why the last try failed, when its worker was not heard of any more.
pub(crate) const LOST: &str = "the worker was lost";

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
    /// When it is to be done.
    pub due: Due,
    /// The event that caused it.
    pub cause_event: EventId,
    /// That event's position.
    pub cause_position: i64,
    /// The first cause of the chain.
    pub correlation: String,
}

/// When work is to be done, by the database's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// As soon as somebody is free.
    AtOnce,
    /// So long after it is stored. Not after what caused it happened: that says a server's clock, which may have been
    /// wrong.
    After(Duration),
    /// Not before this moment, which people were told.
    At(DateTime<Utc>),
}

impl Due {
    /// The moment, or the time from now.
    fn parts(self) -> (Option<DateTime<Utc>>, Duration) {
        match self {
            Self::AtOnce => (None, Duration::ZERO),
            // The database knows no less than microseconds.
            Self::After(delay) => {
                (None, Duration::from_micros(delay.as_micros().try_into().unwrap_or(u64::MAX)))
            }
            Self::At(moment) => (Some(moment), Duration::ZERO),
        }
    }
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
    /// Whether it was taken over from a worker that had been silent past its lease.
    pub is_taken_over: bool,
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
    let (moment, delay) = work.due.parts();
    sqlx::query(
        "INSERT INTO work (id, process, key, lane, payload, run_at, cause_event, cause_position, correlation, created_at)
         VALUES ($1, $2, $3, $4, $5, coalesce($10, now() + $6::interval), $7, $8, $9, now()) ON CONFLICT DO NOTHING",
    )
    .bind(work.id.0)
    .bind(&work.process)
    .bind(&work.key)
    .bind(&work.lane)
    .bind(&work.payload)
    .bind(delay)
    .bind(work.cause_event.0)
    .bind(work.cause_position)
    .bind(&work.correlation)
    .bind(moment)
    .execute(db)
    .await
    .map(drop)
}

/// What time it is by the database's clock.
pub async fn now(db: impl PgExecutor<'_>) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar("SELECT now()").fetch_one(db).await
}

/// Asks for a deployment's server to be started although no new event says so; once for each `key`.
pub async fn run_again(
    pool: &PgPool,
    deployment: DeploymentId,
    key: String,
    cause: &StoredEvent,
) -> sqlx::Result<()> {
    let work = NewWork {
        id: Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes()).into(),
        process: "run_deployment".to_owned(),
        lane: format!("deployment:{deployment}"),
        payload: json!({ "deployment_id": deployment }),
        key,
        due: Due::AtOnce,
        cause_event: cause.event_id,
        cause_position: cause.position,
        correlation: cause.metadata.envelope().correlation.clone(),
    };
    enqueue(&mut *pool.acquire().await?, &work).await
}

/// Whether nobody holds a running row `w` any more: its holder has been silent past its lease, or the lease ends later
/// than any that could have been given, because the database's clock was put back. Who lives says so again, and is told
/// that he has lost it. $2 is the lease.
pub(crate) const IS_LOST: &str = "NOT w.lease_until BETWEEN now() AND now() + 2 * $2::interval";

/// What becomes of a row `w` that is taken; `is_lost` of a joined row says whether from one who had it. $1 is the worker,
/// $2 the lease, $3 [`LOST`].
pub(crate) const TAKE: &str =
    "state = 'running', attempts = attempts + 1, lease_owner = $1, lease_until = now() + $2,
     fence = nextval('work_fence'), last_error = CASE WHEN is_lost THEN $3 ELSE last_error END";

/// What [`claimed`] reads of it.
pub(crate) const TAKEN: &str =
    "w.id, process, key, payload, attempts, fence, cause_event, cause_position, correlation,
     last_error, is_lost";

/// Takes the work of a process whose time has come first, if there is any whose lane is free. Work whose holder
/// has been silent past its lease is taken over, before anything else of its lane.
///
/// Two workers may look at two rows of one lane at once, and neither sees that the other takes his. So the lane is
/// locked for the rest of the transaction before the last look, which then sees all.
pub async fn claim(
    pool: &PgPool,
    process: &str,
    worker: &str,
    lease: Duration,
) -> sqlx::Result<Option<Claimed>> {
    claim_first(pool, process, worker, lease, FIRST).await
}

/// Who is first without further thought: who waits longest.
pub(crate) const FIRST: &str = "w.run_at, w.cause_position, w.id";

/// The same; who is first of rows `w` is said.
pub(crate) async fn claim_first(
    pool: &PgPool,
    process: &str,
    worker: &str,
    lease: Duration,
    first: &str,
) -> sqlx::Result<Option<Claimed>> {
    loop {
        let mut db = pool.begin().await?;
        let candidate = sqlx::query(&format!(
            "SELECT w.id, w.lane, w.state = 'running' AS is_lost FROM work w
              WHERE w.process = $1
                AND (w.state = 'ready' AND w.run_at <= now() OR w.state = 'running' AND {IS_LOST})
                AND NOT EXISTS (SELECT FROM work o WHERE o.lane = w.lane AND o.state = 'running' AND o.id <> w.id)
              ORDER BY {first} LIMIT 1 FOR UPDATE SKIP LOCKED"
        ))
        .bind(process)
        .bind(lease)
        .fetch_optional(&mut *db)
        .await?;
        let Some(candidate) = candidate else { return Ok(None) };
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('lane/' || $1, 0))")
            .bind(candidate.try_get::<&str, _>("lane")?)
            .execute(&mut *db)
            .await?;
        let id: WorkId = candidate.id("id")?;
        let is_lost = candidate.try_get("is_lost")?;
        if let Some(claimed) = take(&mut db, id, is_lost, worker, lease).await? {
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
    is_lost: bool,
    worker: &str,
    lease: Duration,
) -> sqlx::Result<Option<Claimed>> {
    sqlx::query(&format!(
        "UPDATE work w SET {TAKE} FROM (SELECT $5::boolean AS is_lost) seen
          WHERE w.id = $4
            AND NOT EXISTS (SELECT FROM work o WHERE o.lane = w.lane AND o.state = 'running' AND o.id <> w.id)
        RETURNING {TAKEN}"
    ))
    .bind(worker)
    .bind(lease)
    .bind(LOST)
    .bind(id.0)
    .bind(is_lost)
    .try_map(|row| claimed(&row))
    .fetch_optional(db)
    .await
}

/// The row that was taken.
pub(crate) fn claimed(row: &PgRow) -> sqlx::Result<Claimed> {
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
        is_taken_over: row.try_get("is_lost")?,
    })
}

/// Keeps work; `false` when another has it.
pub async fn heartbeat(pool: &PgPool, id: WorkId, fence: i64, lease: Duration) -> sqlx::Result<bool> {
    let kept = sqlx::query(
        "UPDATE work SET lease_until = now() + $3 WHERE id = $1 AND fence = $2 AND state = 'running'",
    )
    .bind(id.0)
    .bind(fence)
    .bind(lease)
    .execute(pool)
    .await?;
    let is_ours = kept.rows_affected() == 1;
    if !is_ours {
        metrics::counter!("mastra_admin_work_leases_lost_total").increment(1);
    }
    Ok(is_ours)
}

/// It is done.
pub async fn finish(pool: &PgPool, id: WorkId, fence: i64) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE work SET state = 'done', finished_at = now(), lease_owner = NULL, lease_until = NULL
          WHERE id = $1 AND fence = $2 AND state = 'running'",
    )
    .bind(id.0)
    .bind(fence)
    .execute(pool)
    .await
    .map(drop)
}

/// It is tried again, after a pause.
pub async fn retry(pool: &PgPool, id: WorkId, fence: i64, pause: Duration, error: &str) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE work SET state = 'ready', run_at = now() + $3, last_error = $4, lease_owner = NULL, lease_until = NULL
          WHERE id = $1 AND fence = $2 AND state = 'running'",
    )
    .bind(id.0)
    .bind(fence)
    .bind(pause)
    .bind(error)
    .execute(pool)
    .await
    .map(drop)
}

/// Whoever has it stops, and it waits as if it had not been taken.
pub async fn give_back(pool: &PgPool, id: WorkId, fence: i64) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE work SET state = 'ready', attempts = attempts - 1, lease_owner = NULL, lease_until = NULL
          WHERE id = $1 AND fence = $2 AND state = 'running'",
    )
    .bind(id.0)
    .bind(fence)
    .execute(pool)
    .await
    .map(drop)
}

/// Nobody wants it any more: what waits is done. Its `heir` gets its place. What runs is told otherwise.
pub async fn withdraw(
    db: &mut PgConnection,
    process: &str,
    key: &str,
    heir: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query(
        "WITH gone AS (
             UPDATE work SET state = 'done', finished_at = now() WHERE process = $1 AND key = $2 AND state = 'ready'
             RETURNING arrived
         )
         UPDATE work SET arrived = least(work.arrived, gone.arrived) FROM gone WHERE process = $1 AND key = $3",
    )
    .bind(process)
    .bind(key)
    .bind(heir)
    .execute(db)
    .await
    .map(drop)
}

/// It is not tried any more; somebody has to look.
pub async fn give_up(pool: &PgPool, id: WorkId, fence: i64, error: &str) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE work SET state = 'dead', finished_at = now(), last_error = $3, lease_owner = NULL, lease_until = NULL
          WHERE id = $1 AND fence = $2 AND state = 'running'",
    )
    .bind(id.0)
    .bind(fence)
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
