//! Measurements: in by one statement; what there is, by name.

use domain::ports::telemetry::{MetricKind, MetricName, Period, Point, Tenant, Written};
use serde_json::{Value, json};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

use super::rows::{Query, each, within};
use crate::observability::days::{DayTable, reading};

/// What a measurement has, besides whose it is.
const COLUMNS: &str =
    "id, day, name, kind, unit, at, started_at, series, count, sum, min, max, bounds, buckets, labels,
    context, service, deployment_id, trace_id, span_id";

/// Stores what is not known yet.
pub(super) async fn write(table: &DayTable, tenant: Tenant, mut points: Vec<Point>) -> sqlx::Result<Written> {
    // Two that write the same rows wait for each other in the same order.
    points.sort_by_key(|point| (point.id, point.at));
    let days = points.iter().map(|point| point.at.date_naive()).collect();
    let tries = [(); 2].map(|()| insert(&table.pool, tenant, &points));
    let stored = table.insert(&days, tries).await?;
    Ok(Written { stored, repeated: points.len() as u64 - stored })
}

async fn insert(pool: &PgPool, tenant: Tenant, points: &[Point]) -> sqlx::Result<u64> {
    let statement = format!(
        "INSERT INTO public.metric_points (team_id, project_id, {COLUMNS})
         SELECT $1, $2, {COLUMNS} FROM unnest(
             $3::bytea[], $4::date[], $5::text[], $6::text[], $7::text[], $8::timestamptz[], $9::timestamptz[],
             $10::bytea[], $11::bigint[], $12::float8[], $13::float8[], $14::float8[], $15::jsonb[], $16::jsonb[],
             $17::jsonb[], $18::jsonb[], $19::text[], $20::uuid[], $21::bytea[], $22::bytea[]) r ({COLUMNS})
         ON CONFLICT DO NOTHING"
    );
    let list = |point: &Point, list: Value| point.kind.is_histogram().then_some(list);
    let stored = sqlx::query(&statement)
        .bind(tenant.team.0)
        .bind(tenant.project.0)
        .bind(each(points, |point| point.id.as_bytes()))
        .bind(each(points, |point| point.at.date_naive()))
        .bind(each(points, |point| point.name.as_str()))
        .bind(each(points, |point| point.kind.as_str()))
        .bind(each(points, |point| point.unit.as_deref()))
        .bind(each(points, |point| point.at))
        .bind(each(points, |point| point.started_at))
        .bind(each(points, |point| point.series.as_bytes()))
        .bind(each(points, |point| point.count))
        .bind(each(points, |point| point.sum))
        .bind(each(points, |point| point.min))
        .bind(each(points, |point| point.max))
        .bind(each(points, |point| list(point, json!(point.bounds))))
        .bind(each(points, |point| list(point, json!(point.buckets))))
        .bind(each(points, |point| Value::Object(point.labels.clone())))
        .bind(each(points, |point| Value::Object(point.context.clone())))
        .bind(each(points, |point| point.service.as_deref()))
        .bind(each(points, |point| point.deployment_id.map(|id| id.0)))
        .bind(each(points, |point| point.trace_id.as_ref().map(|id| id.as_bytes())))
        .bind(each(points, |point| point.span_id.as_ref().map(|id| id.as_bytes())))
        .execute(pool)
        .await?;
    Ok(stored.rows_affected())
}

/// By name: the index is walked from one name to the next, whatever the number of measurements is.
pub(super) async fn names(
    pool: &PgPool,
    tenant: Tenant,
    period: Period,
    limit: i64,
) -> sqlx::Result<Vec<MetricName>> {
    let mut query = Query::new("WITH RECURSIVE n AS ((SELECT r.name FROM public.metric_points r WHERE ");
    within(&mut query, tenant, period);
    query
        .push(" ORDER BY r.name LIMIT 1) UNION ALL SELECT (SELECT r.name FROM public.metric_points r WHERE ");
    within(&mut query, tenant, period);
    query.push(
        " AND r.name > n.name ORDER BY r.name LIMIT 1) FROM n WHERE n.name IS NOT NULL)
         SELECT n.name, l.kind, l.unit, l.at,
                ARRAY(SELECT jsonb_object_keys(l.labels)) AS labels
           FROM (SELECT n.name FROM n WHERE n.name IS NOT NULL LIMIT ",
    );
    query.push_bind(limit);
    query.push(
        ") n CROSS JOIN LATERAL (SELECT r.kind, r.unit, r.at, r.labels FROM public.metric_points r WHERE r.name = n.name AND ",
    );
    within(&mut query, tenant, period);
    query.push(" ORDER BY r.day DESC, r.at DESC, r.id LIMIT 1) l ORDER BY n.name");
    let mut db = reading(pool).await?;
    query.build().fetch_all(&mut *db).await?.iter().map(name).collect()
}

fn name(row: &PgRow) -> sqlx::Result<MetricName> {
    let mut labels: Vec<String> = row.try_get("labels")?;
    labels.sort_unstable();
    Ok(MetricName {
        name: row.try_get("name")?,
        kind: MetricKind::from_name(row.try_get("kind")?).unwrap_or(MetricKind::Gauge),
        unit: row.try_get("unit")?,
        at: row.try_get("at")?,
        labels,
    })
}
