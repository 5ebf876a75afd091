//! Questions. The engine ends each after ten seconds.
//!
//! `FINAL` folds rows that are one span, which two servers may have written at the same moment: it costs less than to fold
//! them in the question (ADR 0043).

use std::collections::HashMap;

use chrono::{DateTime, Days, NaiveTime, Utc};
use clickhouse::{Client, Row};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{
    Filter, ModelUsage, Period, Span, Stats, Status, Tenant, TraceId, TraceSummary, Usage,
};
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
    let mut wanted = roots(tenant, period);
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

/// Dearest first.
pub(super) async fn usage(client: &Client, tenant: Tenant, period: Period) -> Result<Vec<ModelUsage>, Fault> {
    let mut sql = Sql::new(format!(
        "SELECT model, provider, count() AS calls, countIf(cost IS NULL) AS no_cost, {COST} AS cost_all,
                {} AS input, {} AS output, {} AS cache_read, {} AS cache_write, {} AS audio_input, {} AS reasoning,
                {} AS audio_output
           FROM spans s FINAL WHERE ",
        total("input_tokens"),
        total("output_tokens"),
        total("cache_read"),
        total("cache_write"),
        total("audio_input"),
        total("reasoning"),
        total("audio_output"),
    ));
    let scope = since(tenant, period.from);
    sql.append(&Sql::of(tenant)).within("started_at", period).push(" AND ").append(&counts(&scope));
    sql.push(
        " GROUP BY model, provider ORDER BY sum(s.cost) DESC NULLS LAST, calls DESC, model, provider LIMIT 500",
    );
    let rows = sql.into_query(client).fetch_all::<ModelRow>().await?;
    rows.into_iter().map(ModelRow::usage).collect()
}

/// Each trace once, with its first root.
pub(super) async fn stats(client: &Client, tenant: Tenant, period: Period) -> Result<Stats, Fault> {
    let part = |of: &str| format!("sorted[greatest(1, toUInt64(ceil({of} * traces)))]");
    let wanted = roots(tenant, period);
    let mut sql = Sql::new(format!(
        "SELECT traces, errors, total, sorted[1] AS least, {} AS p50, {} AS p95, {} AS p99, sorted[-1] AS most
           FROM (SELECT count() AS traces, countIf(status = 'error') AS errors, sum(toInt128(duration_us)) AS total,
                        arraySort(groupArray(duration_us)) AS sorted
                   FROM spans FINAL WHERE ",
        part("0.5"),
        part("0.95"),
        part("0.99"),
    ));
    sql.append(&wanted).append(&first_of(tenant, &wanted)).push(")");
    let row = sql.into_query(client).fetch_one::<StatsRow>().await?;
    let traces = i128::from(row.traces);
    let average = if traces == 0 { 0 } else { (2 * row.total + traces) / (2 * traces) };
    Ok(Stats {
        traces: whole(row.traces)?,
        errors: whole(row.errors)?,
        average_us: whole(average)?,
        min_us: row.least,
        p50_us: row.p50,
        p95_us: row.p95,
        p99_us: row.p99,
        max_us: row.most,
    })
}

/// Roots of the tenant in the period.
fn roots(tenant: Tenant, period: Period) -> Sql {
    let mut sql = Sql::of(tenant);
    sql.push(" AND NOT below").within("started_at", period);
    sql
}

/// That a root is the first one of its trace: of all its roots, whatever else was asked of it.
fn first_of(tenant: Tenant, wanted: &Sql) -> Sql {
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

/// What was spent.
const COST: &str = "sum(ifNull(s.cost, toDecimal128(0, 12)))";

/// A sum that does not overflow.
fn total(column: &str) -> String {
    format!("sum(toInt128(s.{column}))")
}

/// What may lie below what began then: a day before it, and all after.
pub(super) fn since(tenant: Tenant, from: Option<DateTime<Utc>>) -> Sql {
    let from = from.and_then(|from| from.date_naive().checked_sub_days(Days::new(1)));
    let mut sql = Sql::of(tenant);
    sql.within(
        "started_at",
        Period { from: from.map(|day| day.and_time(NaiveTime::MIN).and_utc()), to: None },
    );
    sql
}

/// Whether the tokens of a span are its own: those of a sum are not where a call is one or two levels below it.
pub(super) fn counts(scope: &Sql) -> Sql {
    let mut calls = Sql::new("SELECT trace_id, parent_id FROM spans FINAL WHERE ");
    calls.append(scope).push(" AND counting = 1");
    let mut sql = Sql::new("(counting = 1 OR (counting = 2 AND (trace_id, span_id) NOT IN (");
    sql.append(&calls).push(" UNION ALL SELECT trace_id, parent_id FROM spans FINAL WHERE ").append(scope);
    sql.push(" AND (trace_id, span_id) IN (").append(&calls).push("))))");
    sql
}

/// Sums over all spans of these traces.
async fn sums(
    client: &Client,
    tenant: Tenant,
    ids: &[TraceId],
    first: DateTime<Utc>,
) -> Result<HashMap<TraceId, SumRow>, Fault> {
    let mut scope = since(tenant, Some(first));
    scope.push(" AND ").any_of("trace_id", ids.iter().map(TraceId::as_bytes));
    let rows = in_one_look(&scope).into_query(client).fetch_all::<SumRow>().await?;
    rows.into_iter().map(|row| Ok((id(&row.trace_id)?, row))).collect()
}

/// The sums of each trace over those of its spans that count, as `counts` has it, in one look at the spans: each is told to
/// itself and to its parent, twice. So a span knows of calls below it, and of those below its children.
fn in_one_look(scope: &Sql) -> Sql {
    let mut sql = Sql::new(
        "WITH spans_of AS (SELECT trace_id, span_id, parent_id, counting,
                   (status, input_tokens, output_tokens, ifNull(cost, toDecimal128(0, 12))) AS said FROM spans FINAL WHERE ",
    );
    sql.append(scope).push(
        "), told AS (SELECT trace_id, parent_id, counting, said,
                   arrayJoin([(span_id, true), (parent_id, false)]) AS to, to.2 AS itself FROM spans_of),
             heard AS (SELECT trace_id, to.1 AS span_id, groupArrayIf((parent_id, counting, said), itself) AS own,
                   countIf(counting = 1 AND NOT itself) > 0 AS calls FROM told GROUP BY trace_id, span_id),
             told_again AS (SELECT trace_id, arrayJoin(own) AS it, it.2 AS counting, it.3 AS said, calls,
                   arrayJoin([(span_id, true), (it.1, false)]) AS to, to.2 AS itself FROM heard),
             heard_again AS (SELECT trace_id, groupArrayIf((counting, calls, said), itself) AS own,
                   countIf(calls AND NOT itself) > 0 AS calls_below FROM told_again GROUP BY trace_id, to.1),
             sums AS (SELECT trace_id, arrayJoin(own) AS it, it.3 AS said,
                   it.1 = 1 OR (it.1 = 2 AND NOT it.2 AND NOT calls_below) AS counted FROM heard_again)
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

#[derive(Row, Deserialize)]
struct ModelRow {
    model: Option<String>,
    provider: Option<String>,
    calls: u64,
    no_cost: u64,
    cost_all: i128,
    input: i128,
    output: i128,
    cache_read: i128,
    cache_write: i128,
    audio_input: i128,
    reasoning: i128,
    audio_output: i128,
}

impl ModelRow {
    fn usage(self) -> Result<ModelUsage, Fault> {
        let most = |sum: i128| whole(sum.min(MOST));
        let usage = Usage {
            input: most(self.input)?,
            output: most(self.output)?,
            cache_read: most(self.cache_read)?,
            cache_write: most(self.cache_write)?,
            audio_input: most(self.audio_input)?,
            reasoning: most(self.reasoning)?,
            audio_output: most(self.audio_output)?,
        };
        Ok(ModelUsage {
            model: self.model,
            provider: self.provider,
            calls: whole(self.calls)?,
            calls_without_cost: whole(self.no_cost)?,
            usage,
            cost_picos: self.cost_all,
        })
    }
}

#[derive(Row, Deserialize)]
struct StatsRow {
    traces: u64,
    errors: u64,
    total: i128,
    least: i64,
    p50: i64,
    p95: i64,
    p99: i64,
    most: i64,
}
