//! `dlq`: events that consumers could not take in, and what waits behind them.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use domain::ids::EventId;
use projections::parked::{self, Parked, RetryError};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::failure::{Failure, Outcome, chain};
use crate::output;
use crate::tool::Tool;

/// How long to wait for a server that tries for a process.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Args)]
pub(crate) struct Dlq {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Every partition that waits, with the event that is refused and why.
    List {
        /// Of this consumer only.
        consumer: Option<String>,
    },
    /// The events of one partition that wait.
    Show {
        /// The consumer.
        consumer: String,
        /// The partition, as `list` names it.
        partition: String,
    },
    /// Takes in what waits, in order, up to the first event that is refused again.
    Retry {
        /// The consumer; without it, all of them.
        consumer: Option<String>,
        /// The partition; without it, all of the consumer's.
        partition: Option<String>,
    },
    /// Drops one event: this consumer never takes it in, and what it makes is no longer all that the log says. What
    /// waits behind it waits on for `retry`.
    Skip {
        /// The consumer.
        consumer: String,
        /// Id of the event.
        event: EventId,
        /// Why, for the log.
        #[arg(long)]
        reason: String,
    },
}

impl Dlq {
    pub(crate) async fn run(self, tool: &Tool) -> Outcome {
        let pool = tool.pool().await?;
        match self.act {
            Act::List { consumer } => list(tool, pool, consumer.as_deref()).await,
            Act::Show { consumer, partition } => show(tool, pool, &consumer, &partition).await,
            Act::Retry { consumer, partition } => {
                retry(tool, pool, consumer.as_deref(), partition.as_deref()).await
            }
            Act::Skip { consumer, event, reason } => {
                if reason.trim().is_empty() {
                    return Err(Failure::because("--reason must say why"));
                }
                parked::skip(pool, &consumer, event, reason.trim(), &tool.actor).await?;
                let words =
                    format!("{consumer} never takes in event {event}; `dlq retry` takes in what waited");
                tool.say(&words, &json!({ "consumer": consumer, "eventId": event, "skipped": true }))
            }
        }
    }
}

async fn list(tool: &Tool, pool: &PgPool, consumer: Option<&str>) -> Outcome {
    let waiting = parked::list(pool, consumer).await?;
    if waiting.is_empty() && !tool.json {
        return output::line("nothing is parked");
    }
    for one in waiting {
        let Parked { consumer, partition, event_id, event_type, position, error, attempts, since, events } =
            &one;
        let words = format!(
            "{consumer} {partition}: {events} since {}, tried {attempts} times; at position {position}, {event_type} \
             {event_id}: {error}",
            since.format("%FT%TZ")
        );
        tool.say(&words, &as_json(&one)?)?;
    }
    Ok(())
}

async fn show(tool: &Tool, pool: &PgPool, consumer: &str, partition: &str) -> Outcome {
    let waiting = parked::events(pool, consumer, partition).await?;
    if waiting.is_empty() {
        return Err(RetryError::Nothing(format!("{consumer} {partition}")).into());
    }
    for event in waiting {
        let why = event.error.as_deref().unwrap_or("waits behind");
        let words = format!("{:>8}  {:<32}  {}  {why}", event.position, event.event_type, event.event_id);
        tool.say(&words, &as_json(&event)?)?;
    }
    Ok(())
}

async fn retry(tool: &Tool, pool: &PgPool, consumer: Option<&str>, partition: Option<&str>) -> Outcome {
    let waiting = parked::list(pool, consumer).await?;
    let chosen: Vec<_> =
        waiting.into_iter().filter(|found| partition.is_none_or(|name| name == found.partition)).collect();
    if chosen.is_empty() {
        if let (Some(consumer), Some(partition)) = (consumer, partition) {
            return Err(RetryError::Nothing(format!("{consumer} {partition}")).into());
        }
        return tool.say("nothing is parked", &json!({ "taken": 0, "left": 0 }));
    }
    let mut refused = 0;
    for found in &chosen {
        refused += i32::from(!retry_one(tool, pool, found).await?);
    }
    match refused {
        0 => Ok(()),
        n => Err(Failure::Parked(format!("{n} of {} partitions still wait", chosen.len()))),
    }
}

/// Whether all of it was taken in.
async fn retry_one(tool: &Tool, pool: &PgPool, found: &Parked) -> Result<bool, Failure> {
    let Parked { consumer, partition, .. } = found;
    let model = projections::read_models().into_iter().find(|model| model.name() == consumer);
    let (taken, left, error) = match model {
        Some(model) => {
            let tried = parked::retry(pool, model.as_ref(), partition, &tool.actor).await?;
            (tried.taken, tried.left, tried.error)
        }
        None => asked(pool, found, tool).await?,
    };
    let words = match &error {
        None => format!("{consumer} {partition}: {taken} events are taken in"),
        Some(error) => {
            format!("{consumer} {partition}: {taken} events are taken in, {left} still wait: {error}")
        }
    };
    let json = json!({
        "consumer": consumer, "partition": partition, "taken": taken, "left": left, "error": error,
    });
    tool.say(&words, &json)?;
    Ok(left == 0)
}

/// Only a server has the code of processes: asks, and waits for what it does.
async fn asked(pool: &PgPool, found: &Parked, tool: &Tool) -> Result<(i64, i64, Option<String>), Failure> {
    let Parked { consumer, partition, .. } = found;
    if !parked::ask(pool, consumer, partition, &tool.actor).await? {
        return Err(RetryError::Nothing(format!("{consumer} {partition}")).into());
    }
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = parked::list(pool, Some(consumer)).await?;
        match now.into_iter().find(|now| now.partition == *partition) {
            None => return Ok((found.events, 0, None)),
            Some(now) if now.attempts != found.attempts || now.position != found.position => {
                return Ok((found.events - now.events, now.events, Some(now.error)));
            }
            Some(_) => {}
        }
    }
    let why = "it is noted, but no server has tried yet; one that reads for it will".to_owned();
    Ok((0, found.events, Some(why)))
}

fn as_json(value: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(value).map_err(|error| Failure::because(error.to_string()))
}

impl From<RetryError> for Failure {
    fn from(error: RetryError) -> Self {
        Self::Error(chain(&error))
    }
}
