//! Spans in PostgreSQL's table `spans`, a partition a day.
//!
//! For small installations. What is written is written by one statement, and answered when that is on disk; no more than
//! a few write at a time, and who would wait too long is told so: nothing piles up in memory.

mod read;
mod write;

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use domain::ports::telemetry::{
    Filter, ModelUsage, Period, Span, Stats, Telemetry, TelemetryError, Tenant, TraceId, TraceSummary,
    Written,
};
use sqlx::PgPool;
use tokio::sync::Semaphore;

/// What a span has, besides whose it is.
const COLUMNS: &str = "trace_id, span_id, day, parent_id, is_root, name, kind, status, status_message, started_at,
    duration_us, service, deployment_id, user_id, session_id, tags, model, provider, input_tokens, output_tokens,
    cache_read, cache_write, audio_input, reasoning, audio_output, counting, cost_picos, price, attributes, resource,
    events, links";

/// How many write at a time: more make PostgreSQL no faster, and everything else slower.
const WRITERS: usize = 4;
/// How many read at a time, each for no longer than `READING`.
const READERS: usize = 4;
/// How long a writer or reader waits for its turn.
const TURN: Duration = Duration::from_secs(3);
/// How long a question may take; also in `read.rs` as SQL.
const READING: Duration = Duration::from_secs(10);
/// Clocks of senders may be ahead by this much.
const AHEAD: TimeDelta = TimeDelta::hours(1);

/// The telemetry store.
pub struct PostgresSpans {
    pool: PgPool,
    /// How many days are kept, besides today.
    days: u32,
    writers: Semaphore,
    readers: Semaphore,
    /// Days that have a partition.
    known: Mutex<HashSet<NaiveDate>>,
}

impl PostgresSpans {
    /// Keeps spans for so many days.
    pub fn new(pool: PgPool, days: u32) -> Self {
        let (writers, readers) = (Semaphore::new(WRITERS), Semaphore::new(READERS));
        Self { pool, days, writers, readers, known: Mutex::default() }
    }

    /// The first day that is kept.
    fn oldest(&self, now: DateTime<Utc>) -> NaiveDate {
        now.date_naive().checked_sub_days(Days::new(self.days.into())).unwrap_or(NaiveDate::MIN)
    }

    /// Makes partitions for days that are not known to have one.
    async fn make_room(&self, days: impl IntoIterator<Item = NaiveDate>) -> sqlx::Result<()> {
        let known = |day: &NaiveDate| self.known().contains(day);
        let days: HashSet<NaiveDate> = days.into_iter().filter(|day| !known(day)).collect();
        for day in days {
            sqlx::query("SELECT public.spans_make_day($1)").bind(day).execute(&self.pool).await?;
            self.known().insert(day);
        }
        Ok(())
    }

    /// Nothing is left half done where a panic could strike.
    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<NaiveDate>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Telemetry for PostgresSpans {
    fn name(&self) -> &'static str {
        "postgresql"
    }

    async fn check(&self) -> Result<(), TelemetryError> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map(drop).map_err(failed)
    }

    fn window(&self, now: DateTime<Utc>) -> RangeInclusive<DateTime<Utc>> {
        self.oldest(now).and_time(NaiveTime::MIN).and_utc()..=now + AHEAD
    }

    async fn write(&self, tenant: Tenant, spans: Vec<Span>) -> Result<Written, TelemetryError> {
        if spans.is_empty() {
            return Ok(Written::default());
        }
        let _turn = turn(&self.writers).await?;
        write::write(self, tenant, spans).await.map_err(failed)
    }

    async fn traces(&self, tenant: Tenant, filter: &Filter) -> Result<Vec<TraceSummary>, TelemetryError> {
        let _turn = turn(&self.readers).await?;
        in_time(read::traces(&self.pool, tenant, filter)).await
    }

    async fn trace(&self, tenant: Tenant, id: TraceId, limit: i64) -> Result<Vec<Span>, TelemetryError> {
        let _turn = turn(&self.readers).await?;
        in_time(read::trace(&self.pool, tenant, id, limit)).await
    }

    async fn usage(&self, tenant: Tenant, period: Period) -> Result<Vec<ModelUsage>, TelemetryError> {
        let _turn = turn(&self.readers).await?;
        in_time(read::usage(&self.pool, tenant, period)).await
    }

    async fn stats(&self, tenant: Tenant, period: Period) -> Result<Stats, TelemetryError> {
        let _turn = turn(&self.readers).await?;
        in_time(read::stats(&self.pool, tenant, period)).await
    }

    async fn keep_house(&self, now: DateTime<Utc>) -> Result<(), TelemetryError> {
        let (today, oldest) = (now.date_naive(), self.oldest(now));
        self.make_room([Some(today), today.succ_opt()].into_iter().flatten()).await.map_err(failed)?;
        self.known().retain(|day| *day >= oldest);
        let dropped: i32 = sqlx::query_scalar("SELECT public.spans_drop_before($1)")
            .bind(oldest)
            .fetch_one(&self.pool)
            .await
            .map_err(failed)?;
        if dropped > 0 {
            tracing::info!(days = dropped, "dropped {dropped} days of spans");
        }
        Ok(())
    }
}

/// Waits for a turn, but not for long.
async fn turn(those: &Semaphore) -> Result<tokio::sync::SemaphorePermit<'_>, TelemetryError> {
    let turn = tokio::time::timeout(TURN, those.acquire()).await;
    turn.ok().and_then(Result::ok).ok_or(TelemetryError::Busy)
}

/// What takes too long was asked too widely: the database ends it a moment before.
async fn in_time<T>(reading: impl Future<Output = sqlx::Result<T>>) -> Result<T, TelemetryError> {
    let read = tokio::time::timeout(READING + TURN, reading).await;
    read.map_err(|_| TelemetryError::Busy)?.map_err(failed)
}

fn failed(error: sqlx::Error) -> TelemetryError {
    TelemetryError::Store(Box::new(error))
}
