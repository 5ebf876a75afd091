//! Where spans, log lines, measurements and scores of deployed servers go and are read from.
//!
//! Part of the observability port: one implementation a telemetry store, all held to one contract test. Team and project
//! are in the type of every question; nothing is read or written without them.

mod costs;
mod errors;
mod ids;
mod log_records;
mod measurements;
mod page;
mod query;
mod rating;
mod row;
mod scores;
mod signals;
mod spans;

use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use thiserror::Error;

use crate::ids::{ProjectId, TeamId};

pub use costs::{CostBy, CostShare};
pub use errors::{ErrorFilter, ErrorGroup, ErrorPlace, ErrorSource, Errors, Failure};
pub use ids::{ErrorId, NotAnId, RecordId, SpanId, TraceId};
pub use log_records::{LogFilter, LogPlace, LogRecord, LogRecords, Severity};
pub use measurements::{
    Aggregate, Measurements, MetricAnswer, MetricKind, MetricName, MetricQuestion, MetricSample, Point,
    Range, quantile,
};
pub use page::{PAGE_BYTES, Weighs, is_full, may_go_on};
pub use query::{Filter, ModelUsage, Period, Place, Stats, TraceSummary};
pub use rating::{Call, NewCost, Rating};
pub use row::{Cost, Counting, Span, Status, Usage};
pub use scores::{Score, ScoreFilter, ScoreKind, Scores};
pub use signals::{Keeping, Signals};
pub use spans::{SpanFilter, SpanPlace};

/// Whose telemetry: every question and every row has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// The team.
    pub team: TeamId,
    /// Its project.
    pub project: ProjectId,
}

/// Stores and reads spans.
///
/// A span is what one project says under one trace id and span id on the day (UTC) that it began. It is written once and
/// never changes: what comes later under the same identity is a repeat and is not stored.
#[async_trait]
pub trait Telemetry: Send + Sync {
    /// What operators call the store.
    fn name(&self) -> &'static str;

    /// Whether it can be reached now.
    async fn check(&self) -> Result<(), TelemetryError>;

    /// What was taken in and is not in the store yet.
    fn backlog(&self) -> Backlog {
        Backlog::default()
    }

    /// When a span may have begun, so that it is kept: who sends others is told so.
    fn window(&self, now: DateTime<Utc>) -> RangeInclusive<DateTime<Utc>>;

    /// Stores spans. When it answers with `Ok`, they are durable, all of them, in the store or on the way there. Spans outside of the window are an error of
    /// the caller.
    ///
    /// # Errors
    /// When the store is away or has enough to do; another try is worth it, and stores nothing twice.
    async fn write(&self, tenant: Tenant, spans: Vec<Span>) -> Result<Written, TelemetryError>;

    /// The same for whoever keeps the spans until they are stored. A store that only reads them needs no copy.
    ///
    /// # Errors
    /// As `write`.
    async fn write_shared(&self, tenant: Tenant, spans: Arc<Vec<Span>>) -> Result<Written, TelemetryError> {
        self.write(tenant, Arc::unwrap_or_clone(spans)).await
    }

    /// Traces by when their first root span began, newest first.
    async fn traces(&self, tenant: Tenant, filter: &Filter) -> Result<Vec<TraceSummary>, TelemetryError>;

    /// Single spans by when they began, newest first: at most as many as the filter says, and no more than a page has bytes
    /// ([`PAGE_BYTES`]).
    async fn spans(&self, tenant: Tenant, filter: &SpanFilter) -> Result<Vec<Span>, TelemetryError>;

    /// Which of these has the trace; of several the one with the oldest project, none when nobody knows it.
    async fn who_has(&self, those: &[Tenant], id: TraceId) -> Result<Option<Tenant>, TelemetryError>;

    /// The spans of a trace in the order in which they began, at most `limit`; none when nobody knows the trace.
    async fn trace(&self, tenant: Tenant, id: TraceId, limit: i64) -> Result<Vec<Span>, TelemetryError>;

    /// Calls, tokens and cost by model, dearest first.
    async fn usage(&self, tenant: Tenant, period: Period) -> Result<Vec<ModelUsage>, TelemetryError>;

    /// What calls cost: shares by model, deployment, day and user, and all together; of each the dearest first, days in
    /// their order.
    async fn costs(&self, tenant: Tenant, period: Period) -> Result<Vec<CostShare>, TelemetryError>;

    /// How many traces there were, and how long they took.
    async fn stats(&self, tenant: Tenant, period: Period) -> Result<Stats, TelemetryError>;

    /// Drops a project's spans of before this day (UTC); how many.
    async fn forget(&self, tenant: Tenant, before: NaiveDate) -> Result<u64, TelemetryError>;

    /// Makes room for what comes and drops what is older than the window. To be called every hour.
    async fn keep_house(&self, now: DateTime<Utc>) -> Result<(), TelemetryError>;
}

/// What became of rows that were written. Those that are neither are kept, and will be the one or the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Stored now.
    pub stored: u64,
    /// Known already.
    pub repeated: u64,
}

/// Rows that were taken in while the store was away, and are kept until it has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many wait.
    pub rows: u64,
    /// Bytes that they take up.
    pub bytes: u64,
    /// Bytes that there is room for; none where nothing is kept.
    pub room: u64,
    /// When the oldest of them was taken in.
    pub oldest: Option<DateTime<Utc>>,
    /// Rows that came into the store from here since the start.
    pub stored: u64,
    /// Those that it knew already.
    pub repeated: u64,
    /// Rows that were not taken in since the start, because there was no room or it could not be written.
    pub refused: u64,
    /// Rows that the store does not take, put aside for operators.
    pub set_aside: u64,
    /// Whether the last that was to be kept was not.
    pub is_refusing: bool,
}

/// Why nothing was stored or read.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// Too much is under way already.
    #[error("the telemetry store has enough to do")]
    Busy,
    /// The store takes others, and not these rows.
    #[error("the telemetry store does not take these rows")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The question takes more time or memory than one may: a narrower one would be answered.
    #[error("the question takes more of the telemetry store than one may")]
    TooWide(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store could not be reached or failed.
    #[error("the telemetry store failed")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}
