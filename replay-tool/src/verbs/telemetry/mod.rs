//! `telemetry`: what deployed servers have sent, where the server keeps it.

mod journal;
mod rerate;
mod tally;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Args, Subcommand};
use domain::ids::ProjectId;
use domain::ports::telemetry::{Period, Rating, TelemetryError, Tenant};
use domain::pricing::{self, dollars};
use domain::secret::Secret;
use projections::projects;
use providers::observability::clickhouse::{ClickHouseRating, Target};
use providers::observability::postgres_spans::PostgresRating;
use serde_json::json;

use crate::failure::{Failure, Outcome, chain};
use crate::tool::Tool;
use journal::{Journal, LogJournal};
use tally::Tally;

/// What is said behind the help.
const WHERE: &str = "It works on the store that the server uses: ClickHouse when the environment has
CLICKHOUSE_URL (with CLICKHOUSE_USER and CLICKHOUSE_PASSWORD, as the server's),
PostgreSQL otherwise. A server may run meanwhile.

Run again it changes nothing; interrupted, it does the rest when it is run again.
Rows that wait on a server's disk are not in the store yet.";

#[derive(Args)]
pub(crate) struct Telemetry {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Reckons again what calls of models cost, with the prices of this release: each by the price of its day. A cost
    /// that its sender has said stays, as does that of a model without a price.
    #[command(after_help = WHERE)]
    Rerate(Rerate),
}

#[derive(Args)]
struct Rerate {
    /// Calls of this project.
    #[arg(long, value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    project: Option<ProjectId>,
    /// Calls of all projects.
    #[arg(long)]
    all: bool,
    /// Calls from this time on (RFC 3339), or from this day on (UTC) [default: the oldest].
    #[arg(long, value_name = "TIME", value_parser = begin)]
    from: Option<DateTime<Utc>>,
    /// Calls before this time, or before this day [default: none is left out].
    #[arg(long, value_name = "TIME", value_parser = begin)]
    to: Option<DateTime<Utc>>,
    /// Shows what would change, and changes nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Telemetry {
    pub(crate) async fn run(self, tool: &Tool) -> Outcome {
        match self.act {
            Act::Rerate(verb) => verb.run(tool).await,
        }
    }
}

impl Rerate {
    async fn run(self, tool: &Tool) -> Outcome {
        if self.from.zip(self.to).is_some_and(|(from, to)| to <= from) {
            return Err(Failure::because("--to must come after --from"));
        }
        let period = Period { from: self.from, to: self.to };
        let pool = tool.pool().await?;
        let tenants = projects::tenants(pool, self.project).await?;
        if let (Some(project), []) = (self.project, &tenants[..]) {
            return Err(Failure::because(format!("there is no project {project}")));
        }
        let rating = store(tool).await?;
        let journal = if self.dry_run { None } else { Some(LogJournal::open(tool, period).await?) };
        let mut all = Tally::default();
        for (project, team) in tenants {
            let journal = journal.as_ref().map(|journal| journal as &dyn Journal);
            let tally = rerate::project(&*rating, journal, Tenant { team, project }, period).await;
            let tally = tally.map_err(|failure| {
                failure.or_because(|why| Failure::because(format!("project {project}: {why}")))
            })?;
            tally.say(tool, project, self.dry_run)?;
            all.add_up(tally);
        }
        self.say(tool, rating.name(), &all)
    }

    fn say(&self, tool: &Tool, store: &str, all: &Tally) -> Outcome {
        let (rows, calls, sums) = (all.rows(), all.calls, all.sums());
        let [before, after] = sums.map(dollars);
        let does = if self.dry_run { "would change" } else { "changed" };
        let prices = pricing::version();
        let words = format!(
            "{rows} of {calls} calls in {store} {does} by the prices of {prices}: {before} -> {after} US dollars"
        );
        let json = json!({
            "store": store, "prices": prices, "dryRun": self.dry_run, "calls": calls, "rows": rows,
            "costBeforeUsd": before, "costAfterUsd": after,
        });
        tool.say(&words, &json)
    }
}

/// The store that the server uses.
async fn store(tool: &Tool) -> Result<Box<dyn Rating>, Failure> {
    let secret = |name| std::env::var(name).ok().filter(|text| !text.is_empty()).map(Secret::new);
    let Some(url) = secret("CLICKHOUSE_URL") else {
        return Ok(Box::new(PostgresRating::new(tool.pool().await?.clone())));
    };
    let target = Target::try_new(&url, secret("CLICKHOUSE_USER"), secret("CLICKHOUSE_PASSWORD"));
    let target = target.map_err(|error| Failure::because(format!("CLICKHOUSE_URL {error}")))?;
    Ok(Box::new(ClickHouseRating::open(&target).await?))
}

/// A time, or the beginning of a day.
fn begin(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(day.and_time(NaiveTime::MIN).and_utc());
    }
    let time = DateTime::parse_from_rfc3339(text);
    time.map(|time| time.to_utc())
        .map_err(|_| "must be a time like 2026-01-31T12:00:00Z or a day like 2026-01-31".to_owned())
}

impl From<TelemetryError> for Failure {
    fn from(error: TelemetryError) -> Self {
        Self::because(chain(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_in_utc() {
        assert_eq!(begin("2026-01-31"), begin("2026-01-31T01:00:00+01:00"));
        assert!(begin("yesterday").unwrap_err().contains("2026-01-31"));
    }
}
