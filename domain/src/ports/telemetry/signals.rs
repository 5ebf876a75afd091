//! What the stores of all signals besides spans have in common.

use std::ops::RangeInclusive;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};

use super::{Errors, LogRecords, Measurements, Scores, TelemetryError, Tenant};

/// How long rows are kept.
#[async_trait]
pub trait Keeping: Send + Sync {
    /// From when a row may be, so that it is kept: who sends others is told so.
    fn window(&self, now: DateTime<Utc>) -> RangeInclusive<DateTime<Utc>>;

    /// Drops a project's rows of before this day (UTC); how many.
    async fn forget(&self, tenant: Tenant, before: NaiveDate) -> Result<u64, TelemetryError>;

    /// Makes room for what comes and drops what is older than the window. To be called every hour.
    async fn keep_house(&self, now: DateTime<Utc>) -> Result<(), TelemetryError>;
}

/// A store of all of them.
pub trait Signals: LogRecords + Measurements + Scores + Errors {}

impl<T: LogRecords + Measurements + Scores + Errors> Signals for T {}
