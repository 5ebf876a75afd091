//! What should run, runs: a reconciler. Timer and start of the server, no input, done twice it does nothing.
//!
//! A deployment that the log says is running and that this server's runner does not know is started again.
//! After a restart of the platform that is every one, but for those that went on without it: they are taken up
//! again, and nobody who uses them notices.

use std::time::Duration;

use projections::work;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::serving::resume;
use crate::{JobError, World, chain};
use domain::ports::runner::Health;

/// How often it compares.
const EVERY: Duration = Duration::from_secs(30);

/// Compares at once and then every 30 seconds, until `stop`. `boot` names this life of the server.
pub async fn keep_running(world: World, boot: Uuid, stop: CancellationToken) {
    let mut round = 0_u64;
    loop {
        if let Err(error) = compare(&world, &format!("{boot}/{round}")).await {
            tracing::warn!(%error, "what should run could not be compared with what runs");
        }
        round += 1;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn compare(world: &World, round: &str) -> Result<(), JobError> {
    for row in projections::deployments::all_running(&world.pool).await? {
        if world.runner.health(row.id).await != Health::Absent {
            continue;
        }
        if resume(world, &row).await? {
            continue;
        }
        let events = projections::log::read_stream(&world.pool, "deployment", &row.id.to_string()).await?;
        let Some(cause) = events.last() else { continue };
        tracing::info!(deployment.id = %row.id, "deployment {} should run and does not: it is started", row.id);
        let key = format!("{}/recover/{round}", row.id);
        work::run_again(&world.pool, row.id, key, cause).await?;
    }
    for row in projections::deployments::asleep_without_leave(&world.pool).await? {
        let events = projections::log::read_stream(&world.pool, "deployment", &row.id.to_string()).await?;
        let Some(cause) = events.last() else { continue };
        // As a request would wake it: once for each time that it fell asleep.
        let key = format!("{}/wake/{}", row.id, cause.position);
        work::run_again(&world.pool, row.id, key, cause).await?;
    }
    world.feed.wake();
    Ok(())
}

impl From<domain::fact::UnreadableEvent> for JobError {
    fn from(error: domain::fact::UnreadableEvent) -> Self {
        Self::Retry(chain(&error))
    }
}
