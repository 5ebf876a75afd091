//! What calls cost, by model, deployment, day and user, in one reading of the calls.

use domain::ids::DeploymentId;
use domain::ports::telemetry::{CostBy, CostShare, Period, Tenant};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

use super::read::{COUNTS, Query, money, total, within};
use crate::observability::days::reading;

/// So many shares of a kind are shown; days (13) all.
const MOST: i64 = 500;

/// Of each kind the dearest first, days in their order.
pub(super) async fn shares(pool: &PgPool, tenant: Tenant, period: Period) -> sqlx::Result<Vec<CostShare>> {
    let mut query = Query::new(
        "WITH s AS (
             SELECT s.model, s.deployment_id, s.day, s.cost_picos, s.input_tokens, s.output_tokens,
                    coalesce(s.user_id, (
                        SELECT r.user_id FROM public.spans r
                         WHERE r.team_id = s.team_id AND r.project_id = s.project_id AND r.trace_id = s.trace_id
                           AND r.is_root AND r.user_id IS NOT NULL
                         ORDER BY r.started_at, r.span_id LIMIT 1)) AS user_id
               FROM public.spans s WHERE s.counting > 0 AND ",
    );
    within(&mut query, "s", tenant, period);
    query.push(format!(
        " AND {COUNTS}),
        shares AS (
             SELECT grouping(s.model, s.deployment_id, s.day, s.user_id) AS kind, s.model, s.deployment_id, s.day, s.user_id,
                    count(*) AS calls, count(*) FILTER (WHERE s.cost_picos IS NULL) AS no_cost, {} AS input_tokens,
                    {} AS output_tokens, sum(s.cost_picos) AS cost
               FROM s GROUP BY GROUPING SETS ((), (s.model), (s.deployment_id), (s.day), (s.user_id))),
        ranked AS (
             SELECT kind, model, deployment_id, day, user_id, calls, no_cost, input_tokens, output_tokens, cost,
                    row_number() OVER (PARTITION BY kind ORDER BY day, cost DESC NULLS LAST, calls DESC, model,
                                                                  deployment_id, user_id) AS place
               FROM shares)
        SELECT kind, model, deployment_id, day, user_id, calls, no_cost, input_tokens, output_tokens,
               cost::text AS cost_all
          FROM ranked WHERE kind = 13 OR place <= ",
        total("input_tokens", ""),
        total("output_tokens", ""),
    ));
    query.push_bind(MOST).push(" ORDER BY kind DESC, place");
    let mut db = reading(pool).await?;
    query.build().fetch_all(&mut *db).await?.iter().map(share).collect()
}

fn share(row: &PgRow) -> sqlx::Result<CostShare> {
    Ok(CostShare {
        // A bit for each column that is not told apart by, the last one lowest.
        by: match row.try_get::<i32, _>("kind")? {
            0b0111 => CostBy::Model(row.try_get("model")?),
            0b1011 => CostBy::Deployment(row.try_get::<Option<_>, _>("deployment_id")?.map(DeploymentId)),
            0b1101 => CostBy::Day(row.try_get("day")?),
            0b1110 => CostBy::User(row.try_get("user_id")?),
            _ => CostBy::All,
        },
        calls: row.try_get("calls")?,
        calls_without_cost: row.try_get("no_cost")?,
        input_tokens: row.try_get("input_tokens")?,
        output_tokens: row.try_get("output_tokens")?,
        cost_picos: money(row)?,
    })
}
