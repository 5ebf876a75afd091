//! What calls cost, by model, deployment, day and user, in one reading of the calls.

use chrono::{Days, NaiveDate};
use clickhouse::{Client, Row};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{CostBy, CostShare, Period, Tenant};
use serde::Deserialize;
use uuid::Uuid;

use super::read::{around, counts};
use crate::observability::clickhouse::fault::Fault;
use crate::observability::clickhouse::row::{MOST, odd, whole};
use crate::observability::clickhouse::sql::Sql;

/// So many shares of a kind are shown; days all.
const SHOWN: usize = 500;

/// Of each kind the dearest first, days in their order.
pub(super) async fn shares(client: &Client, tenant: Tenant, period: Period) -> Result<Vec<CostShare>, Fault> {
    // For whom the trace was, where the call does not say it.
    let mut traces = Sql::new(
        "SELECT trace_id AS of, argMin(user_id, (started_at, span_id)) AS its_user FROM spans FINAL WHERE ",
    );
    traces.append(&Sql::of(tenant)).push(" AND NOT below AND user_id IS NOT NULL GROUP BY trace_id");
    let mut calls = Sql::new(
        "SELECT trace_id, toString(model) AS its_model, model IS NOT NULL AS has_model,
                deployment_id AS its_deployment, toDate(started_at) AS day, user_id AS own_user, cost AS its_cost,
                toInt128(input_tokens) AS tokens_in, toInt128(output_tokens) AS tokens_out
           FROM spans FINAL WHERE ",
    );
    calls
        .append(&Sql::of(tenant))
        .within("started_at", period)
        .push(" AND ")
        .append(&counts(&around(tenant, &[period])));
    let mut sql = Sql::new(
        "SELECT toUInt8(grouping(model, deployment, day, user)) AS kind, model, deployment, toUInt16(day) AS on_day, user,
                count() AS calls, countIf(its_cost IS NULL) AS no_cost, sum(tokens_in) AS input,
                sum(tokens_out) AS output, sum(ifNull(its_cost, toDecimal128(0, 12))) AS cost_all
           FROM (SELECT if(has_model, its_model, NULL) AS model, its_deployment AS deployment, day,
                        ifNull(own_user, its_user) AS user, its_cost, tokens_in, tokens_out
                   FROM (",
    );
    sql.append(&calls).push(") c LEFT JOIN (").append(&traces).push(
        ") t ON t.of = c.trace_id)
          GROUP BY GROUPING SETS ((), (model), (deployment), (day), (user))
          ORDER BY kind DESC, on_day, cost_all DESC, calls DESC, model, deployment, user LIMIT 4000 BY kind",
    );
    let rows = sql.into_query(client).fetch_all::<ShareRow>().await?;
    let mut shown = [0; 16];
    let mut shares = Vec::with_capacity(rows.len());
    for row in rows {
        let place = shown.get_mut(usize::from(row.kind)).ok_or_else(|| odd("a share of no kind"))?;
        *place += 1;
        if *place <= SHOWN || row.kind == BY_DAY {
            shares.push(row.share()?);
        }
    }
    Ok(shares)
}

// A bit for each column that is not told apart by, the last one lowest.
const BY_MODEL: u8 = 0b0111;
const BY_DEPLOYMENT: u8 = 0b1011;
const BY_DAY: u8 = 0b1101;
const BY_USER: u8 = 0b1110;

#[derive(Row, Deserialize)]
struct ShareRow {
    kind: u8,
    model: Option<String>,
    #[serde(with = "clickhouse::serde::uuid::option")]
    deployment: Option<Uuid>,
    on_day: u16,
    user: Option<String>,
    calls: u64,
    no_cost: u64,
    input: i128,
    output: i128,
    cost_all: i128,
}

impl ShareRow {
    fn share(self) -> Result<CostShare, Fault> {
        let day = NaiveDate::default().checked_add_days(Days::new(self.on_day.into()));
        Ok(CostShare {
            by: match self.kind {
                BY_MODEL => CostBy::Model(self.model),
                BY_DEPLOYMENT => CostBy::Deployment(self.deployment.map(DeploymentId)),
                BY_DAY => CostBy::Day(day.ok_or_else(|| odd("a day out of range"))?),
                BY_USER => CostBy::User(self.user),
                _ => CostBy::All,
            },
            calls: whole(self.calls)?,
            calls_without_cost: whole(self.no_cost)?,
            input_tokens: whole(self.input.min(MOST))?,
            output_tokens: whole(self.output.min(MOST))?,
            cost_picos: self.cost_all,
        })
    }
}
