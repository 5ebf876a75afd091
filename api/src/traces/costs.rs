//! `GET /api/v1/projects/{project}/cost-breakdown`: what calls of models cost, and for what.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::ports::telemetry::{CostBy, CostShare};
use projections::projects::ProjectRow;
use serde::Serialize;

use super::{When, dollars, tenant};
use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;

/// What calls of models cost. Each call counts once: what agents and steps repeat does not.
#[derive(Default, Serialize, utoipa::ToSchema)]
#[schema(as = CostBreakdown)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Breakdown {
    /// US dollars, a decimal number.
    cost_usd: String,
    calls: i64,
    /// How many of the calls have no cost, because their model has no price here.
    calls_without_cost: i64,
    by_model: Vec<Share>,
    by_deployment: Vec<Share>,
    /// In the order of days, in UTC.
    by_day: Vec<Share>,
    /// By whom the call was for, or else its trace.
    by_user: Vec<Share>,
}

/// A share of the cost: the 500 dearest of each kind.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CostShare)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Share {
    /// The model, deployment, day or user; null where the sender does not say.
    key: Option<String>,
    calls: i64,
    calls_without_cost: i64,
    input_tokens: i64,
    output_tokens: i64,
    /// US dollars, a decimal number.
    cost_usd: String,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(when): Query<When>,
) -> Result<Json<Breakdown>, ApiError> {
    let mut all = Breakdown { cost_usd: dollars(0), ..Breakdown::default() };
    for share in platform.telemetry.costs(tenant(&project), when.period()?).await? {
        match share.by.clone() {
            CostBy::All => {
                all.cost_usd = dollars(share.cost_picos);
                (all.calls, all.calls_without_cost) = (share.calls, share.calls_without_cost);
            }
            CostBy::Model(model) => all.by_model.push(shown(model, &share)),
            CostBy::Deployment(id) => all.by_deployment.push(shown(id.map(|id| id.to_string()), &share)),
            CostBy::Day(day) => all.by_day.push(shown(Some(day.to_string()), &share)),
            CostBy::User(user) => all.by_user.push(shown(user, &share)),
        }
    }
    Ok(Json(all))
}

fn shown(key: Option<String>, share: &CostShare) -> Share {
    Share {
        key,
        calls: share.calls,
        calls_without_cost: share.calls_without_cost,
        input_tokens: share.input_tokens,
        output_tokens: share.output_tokens,
        cost_usd: dollars(share.cost_picos),
    }
}
