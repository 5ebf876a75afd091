//! What processes work with. Ports only: which providers stand behind them is wired elsewhere.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use commands::{Commands, Context};
use domain::ids::TeamId;
use domain::ports::email::Email;
use domain::ports::git::Git;
use domain::ports::logs::Logs;
use domain::ports::runner::Runner;
use domain::ports::traffic::Traffic;
use projections::feed::Feed;
use projections::shred::ShredList;
use sqlx::PgPool;

use crate::worker::Work;

/// The world as processes see it.
#[derive(Clone)]
#[expect(missing_docs, reason = "each field is the port of its name")]
pub struct World {
    pub pool: PgPool,
    pub commands: Commands,
    pub feed: Feed,
    pub runner: Arc<dyn Runner>,
    pub git: Arc<dyn Git>,
    pub logs: Arc<dyn Logs>,
    pub traffic: Arc<dyn Traffic>,
    pub email: Arc<dyn Email>,
    pub shred_list: ShredList,
    /// The clock.
    pub now: fn() -> DateTime<Utc>,
    /// Where people reach this server: begins links in mails.
    pub public_url: String,
    /// From spawn to ready.
    pub start_deadline: Duration,
}

impl World {
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

    /// Waits until the query tables know the fact that led to this work.
    pub(crate) async fn caught_up(&self, work: &Work) -> Result<(), crate::JobError> {
        if self.feed.wait_for(work.claimed.cause_position, Duration::from_secs(10)).await {
            return Ok(());
        }
        Err(crate::JobError::Retry("the query tables are behind".to_owned()))
    }
}
