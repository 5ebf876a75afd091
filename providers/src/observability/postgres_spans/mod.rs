//! Spans in PostgreSQL's table `spans`, a partition a day.
//!
//! For small installations. What is written is written by one statement, and answered when that is on disk.

mod costs;
mod rating;
mod read;
mod rows;
mod write;

use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use domain::ports::telemetry::{
    CostShare, Filter, ModelUsage, Period, Span, SpanFilter, Stats, Telemetry, TelemetryError, Tenant,
    TraceId, TraceSummary, Written,
};
use sqlx::PgPool;

use super::days::{DayTable, Table, Turns};

pub use rating::PostgresRating;

/// What a span has, besides whose it is.
const COLUMNS: &str = "trace_id, span_id, day, parent_id, is_root, name, kind, status, status_message, started_at,
    duration_us, service, deployment_id, user_id, session_id, tags, model, provider, input_tokens, output_tokens,
    cache_read, cache_write, audio_input, reasoning, audio_output, counting, cost_picos, price, attributes, resource,
    events, links";

const SPANS: Table = Table {
    what: "spans",
    make: "SELECT public.spans_make_day($1)",
    drop: "SELECT public.spans_drop_before($1)",
    name: "public.spans",
};

/// The telemetry store.
pub struct PostgresSpans {
    table: DayTable,
    turns: Arc<Turns>,
}

impl PostgresSpans {
    /// Keeps spans for so many days.
    pub fn new(pool: PgPool, days: u32) -> Self {
        Self { table: DayTable::new(pool, SPANS, days), turns: Turns::new() }
    }
}

#[async_trait]
impl Telemetry for PostgresSpans {
    fn name(&self) -> &'static str {
        "postgresql"
    }

    async fn check(&self) -> Result<(), TelemetryError> {
        self.turns.read(async { sqlx::query("SELECT 1").execute(&self.table.pool).await.map(drop) }).await
    }

    fn window(&self, now: DateTime<Utc>) -> RangeInclusive<DateTime<Utc>> {
        self.table.window(now)
    }

    async fn write(&self, tenant: Tenant, spans: Vec<Span>) -> Result<Written, TelemetryError> {
        if spans.is_empty() {
            return Ok(Written::default());
        }
        self.turns.write(write::write(&self.table, tenant, spans)).await
    }

    async fn traces(&self, tenant: Tenant, filter: &Filter) -> Result<Vec<TraceSummary>, TelemetryError> {
        self.turns.read(read::traces(&self.table.pool, tenant, filter)).await
    }

    async fn spans(&self, tenant: Tenant, filter: &SpanFilter) -> Result<Vec<Span>, TelemetryError> {
        self.turns.read(rows::find(&self.table.pool, tenant, filter)).await
    }

    async fn who_has(&self, those: &[Tenant], id: TraceId) -> Result<Option<Tenant>, TelemetryError> {
        self.turns.read(read::who_has(&self.table.pool, those, id)).await
    }

    async fn trace(&self, tenant: Tenant, id: TraceId, limit: i64) -> Result<Vec<Span>, TelemetryError> {
        self.turns.read(read::trace(&self.table.pool, tenant, id, limit)).await
    }

    async fn usage(&self, tenant: Tenant, period: Period) -> Result<Vec<ModelUsage>, TelemetryError> {
        self.turns.read(read::usage(&self.table.pool, tenant, period)).await
    }

    async fn stats(&self, tenant: Tenant, period: Period) -> Result<Stats, TelemetryError> {
        self.turns.read(read::stats(&self.table.pool, tenant, period)).await
    }

    async fn costs(&self, tenant: Tenant, period: Period) -> Result<Vec<CostShare>, TelemetryError> {
        self.turns.read(costs::shares(&self.table.pool, tenant, period)).await
    }

    async fn forget(&self, tenant: Tenant, before: NaiveDate) -> Result<u64, TelemetryError> {
        self.table.forget(tenant, before).await
    }

    async fn keep_house(&self, now: DateTime<Utc>) -> Result<(), TelemetryError> {
        self.table.keep_house(now).await
    }
}
