//! What stands before a store of telemetry: it keeps on disk what comes while the store is away, and brings it there later.
//!
//! As long as the store answers, nothing goes through the disk. When it fails, or is too slow, nobody waits for it any more
//! until it has answered again: rows are written to files of this process, answered when they are on disk, and stored in
//! their order. What is stored twice, because of a kill in between, the store knows (ADR 0036). There is room for so many
//! bytes; beyond it senders are told to come again, and what they bring is counted.

mod drain;
mod gate;
#[cfg(test)]
mod golden;
mod queue;
mod record;
mod room;
mod segment;
#[cfg(test)]
mod tests;

use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use domain::ports::telemetry::{
    Backlog, CostShare, ErrorFilter, ErrorGroup, Errors, Filter, Keeping, LogFilter, LogRecord, LogRecords,
    Measurements, MetricAnswer, MetricName, MetricQuestion, ModelUsage, Period, Point, RecordId, Score,
    ScoreFilter, Scores, Signals, Span, SpanFilter, Stats, Telemetry, TelemetryError, Tenant, TraceId,
    TraceSummary, Written,
};
use tokio_util::task::AbortOnDropHandle;

use gate::Gate;
use queue::{NotKept, Queue};
use record::{Record, Rows};

/// How long a store may take before rows are kept here instead: the usual exporters wait for ten seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// A store of telemetry that may be away.
pub struct Spooled {
    inner: Arc<Inner>,
    _drain: AbortOnDropHandle<()>,
}

struct Inner {
    spans: Arc<dyn Telemetry>,
    signals: Arc<dyn Signals>,
    queue: Queue,
    gate: Gate,
}

impl Spooled {
    /// Keeps up to so many bytes in a directory of its own, and goes on with what is left there from before.
    ///
    /// # Errors
    /// When the directory cannot be used.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(
        (spans, signals): (Arc<dyn Telemetry>, Arc<dyn Signals>),
        dir: &Path,
        room: u64,
    ) -> io::Result<Self> {
        let inner = Inner { spans, signals, queue: Queue::open(dir, room)?, gate: Gate::default() };
        let inner = Arc::new(inner);
        let drain = AbortOnDropHandle::new(tokio::spawn(drain::drain(inner.clone())));
        Ok(Self { inner, _drain: drain })
    }

    /// Stores rows, or keeps them.
    async fn store<T: Clone, F>(
        &self,
        tenant: Tenant,
        rows: Vec<T>,
        of: impl FnOnce(Vec<T>) -> Rows,
        write: impl FnOnce(Arc<Vec<T>>) -> F,
    ) -> Result<Written, TelemetryError>
    where
        F: Future<Output = Result<Written, TelemetryError>>,
    {
        if rows.is_empty() {
            return Ok(Written::default());
        }
        let rows = Arc::new(rows);
        if !self.inner.gate.is_shut() {
            match tokio::time::timeout(PATIENCE, write(rows.clone())).await {
                Ok(Ok(written)) => return Ok(written),
                // Of several, those that can be stored are found behind the disk.
                Ok(Err(TelemetryError::Refused(_))) if rows.len() > 1 => {}
                Ok(Err(refused)) if matches!(refused, TelemetryError::Refused(_)) => return Err(refused),
                // It is there, and has enough to do.
                Ok(Err(TelemetryError::Busy)) => {}
                Ok(Err(error)) => self.inner.gate.shut(&error),
                Err(late) => self.inner.gate.shut(&TelemetryError::Store(Box::new(late))),
            }
        }
        self.keep(Record::new(tenant, of(Arc::unwrap_or_clone(rows)))).await
    }

    async fn keep(&self, record: Record) -> Result<Written, TelemetryError> {
        // The one who stores looks for the store, also when nothing can be kept.
        self.inner.queue.wake();
        let (at, rows) = (Utc::now(), record.rows.len() as u64);
        let packed = tokio::task::spawn_blocking(move || record.pack(at)).await;
        let packed = packed.unwrap_or_else(|error| Err(io::Error::other(error)));
        let packed = packed.map_err(|error| {
            self.inner.queue.refused(rows);
            TelemetryError::Store(Box::new(error))
        })?;
        match self.inner.queue.add(packed).await {
            Ok(()) => Ok(Written::default()),
            Err(NotKept::Full) => Err(TelemetryError::Busy),
            Err(NotKept::Disk(error)) => Err(TelemetryError::Store(Box::new(error))),
        }
    }
}

#[async_trait]
impl Telemetry for Spooled {
    fn name(&self) -> &'static str {
        self.inner.spans.name()
    }

    async fn check(&self) -> Result<(), TelemetryError> {
        self.inner.spans.check().await
    }

    fn backlog(&self) -> Backlog {
        self.inner.queue.backlog()
    }

    fn window(&self, now: DateTime<Utc>) -> RangeInclusive<DateTime<Utc>> {
        self.inner.spans.window(now)
    }

    async fn write(&self, tenant: Tenant, spans: Vec<Span>) -> Result<Written, TelemetryError> {
        self.store(tenant, spans, Rows::Spans, |spans| self.inner.spans.write_shared(tenant, spans)).await
    }

    async fn traces(&self, tenant: Tenant, filter: &Filter) -> Result<Vec<TraceSummary>, TelemetryError> {
        self.inner.spans.traces(tenant, filter).await
    }

    async fn who_has(&self, those: &[Tenant], id: TraceId) -> Result<Option<Tenant>, TelemetryError> {
        self.inner.spans.who_has(those, id).await
    }

    async fn trace(&self, tenant: Tenant, id: TraceId, limit: i64) -> Result<Vec<Span>, TelemetryError> {
        self.inner.spans.trace(tenant, id, limit).await
    }

    async fn spans(&self, tenant: Tenant, filter: &SpanFilter) -> Result<Vec<Span>, TelemetryError> {
        self.inner.spans.spans(tenant, filter).await
    }

    async fn usage(&self, tenant: Tenant, period: Period) -> Result<Vec<ModelUsage>, TelemetryError> {
        self.inner.spans.usage(tenant, period).await
    }

    async fn costs(&self, tenant: Tenant, period: Period) -> Result<Vec<CostShare>, TelemetryError> {
        self.inner.spans.costs(tenant, period).await
    }

    async fn stats(&self, tenant: Tenant, period: Period) -> Result<Stats, TelemetryError> {
        self.inner.spans.stats(tenant, period).await
    }

    async fn forget(&self, tenant: Tenant, before: NaiveDate) -> Result<u64, TelemetryError> {
        self.inner.spans.forget(tenant, before).await
    }

    async fn keep_house(&self, now: DateTime<Utc>) -> Result<(), TelemetryError> {
        self.inner.spans.keep_house(now).await
    }
}

#[async_trait]
impl Keeping for Spooled {
    fn window(&self, now: DateTime<Utc>) -> RangeInclusive<DateTime<Utc>> {
        self.inner.signals.window(now)
    }

    async fn forget(&self, tenant: Tenant, before: NaiveDate) -> Result<u64, TelemetryError> {
        self.inner.signals.forget(tenant, before).await
    }

    async fn keep_house(&self, now: DateTime<Utc>) -> Result<(), TelemetryError> {
        self.inner.signals.keep_house(now).await
    }
}

#[async_trait]
impl LogRecords for Spooled {
    async fn write_logs(&self, tenant: Tenant, lines: Vec<LogRecord>) -> Result<Written, TelemetryError> {
        self.store(tenant, lines, Rows::Logs, |lines| self.inner.signals.write_logs(tenant, lines.to_vec()))
            .await
    }

    async fn logs(&self, tenant: Tenant, filter: &LogFilter) -> Result<Vec<LogRecord>, TelemetryError> {
        self.inner.signals.logs(tenant, filter).await
    }

    async fn logs_around(
        &self,
        tenant: Tenant,
        id: RecordId,
        filter: &LogFilter,
    ) -> Result<Vec<LogRecord>, TelemetryError> {
        self.inner.signals.logs_around(tenant, id, filter).await
    }
}

#[async_trait]
impl Measurements for Spooled {
    async fn write_points(&self, tenant: Tenant, points: Vec<Point>) -> Result<Written, TelemetryError> {
        self.store(tenant, points, Rows::Points, |points| {
            self.inner.signals.write_points(tenant, points.to_vec())
        })
        .await
    }

    async fn metric_names(
        &self,
        tenant: Tenant,
        period: Period,
        limit: i64,
    ) -> Result<Vec<MetricName>, TelemetryError> {
        self.inner.signals.metric_names(tenant, period, limit).await
    }

    async fn metrics(
        &self,
        tenant: Tenant,
        question: &MetricQuestion,
    ) -> Result<MetricAnswer, TelemetryError> {
        self.inner.signals.metrics(tenant, question).await
    }
}

#[async_trait]
impl Scores for Spooled {
    async fn write_scores(&self, tenant: Tenant, scores: Vec<Score>) -> Result<Written, TelemetryError> {
        self.store(tenant, scores, Rows::Scores, |scores| {
            self.inner.signals.write_scores(tenant, scores.to_vec())
        })
        .await
    }

    async fn scores(&self, tenant: Tenant, filter: &ScoreFilter) -> Result<Vec<Score>, TelemetryError> {
        self.inner.signals.scores(tenant, filter).await
    }
}

#[async_trait]
impl Errors for Spooled {
    async fn errors(&self, tenant: Tenant, filter: &ErrorFilter) -> Result<Vec<ErrorGroup>, TelemetryError> {
        self.inner.signals.errors(tenant, filter).await
    }
}
