//! `status`: how far everything is.

use std::collections::BTreeMap;

use clap::Args;
use projections::feed::{Checkpoint, checkpoints};
use projections::{generations, log, parked};
use serde_json::json;

use crate::failure::Outcome;
use crate::output;
use crate::tool::Tool;

#[derive(Args)]
pub(crate) struct Status {}

impl Status {
    pub(crate) async fn run(self, tool: &Tool) -> Outcome {
        let pool = tool.pool().await?;
        // In this order: no consumer is ever shown ahead of the log.
        let consumers = checkpoints(pool).await?;
        let head = log::head(pool).await?;
        let waiting: BTreeMap<String, i64> = parked::count(pool).await?.into_iter().collect();
        let parked = |consumer: &Checkpoint| waiting.get(&consumer.name).copied().unwrap_or_default();
        let generations = generations::list(pool).await?;
        if tool.json {
            let consumers: Vec<_> = consumers
                .iter()
                .map(|consumer| {
                    json!({
                        "name": consumer.name,
                        "version": consumer.version,
                        "position": consumer.position,
                        "lag": head - consumer.position,
                        "behindSince": consumer.behind_since,
                        "leaseOwner": consumer.lease_owner,
                        "leaseUntil": consumer.lease_until,
                        "pausedAt": consumer.paused_at,
                        "pausedBy": consumer.paused_by,
                        "parked": parked(consumer),
                        "generation": consumer.generation,
                    })
                })
                .collect();
            return output::line(json!({ "head": head, "consumers": consumers, "generations": generations }));
        }
        output::line(format!("the log ends at position {head}"))?;
        output::line(format!(
            "{:<24} {:>8} {:>12} {:>8} {:>7}  reader",
            "consumer", "version", "position", "behind", "parked"
        ))?;
        for consumer in &consumers {
            let (name, version, position) = (&consumer.name, consumer.version, consumer.position);
            let (behind, parked, reader) = (head - position, parked(consumer), reader(consumer));
            output::line(format!(
                "{name:<24} {version:>8} {position:>12} {behind:>8} {parked:>7}  {reader}"
            ))?;
        }
        for found in generations {
            let (number, consumer, state, position) =
                (found.number, found.consumer, found.state, found.position);
            output::line(format!("generation {number} of {consumer} is {state} at position {position}"))?;
        }
        Ok(())
    }
}

fn reader(consumer: &Checkpoint) -> String {
    if let (Some(at), Some(by)) = (consumer.paused_at, &consumer.paused_by) {
        return format!("paused by {by} at {}", at.format("%FT%TZ"));
    }
    match (&consumer.lease_owner, consumer.lease_until) {
        (Some(owner), Some(until)) => format!("{owner} until {}", until.format("%FT%TZ")),
        _ => "nobody".to_owned(),
    }
}
