//! How many traces there were and what calls used: days that are rolled up are not read again.

use clickhouse::{Client, Row};
use domain::ports::telemetry::{ModelUsage, Period, Stats, Tenant, Usage};
use serde::Deserialize;

use super::read::{around, counts, first_of, roots};
use crate::observability::clickhouse::fault::Fault;
use crate::observability::clickhouse::rollups::{self, Kind, Reading};
use crate::observability::clickhouse::row::{MOST, whole};
use crate::observability::clickhouse::sql::Sql;

/// Dearest first.
pub(super) async fn usage(client: &Client, tenant: Tenant, period: Period) -> Result<Vec<ModelUsage>, Fault> {
    let Reading { rolls, raw } = rollups::reading(client, tenant, Kind::Models, period).await?;
    let mut parts = vec![];
    if !raw.is_empty() {
        parts.push(calls_by_model(tenant, &raw));
    }
    if !rolls.is_empty() {
        let mut rolled = Sql::new(format!(
            "SELECT if(has_model, model, NULL) AS model, if(has_provider, provider, NULL) AS provider, {SUMMED}
               FROM model_days WHERE "
        ));
        parts.push(rolled.append(&Sql::of(tenant)).among("roll", &rolls).clone());
    }
    let sums: Vec<_> = SUMMED.split(", ").map(|it| format!("sum(p.{it}) AS {it}")).collect();
    let mut sql =
        Sql::new(format!("SELECT p.model AS model, p.provider AS provider, {} FROM (", sums.join(", ")));
    sql.all_of(&parts).push(
        ") p GROUP BY p.model, p.provider
          ORDER BY if(calls = no_cost, NULL, cost_all) DESC NULLS LAST, calls DESC, model, provider LIMIT 500",
    );
    let rows = sql.into_query(client).fetch_all::<ModelRow>().await?;
    rows.into_iter().map(ModelRow::usage).collect()
}

/// What is summed up of calls, in the order of a [`ModelRow`].
const SUMMED: &str =
    "calls, no_cost, cost_all, input, output, cache_read, cache_write, audio_input, reasoning, audio_output";

/// What calls used in one of these times, by model.
pub(in crate::observability::clickhouse) fn calls_by_model(tenant: Tenant, periods: &[Period]) -> Sql {
    let mut sql = Sql::new(format!(
        "SELECT CAST(s.model, 'Nullable(String)') AS model, CAST(s.provider, 'Nullable(String)') AS provider,
                count() AS calls, countIf(cost IS NULL) AS no_cost, {COST} AS cost_all,
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
    sql.append(&Sql::of(tenant)).within_any("started_at", periods).push(" AND ");
    sql.append(&counts(&around(tenant, periods))).push(" GROUP BY s.model, s.provider");
    sql
}

/// Each trace once, with its first root.
pub(super) async fn stats(client: &Client, tenant: Tenant, period: Period) -> Result<Stats, Fault> {
    let part = |of: &str| format!("sorted[greatest(1, toUInt64(ceil({of} * traces)))]");
    let Reading { rolls, raw } = rollups::reading(client, tenant, Kind::Traces, period).await?;
    let mut parts = vec![];
    if !raw.is_empty() {
        parts.push(first_roots(tenant, &raw));
    }
    if !rolls.is_empty() {
        let mut rolled = Sql::new("SELECT traces, errors, total, durations FROM trace_days WHERE ");
        parts.push(rolled.append(&Sql::of(tenant)).among("roll", &rolls).clone());
    }
    let mut sql = Sql::new(format!(
        "SELECT traces, errors, total, sorted[1] AS least, {} AS p50, {} AS p95, {} AS p99, sorted[-1] AS most
           FROM (SELECT sum(p.traces) AS traces, sum(p.errors) AS errors, sum(p.total) AS total,
                        arraySort(groupArrayArray(p.durations)) AS sorted FROM (",
        part("0.5"),
        part("0.95"),
        part("0.99"),
    ));
    sql.all_of(&parts).push(") p)");
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

/// Traces whose first root began in one of these times.
pub(in crate::observability::clickhouse) fn first_roots(tenant: Tenant, periods: &[Period]) -> Sql {
    let wanted = roots(tenant, periods);
    let mut sql = Sql::new(
        "SELECT count() AS traces, countIf(status = 'error') AS errors, sum(toInt128(duration_us)) AS total,
                groupArray(duration_us) AS durations FROM spans FINAL WHERE ",
    );
    sql.append(&wanted).append(&first_of(tenant, &wanted));
    sql
}

/// What was spent.
const COST: &str = "sum(ifNull(s.cost, toDecimal128(0, 12)))";

/// A sum that does not overflow.
fn total(column: &str) -> String {
    format!("sum(toInt128(s.{column}))")
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
