//! What the tables of all signals have in common: whose a row is, when it was, and how its columns are read.

use domain::ids::DeploymentId;
use domain::ports::telemetry::{Period, RecordId, SpanId, Tenant, TraceId};
use serde_json::{Map, Value};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, QueryBuilder, Row};

pub(super) type Query = QueryBuilder<'static, Postgres>;

/// Of the tenant, in the period; the days let whole partitions out.
pub(super) fn within(query: &mut Query, tenant: Tenant, period: Period) {
    query.push("r.team_id = ").push_bind(tenant.team.0);
    query.push(" AND r.project_id = ").push_bind(tenant.project.0);
    if let Some(from) = period.from {
        query.push(" AND r.day >= ").push_bind(from.date_naive());
        query.push(" AND r.at >= ").push_bind(from);
    }
    if let Some(to) = period.to {
        query.push(" AND r.day <= ").push_bind(to.date_naive());
        query.push(" AND r.at < ").push_bind(to);
    }
}

/// A column of all rows.
pub(super) fn each<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

pub(super) fn record_id(row: &PgRow) -> sqlx::Result<RecordId> {
    RecordId::try_from(row.try_get::<&[u8], _>("id")?).map_err(corrupt)
}

pub(super) fn trace_id(row: &PgRow) -> sqlx::Result<Option<TraceId>> {
    let id = row.try_get::<Option<&[u8]>, _>("trace_id")?;
    id.map(TraceId::try_from).transpose().map_err(corrupt)
}

pub(super) fn span_id(row: &PgRow) -> sqlx::Result<Option<SpanId>> {
    let id = row.try_get::<Option<&[u8]>, _>("span_id")?;
    id.map(SpanId::try_from).transpose().map_err(corrupt)
}

pub(super) fn deployment_id(row: &PgRow) -> sqlx::Result<Option<DeploymentId>> {
    Ok(row.try_get::<Option<_>, _>("deployment_id")?.map(DeploymentId))
}

pub(super) fn object(row: &PgRow, name: &str) -> sqlx::Result<Map<String, Value>> {
    match row.try_get(name)? {
        Value::Object(map) => Ok(map),
        _ => Ok(Map::new()),
    }
}

pub(super) fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
