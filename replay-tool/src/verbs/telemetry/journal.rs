//! What a run leaves in the log: that it has begun with a project before anything changes there, and what it did.

use async_trait::async_trait;
use domain::operation::OperationEvent;
use domain::ports::telemetry::{Period, Tenant};
use domain::pricing::{self, dollars};
use projections::{operations, pool};
use sqlx::PgConnection;

use super::tally::Tally;
use crate::failure::{Failure, Outcome};
use crate::tool::Tool;

/// Who holds this reckons; the operating system lets it go with the process.
const ONE_AT_A_TIME: i64 = 5_570_926_163_358_164_049;

/// Who changes something has one.
#[async_trait]
pub(super) trait Journal: Send + Sync {
    /// Whether a run that had begun with this project has not come to its end.
    async fn was_interrupted(&self, tenant: Tenant) -> Result<bool, Failure>;

    /// From now on calls of the project change.
    async fn begun(&self, tenant: Tenant) -> Outcome;

    /// All calls of the project in the period cost what they cost now.
    async fn done(&self, tenant: Tenant, tally: &Tally) -> Outcome;
}

/// In the log of events.
pub(super) struct LogJournal<'a> {
    tool: &'a Tool,
    period: Period,
    /// Nobody else changes anything meanwhile.
    _alone: PgConnection,
}

impl<'a> LogJournal<'a> {
    /// Of a run that is the only one.
    pub(super) async fn open(tool: &'a Tool, period: Period) -> Result<Self, Failure> {
        let mut alone = pool::alone(tool.pool().await?).await?;
        let is_alone: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(ONE_AT_A_TIME)
            .fetch_one(&mut alone)
            .await?;
        if !is_alone {
            return Err(Failure::because("another run reckons costs again: wait for its end"));
        }
        Ok(Self { tool, period, _alone: alone })
    }
}

#[async_trait]
impl Journal for LogJournal<'_> {
    async fn was_interrupted(&self, tenant: Tenant) -> Result<bool, Failure> {
        Ok(operations::is_rerate_unfinished(self.tool.pool().await?, tenant.project).await?)
    }

    async fn begun(&self, Tenant { team, project }: Tenant) -> Outcome {
        let Period { from, to } = self.period;
        let event = OperationEvent::TelemetryRerateBegun {
            team_id: team,
            project_id: project,
            from,
            to,
            prices: pricing::version(),
        };
        self.tool.record(&event).await
    }

    async fn done(&self, Tenant { team, project }: Tenant, tally: &Tally) -> Outcome {
        let Period { from, to } = self.period;
        let [cost_before_usd, cost_after_usd] = tally.sums().map(dollars);
        let event = OperationEvent::TelemetryRerated {
            team_id: team,
            project_id: project,
            from,
            to,
            prices: pricing::version(),
            rows: tally.rows(),
            cost_before_usd,
            cost_after_usd,
        };
        self.tool.record(&event).await
    }
}
