//! What calls of models cost, and for what. Each call counts once: what agents and steps repeat does not.

use chrono::NaiveDate;

use crate::ids::DeploymentId;

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
