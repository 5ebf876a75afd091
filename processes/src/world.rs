//! What processes work with. Ports only: which providers stand behind them is wired elsewhere.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use commands::{Commands, Context, VaultError};
use domain::ids::TeamId;
use domain::ports::artifacts::Artifacts;
use domain::ports::email::Email;
use domain::ports::git::Git;
use domain::ports::git_host::GitHost;
use domain::ports::logs::Logs;
use domain::ports::outbound::Outbound;
use domain::ports::push_hooks::PushHooks;
use domain::ports::runner::Runner;
use domain::ports::traffic::Traffic;
use domain::team::Team;
use projections::audit_trail::AuditRow;
use projections::feed::Feed;
use projections::shred::ShredList;
use serde_json::Value;
use sqlx::PgPool;

use crate::worker::Work;

/// Shows events as the API does, to who may see all of their team.
#[async_trait]
pub trait ShowEvent: Send + Sync {
    /// The JSON of a row of the audit trail.
    async fn event(&self, row: AuditRow) -> Result<Value, VaultError>;
}

/// The world as processes see it.
#[derive(Clone)]
#[expect(missing_docs, reason = "each field is the port of its name")]
pub struct World {
    pub pool: PgPool,
    pub commands: Commands,
    pub feed: Feed,
    pub runner: Arc<dyn Runner>,
    pub artifacts: Arc<dyn Artifacts>,
    pub git: Arc<dyn Git>,
    pub hosts: Vec<Arc<dyn GitHost>>,
    pub push_hooks: Arc<dyn PushHooks>,
    pub logs: Arc<dyn Logs>,
    pub traffic: Arc<dyn Traffic>,
    pub email: Arc<dyn Email>,
    pub outbound: Arc<dyn Outbound>,
    pub shown: Arc<dyn ShowEvent>,
    pub shred_list: ShredList,
    /// The clock.
    pub now: fn() -> DateTime<Utc>,
    /// Where people reach this server: begins links in mails.
    pub public_url: String,
    /// Where deployed servers send telemetry; none where they do not reach this server.
    pub telemetry_url: Option<String>,
    /// From spawn to ready.
    pub start_deadline: Duration,
}

/// The clocks of servers and of the database differ by less.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::hours(1);

impl World {
    /// The git host of this name, when the operator has connected it.
    pub(crate) fn host(&self, id: &str) -> Option<&dyn GitHost> {
        self.hosts.iter().find(|host| host.id() == id).map(|host| &**host)
    }

    /// The circumstances of a command that work reports with.
    pub(crate) fn context(&self, work: &Work, team_id: Option<TeamId>) -> Context {
        Context::process(
            &work.claimed.process,
            team_id,
            work.claimed.cause_event,
            work.claimed.correlation.clone(),
            work.claimed.id.to_string(),
            (self.now)(),
        )
    }

    /// Whether a team is there, and neither closed nor deleted, as the log has it: whoever was let in just before that
    /// may have asked for something just after.
    pub(crate) async fn is_open(&self, team: TeamId) -> Result<bool, crate::JobError> {
        Ok(self.commands.load::<Team>(team).await?.aggregate.is_open())
    }

    /// Work that waited for a moment is done when the database says that it has come. By this server's clock it may come a
    /// little later: then the work is tried again. What is to come much later is another moment, for which other work waits.
    pub(crate) fn has_come(&self, moment: Option<DateTime<Utc>>) -> Result<(), crate::JobError> {
        let left = moment.map_or(TimeDelta::zero(), |moment| moment - (self.now)());
        if left > TimeDelta::zero() && left < CLOCKS_DIFFER {
            return Err(crate::JobError::Retry(format!("by this server's clock it is too early by {left}")));
        }
        Ok(())
    }

    /// Waits until the query tables know the fact that led to this work.
    pub(crate) async fn caught_up(&self, work: &Work) -> Result<(), crate::JobError> {
        if self.feed.wait_for(work.claimed.cause_position, Duration::from_secs(10)).await {
            return Ok(());
        }
        Err(crate::JobError::Retry("the query tables are behind".to_owned()))
    }
}
