//! What calls of models cost, and for what.

use async_trait::async_trait;
use chrono::NaiveDate;

use super::{Period, TelemetryError, Tenant};
use crate::ids::DeploymentId;

/// Adds up what spans cost. Each call counts once: what agents and steps repeat does not.
#[async_trait]
pub trait Costs: Send + Sync {
    /// Shares by model, deployment, day and user, and all together; of each the dearest first, days in their order.
    async fn costs(&self, tenant: Tenant, period: Period) -> Result<Vec<CostShare>, TelemetryError>;
}

/// What a share is told apart by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CostBy {
    /// Everything.
    All,
    /// The model; none where the sender does not say.
    Model(Option<String>),
    /// The deployment that it came from.
    Deployment(Option<DeploymentId>),
    /// The day (UTC).
    Day(NaiveDate),
    /// For whom the call was, or else its trace.
    User(Option<String>),
}

/// A share of the cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostShare {
    /// Of what.
    pub by: CostBy,
    /// How many calls.
    pub calls: i64,
    /// Of these, how many have no cost: their model has no price here.
    pub calls_without_cost: i64,
    /// Tokens in.
    pub input_tokens: i64,
    /// Tokens out.
    pub output_tokens: i64,
    /// What they cost, in millionths of a millionth of a US dollar.
    pub cost_picos: i128,
}
