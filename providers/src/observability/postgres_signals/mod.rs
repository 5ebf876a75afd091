//! Lines, measurements and scores in PostgreSQL's tables, a partition a day.
//!
//! For small installations. What is written is written by one statement, and answered when that is on disk.

mod errors;
mod logs;
mod points;
mod reckoning;
mod rows;
mod scores;

use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use domain::ports::telemetry::{
    ErrorFilter, ErrorGroup, Errors, Keeping, LogFilter, LogRecord, LogRecords, Measurements, MetricAnswer,
    MetricName, MetricQuestion, Period, Point, RecordId, Score, ScoreFilter, Scores, TelemetryError, Tenant,
    Written,
};
use sqlx::PgPool;

use super::days::{DayTable, Table, Turns};

const LOGS: Table = Table {
    what: "lines",
    make: "SELECT public.signals_make_day('log_records', $1)",
    drop: "SELECT public.signals_drop_before('log_records', $1)",
    name: "public.log_records",
};

const POINTS: Table = Table {
    what: "measurements",
    make: "SELECT public.signals_make_day('metric_points', $1)",
    drop: "SELECT public.signals_drop_before('metric_points', $1)",
    name: "public.metric_points",
};

const SCORES: Table = Table {
    what: "scores",
    make: "SELECT public.signals_make_day('scores', $1)",
    drop: "SELECT public.signals_drop_before('scores', $1)",
    name: "public.scores",
};

/// The store of all signals besides spans.
pub struct PostgresSignals {
    logs: DayTable,
    points: DayTable,
    scores: DayTable,
    turns: Arc<Turns>,
}

impl PostgresSignals {
    /// Keeps rows for so many days.
    pub fn new(pool: PgPool, days: u32) -> Self {
        let table = |table| DayTable::new(pool.clone(), table, days);
        Self { logs: table(LOGS), points: table(POINTS), scores: table(SCORES), turns: Turns::new() }
    }
}

#[async_trait]
impl Keeping for PostgresSignals {
    fn window(&self, now: DateTime<Utc>) -> RangeInclusive<DateTime<Utc>> {
        self.logs.window(now)
    }

    async fn forget(&self, tenant: Tenant, before: NaiveDate) -> Result<u64, TelemetryError> {
        let mut gone = 0;
        for table in [&self.logs, &self.points, &self.scores] {
            gone += table.forget(tenant, before).await?;
        }
        Ok(gone)
    }

    async fn keep_house(&self, now: DateTime<Utc>) -> Result<(), TelemetryError> {
        self.logs.keep_house(now).await?;
        self.points.keep_house(now).await?;
        self.scores.keep_house(now).await
    }
}

#[async_trait]
impl LogRecords for PostgresSignals {
    async fn write_logs(&self, tenant: Tenant, lines: Vec<LogRecord>) -> Result<Written, TelemetryError> {
        if lines.is_empty() {
            return Ok(Written::default());
        }
        self.turns.write(logs::write(&self.logs, tenant, lines)).await
    }

    async fn logs(&self, tenant: Tenant, filter: &LogFilter) -> Result<Vec<LogRecord>, TelemetryError> {
        self.turns.read(logs::find(&self.logs.pool, tenant, filter)).await
    }

    async fn logs_around(
        &self,
        tenant: Tenant,
        id: RecordId,
        filter: &LogFilter,
    ) -> Result<Vec<LogRecord>, TelemetryError> {
        self.turns.read(logs::around(&self.logs.pool, tenant, id, filter)).await
    }
}

#[async_trait]
impl Errors for PostgresSignals {
    async fn errors(&self, tenant: Tenant, filter: &ErrorFilter) -> Result<Vec<ErrorGroup>, TelemetryError> {
        // Spans are in the same database.
        self.turns.read(errors::groups(&self.logs.pool, tenant, filter)).await
    }
}

#[async_trait]
impl Measurements for PostgresSignals {
    async fn write_points(&self, tenant: Tenant, points: Vec<Point>) -> Result<Written, TelemetryError> {
        if points.is_empty() {
            return Ok(Written::default());
        }
        self.turns.write(points::write(&self.points, tenant, points)).await
    }

    async fn metric_names(
        &self,
        tenant: Tenant,
        period: Period,
        limit: i64,
    ) -> Result<Vec<MetricName>, TelemetryError> {
        self.turns.read(points::names(&self.points.pool, tenant, period, limit)).await
    }

    async fn metrics(
        &self,
        tenant: Tenant,
        question: &MetricQuestion,
    ) -> Result<MetricAnswer, TelemetryError> {
        self.turns.read(reckoning::samples(&self.points.pool, tenant, question)).await
    }
}

#[async_trait]
impl Scores for PostgresSignals {
    async fn write_scores(&self, tenant: Tenant, scores: Vec<Score>) -> Result<Written, TelemetryError> {
        if scores.is_empty() {
            return Ok(Written::default());
        }
        self.turns.write(scores::write(&self.scores, tenant, scores)).await
    }

    async fn scores(&self, tenant: Tenant, filter: &ScoreFilter) -> Result<Vec<Score>, TelemetryError> {
        self.turns.read(scores::find(&self.scores.pool, tenant, filter)).await
    }
}
