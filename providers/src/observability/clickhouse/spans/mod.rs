//! Spans.

mod costs;
mod numbers;
mod read;
mod row;
mod single;

use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use clickhouse::Client;
use domain::ports::telemetry::{
    CostShare, Filter, ModelUsage, Period, Span, SpanFilter, Stats, Telemetry, TelemetryError, Tenant,
    TraceId, TraceSummary, Written,
};

use super::fault::Fault;
use super::{ClickHouseStore, HOUSEKEEPING, LOOKING, in_time, rollups};
pub(super) use numbers::{calls_by_model, first_roots};

#[async_trait]
impl Telemetry for ClickHouseStore {
    fn name(&self) -> &'static str {
        "clickhouse"
    }

    async fn check(&self) -> Result<(), TelemetryError> {
        in_time(LOOKING, async {
            self.engine.ready().await?.query("SELECT 1").execute().await.map_err(Fault::from)
        })
        .await
    }

    fn window(&self, now: DateTime<Utc>) -> RangeInclusive<DateTime<Utc>> {
        self.engine.window(now)
    }

    async fn write(&self, tenant: Tenant, spans: Vec<Span>) -> Result<Written, TelemetryError> {
        self.spans.write(tenant, Arc::new(spans)).await
    }

    async fn write_shared(&self, tenant: Tenant, spans: Arc<Vec<Span>>) -> Result<Written, TelemetryError> {
        self.spans.write(tenant, spans).await
    }

    async fn traces(&self, tenant: Tenant, filter: &Filter) -> Result<Vec<TraceSummary>, TelemetryError> {
        self.ask(async |client: &Client| read::traces(client, tenant, filter).await).await
    }

    async fn spans(&self, tenant: Tenant, filter: &SpanFilter) -> Result<Vec<Span>, TelemetryError> {
        self.ask(async |client: &Client| single::find(client, tenant, filter).await).await
    }

    async fn who_has(&self, those: &[Tenant], id: TraceId) -> Result<Option<Tenant>, TelemetryError> {
        if those.is_empty() {
            return Ok(None);
        }
        self.ask(async |client: &Client| read::who_has(client, those, id).await).await
    }

    async fn trace(&self, tenant: Tenant, id: TraceId, limit: i64) -> Result<Vec<Span>, TelemetryError> {
        self.ask(async |client: &Client| read::trace(client, tenant, id, limit).await).await
    }

    async fn usage(&self, tenant: Tenant, period: Period) -> Result<Vec<ModelUsage>, TelemetryError> {
        self.ask(async |client: &Client| numbers::usage(client, tenant, period).await).await
    }

    async fn costs(&self, tenant: Tenant, period: Period) -> Result<Vec<CostShare>, TelemetryError> {
        self.ask(async |client: &Client| costs::shares(client, tenant, period).await).await
    }

    async fn stats(&self, tenant: Tenant, period: Period) -> Result<Stats, TelemetryError> {
        self.ask(async |client: &Client| numbers::stats(client, tenant, period).await).await
    }

    async fn forget(&self, tenant: Tenant, before: NaiveDate) -> Result<u64, TelemetryError> {
        let first = async { rollups::forget(self.engine.ready().await?, tenant, before).await };
        in_time(HOUSEKEEPING, first).await?;
        self.engine.forget::<Span>(tenant, before).await
    }

    async fn keep_house(&self, now: DateTime<Utc>) -> Result<(), TelemetryError> {
        let oldest = self.engine.oldest(now);
        let first = async { rollups::drop_before(self.engine.ready().await?, oldest).await };
        in_time(HOUSEKEEPING, first).await?;
        self.engine.drop_old::<Span>(now).await?;
        let rolling = async { rollups::keep_up(self.engine.ready().await?, now).await };
        match in_time(HOUSEKEEPING, rolling).await {
            Ok(0) => {}
            Ok(rolled) => tracing::info!(rolled, "rolled up {rolled} days of spans"),
            // Rows say the same, and take longer.
            Err(error) => tracing::warn!(%error, "days of spans could not be rolled up: {error}"),
        }
        Ok(())
    }
}
