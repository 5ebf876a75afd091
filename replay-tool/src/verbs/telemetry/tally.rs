//! What changes, by model and prices.

use std::collections::BTreeMap;

use domain::ids::ProjectId;
use domain::ports::telemetry::{Call, NewCost};
use domain::pricing::dollars;
use serde_json::json;

use crate::failure::Outcome;
use crate::tool::Tool;

/// Calls that were looked at, and those that cost something else.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tally {
    /// How many calls have a cost that is reckoned here, or none.
    pub(super) calls: u64,
    changes: BTreeMap<Kind, Change>,
}

/// What changes alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    model: Option<String>,
    price_before: Option<String>,
    price_after: String,
}

/// How many rows, and what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Change {
    rows: u64,
    before: i128,
    after: i128,
}

impl Tally {
    /// Some calls, and what changes of them.
    pub(super) fn add(&mut self, calls: &[Call], new: &[NewCost]) {
        self.calls += calls.len() as u64;
        for NewCost { call, cost } in new {
            let kind = Kind {
                model: call.model.clone(),
                price_before: call.cost.as_ref().map(|cost| cost.price.clone()),
                price_after: cost.price.clone(),
            };
            let change = self.changes.entry(kind).or_default();
            change.rows += 1;
            change.before += call.cost.as_ref().map_or(0, |cost| i128::from(cost.picos));
            change.after += i128::from(cost.picos);
        }
    }

    /// With another one.
    pub(super) fn add_up(&mut self, other: Self) {
        self.calls += other.calls;
        for (kind, more) in other.changes {
            let change = self.changes.entry(kind).or_default();
            change.rows += more.rows;
            change.before += more.before;
            change.after += more.after;
        }
    }

    /// How many rows change.
    pub(super) fn rows(&self) -> u64 {
        self.changes.values().map(|change| change.rows).sum()
    }

    /// What they cost before and after, in millionths of a millionth of a US dollar.
    pub(super) fn sums(&self) -> [i128; 2] {
        let sum = |of: fn(&Change) -> i128| self.changes.values().map(of).sum();
        [sum(|change| change.before), sum(|change| change.after)]
    }

    /// A line for each model and prices of a project.
    pub(super) fn say(&self, tool: &Tool, project: ProjectId, is_dry: bool) -> Outcome {
        for (Kind { model, price_before, price_after }, change) in &self.changes {
            let (rows, before, after) = (change.rows, dollars(change.before), dollars(change.after));
            let (name, was) =
                (model.as_deref().unwrap_or("-"), price_before.as_deref().unwrap_or("no price"));
            let words = format!(
                "{project} {name}: {rows} rows, {was} -> {price_after}, {before} -> {after} US dollars"
            );
            let json = json!({
                "projectId": project, "model": model, "priceBefore": price_before, "priceAfter": price_after,
                "rows": rows, "costBeforeUsd": before, "costAfterUsd": after, "dryRun": is_dry,
            });
            tool.say(&words, &json)?;
        }
        Ok(())
    }
}
