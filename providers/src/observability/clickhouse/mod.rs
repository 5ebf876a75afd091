//! All telemetry in ClickHouse, over its HTTP interface.
//!
//! For installations with much to keep. What many senders bring at the same time is written together, and answered when the
//! engine has it on disk. No more waits than fits, and who would wait too long is told so: nothing piles up in memory.

mod errors;
mod fault;
mod labels;
mod logs;
mod look;
mod points;
mod rating;
mod reckoning;
mod rollups;
mod row;
mod schema;
mod scores;
mod spans;
mod sql;
mod target;
mod write;

use std::ops::RangeInclusive;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use clickhouse::Client;
use domain::ports::telemetry::{Keeping, LogRecord, Point, Score, Span, TelemetryError, Tenant};
use tokio::sync::{OnceCell, Semaphore};

use fault::Fault;
pub use rating::ClickHouseRating;
pub use target::{Target, TargetError};
use write::{Kept, Writer};

/// How many read at a time, each for no longer than `READING`.
const READERS: usize = 8;
/// How long a reader or writer waits for its turn.
const TURN: Duration = Duration::from_secs(3);
/// How long a question may take: the engine ends it then.
const READING: Duration = Duration::from_secs(10);
/// So many bytes of the engine's memory a question may take, unless the operator says otherwise.
const READING_MEMORY: u64 = 1 << 30;
/// How long a batch may take, from when it came: the usual exporters wait for ten seconds.
const WRITING: Duration = Duration::from_secs(9);
/// How long the engine may take to say that it is there.
const LOOKING: Duration = Duration::from_secs(2);
/// How long dropping days may take; what is left is dropped an hour later.
const HOUSEKEEPING: Duration = Duration::from_secs(120);
/// Clocks of senders may be ahead by this much.
const AHEAD: TimeDelta = TimeDelta::hours(1);

/// The store of spans and of all other signals.
pub struct ClickHouseStore {
    engine: Engine,
    spans: Writer<Span>,
    logs: Writer<LogRecord>,
    points: Writer<Point>,
    scores: Writer<Score>,
    readers: Semaphore,
    /// Who asks, with the bounds of a question.
    reader: Client,
}

/// The engine, and whether it has the present schema.
#[derive(Clone)]
struct Engine {
    target: Target,
    client: Client,
    /// How many days are kept, besides today.
    days: u32,
    migrated: std::sync::Arc<OnceCell<()>>,
}

impl Engine {
    /// The engine with the present schema: one that was away is looked for again whenever it is needed.
    async fn ready(&self) -> Result<&Client, Fault> {
        self.migrated.get_or_try_init(|| schema::migrate(&self.target)).await?;
        Ok(&self.client)
    }

    /// The first day that is kept.
    fn oldest(&self, now: DateTime<Utc>) -> NaiveDate {
        now.date_naive().checked_sub_days(Days::new(self.days.into())).unwrap_or(NaiveDate::MIN)
    }

    /// From when until when rows are taken in.
    fn window(&self, now: DateTime<Utc>) -> RangeInclusive<DateTime<Utc>> {
        self.oldest(now).and_time(NaiveTime::MIN).and_utc()..=now + AHEAD
    }

    /// Drops a project's rows of before this day; how many there were.
    async fn forget<T: Kept>(&self, tenant: Tenant, before: NaiveDate) -> Result<u64, TelemetryError> {
        let forget = async { schema::forget(self.ready().await?, &T::TABLE, tenant, before).await };
        in_time(HOUSEKEEPING, forget).await
    }

    /// Drops the days of a table that are over.
    async fn drop_old<T: Kept>(&self, now: DateTime<Utc>) -> Result<(), TelemetryError> {
        let (table, oldest) = (T::TABLE.name, self.oldest(now));
        let drop = async { schema::drop_before(self.ready().await?, table, oldest).await };
        let dropped = in_time(HOUSEKEEPING, drop).await?;
        if dropped > 0 {
            tracing::info!(days = dropped, "dropped {dropped} days of {table}");
        }
        Ok(())
    }
}

impl ClickHouseStore {
    /// Keeps rows for so many days. The engine is not asked before it is needed.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(target: Target, days: u32) -> Self {
        Self::start_bounded(target, days, READING_MEMORY)
    }

    /// The same, where a question may take so many bytes of the engine's memory; 0: any.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start_bounded(target: Target, days: u32, memory: u64) -> Self {
        let client = target.client();
        let reader = client.clone().with_setting("max_memory_usage", memory.to_string());
        let engine = Engine { target, client, days, migrated: Default::default() };
        Self {
            spans: Writer::start(&engine),
            logs: Writer::start(&engine),
            points: Writer::start(&engine),
            scores: Writer::start(&engine),
            engine,
            readers: Semaphore::new(READERS),
            reader,
        }
    }

    /// Brings the engine to the present schema.
    ///
    /// # Errors
    /// When it cannot be reached, or refuses; and when it was migrated by a newer release.
    pub async fn migrate(&self) -> Result<(), TelemetryError> {
        in_time(READING, async { self.engine.ready().await.map(drop) }).await
    }

    /// Asks, when it is this question's turn.
    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&Client) -> Result<T, Fault>,
    ) -> Result<T, TelemetryError> {
        let turn = tokio::time::timeout(TURN, self.readers.acquire()).await;
        let _turn = turn.ok().and_then(Result::ok).ok_or(TelemetryError::Busy)?;
        let asked = async {
            self.engine.ready().await?;
            question(&self.reader).await
        };
        let answer = tokio::time::timeout(READING + TURN, asked).await;
        answer.unwrap_or_else(|_| Err(Fault::late())).map_err(Fault::of_a_question)
    }
}

#[async_trait]
impl Keeping for ClickHouseStore {
    fn window(&self, now: DateTime<Utc>) -> RangeInclusive<DateTime<Utc>> {
        self.engine.window(now)
    }

    async fn forget(&self, tenant: Tenant, before: NaiveDate) -> Result<u64, TelemetryError> {
        let lines = self.engine.forget::<LogRecord>(tenant, before).await?;
        let points = self.engine.forget::<Point>(tenant, before).await?;
        Ok(lines + points + self.engine.forget::<Score>(tenant, before).await?)
    }

    async fn keep_house(&self, now: DateTime<Utc>) -> Result<(), TelemetryError> {
        self.engine.drop_old::<LogRecord>(now).await?;
        self.engine.drop_old::<Point>(now).await?;
        self.engine.drop_old::<Score>(now).await
    }
}

/// What takes too long is given up.
async fn in_time<T>(
    most: Duration,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, TelemetryError> {
    let done = tokio::time::timeout(most, work).await;
    Ok(done.map_err(|_| Fault::late())??)
}
