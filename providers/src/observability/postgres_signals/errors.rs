//! Errors, with those that are alike in one group.

use chrono::{DateTime, Utc};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{ErrorFilter, ErrorGroup, ErrorId, ErrorSource, SpanId, Tenant, TraceId};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::rows::{Query, corrupt};
use crate::observability::days::reading;

/// What stands before the message in an example, so that the greatest is the last that has a trace: whether it has one, when
/// it was, trace and span, each as long as all others.
const EXAMPLE: &str = "(CASE WHEN trace_id IS NULL THEN '0' ELSE '1' END)
    || lpad((extract(epoch FROM at) * 1000000)::bigint::text, 20, '0')
    || encode(coalesce(trace_id, decode(repeat('00', 16), 'hex')), 'hex')
    || encode(coalesce(span_id, decode(repeat('00', 8), 'hex')), 'hex') || error_message";
/// Where trace, span and message begin.
const PARTS: [usize; 3] = [21, 53, 69];

/// By when they were last seen, newest first.
pub(super) async fn groups(
    pool: &PgPool,
    tenant: Tenant,
    filter: &ErrorFilter,
) -> sqlx::Result<Vec<ErrorGroup>> {
    let mut query = Query::new("WITH told AS (");
    let sources = [(ErrorSource::Span, "spans", "started_at"), (ErrorSource::Line, "log_records", "at")];
    let wanted = sources.iter().filter(|(source, ..)| filter.source.is_none_or(|only| only == *source));
    for (n, (source, table, at)) in wanted.enumerate() {
        let of_span = *source == ErrorSource::Span;
        query.push(if n == 0 { "" } else { " UNION ALL " }).push(format!(
            "SELECT r.error_group, r.error_type, r.error_message, {of_span} AS of_span, r.{at} AS at, r.trace_id,
                    r.span_id, r.deployment_id
               FROM public.{table} r WHERE r.error_group IS NOT NULL"
        ));
        matching(&mut query, tenant, filter, at);
    }
    query.push(format!(
        ") SELECT error_group, error_type, count(*) FILTER (WHERE of_span) AS spans,
                  count(*) FILTER (WHERE NOT of_span) AS lines, count(DISTINCT trace_id) AS traces,
                  min(at) AS first_seen, max(at) AS last_seen, max(({EXAMPLE}) COLLATE \"C\") AS example,
                  (array_agg(DISTINCT deployment_id ORDER BY deployment_id DESC)
                       FILTER (WHERE deployment_id IS NOT NULL))[:{}] AS deployments
             FROM told GROUP BY error_group, error_type",
        ErrorGroup::DEPLOYMENTS
    ));
    if let Some(after) = filter.after {
        query.push(" HAVING (max(at), error_group) < (").push_bind(after.last_seen);
        query.push(", ").push_bind(after.id.as_bytes().to_vec()).push(")");
    }
    query.push(" ORDER BY last_seen DESC, error_group DESC LIMIT ").push_bind(filter.limit);
    let mut db = reading(pool).await?;
    query.build().fetch_all(&mut *db).await?.iter().map(group).collect()
}

/// The days let whole partitions out.
fn matching(query: &mut Query, tenant: Tenant, filter: &ErrorFilter, at: &str) {
    query.push(" AND r.team_id = ").push_bind(tenant.team.0);
    query.push(" AND r.project_id = ").push_bind(tenant.project.0);
    if let Some(from) = filter.period.from {
        query.push(" AND r.day >= ").push_bind(from.date_naive());
        query.push(format!(" AND r.{at} >= ")).push_bind(from);
    }
    if let Some(to) = filter.period.to {
        query.push(" AND r.day <= ").push_bind(to.date_naive());
        query.push(format!(" AND r.{at} < ")).push_bind(to);
    }
    if let Some(group) = filter.group {
        query.push(" AND r.error_group = ").push_bind(group.as_bytes().to_vec());
    }
    if let Some(text) = &filter.text {
        query.push(" AND (strpos(lower(r.error_message), lower(").push_bind(text.clone());
        query.push(")) > 0 OR strpos(lower(r.error_type), lower(").push_bind(text.clone()).push(")) > 0)");
    }
    if let Some(deployments) = &filter.deployments {
        let ids: Vec<Uuid> = deployments.iter().map(|id| id.0).collect();
        query.push(" AND r.deployment_id = ANY(").push_bind(ids).push(")");
    }
}

fn group(row: &PgRow) -> sqlx::Result<ErrorGroup> {
    let example: &str = row.try_get("example")?;
    let [trace, span, message] = PARTS;
    let deployments: Option<Vec<Uuid>> = row.try_get("deployments")?;
    Ok(ErrorGroup {
        id: ErrorId::try_from(row.try_get::<&[u8], _>("error_group")?).map_err(corrupt)?,
        kind: Some(row.try_get("error_type")?).filter(|kind: &String| !kind.is_empty()),
        message: example[message..].to_owned(),
        spans: row.try_get("spans")?,
        lines: row.try_get("lines")?,
        traces: row.try_get("traces")?,
        first_seen: row.try_get::<DateTime<Utc>, _>("first_seen")?,
        last_seen: row.try_get::<DateTime<Utc>, _>("last_seen")?,
        trace_id: example[trace..span].parse::<TraceId>().ok(),
        span_id: example[span..message].parse::<SpanId>().ok(),
        deployments: deployments.unwrap_or_default().into_iter().map(DeploymentId).collect(),
    })
}
