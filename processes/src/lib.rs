//! Process managers: facts in, work out.
//!
//! A [`Process`] says in its pure `on` what work a fact asks for; the row of work is stored in the transaction
//! that moves the process's checkpoint. Its `run` does the work, at least once, and reports by commands whose
//! keys derive from process, event and step, so that doing it again does it once.

mod build_deployment;
mod build_preview;
mod deliver_invite;
mod erase_person;
mod expire_build;
mod expire_invite;
mod expire_preview;
mod find_missed_pushes;
mod forget_uploads;
mod keep_running;
mod leave_nothing;
mod letter;
mod notify_person;
mod progress;
mod prune_artifacts;
mod purge_team;
mod remove_artifact;
mod repository;
mod retire_deployment;
mod return_to_good;
mod run_build;
mod run_deployment;
mod secrets;
mod serving;
mod show_environment;
mod show_on_commit;
mod sleep_idle;
mod start_again;
mod supersede_build;
mod supersede_deployment;
mod take_delivery;
mod tell_endpoints;
mod worker;
mod world;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::fact::{Fact, Recorded};
use domain::ports::email::EmailError;
use projections::feed::Consumer;
use projections::parked::Grain;
use projections::queue::Limits;
use projections::work::{self, Claimed, NewWork};
use sqlx::PgConnection;
use thiserror::Error;
use uuid::Uuid;

pub use find_missed_pushes::find_missed_pushes;
pub use forget_uploads::forget_uploads;
pub use keep_running::keep_running;
pub use projections::work::Due;
pub use prune_artifacts::prune_artifacts;
pub use sleep_idle::sleep_idle;
pub use worker::{Work, Workers};
pub use world::{ShowEvent, World};

/// Names the ids of rows of work; stored in every one, so never changed.
const NAMESPACE: Uuid = Uuid::from_u128(0x2f1e_77b4_9c54_4c56_8a0d_5f6c_1d9e_0b42);

/// A process manager.
#[async_trait]
pub trait Process: Send + Sync {
    /// Its stored name: never changed.
    fn name(&self) -> &'static str;

    /// How much of its work runs at a time in one server process.
    fn concurrency(&self) -> usize;

    /// What work a fact asks for. Pure.
    fn on(&self, recorded: &Recorded, fact: &Fact) -> Option<Job>;

    /// The key of work that a fact makes needless, if it still waits. Pure.
    fn needless(&self, _fact: &Fact) -> Option<Needless> {
        None
    }

    /// Takes the work that is to be done next, if there is any.
    async fn claim(&self, world: &World, worker: &str) -> sqlx::Result<Option<Claimed>> {
        work::claim(&world.pool, self.name(), worker, worker::LEASE).await
    }

    /// Does the work. May be called again for the same work after a crash, with a higher fence.
    async fn run(&self, work: &Work, world: &World) -> Result<(), JobError>;

    /// How often it is tried before it is given up; beyond eight times it is every ten minutes.
    fn tries(&self) -> i32 {
        8
    }

    /// How long after a try that was in vain, the first being 1, the next begins.
    fn pause(&self, attempts: i32) -> Duration {
        worker::backoff(attempts)
    }

    /// Says that all tries were in vain, so that nobody waits for ever. What cannot be said is said again later.
    async fn give_up(&self, _work: &Work, _world: &World, why: &str) -> Result<(), JobError> {
        Err(JobError::Never(why.to_owned())) // nobody waits for it
    }
}

/// Work that a fact asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// What it is about: the same key is the same work.
    pub key: String,
    /// Only one piece of work of a lane runs at a time.
    pub lane: String,
    /// What `run` needs to know.
    pub payload: serde_json::Value,
    /// When it begins.
    pub due: Due,
}

/// Work that nobody wants any more.
#[derive(Clone, Debug, PartialEq)]
pub struct Needless {
    /// What it is about.
    pub key: String,
    /// The work that gets its place.
    pub heir: Option<String>,
}

/// What the operator has set about builds.
#[derive(Clone, Copy, Debug)]
pub struct BuildSettings {
    /// How many run at a time.
    pub limits: Limits,
    /// How long one waits in the queue at most.
    pub queue_timeout: Duration,
}

/// Why work is not done.
#[derive(Debug, Error)]
pub enum JobError {
    /// It may work later.
    #[error("{0}")]
    Retry(String),
    /// The same, not before so long: whoever refused it said so.
    #[error("{0}")]
    Later(String, Duration),
    /// Another worker does it now, or nobody wants it any more.
    #[error("{0}")]
    Lost(String),
    /// It never works: somebody has to look.
    #[error("{0}")]
    Never(String),
}

/// Every process of the product.
pub fn all(builds: BuildSettings) -> Vec<Arc<dyn Process>> {
    vec![
        Arc::new(run_build::RunBuild { limits: builds.limits }),
        Arc::new(supersede_build::SupersedeBuild),
        Arc::new(expire_build::ExpireBuild { after: builds.queue_timeout }),
        Arc::new(build_deployment::BuildDeployment),
        Arc::new(run_deployment::RunDeployment),
        Arc::new(supersede_deployment::SupersedeDeployment),
        Arc::new(retire_deployment::RetireDeployment),
        Arc::new(return_to_good::ReturnToGood),
        Arc::new(leave_nothing::LeaveNothing),
        Arc::new(start_again::StartAgain),
        Arc::new(remove_artifact::RemoveArtifact),
        Arc::new(purge_team::PurgeTeam),
        Arc::new(deliver_invite::DeliverInvite),
        Arc::new(expire_invite::ExpireInvite),
        Arc::new(take_delivery::TakeDelivery),
        Arc::new(build_preview::BuildPreview),
        Arc::new(expire_preview::ExpirePreview),
        Arc::new(show_on_commit::ShowOnCommit),
        Arc::new(show_environment::ShowEnvironment),
        Arc::new(find_missed_pushes::LookAtBranches),
        Arc::new(notify_person::NotifyPerson),
        Arc::new(erase_person::ErasePerson),
        Arc::new(tell_endpoints::SendDelivery),
        Arc::new(tell_endpoints::ReplayToEndpoint),
        Arc::new(tell_endpoints::WarnOfEndpoint),
    ]
}

/// Every process as a consumer of the log.
pub fn consumers(builds: BuildSettings) -> Vec<Arc<dyn Consumer>> {
    let consumer = |process: Arc<dyn Process>| -> Arc<dyn Consumer> {
        match process.name() == tell_endpoints::FanOut.name() {
            true => Arc::new(tell_endpoints::FanOut),
            false => Arc::new(Intake(process)),
        }
    };
    all(builds).into_iter().map(consumer).collect()
}

/// Turns facts into rows of work.
struct Intake(Arc<dyn Process>);

#[async_trait]
impl Consumer for Intake {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static str {
        ""
    }

    fn table_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// Each event is work of its own; the lanes put in order what must not run side by side.
    fn grain(&self) -> Grain {
        Grain::Stream
    }

    fn wants(&self, recorded: &Recorded) -> bool {
        let is_wanted = |fact| self.0.on(recorded, fact).is_some() || self.0.needless(fact).is_some();
        recorded.facts.iter().any(is_wanted)
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        for work in self.work(recorded) {
            work::enqueue(db, &work).await?;
        }
        for Needless { key, heir } in recorded.facts.iter().filter_map(|fact| self.0.needless(fact)) {
            work::withdraw(db, self.0.name(), &key, heir.as_deref()).await?;
        }
        Ok(())
    }
}

impl Intake {
    /// The rows of an event: its facts ask each for work of its own. The same key is the same work, stored once.
    fn work(&self, recorded: &Recorded) -> Vec<NewWork> {
        let jobs = recorded.facts.iter().filter_map(|fact| self.0.on(recorded, fact));
        let row = |job: Job| NewWork {
            id: {
                let name = format!("{}/{}/{}", self.0.name(), recorded.event_id, job.key);
                Uuid::new_v5(&NAMESPACE, name.as_bytes()).into()
            },
            process: self.0.name().to_owned(),
            key: job.key,
            lane: job.lane,
            payload: job.payload,
            due: job.due,
            cause_event: recorded.event_id,
            cause_position: recorded.position,
            correlation: recorded.envelope().correlation.clone(),
        };
        jobs.map(row).collect()
    }
}

impl From<commands::StoreError> for JobError {
    fn from(error: commands::StoreError) -> Self {
        Self::Retry(chain(&error))
    }
}

impl From<sqlx::Error> for JobError {
    fn from(error: sqlx::Error) -> Self {
        Self::Retry(chain(&error))
    }
}

impl From<commands::VaultError> for JobError {
    fn from(error: commands::VaultError) -> Self {
        Self::Retry(chain(&error))
    }
}

impl From<domain::ports::logs::LogError> for JobError {
    fn from(error: domain::ports::logs::LogError) -> Self {
        Self::Retry(chain(&error))
    }
}

impl From<EmailError> for JobError {
    fn from(error: EmailError) -> Self {
        match error {
            EmailError::Later(_) => Self::Retry(error.to_string()),
            EmailError::Never(_) => Self::Never(error.to_string()),
        }
    }
}

impl From<domain::ports::runner::RunnerError> for JobError {
    fn from(error: domain::ports::runner::RunnerError) -> Self {
        Self::Retry(chain(&error))
    }
}

/// A refusal says that the world has moved on: a build was cancelled, a lease was lost. A store error may pass.
impl<E: std::error::Error + 'static> From<commands::CommandError<E>> for JobError {
    fn from(error: commands::CommandError<E>) -> Self {
        match error {
            commands::CommandError::Refused(refusal) => Self::Lost(refusal.to_string()),
            other => Self::Retry(chain(&other)),
        }
    }
}

/// An error with all its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
