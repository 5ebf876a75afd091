//! `status`: how far everything is.

use clap::Args;
use projections::feed::checkpoints;
use projections::log;
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
        if tool.json {
            let consumers: Vec<_> = consumers
                .iter()
                .map(|consumer| {
                    json!({
                        "name": consumer.name,
                        "version": consumer.version,
                        "position": consumer.position,
                        "lag": head - consumer.position,
                        "leaseOwner": consumer.lease_owner,
                        "leaseUntil": consumer.lease_until,
                    })
                })
                .collect();
            return output::line(json!({ "head": head, "consumers": consumers }));
        }
        output::line(format!("the log ends at position {head}"))?;
        output::line(format!(
            "{:<24} {:>8} {:>12} {:>8}  reader",
            "consumer", "version", "position", "behind"
        ))?;
        for consumer in consumers {
            let reader = match (consumer.lease_owner, consumer.lease_until) {
                (Some(owner), Some(until)) => format!("{owner} until {}", until.format("%FT%TZ")),
                _ => "nobody".to_owned(),
            };
            let (name, version, position) = (consumer.name, consumer.version, consumer.position);
            let behind = head - position;
            output::line(format!("{name:<24} {version:>8} {position:>12} {behind:>8}  {reader}"))?;
        }
        Ok(())
    }
}
