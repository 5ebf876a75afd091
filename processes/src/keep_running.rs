//! What should run, runs: a reconciler. Timer and start of the server, no input, done twice it does nothing.
//!
//! A deployment that the log says is running and that this server's runner does not know is started again.
//! After a restart of the platform that is every one.

use std::time::Duration;

use domain::fact::StoredEvent;
use projections::work::{self, NewWork};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{JobError, NAMESPACE, World, chain};
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
        let events = projections::log::read_stream(&world.pool, "deployment", &row.id.to_string()).await?;
        let Some(cause) = events.last() else { continue };
        tracing::info!(deployment.id = %row.id, "deployment {} should run and does not: it is started", row.id);
        let key = format!("{}/recover/{round}", row.id);
        let mut db = world.pool.acquire().await?;
        work::enqueue(&mut db, &new_work(world, &row.id.to_string(), key, cause)).await?;
    }
    world.feed.wake();
    Ok(())
}

fn new_work(world: &World, id: &str, key: String, cause: &StoredEvent) -> NewWork {
    let correlation = cause.metadata.envelope().correlation.clone();
    NewWork {
        id: Uuid::new_v5(&NAMESPACE, key.as_bytes()).into(),
        process: "run_deployment".to_owned(),
        lane: format!("deployment:{id}"),
        payload: json!({ "deployment_id": id }),
        key,
        run_at: (world.now)(),
        cause_event: cause.event_id,
        cause_position: cause.position,
        correlation,
    }
}

impl From<domain::fact::UnreadableEvent> for JobError {
    fn from(error: domain::fact::UnreadableEvent) -> Self {
        Self::Retry(chain(&error))
    }
}
