//! A table with a partition a day: days come before they are needed and go as a whole.
//!
//! No more than a few write and read at a time, and who would wait too long is told so: nothing piles up in memory.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use domain::ports::telemetry::{TelemetryError, Tenant};
use sqlx::error::DatabaseError;
use sqlx::{PgPool, Postgres, Transaction};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How many write at a time: more make PostgreSQL no faster, and everything else slower.
const WRITERS: usize = 4;
/// How many read at a time, each for no longer than `READING`.
const READERS: usize = 4;
/// How long a writer or reader waits for its turn.
const TURN: Duration = Duration::from_secs(3);
/// How long a question may take; also in [`reading`] as SQL.
const READING: Duration = Duration::from_secs(10);
/// Clocks of senders may be ahead by this much.
const AHEAD: TimeDelta = TimeDelta::hours(1);
/// No partition takes the row: another server has dropped the day. With the name of a constraint: the row breaks it.
const CHECK_VIOLATION: &str = "23514";
/// The database has ended a statement that took too long.
const QUERY_CANCELED: &str = "57014";
/// So many rows of a project are dropped at once.
const AT_ONCE: i64 = 10_000;

/// Whose turn it is. Tables may share it.
pub(super) struct Turns {
    writers: Semaphore,
    readers: Semaphore,
}

impl Turns {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { writers: Semaphore::new(WRITERS), readers: Semaphore::new(READERS) })
    }

    /// Writes when it is its turn.
    pub(super) async fn write<T>(
        &self,
        writing: impl Future<Output = sqlx::Result<T>>,
    ) -> Result<T, TelemetryError> {
        let _turn = turn(&self.writers).await?;
        writing.await.map_err(failed)
    }

    /// Reads when it is its turn. What takes too long was asked too widely: the database ends it a moment before.
    pub(super) async fn read<T>(
        &self,
        reading: impl Future<Output = sqlx::Result<T>>,
    ) -> Result<T, TelemetryError> {
        let _turn = turn(&self.readers).await?;
        let read = tokio::time::timeout(READING + TURN, reading).await;
        read.map_err(|_| TelemetryError::Busy)?.map_err(unanswered)
    }
}

/// Which table, and the statements that make a day of it and drop those before one.
#[derive(Clone, Copy)]
pub(super) struct Table {
    /// What is in it, for people.
    pub(super) what: &'static str,
    /// `$1` is the day.
    pub(super) make: &'static str,
    /// `$1` is the first day that stays; it answers how many have gone.
    pub(super) drop: &'static str,
    /// Its name, with its schema's.
    pub(super) name: &'static str,
}

/// The days of a table.
pub(super) struct DayTable {
    pub(super) pool: PgPool,
    table: Table,
    /// How many days are kept, besides today.
    days: u32,
    /// Days that have a partition.
    known: Mutex<HashSet<NaiveDate>>,
}

impl DayTable {
    pub(super) fn new(pool: PgPool, table: Table, days: u32) -> Self {
        Self { pool, table, days, known: Mutex::default() }
    }

    /// From when until when rows are taken in.
    pub(super) fn window(&self, now: DateTime<Utc>) -> RangeInclusive<DateTime<Utc>> {
        self.oldest(now).and_time(NaiveTime::MIN).and_utc()..=now + AHEAD
    }

    /// The first day that is kept.
    fn oldest(&self, now: DateTime<Utc>) -> NaiveDate {
        now.date_naive().checked_sub_days(Days::new(self.days.into())).unwrap_or(NaiveDate::MIN)
    }

    /// Inserts rows of these days, once there is room for them. The second try is for a day that went meanwhile.
    pub(super) async fn insert<F>(
        &self,
        days: &HashSet<NaiveDate>,
        [first, again]: [F; 2],
    ) -> sqlx::Result<u64>
    where
        F: Future<Output = sqlx::Result<u64>>,
    {
        self.make_room(days).await?;
        match first.await {
            Err(sqlx::Error::Database(error)) if has_no_day(&*error) => {
                self.known().retain(|day| !days.contains(day));
                self.make_room(days).await?;
                again.await
            }
            stored => stored,
        }
    }

    /// Makes room for today and tomorrow, and drops what is over.
    pub(super) async fn keep_house(&self, now: DateTime<Utc>) -> Result<(), TelemetryError> {
        let (today, oldest) = (now.date_naive(), self.oldest(now));
        let soon = [Some(today), today.succ_opt()].into_iter().flatten().collect();
        self.make_room(&soon).await.map_err(unread)?;
        self.known().retain(|day| *day >= oldest);
        let dropped: i32 =
            sqlx::query_scalar(self.table.drop).bind(oldest).fetch_one(&self.pool).await.map_err(unread)?;
        if dropped > 0 {
            tracing::info!(days = dropped, "dropped {dropped} days of {}", self.table.what);
        }
        Ok(())
    }

    /// Drops a project's rows of before this day: day by day, and so many at a time that no statement takes long.
    pub(super) async fn forget(&self, tenant: Tenant, before: NaiveDate) -> Result<u64, TelemetryError> {
        self.forget_rows(tenant, before).await.map_err(unread)
    }

    async fn forget_rows(&self, tenant: Tenant, before: NaiveDate) -> sqlx::Result<u64> {
        let name = self.table.name;
        // Older days than these go as a whole.
        let days = format!(
            "SELECT $3::date - n FROM generate_series(1, $4) n CROSS JOIN LATERAL (
               SELECT 1 FROM {name} r
                WHERE r.team_id = $1 AND r.project_id = $2 AND r.day = $3::date - n LIMIT 1) any_row"
        );
        // Where a row is tells it apart within a partition, which is a day.
        let some = format!(
            "DELETE FROM {name} WHERE team_id = $1 AND project_id = $2 AND day = $3 AND ctid = ANY(ARRAY(
               SELECT r.ctid FROM {name} r WHERE r.team_id = $1 AND r.project_id = $2 AND r.day = $3 LIMIT $4))"
        );
        let days = sqlx::query_scalar(&days).bind(tenant.team.0).bind(tenant.project.0).bind(before);
        let kept = i32::try_from(self.days).unwrap_or(i32::MAX).saturating_add(2);
        let days: Vec<NaiveDate> = days.bind(kept).fetch_all(&self.pool).await?;
        let mut gone = 0;
        for day in days {
            loop {
                let some = sqlx::query(&some).bind(tenant.team.0).bind(tenant.project.0);
                let rows = some.bind(day).bind(AT_ONCE).execute(&self.pool).await?.rows_affected();
                gone += rows;
                if rows < AT_ONCE.cast_unsigned() {
                    break;
                }
            }
        }
        Ok(gone)
    }

    /// Makes partitions for days that are not known to have one.
    async fn make_room(&self, days: &HashSet<NaiveDate>) -> sqlx::Result<()> {
        let new: Vec<NaiveDate> = days.difference(&self.known()).copied().collect();
        for day in new {
            sqlx::query(self.table.make).bind(day).execute(&self.pool).await?;
            self.known().insert(day);
        }
        Ok(())
    }

    /// Nothing is left half done where a panic could strike.
    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<NaiveDate>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transaction that reads, and not for ever.
pub(super) async fn reading(pool: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
    let mut db = pool.begin().await?;
    sqlx::query("SET LOCAL statement_timeout = '10s'").execute(&mut *db).await?;
    Ok(db)
}

/// Waits for a turn, but not for long.
async fn turn(those: &Semaphore) -> Result<SemaphorePermit<'_>, TelemetryError> {
    let turn = tokio::time::timeout(TURN, those.acquire()).await;
    turn.ok().and_then(Result::ok).ok_or(TelemetryError::Busy)
}

/// Whether the row is for a day that there is no room for.
fn has_no_day(error: &dyn DatabaseError) -> bool {
    error.code().as_deref() == Some(CHECK_VIOLATION) && error.constraint().is_none()
}

/// Why rows were not written.
fn failed(error: sqlx::Error) -> TelemetryError {
    let said = error.as_database_error().filter(|said| !has_no_day(*said));
    // What was given is out of range, breaks a rule or is too large: the classes of PostgreSQL's codes.
    let is_class = |code: &str| ["22", "23", "54"].iter().any(|class| code.starts_with(class));
    if said.and_then(DatabaseError::code).is_some_and(|code| is_class(&code)) {
        return TelemetryError::Refused(Box::new(error));
    }
    unread(error)
}

/// Why a question was not answered.
fn unanswered(error: sqlx::Error) -> TelemetryError {
    let code = error.as_database_error().and_then(DatabaseError::code);
    if code.as_deref() == Some(QUERY_CANCELED) {
        return TelemetryError::TooWide(Box::new(error));
    }
    unread(error)
}

/// Why something else was not done, where no rows were given that could be wrong.
fn unread(error: sqlx::Error) -> TelemetryError {
    TelemetryError::Store(Box::new(error))
}
