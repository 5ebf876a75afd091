//! Questions. The engine ends each after ten seconds.
//!
//! `FINAL` folds rows that are one span, which two servers may have written at the same moment: it costs less than to fold
//! them in the question (ADR 0043).

use std::collections::HashMap;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use clickhouse::{Client, Row};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{Filter, Period, Span, Status, Tenant, TraceId, TraceSummary};
use serde::Deserialize;
use uuid::Uuid;

use super::row::SpanRow;
use crate::observability::clickhouse::fault::Fault;
use crate::observability::clickhouse::look::{self, Listed};
use crate::observability::clickhouse::row::{MOST, id, moment, odd, whole};
use crate::observability::clickhouse::sql::Sql;

/// The newest traces are looked for in so many minutes, then in more, and at last in all that is kept.
pub(super) const LOOK_BACK: [i64; 4] = [60, 360, 2160, 14_400];

/// Newest first; sums over all spans of each.
pub(super) async fn traces(
    client: &Client,
    tenant: Tenant,
    filter: &Filter,
) -> Result<Vec<TraceSummary>, Fault> {
    let parts = look::back(filter.period, filter.after.map(|after| after.started_at), &LOOK_BACK, Utc::now());
    let page = |part, left| page(tenant, filter, part, left);
    let roots = look::gather::<Root>(client, parts, filter.limit, page).await?;
    let Some(first) = roots.iter().map(|root| root.started_at).min() else { return Ok(vec![]) };
    let ids = roots.iter().map(Root::id).collect::<Result<Vec<_>, _>>()?;
    let mut sums = sums(client, tenant, &ids, moment(first)?).await?;
    let summaries = roots.into_iter().zip(ids).map(|(root, id)| {
        let sum = sums.remove(&id).ok_or_else(|| odd("a trace without spans"))?;
        root.summary(id, &sum)
    });
    summaries.collect()
}

/// Roots that traces are listed by.
fn page(tenant: Tenant, filter: &Filter, period: Period, limit: i64) -> Sql {
    let mut wanted = roots(tenant, &[period]);
    of_itself(
        &mut wanted,
        (filter.status, filter.name.as_deref(), filter.min_duration_us, filter.deployment_id),
    );
    of_any(&mut wanted, tenant, filter);
    if let Some(after) = filter.after {
        wanted.push(" AND (started_at, trace_id) < (").moment(after.started_at).push(", toFixedString(");
        wanted.bytes(after.trace_id.as_bytes()).push(", 16))");
    }
    let mut sql = Sql::new(format!("SELECT {} FROM spans FINAL WHERE ", Root::COLUMN_NAMES.join(", ")));
    sql.append(&wanted).append(&first_of(tenant, &wanted));
    sql.push(" ORDER BY started_at DESC, trace_id DESC LIMIT ").number(limit);
    sql
}

/// Ids are compared by their text: the engine's own order of them is another one.
pub(super) async fn who_has(client: &Client, those: &[Tenant], id: TraceId) -> Result<Option<Tenant>, Fault> {
    let mut sql = Sql::new("SELECT toString(project_id) AS project FROM spans WHERE ");
    sql.append(&Sql::of_any(those.iter().copied())).push(" AND ").any_of("trace_id", [id.as_bytes()]);
    sql.push(" ORDER BY project LIMIT 1");
    let project = sql.into_query(client).fetch_optional::<String>().await?;
    let is_it = |tenant: &&Tenant| project.as_ref().is_some_and(|id| tenant.project.to_string() == *id);
    Ok(those.iter().find(is_it).copied())
}

/// In the order in which they began.
pub(super) async fn trace(
    client: &Client,
    tenant: Tenant,
    id: TraceId,
    limit: i64,
) -> Result<Vec<Span>, Fault> {
    let mut sql = Sql::new(format!("SELECT {} FROM spans FINAL WHERE ", SpanRow::COLUMN_NAMES.join(", ")));
    sql.append(&Sql::of(tenant))
        .push(" AND ")
        .any_of("trace_id", [id.as_bytes()])
        .push(" ORDER BY started_at, span_id LIMIT ")
        .number(limit);
    let rows = sql.into_query(client).fetch_all::<SpanRow>().await?;
    rows.into_iter().map(SpanRow::it).collect()
}

/// Roots of the tenant in one of these times.
pub(super) fn roots(tenant: Tenant, periods: &[Period]) -> Sql {
    let mut sql = Sql::of(tenant);
    sql.push(" AND NOT below").within_any("started_at", periods);
    sql
}

/// That a root is the first one of its trace: of all its roots, whatever else was asked of it.
pub(super) fn first_of(tenant: Tenant, wanted: &Sql) -> Sql {
    let mut sql = Sql::new(
        " AND (trace_id, started_at, span_id) IN (SELECT trace_id, first.1, first.2 FROM (
             SELECT trace_id, min((started_at, span_id)) AS first FROM spans FINAL WHERE ",
    );
    sql.append(&Sql::of(tenant)).push(" AND NOT below AND trace_id IN (SELECT trace_id FROM spans WHERE ");
    sql.append(wanted).push(") GROUP BY trace_id))");
    sql
}

/// What must hold of a span: how it ended, a part of its name, how long it took at least, where it came from.
pub(super) type Itself<'a> = (Option<Status>, Option<&'a str>, Option<i64>, Option<DeploymentId>);

pub(super) fn of_itself(sql: &mut Sql, (status, name, least, deployment): Itself<'_>) {
    if let Some(status) = status {
        sql.push(" AND status = ").text(status.as_str());
    }
    if let Some(name) = name {
        sql.push(" AND positionCaseInsensitiveUTF8(name, ").text(name).push(") > 0");
    }
    if let Some(least) = least {
        sql.push(" AND duration_us >= ").number(least);
    }
    if let Some(deployment) = deployment {
        sql.push(" AND deployment_id = ").uuid(deployment.0);
    }
}

/// What must hold of some span of the trace.
fn of_any(sql: &mut Sql, tenant: Tenant, filter: &Filter) {
    let some = |sql: &mut Sql| {
        sql.push(" AND trace_id IN (SELECT trace_id FROM spans FINAL WHERE ");
        sql.append(&Sql::of(tenant)).push(" AND ");
    };
    let texts = [("user_id", &filter.user_id), ("session_id", &filter.session_id), ("model", &filter.model)];
    for (column, wanted) in texts {
        if let Some(wanted) = wanted {
            some(sql);
            sql.push(column).push(" = ").text(wanted).push(")");
        }
    }
    if let Some(tag) = &filter.tag {
        some(sql);
        sql.push("has(tags, ").text(tag).push("))");
    }
}

/// What may lie below what began in one of these times: from the day before to the day after.
pub(super) fn around(tenant: Tenant, periods: &[Period]) -> Sql {
    let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
    let from = |at: DateTime<Utc>| at.date_naive().checked_sub_days(Days::new(1)).map(midnight);
    let to = |at: DateTime<Utc>| at.date_naive().checked_add_days(Days::new(2)).map(midnight);
    let around = |it: &Period| Period { from: it.from.and_then(from), to: it.to.and_then(to) };
    let mut sql = Sql::of(tenant);
    sql.within_any("started_at", &periods.iter().map(around).collect::<Vec<_>>());
    sql
}

/// Whether the tokens of a span are its own: those of a sum are not where a call is one or two levels below it, on its day,
/// the one before or the one after.
pub(super) fn counts(scope: &Sql) -> Sql {
    // Each with the days on which what is above it may be.
    const NEAR: &str =
        "arrayJoin([toDate(started_at) - 1, toDate(started_at), toDate(started_at) + 1]) AS near";
    let calls = |what: &str| {
        let mut calls = Sql::new(format!("SELECT trace_id, parent_id{what} FROM spans FINAL WHERE "));
        calls.append(scope).push(" AND counting = 1");
        calls
    };
    let near = calls(&format!(", {NEAR}"));
    let mut sql =
        Sql::new("(counting = 1 OR (counting = 2 AND (trace_id, span_id, toDate(started_at)) NOT IN (");
    sql.append(&near).push(&format!(
        " UNION ALL SELECT trace_id, parent_id, near FROM (
             SELECT trace_id, span_id, parent_id, {NEAR} FROM spans FINAL WHERE "
    ));
    sql.append(scope).push(" AND (trace_id, span_id) IN (").append(&calls(""));
    sql.push(")) WHERE (trace_id, span_id, near) IN (").append(&near).push("))))");
    sql
}

/// Sums over all spans of these traces.
async fn sums(
    client: &Client,
    tenant: Tenant,
    ids: &[TraceId],
    first: DateTime<Utc>,
) -> Result<HashMap<TraceId, SumRow>, Fault> {
    let mut scope = around(tenant, &[Period { from: Some(first), to: None }]);
    scope.push(" AND ").any_of("trace_id", ids.iter().map(TraceId::as_bytes));
    let rows = in_one_look(&scope).into_query(client).fetch_all::<SumRow>().await?;
    rows.into_iter().map(|row| Ok((id(&row.trace_id)?, row))).collect()
}

/// The sums of each trace over those of its spans that count, as `counts` has it, in one look at the spans: each is told to
/// itself and to its parent, twice. So a span knows of calls below it, and of those below its children; `near` are the days
/// on which a sum may be that a call is of.
fn in_one_look(scope: &Sql) -> Sql {
    let mut sql = Sql::new(
        "WITH spans_of AS (SELECT trace_id, span_id, parent_id, counting, toDate(started_at) AS day, [day - 1, day, day + 1] AS near,
                   (status, input_tokens, output_tokens, ifNull(cost, toDecimal128(0, 12))) AS said FROM spans FINAL WHERE ",
    );
    sql.append(scope).push(
        "), told AS (SELECT trace_id, (parent_id, counting, day, near, said) AS it,
                   arrayJoin([(span_id, true), (parent_id, false)]) AS to, to.2 AS itself FROM spans_of),
             heard AS (SELECT trace_id, to.1 AS span_id, groupArrayIf(it, itself) AS own,
                   groupUniqArrayArrayIf(it.4, it.2 = 1 AND NOT itself) AS near_calls FROM told GROUP BY trace_id, span_id),
             told_again AS (SELECT trace_id, arrayJoin(own) AS it, near_calls,
                   arrayJoin([(span_id, true), (it.1, false)]) AS to, to.2 AS itself FROM heard),
             heard_again AS (SELECT trace_id, groupArrayIf((it.2, it.3, has(near_calls, it.3), it.5), itself) AS own,
                   groupUniqArrayArrayIf(arrayIntersect(near_calls, it.4), NOT itself) AS near_below
                   FROM told_again GROUP BY trace_id, to.1),
             sums AS (SELECT trace_id, arrayJoin(own) AS it, it.4 AS said,
                   it.1 = 1 OR (it.1 = 2 AND NOT it.3 AND NOT has(near_below, it.2)) AS counted FROM heard_again)
         SELECT trace_id, count() AS spans, countIf(said.1 = 'error') AS errors, sumIf(toInt128(said.2), counted) AS input,
                sumIf(toInt128(said.3), counted) AS output, sumIf(said.4, counted) AS cost_all FROM sums GROUP BY trace_id",
    );
    sql
}

#[derive(Row, Deserialize)]
struct Root {
    trace_id: [u8; 16],
    name: String,
    kind: String,
    status: String,
    status_message: Option<String>,
    started_at: i64,
    duration_us: i64,
    #[serde(with = "clickhouse::serde::uuid::option")]
    deployment_id: Option<Uuid>,
    user_id: Option<String>,
    session_id: Option<String>,
    tags: Vec<String>,
}

impl Root {
    fn id(&self) -> Result<TraceId, Fault> {
        id(&self.trace_id)
    }

    fn summary(self, trace_id: TraceId, sum: &SumRow) -> Result<TraceSummary, Fault> {
        Ok(TraceSummary {
            trace_id,
            name: self.name,
            kind: self.kind,
            status: Status::from_name(&self.status).unwrap_or_default(),
            status_message: self.status_message,
            started_at: moment(self.started_at)?,
            duration_us: self.duration_us,
            deployment_id: self.deployment_id.map(DeploymentId),
            user_id: self.user_id,
            session_id: self.session_id,
            tags: self.tags,
            spans: whole(sum.spans)?,
            errors: whole(sum.errors)?,
            input_tokens: whole(sum.input.min(MOST))?,
            output_tokens: whole(sum.output.min(MOST))?,
            cost_picos: sum.cost_all,
        })
    }
}

#[derive(Row, Deserialize)]
struct SumRow {
    trace_id: [u8; 16],
    spans: u64,
    errors: u64,
    input: i128,
    output: i128,
    cost_all: i128,
}
