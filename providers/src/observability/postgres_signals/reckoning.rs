//! Numbers made of measurements, in one statement a question.

use std::fmt::Write;

use chrono::{DateTime, TimeDelta, Utc};
use domain::ports::telemetry::{
    Aggregate, MetricKind, MetricQuestion, MetricSample, Period, Range, Tenant, quantile,
};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};

use super::rows::{Query, within};
use crate::observability::days::reading;

/// What tells everything since its sender began is compared with what it told before: so much earlier at most.
const BEFORE: TimeDelta = TimeDelta::hours(1);
/// So many ranges of histograms are read for one answer.
const RANGES: i64 = 200_000;

/// In the order of steps and groups.
pub(super) async fn samples(
    pool: &PgPool,
    tenant: Tenant,
    question: &MetricQuestion,
) -> sqlx::Result<Vec<MetricSample>> {
    let mut db = reading(pool).await?;
    let Some(kind) = kind(&mut db, tenant, question).await? else { return Ok(vec![]) };
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
    query.push(" ORDER BY r.day DESC, r.at DESC LIMIT 1");
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
    let earlier = question.period.from.map(|from| from.checked_sub_signed(BEFORE).unwrap_or(from));
    query.push(format!(
        "WITH told AS (SELECT {columns}, r.started_at, lag(r.count) OVER w AS told_count, lag(r.sum) OVER w AS told_sum,
                              lag(r.buckets) OVER w AS told_buckets, lag(r.bounds) OVER w AS told_bounds
                         FROM public.metric_points r WHERE "
    ));
    within(query, tenant, Period { from: earlier, ..question.period });
    of_question(query, question);
    query.push(" AND r.kind = ").push_bind(kind.as_str());
    // Who begins anew without saying so tells less than before.
    let again = if kind.is_histogram() { "t.told_count > t.count" } else { "t.told_sum > t.sum" };
    let new =
        |it: &str| format!("t.{it} - CASE WHEN t.told_{it} IS NULL OR {again} THEN 0 ELSE t.told_{it} END");
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
    if let Some((from, earlier)) = question.period.from.zip(earlier) {
        query.push(" AND t.at >= ").push_bind(from);
        query.push(" AND (t.told_sum IS NOT NULL OR t.started_at >= ").push_bind(earlier).push(")");
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
            "service" => query.push(", p.service"),
            "deploymentId" => query.push(", p.deployment_id::text"),
            // A group is told by what it is called, not by a text of some size.
            label => query.push(", left(p.labels ->> ").push_bind(label.to_owned()).push(", 512)"),
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
) -> sqlx::Result<Vec<MetricSample>> {
    let mut query = Query::new("");
    news(&mut query, tenant, question, kind);
    query.push(" SELECT ");
    let columns = grouped(&mut query, question);
    query.push(", sum(p.count)::float8 AS count, ");
    match question.aggregate {
        Aggregate::Sum => query.push("sum(p.sum)"),
        Aggregate::Count => query.push("sum(p.count)::float8"),
        Aggregate::Average => query.push("sum(p.sum) / nullif(sum(p.count), 0)::float8"),
        Aggregate::Min => query.push("min(p.min)"),
        Aggregate::Max => query.push("max(p.max)"),
        Aggregate::Rate => {
            query.push(if kind.is_histogram() { "sum(p.count)::float8 / " } else { "sum(p.sum) / " });
            query.push_bind(question.step.map_or(question.seconds, f64::from))
        }
        Aggregate::Quantile(part) => {
            query.push("percentile_disc(").push_bind(part).push(") WITHIN GROUP (ORDER BY p.sum)")
        }
    };
    query.push(format!(" AS value FROM p GROUP BY {columns} ORDER BY {columns} LIMIT "));
    query.push_bind(i64::try_from(question.limit).unwrap_or(i64::MAX));
    let rows = query.build().fetch_all(db).await?;
    let samples = rows.iter().map(|row| {
        let (at, group) = place(row, question)?;
        let value: Option<f64> = row.try_get("value")?;
        Ok(value.map(|value| (at, group, value)).zip(Some(count(row)?)))
    });
    let samples = samples.collect::<sqlx::Result<Vec<_>>>()?;
    let sample = |((at, group, value), count)| MetricSample { at, group, value, count };
    Ok(samples.into_iter().flatten().map(sample).collect())
}

/// From ranges of histograms, added up.
async fn quantiles(
    db: &mut PgConnection,
    tenant: Tenant,
    question: &MetricQuestion,
    (kind, part): (MetricKind, f64),
) -> sqlx::Result<Vec<MetricSample>> {
    let mut query = Query::new("");
    news(&mut query, tenant, question, kind);
    query.push(" SELECT ");
    let columns = grouped(&mut query, question);
    query.push(format!(
        ", e.low, e.high, sum(e.count)::float8 AS count, min(p.min) AS least, max(p.max) AS most
           FROM p CROSS JOIN LATERAL (
                SELECT CASE WHEN b.place > 1 THEN (p.bounds ->> (b.place - 2)::int)::float8 END AS low,
                       (p.bounds ->> (b.place - 1)::int)::float8 AS high,
                       b.count::bigint - coalesce((p.before ->> (b.place - 1)::int)::bigint, 0) AS count
                  FROM jsonb_array_elements_text(p.buckets) WITH ORDINALITY b (count, place)) e
          WHERE e.count > 0
          GROUP BY {columns}, e.low, e.high ORDER BY {columns}, e.low NULLS FIRST, e.high LIMIT "
    ));
    query.push_bind(RANGES);
    let rows = query.build().fetch_all(db).await?;

    let mut samples: Vec<Merged> = vec![];
    for row in &rows {
        let (at, group) = place(row, question)?;
        if samples.last().is_none_or(|last| (&last.at, &last.group) != (&at, &group)) {
            samples.push(Merged { at, group, ranges: vec![], least: None, most: None });
        }
        let Some(last) = samples.last_mut() else { continue };
        let range = Range { low: row.try_get("low")?, high: row.try_get("high")?, count: count(row)? };
        last.ranges.push(range);
        last.least = [last.least, row.try_get("least")?].into_iter().flatten().reduce(f64::min);
        last.most = [last.most, row.try_get("most")?].into_iter().flatten().reduce(f64::max);
    }
    let sample = |merged: Merged| {
        let value = quantile(part, &merged.ranges, merged.least, merged.most)?;
        let count = merged.ranges.iter().fold(0, |all: i64, range| all.saturating_add(range.count));
        Some(MetricSample { at: merged.at, group: merged.group, value, count })
    };
    Ok(samples.into_iter().take(question.limit).filter_map(sample).collect())
}

/// All histograms of a step and group as one.
struct Merged {
    at: Option<DateTime<Utc>>,
    group: Vec<Option<String>>,
    ranges: Vec<Range>,
    least: Option<f64>,
    most: Option<f64>,
}

type Place = (Option<DateTime<Utc>>, Vec<Option<String>>);

fn place(row: &PgRow, question: &MetricQuestion) -> sqlx::Result<Place> {
    let group = (0..question.group_by.len()).map(|at| row.try_get(&*format!("g{at}")));
    Ok((row.try_get("step")?, group.collect::<sqlx::Result<_>>()?))
}

/// Senders may count as far as they like.
#[expect(clippy::cast_possible_truncation, reason = "what is larger than i64 becomes its largest")]
fn count(row: &PgRow) -> sqlx::Result<i64> {
    Ok(row.try_get::<f64, _>("count")? as i64)
}
