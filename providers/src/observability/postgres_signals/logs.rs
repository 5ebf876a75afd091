//! Lines: in by one statement, out newest first.

use domain::ports::telemetry::{
    Failure, LogFilter, LogPlace, LogRecord, Period, RecordId, Severity, Tenant, Written,
};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};

use super::rows::{Query, deployment_id, each, object, record_id, span_id, trace_id, within};
use crate::observability::days::{DayTable, reading};
use crate::observability::failures::{FAILURE, Failures};
use crate::observability::pages;

/// What a line has, besides whose it is.
const COLUMNS: &str =
    "id, day, at, place, severity, message, trace_id, span_id, service, deployment_id, attributes,
    resource";

/// Where a line stands, and which way the list goes.
const NEWEST_FIRST: &str = " ORDER BY r.day DESC, r.at DESC, r.place DESC, r.id DESC LIMIT ";
const OLDEST_FIRST: &str = " ORDER BY r.day, r.at, r.place, r.id LIMIT ";

/// Stores what is not known yet.
pub(super) async fn write(
    table: &DayTable,
    tenant: Tenant,
    mut lines: Vec<LogRecord>,
) -> sqlx::Result<Written> {
    // Two that write the same rows wait for each other in the same order.
    lines.sort_by_key(|line| (line.id, line.at));
    let days = lines.iter().map(|line| line.at.date_naive()).collect();
    let tries = [(); 2].map(|()| insert(&table.pool, tenant, &lines));
    let stored = table.insert(&days, tries).await?;
    Ok(Written { stored, repeated: lines.len() as u64 - stored })
}

async fn insert(pool: &PgPool, tenant: Tenant, lines: &[LogRecord]) -> sqlx::Result<u64> {
    let statement = format!(
        "INSERT INTO public.log_records (team_id, project_id, {COLUMNS}, {FAILURE})
         SELECT $1, $2, {COLUMNS}, {FAILURE} FROM unnest(
             $3::bytea[], $4::date[], $5::timestamptz[], $6::integer[], $7::smallint[], $8::text[], $9::bytea[],
             $10::bytea[], $11::text[], $12::uuid[], $13::jsonb[], $14::jsonb[], $15::bytea[], $16::text[],
             $17::text[]) r ({COLUMNS}, {FAILURE})
         ON CONFLICT DO NOTHING"
    );
    let failures = Failures::of(lines.iter().map(Failure::of_line));
    let query = sqlx::query(&statement)
        .bind(tenant.team.0)
        .bind(tenant.project.0)
        .bind(each(lines, |line| line.id.as_bytes()))
        .bind(each(lines, |line| line.at.date_naive()))
        .bind(each(lines, |line| line.at))
        .bind(each(lines, |line| line.place))
        .bind(each(lines, |line| line.severity.map(|severity| i16::from(severity.number()))))
        .bind(each(lines, |line| line.message.as_str()))
        .bind(each(lines, |line| line.trace_id.as_ref().map(|id| id.as_bytes())))
        .bind(each(lines, |line| line.span_id.as_ref().map(|id| id.as_bytes())))
        .bind(each(lines, |line| line.service.as_deref()))
        .bind(each(lines, |line| line.deployment_id.map(|id| id.0)))
        .bind(each(lines, |line| Value::Object(line.attributes.clone())))
        .bind(each(lines, |line| Value::Object(line.resource.clone())));
    Ok(failures.bind(query).execute(pool).await?.rows_affected())
}

/// Newest first.
pub(super) async fn find(pool: &PgPool, tenant: Tenant, filter: &LogFilter) -> sqlx::Result<Vec<LogRecord>> {
    let mut db = reading(pool).await?;
    let mut query = matching(tenant, filter);
    if let Some(after) = filter.after {
        beyond(&mut query, " < ", after);
    }
    query.push(NEWEST_FIRST).push_bind(filter.limit);
    fetch(&mut db, query).await
}

/// The line, and what comes before and after it; newest first.
pub(super) async fn around(
    pool: &PgPool,
    tenant: Tenant,
    id: RecordId,
    filter: &LogFilter,
) -> sqlx::Result<Vec<LogRecord>> {
    let mut db = reading(pool).await?;
    let mut query = selected(tenant, Period::default());
    query.push(" AND r.id = ").push_bind(id.as_bytes().to_vec()).push(NEWEST_FIRST).push_bind(1_i64);
    let Some(line) = fetch(&mut db, query).await?.pop() else { return Ok(vec![]) };

    let mut newer = matching(tenant, filter);
    beyond(&mut newer, " > ", line.place());
    newer.push(OLDEST_FIRST).push_bind(filter.limit);
    let mut older = matching(tenant, filter);
    beyond(&mut older, " < ", line.place());
    older.push(NEWEST_FIRST).push_bind(filter.limit);

    let mut lines = fetch(&mut db, newer).await?;
    lines.reverse();
    lines.push(line);
    lines.extend(fetch(&mut db, older).await?);
    Ok(lines)
}

fn selected(tenant: Tenant, period: Period) -> Query {
    let mut query =
        pages::question("page_of_lines", format!("SELECT {COLUMNS} FROM public.log_records r WHERE "));
    within(&mut query, tenant, period);
    query
}

fn matching(tenant: Tenant, filter: &LogFilter) -> Query {
    let mut query = selected(tenant, filter.period);
    if let Some(least) = filter.least {
        query.push(" AND r.severity >= ").push_bind(i16::from(least.number()));
    }
    if let Some(text) = &filter.text {
        query.push(" AND strpos(lower(r.message), lower(").push_bind(text.clone()).push(")) > 0");
    }
    if let Some(trace) = filter.trace_id {
        query.push(" AND r.trace_id = ").push_bind(trace.as_bytes().to_vec());
    }
    if let Some(deployment) = filter.deployment_id {
        query.push(" AND r.deployment_id = ").push_bind(deployment.0);
    }
    query
}

/// On one side of a place.
fn beyond(query: &mut Query, side: &'static str, place: LogPlace) {
    query.push(" AND (r.day, r.at, r.place, r.id)").push(side);
    query.push("(").push_bind(place.at.date_naive()).push(", ").push_bind(place.at);
    query.push(", ").push_bind(place.place).push(", ").push_bind(place.id.as_bytes().to_vec()).push(")");
}

async fn fetch(db: &mut PgConnection, query: Query) -> sqlx::Result<Vec<LogRecord>> {
    pages::page(db, "page_of_lines", query, line).await
}

fn line(row: &PgRow) -> sqlx::Result<LogRecord> {
    Ok(LogRecord {
        id: record_id(row)?,
        at: row.try_get("at")?,
        place: row.try_get("place")?,
        severity: row.try_get::<Option<i16>, _>("severity")?.and_then(|it| Severity::from_number(it.into())),
        message: row.try_get("message")?,
        trace_id: trace_id(row)?,
        span_id: span_id(row)?,
        service: row.try_get("service")?,
        deployment_id: deployment_id(row)?,
        attributes: object(row, "attributes")?,
        resource: object(row, "resource")?,
    })
}
