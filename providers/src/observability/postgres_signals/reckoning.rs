//! Numbers made of measurements, in one statement a question.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use domain::ports::telemetry::{Aggregate, MetricAnswer, MetricKind, MetricQuestion, Tenant};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};

use super::rows::{Query, within};
use crate::observability::days::reading;
use crate::observability::reckoning::{self, Number, Part};

/// In the order of steps and groups.
pub(super) async fn samples(
    pool: &PgPool,
    tenant: Tenant,
    question: &MetricQuestion,
) -> sqlx::Result<MetricAnswer> {
    let mut db = reading(pool).await?;
    let Some(kind) = kind(&mut db, tenant, question).await? else { return Ok(MetricAnswer::default()) };
    match question.aggregate {
        Aggregate::Quantile(part) if kind.is_histogram() => {
            quantiles(&mut db, tenant, question, (kind, part)).await
        }
        _ => numbers(&mut db, tenant, question, kind).await,
    }
}

/// The kind that was sent last.
async fn kind(
    db: &mut PgConnection,
    tenant: Tenant,
    question: &MetricQuestion,
) -> sqlx::Result<Option<MetricKind>> {
    let mut query = Query::new("SELECT r.kind FROM public.metric_points r WHERE ");
    within(&mut query, tenant, question.period);
    of_question(&mut query, question);
    query.push(" ORDER BY r.day DESC, r.at DESC, r.id LIMIT 1");
    let kind: Option<String> = query.build_query_scalar().fetch_optional(db).await?;
    Ok(kind.and_then(|kind| MetricKind::from_name(&kind)))
}

fn of_question(query: &mut Query, question: &MetricQuestion) {
    query.push(" AND r.name = ").push_bind(question.name.clone());
    if let Some(deployment) = question.deployment_id {
        query.push(" AND r.deployment_id = ").push_bind(deployment.0);
    }
}

/// `p`: what is new in each measurement. What tells everything since its sender began tells that again each time: new is
/// what it did not tell before. Where nothing was told before, all of it is new, unless its sender began long before.
fn news(query: &mut Query, tenant: Tenant, question: &MetricQuestion, kind: MetricKind) {
    let columns =
        "r.at, r.labels, r.service, r.deployment_id, r.count, r.sum, r.min, r.max, r.bounds, r.buckets";
    if !kind.is_cumulative() {
        query.push(format!(
            "WITH p AS (SELECT {columns}, NULL::jsonb AS before FROM public.metric_points r WHERE "
        ));
        within(query, tenant, question.period);
        of_question(query, question);
        query.push(" AND r.kind = ").push_bind(kind.as_str()).push(")");
        return;
    }
    let earlier = reckoning::earlier(question.period);
    query.push(format!(
        "WITH told AS (SELECT {columns}, r.started_at, lag(r.count) OVER w AS told_count, lag(r.sum) OVER w AS told_sum,
                              lag(r.buckets) OVER w AS told_buckets, lag(r.bounds) OVER w AS told_bounds
                         FROM public.metric_points r WHERE "
    ));
    within(query, tenant, earlier);
    of_question(query, question);
    query.push(" AND r.kind = ").push_bind(kind.as_str());
    // Who begins anew without saying so tells less than before.
    let again = if kind.is_histogram() { "t.told_count > t.count" } else { "t.told_sum > t.sum" };
    // A sum that is not said, now or before, is none of what is new.
    let new =
        |it: &str| format!("t.{it} - CASE WHEN t.told_count IS NULL OR {again} THEN 0 ELSE t.told_{it} END");
    // The least and the most of increments are they themselves, of histograms what was told.
    let (count, sum) = (new("count"), new("sum"));
    // Where nothing is new, there is no measurement.
    let (count, least, most, moved) = match kind.is_histogram() {
        true => (&*count, "t.min", "t.max", format!("({count})")),
        false => ("t.count", &*sum, &*sum, format!("({sum})")),
    };
    query.push(format!(
        " WINDOW w AS (PARTITION BY r.series, r.started_at, r.deployment_id ORDER BY r.at, r.id)),
        p AS (SELECT t.at, t.labels, t.service, t.deployment_id, {count} AS count, {sum} AS sum, {least} AS min,
                     {most} AS max, t.bounds, t.buckets,
                     CASE WHEN NOT {again} AND t.told_bounds = t.bounds THEN t.told_buckets END AS before
                FROM told t WHERE {moved} <> 0"
    ));
    if let Some((from, earlier)) = question.period.from.zip(earlier.from) {
        query.push(" AND t.at >= ").push_bind(from);
        query.push(" AND (t.told_count IS NOT NULL OR t.started_at >= ").push_bind(earlier).push(")");
    }
    query.push(")");
}

/// Where a step begins, and what groups have in common; how many columns that is.
fn grouped(query: &mut Query, question: &MetricQuestion) -> String {
    match question.step {
        Some(step) => {
            query.push("date_bin(make_interval(secs => ").push_bind(f64::from(step));
            query.push("), p.at, '1970-01-01T00:00:00Z'::timestamptz) AS step")
        }
        None => query.push("NULL::timestamptz AS step"),
    };
    let mut columns = "1".to_owned();
    for (at, label) in question.group_by.iter().enumerate() {
        match label.as_str() {
            "service" => query.push(", p.service COLLATE \"C\""),
            "deploymentId" => query.push(", p.deployment_id::text"),
            // A group is told by what it is called, not by a text of some size.
            label => {
                query.push(", left(p.labels ->> ").push_bind(label.to_owned()).push(", 512) COLLATE \"C\"")
            }
        };
        query.push(format!(" AS g{at}"));
        let _ = write!(columns, ", {}", at + 2);
    }
    columns
}

async fn numbers(
    db: &mut PgConnection,
    tenant: Tenant,
    question: &MetricQuestion,
    kind: MetricKind,
) -> sqlx::Result<MetricAnswer> {
    let mut query = Query::new("");
    news(&mut query, tenant, question, kind);
    query.push(" SELECT ");
    let columns = grouped(&mut query, question);
    query.push(", sum(p.count)::float8 AS count, ");
    match question.aggregate {
        Aggregate::Rate if !kind.is_histogram() => query.push("sum(p.sum)"),
        Aggregate::Sum => query.push("sum(p.sum)"),
        Aggregate::Rate | Aggregate::Count => query.push("sum(p.count)::float8"),
        Aggregate::Average => {
            query.push("sum(p.sum) / nullif(sum(p.count) FILTER (WHERE p.sum IS NOT NULL), 0)::float8")
        }
        Aggregate::Min => query.push("min(p.min)"),
        Aggregate::Max => query.push("max(p.max)"),
        Aggregate::Quantile(part) => {
            query.push("percentile_disc(").push_bind(part).push(") WITHIN GROUP (ORDER BY p.sum)")
        }
    };
    query.push(format!(" AS value FROM p GROUP BY {columns} ORDER BY {columns} LIMIT "));
    query.push_bind(reckoning::numbers_to_read(question));
    let rows = query.build().fetch_all(db).await?;
    let number = |row: &PgRow| {
        let (at, group) = place(row, question)?;
        Ok(Number { at, group, value: row.try_get("value")?, count: row.try_get("count")? })
    };
    let numbers = rows.iter().map(number).collect::<sqlx::Result<Vec<_>>>()?;
    Ok(reckoning::answer(question, numbers))
}

/// From ranges of histograms, added up. Each list is unpacked once a row: to take one of its elements is to unpack all of it.
async fn quantiles(
    db: &mut PgConnection,
    tenant: Tenant,
    question: &MetricQuestion,
    (kind, part): (MetricKind, f64),
) -> sqlx::Result<MetricAnswer> {
    let mut query = Query::new("");
    news(&mut query, tenant, question, kind);
    query.push(" SELECT ");
    let columns = grouped(&mut query, question);
    query.push(format!(
        ", e.low, e.high, sum(e.count)::float8 AS count, min(p.min) AS least, max(p.max) AS most
           FROM p CROSS JOIN LATERAL (
                SELECT b.low::float8 AS low, b.high::float8 AS high,
                       b.count::bigint - coalesce(b.before::bigint, 0) AS count
                  FROM ROWS FROM (jsonb_array_elements_text(p.buckets),
                                  jsonb_array_elements_text('[null]'::jsonb || p.bounds),
                                  jsonb_array_elements_text(p.bounds),
                                  jsonb_array_elements_text(p.before)) b (count, low, high, before)) e
          WHERE e.count > 0
          GROUP BY {columns}, e.low, e.high ORDER BY {columns}, e.low NULLS FIRST, e.high LIMIT "
    ));
    query.push_bind(reckoning::ranges_to_read());
    let rows = query.build().fetch_all(db).await?;
    let range = |row: &PgRow| {
        let (at, group) = place(row, question)?;
        let (low, high) = (row.try_get("low")?, row.try_get("high")?);
        let (least, largest) = (row.try_get("least")?, row.try_get("most")?);
        Ok(Part { at, group, low, high, count: row.try_get("count")?, least, largest })
    };
    let ranges = rows.iter().map(range).collect::<sqlx::Result<Vec<_>>>()?;
    Ok(reckoning::quantiles(question, part, ranges))
}

type Place = (Option<DateTime<Utc>>, Vec<Option<String>>);

fn place(row: &PgRow, question: &MetricQuestion) -> sqlx::Result<Place> {
    let group = (0..question.group_by.len()).map(|at| row.try_get(&*format!("g{at}")));
    Ok((row.try_get("step")?, group.collect::<sqlx::Result<_>>()?))
}
