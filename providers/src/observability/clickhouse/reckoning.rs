//! Numbers made of measurements, in one statement a question.

use chrono::{DateTime, Utc};
use clickhouse::{Client, Row};
use domain::ports::telemetry::{Aggregate, MetricAnswer, MetricKind, MetricQuestion, Period, Tenant};
use serde::Deserialize;

use super::fault::Fault;
use super::row::moment;
use super::sql::Sql;
use crate::observability::reckoning::{self, Number, Part};

/// In the order of steps and groups.
pub(super) async fn answer(
    client: &Client,
    tenant: Tenant,
    question: &MetricQuestion,
) -> Result<MetricAnswer, Fault> {
    let Some(kind) = kind(client, tenant, question).await? else { return Ok(MetricAnswer::default()) };
    match question.aggregate {
        Aggregate::Quantile(part) if kind.is_histogram() => {
            let rows = ranges(tenant, question, kind).into_query(client).fetch_all::<RangeRow>().await?;
            let parts = rows.into_iter().map(|row| row.part(question));
            Ok(reckoning::quantiles(question, part, parts.collect::<Result<_, _>>()?))
        }
        _ => {
            let rows = numbers(tenant, question, kind).into_query(client).fetch_all::<NumberRow>().await?;
            let numbers = rows.into_iter().map(|row| row.number(question));
            Ok(reckoning::answer(question, numbers.collect::<Result<_, _>>()?))
        }
    }
}

/// The kind that was sent last.
async fn kind(
    client: &Client,
    tenant: Tenant,
    question: &MetricQuestion,
) -> Result<Option<MetricKind>, Fault> {
    let mut sql = Sql::new("SELECT kind FROM metric_points WHERE ");
    sql.append(&of_question(tenant, question.period, question));
    sql.push(" ORDER BY at DESC, id, precedence DESC LIMIT 1");
    let kind = sql.into_query(client).fetch_optional::<String>().await?;
    Ok(kind.and_then(|kind| MetricKind::from_name(&kind)))
}

fn of_question(tenant: Tenant, period: Period, question: &MetricQuestion) -> Sql {
    let mut sql = Sql::of(tenant);
    sql.push(" AND name = ").text(&question.name).within("at", period);
    if let Some(deployment) = question.deployment_id {
        sql.push(" AND deployment_id = ").uuid(deployment.0);
    }
    sql
}

/// `p`: what is new in each measurement. What tells everything since its sender began tells that again each time: new is
/// what it did not tell before. Where nothing was told before, all of it is new, unless its sender began long before.
fn news(tenant: Tenant, question: &MetricQuestion, kind: MetricKind) -> Sql {
    const COLUMNS: &str = "at, label_texts, service, deployment_id, bounds, buckets";
    // What is not said counts nowhere.
    const SUM: &str = "if(no_total, NULL, total)";
    let kind_is = |sql: &mut Sql| _ = sql.push(" AND kind = ").text(kind.as_str());
    if !kind.is_cumulative() {
        let mut sql = Sql::new(format!(
            "WITH p AS (SELECT {COLUMNS}, amount AS new_amount, {SUM} AS new_total, least AS new_least,
                               largest AS new_largest, emptyArrayInt64() AS before
                          FROM metric_points FINAL WHERE "
        ));
        sql.append(&of_question(tenant, question.period, question));
        kind_is(&mut sql);
        sql.push(")");
        return sql;
    }
    let earlier = reckoning::earlier(question.period);
    let mut sql = Sql::new(format!(
        "WITH told AS (SELECT {COLUMNS}, started_at, amount, {SUM} AS its_total, least, largest,
                              lagInFrame(toNullable(amount)) OVER w AS told_amount,
                              lagInFrame({SUM}) OVER w AS told_total,
                              lagInFrame(buckets) OVER w AS told_buckets, lagInFrame(bounds) OVER w AS told_bounds
                         FROM metric_points FINAL WHERE "
    ));
    sql.append(&of_question(tenant, earlier, question));
    kind_is(&mut sql);
    // Who begins anew without saying so tells less than before.
    let again = if kind.is_histogram() { "told_amount > amount" } else { "told_total > its_total" };
    let new = |it: &str, told: &str| format!("if(told_amount IS NULL OR {again}, {it}, {it} - {told})");
    let amount = new("amount", "assumeNotNull(told_amount)");
    let total = new("its_total", "told_total");
    // The least and the largest of increments are they themselves, of histograms what was told.
    let (amount, least, largest, moved) = match kind.is_histogram() {
        true => (&*amount, "least", "largest", "new_amount"),
        false => ("amount", &*total, &*total, "new_total"),
    };
    // Where nothing is new, there is no measurement.
    sql.push(&format!(
        " WINDOW w AS (PARTITION BY series, started_at, deployment_id ORDER BY at, id
                       ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)),
        p AS (SELECT {COLUMNS}, {amount} AS new_amount, {total} AS new_total, toNullable({least}) AS new_least,
                     toNullable({largest}) AS new_largest,
                     if(told_amount IS NULL OR {again} OR told_bounds != bounds, emptyArrayInt64(), told_buckets)
                         AS before
                FROM told WHERE {moved} != 0"
    ));
    if let Some((from, earlier)) = question.period.from.zip(earlier.from) {
        sql.push(" AND at >= ").moment(from);
        sql.push(" AND (told_amount IS NOT NULL OR started_at >= ").moment(earlier).push(")");
    }
    sql.push(")");
    sql
}

/// Where a step begins, in microseconds, and what groups have in common.
fn grouped(sql: &mut Sql, question: &MetricQuestion) {
    match question.step {
        Some(step) => {
            let micros = i64::from(step) * 1_000_000;
            sql.push("intDiv(toUnixTimestamp64Micro(at), ").number(micros).push(") * ").number(micros)
        }
        None => sql.push("toInt64(0)"),
    };
    sql.push(" AS step, CAST([");
    for (n, label) in question.group_by.iter().enumerate() {
        sql.push(if n == 0 { "" } else { ", " });
        match label.as_str() {
            "service" => sql.push("CAST(service, 'Nullable(String)')"),
            "deploymentId" => sql.push("toString(deployment_id)"),
            label => sql.push("label_texts[").text(label).push("]"),
        };
    }
    sql.push("], 'Array(Nullable(String))') AS groups");
}

/// What is ordered by.
fn order(question: &MetricQuestion) -> String {
    let groups = (1..=question.group_by.len()).map(|n| format!(", groups[{n}] NULLS LAST"));
    std::iter::once("step".to_owned()).chain(groups).collect()
}

fn numbers(tenant: Tenant, question: &MetricQuestion, kind: MetricKind) -> Sql {
    let mut sql = news(tenant, question, kind);
    sql.push(" SELECT ");
    grouped(&mut sql, question);
    sql.push(", toFloat64(sum(toInt128(new_amount))) AS number, CAST(");
    match question.aggregate {
        Aggregate::Rate if !kind.is_histogram() => sql.push("sum(new_total)"),
        Aggregate::Sum => sql.push("sum(new_total)"),
        Aggregate::Rate | Aggregate::Count => sql.push("number"),
        Aggregate::Average => sql.push(
            "sum(new_total) / nullIf(toFloat64(sumIf(toInt128(new_amount), new_total IS NOT NULL)), 0)",
        ),
        Aggregate::Min => sql.push("min(new_least)"),
        Aggregate::Max => sql.push("max(new_largest)"),
        Aggregate::Quantile(part) => sql
            .push("arraySort(groupArray(new_total))[greatest(1, toUInt64(ceil(")
            .float(part)
            .push(" * count())))]"),
    };
    sql.push(", 'Nullable(Float64)') AS value FROM p GROUP BY step, groups ORDER BY ").push(&order(question));
    sql.push(" LIMIT ").number(reckoning::numbers_to_read(question));
    sql
}

/// Ranges of histograms, added up.
fn ranges(tenant: Tenant, question: &MetricQuestion, kind: MetricKind) -> Sql {
    let mut sql = news(tenant, question, kind);
    sql.push(" SELECT step, groups, low, high, toFloat64(sum(toInt128(part))) AS number, min(new_least) AS its_least,
                      max(new_largest) AS its_largest
                 FROM (SELECT ");
    grouped(&mut sql, question);
    sql.push(
        ", if(place > 1, toNullable(bounds[toInt64(place) - 1]), NULL) AS low,
                if(place <= length(bounds), toNullable(bounds[place]), NULL) AS high,
                bucket - before[place] AS part, new_least, new_largest
           FROM p ARRAY JOIN buckets AS bucket, arrayEnumerate(buckets) AS place)
          WHERE part > 0 GROUP BY step, groups, low, high ORDER BY ",
    );
    sql.push(&order(question))
        .push(", low NULLS FIRST, high NULLS LAST LIMIT ")
        .number(reckoning::ranges_to_read());
    sql
}

#[derive(Row, Deserialize)]
struct NumberRow {
    step: i64,
    groups: Vec<Option<String>>,
    number: f64,
    value: Option<f64>,
}

impl NumberRow {
    fn number(self, question: &MetricQuestion) -> Result<Number, Fault> {
        let at = begin(self.step, question)?;
        Ok(Number { at, group: self.groups, value: self.value, count: self.number })
    }
}

#[derive(Row, Deserialize)]
struct RangeRow {
    step: i64,
    groups: Vec<Option<String>>,
    low: Option<f64>,
    high: Option<f64>,
    number: f64,
    its_least: Option<f64>,
    its_largest: Option<f64>,
}

impl RangeRow {
    fn part(self, question: &MetricQuestion) -> Result<Part, Fault> {
        let (at, group) = (begin(self.step, question)?, self.groups);
        let (least, largest) = (self.its_least, self.its_largest);
        Ok(Part { at, group, low: self.low, high: self.high, count: self.number, least, largest })
    }
}

/// Where a step begins.
fn begin(micros: i64, question: &MetricQuestion) -> Result<Option<DateTime<Utc>>, Fault> {
    question.step.map(|_| moment(micros)).transpose()
}
