//! `status`, `rebuild` and `verify`.

use std::io::Write;
use std::sync::Arc;

use projections::feed::{Consumer, checkpoints};
use projections::{log, rebuild, verify};
use serde_json::json;
use sqlx::PgPool;

use crate::{Failure, Outcome, chain};

pub(crate) async fn status(pool: &PgPool, as_json: bool) -> Outcome {
    // In this order: no consumer is ever shown ahead of the log.
    let consumers = checkpoints(pool).await?;
    let head = log::head(pool).await?;
    let mut out = std::io::stdout();
    if as_json {
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
        return Ok(writeln!(out, "{}", json!({ "head": head, "consumers": consumers }))?);
    }
    writeln!(out, "the log ends at position {head}")?;
    writeln!(out, "{:<24} {:>8} {:>12} {:>8}  reader", "consumer", "version", "position", "behind")?;
    for consumer in consumers {
        let reader = match (consumer.lease_owner, consumer.lease_until) {
            (Some(owner), Some(until)) => format!("{owner} until {}", until.format("%FT%TZ")),
            _ => "nobody".to_owned(),
        };
        let behind = head - consumer.position;
        writeln!(
            out,
            "{:<24} {:>8} {:>12} {behind:>8}  {reader}",
            consumer.name, consumer.version, consumer.position
        )?;
    }
    Ok(())
}

pub(crate) async fn rebuild(pool: &PgPool, name: &str) -> Outcome {
    for model in chosen(name)? {
        let built = rebuild::rebuild(pool, model.as_ref()).await.map_err(|error| {
            Failure::Error(format!("{} was not rebuilt: {}", model.name(), chain(&error)))
        })?;
        writeln!(std::io::stdout(), "{} is rebuilt, at position {}", built.name, built.position)?;
    }
    Ok(())
}

pub(crate) async fn verify(pool: &PgPool, name: &str) -> Outcome {
    for model in chosen(name)? {
        let good = verify::verify(pool, model.as_ref()).await?;
        let (name, position, rows) = (good.name, good.position, good.rows);
        writeln!(std::io::stdout(), "{name} is what the log says at position {position}: {rows} rows")?;
    }
    Ok(())
}

/// The read model of this name, or all of them.
fn chosen(name: &str) -> Result<Vec<Arc<dyn Consumer>>, Failure> {
    let mut models = projections::read_models();
    if name == "all" {
        return Ok(models);
    }
    let names: Vec<_> = models.iter().map(|model| model.name()).collect();
    let unknown = format!("there is no read model {name}; there are: {}", names.join(", "));
    models.retain(|model| model.name() == name);
    if models.is_empty() { Err(Failure::Error(unknown)) } else { Ok(models) }
}
