//! What a container uses while it runs, as far as the engine tells.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::models::ContainerStatsResponse;
use bollard::query_parameters as query;
use domain::build::Peak;
use futures_util::TryStreamExt;
use tokio::time::sleep;

use super::engine::{Engine, EngineError, ask};
use crate::runner::failures::{mebibytes, seconds};

/// Between two looks: what lasts for less may not be seen.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks at one container. The engine forgets what it used when it ends.
pub(super) struct Gauge<'a> {
    engine: &'a Engine,
    container: &'a str,
    /// Of the commands before it.
    before: Peak,
    /// With those.
    used: &'a Mutex<Peak>,
    most: Mutex<Peak>,
}

impl<'a> Gauge<'a> {
    /// `used` is what the commands before this one have used, and will be what they have used with it.
    pub(super) fn new(engine: &'a Engine, container: &'a str, used: &'a Mutex<Peak>) -> Self {
        let before = *used.lock().unwrap_or_else(PoisonError::into_inner);
        Self { engine, container, before, used, most: Mutex::default() }
    }

    /// Looks until it is dropped.
    pub(super) async fn watch(&self) -> Infallible {
        loop {
            match self.look().await {
                Ok(Some(seen)) => self.note(seen),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "what a container uses is not known"),
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// It was seen to use this.
    pub(super) fn note(&self, seen: Peak) {
        let mut most = self.most.lock().unwrap_or_else(PoisonError::into_inner);
        // Processor time is a sum already.
        let cpu_seconds = most.cpu_seconds.max(seen.cpu_seconds);
        *most = Peak { cpu_seconds, ..most.then(seen) };
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = self.before.then(*most);
    }

    async fn look(&self) -> Result<Option<Peak>, EngineError> {
        let docker = self.engine.docker().await?;
        let options = query::StatsOptionsBuilder::new().stream(false).one_shot(true).build();
        let mut told = Box::pin(docker.stats(self.container, Some(options)));
        Ok(ask("tell what a container uses", told.try_next()).await?.map(peak))
    }
}

fn peak(told: ContainerStatsResponse) -> Peak {
    let memory = told.memory_stats.and_then(|memory| memory.max_usage.or(memory.usage));
    let pids = told.pids_stats.and_then(|pids| pids.current);
    let cpu = told.cpu_stats.and_then(|cpu| cpu.cpu_usage?.total_usage);
    // One that has ended has used nothing, says the engine.
    let some = |figure: Option<u64>| figure.filter(|figure| *figure > 0);
    Peak {
        memory_mib: some(memory).map(mebibytes),
        disk_mib: None,
        pids: some(pids).and_then(|count| count.try_into().ok()),
        cpu_seconds: some(cpu).map(|nanos| seconds(Duration::from_nanos(nanos))),
        wall_seconds: None,
    }
}
