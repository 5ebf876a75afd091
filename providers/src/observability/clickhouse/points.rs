//! Measurements, and what there is, by name.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use clickhouse::{Client, Row};
use domain::ports::telemetry::{
    Measurements, MetricAnswer, MetricKind, MetricName, MetricQuestion, Period, Point, SpanId,
    TelemetryError, Tenant, TraceId, Written,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::fault::Fault;
use super::row::{bytes, moment, some_bytes, text};
use super::sql::Sql;
use super::write::{Kept, Key, Table};
use super::{ClickHouseStore, labels, reckoning};

#[async_trait]
impl Measurements for ClickHouseStore {
    async fn write_points(&self, tenant: Tenant, points: Vec<Point>) -> Result<Written, TelemetryError> {
        self.points.write(tenant, Arc::new(points)).await
    }

    async fn metric_names(
        &self,
        tenant: Tenant,
        period: Period,
        limit: i64,
    ) -> Result<Vec<MetricName>, TelemetryError> {
        self.ask(async |client: &Client| names(client, tenant, period, limit).await).await
    }

    async fn metrics(
        &self,
        tenant: Tenant,
        question: &MetricQuestion,
    ) -> Result<MetricAnswer, TelemetryError> {
        self.ask(async |client: &Client| reckoning::answer(client, tenant, question).await).await
    }
}

/// By name, from the last measurement of each.
async fn names(
    client: &Client,
    tenant: Tenant,
    period: Period,
    limit: i64,
) -> Result<Vec<MetricName>, Fault> {
    let mut these = Sql::of(tenant);
    these.within("at", period);
    let mut sql =
        Sql::new("SELECT name, kind, unit, at, mapKeys(label_texts) AS labels FROM metric_points WHERE ");
    sql.append(&these)
        .push(" AND (name, at) IN (SELECT name, max(at) FROM metric_points WHERE ")
        .append(&these);
    sql.push(" GROUP BY name ORDER BY name LIMIT ").number(limit);
    // Of a measurement that two servers wrote at the same moment, that which came first.
    sql.push(") ORDER BY name, id, precedence DESC LIMIT 1 BY name");
    let rows = sql.into_query(client).fetch_all::<NameRow>().await?;
    rows.into_iter().map(NameRow::name).collect()
}

#[derive(Row, Deserialize)]
struct NameRow {
    name: String,
    kind: String,
    unit: Option<String>,
    at: i64,
    labels: Vec<String>,
}

impl NameRow {
    fn name(mut self) -> Result<MetricName, Fault> {
        self.labels.sort_unstable();
        Ok(MetricName {
            name: self.name.clone(),
            kind: MetricKind::from_name(&self.kind).unwrap_or(MetricKind::Gauge),
            unit: self.unit.clone(),
            at: moment(self.at)?,
            labels: self.labels,
        })
    }
}

/// Its columns.
#[derive(Clone, Debug, Row, Serialize)]
pub(super) struct PointRow {
    #[serde(with = "clickhouse::serde::uuid")]
    team_id: Uuid,
    #[serde(with = "clickhouse::serde::uuid")]
    project_id: Uuid,
    id: [u8; 16],
    name: String,
    kind: &'static str,
    unit: Option<String>,
    at: i64,
    started_at: Option<i64>,
    series: [u8; 16],
    amount: i64,
    total: f64,
    no_total: bool,
    least: Option<f64>,
    largest: Option<f64>,
    bounds: Vec<f64>,
    buckets: Vec<i64>,
    labels: String,
    label_texts: Vec<(String, Option<String>)>,
    context: String,
    service: Option<String>,
    #[serde(with = "clickhouse::serde::uuid::option")]
    deployment_id: Option<Uuid>,
    trace_id: [u8; 16],
    span_id: [u8; 8],
    expires_on: u16,
}

impl Kept for Point {
    type Row = PointRow;
    const TABLE: Table = Table { name: "metric_points", at: "at", id: "id", part: None };

    fn key(&self) -> Key {
        (bytes(self.id.as_bytes()), [0; 8])
    }

    fn at(&self) -> DateTime<Utc> {
        self.at
    }

    fn row(&self, tenant: Tenant, expires_on: u16) -> PointRow {
        PointRow {
            team_id: tenant.team.0,
            project_id: tenant.project.0,
            id: bytes(self.id.as_bytes()),
            name: self.name.clone(),
            kind: self.kind.as_str(),
            unit: self.unit.clone(),
            at: self.at.timestamp_micros(),
            started_at: self.started_at.map(|at| at.timestamp_micros()),
            series: bytes(self.series.as_bytes()),
            amount: self.count,
            total: self.sum.unwrap_or_default(),
            no_total: self.sum.is_none(),
            least: self.min,
            largest: self.max,
            bounds: self.bounds.clone(),
            buckets: self.buckets.clone(),
            label_texts: labels::texts(&self.labels),
            labels: text(&self.labels),
            context: text(&self.context),
            service: self.service.clone(),
            deployment_id: self.deployment_id.map(|id| id.0),
            trace_id: some_bytes(self.trace_id.as_ref().map(TraceId::as_bytes)),
            span_id: some_bytes(self.span_id.as_ref().map(SpanId::as_bytes)),
            expires_on,
        }
    }
}
